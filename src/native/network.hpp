// An epoch of Adam over mini-batches for a network of small layers, whose time would else go into calls: a batch forward,
// its loss, backward, and the step, in one thread. The arithmetic is that of network.py and solvers.py.
//
// Rows of a layer's values are padded to whole vectors, and so are those of its weights, of their running means and of
// the gradient: what stands behind a row is 0, stays 0, and needs no masks.
#pragma once

#include <vector>

#include "sigmoid.hpp"

namespace softmax::SOFTMAX_ISA {

// C[i][v] = start[i][v] + sum over t of left(i, t) right[t][v], `Rows` rows and `Vectors` vectors of it in registers.
template <class T>
struct Product {
    ptrdiff_t rows, vectors, depth;
    const T* left;
    ptrdiff_t left_row, left_depth;
    const T* right;  // rows of whole vectors
    ptrdiff_t right_row;
    const T* start;  // nullptr: zeros
    ptrdiff_t start_row;
    T* result;
    ptrdiff_t result_row;

    void operator()() const {
        ptrdiff_t v = 0;
        for (; v + 3 <= vectors; v += 3) column<3>(v);
        if (vectors - v == 2) column<2>(v);
        if (vectors - v == 1) column<1>(v);
    }

private:
    using S = Simd<T>;
    template <int Vectors>
    void column(ptrdiff_t v) const {
        ptrdiff_t i = 0;
        for (; i + 4 <= rows; i += 4) block<4, Vectors>(i, v * S::lanes);
        for (; i < rows; ++i) block<1, Vectors>(i, v * S::lanes);
    }
    template <int Rows, int Vectors>
    void block(ptrdiff_t i, ptrdiff_t j) const {
        typename S::V sum[Rows][Vectors];
        for (int r = 0; r < Rows; ++r) {
            for (int v = 0; v < Vectors; ++v) {
                sum[r][v] = start == nullptr ? splat<S>(T(0)) : load<S>(start + (i + r) * start_row + j + v * S::lanes);
            }
        }
        const T *from = left + i * left_row, *row = right + j;
        for (ptrdiff_t t = 0; t < depth; ++t, from += left_depth, row += right_row) {
            typename S::V w[Vectors];
            for (int v = 0; v < Vectors; ++v) w[v] = load<S>(row + v * S::lanes);
            for (int r = 0; r < Rows; ++r) {
                const auto factor = splat<S>(from[r * left_row]);
                for (int v = 0; v < Vectors; ++v) sum[r][v] = mul_add(factor, w[v], sum[r][v]);
            }
        }
        for (int r = 0; r < Rows; ++r) {
            for (int v = 0; v < Vectors; ++v) store(result + (i + r) * result_row + j + v * S::lanes, sum[r][v]);
        }
    }
};

template <class T>
class EpochRunner {
    using S = Simd<T>;
    using V = typename S::V;

    struct Layer {
        ptrdiff_t inputs, outputs, width;  // width: outputs, padded
        ptrdiff_t weights;  // where its weights begin in the padded parameters; its intercepts follow them
        ptrdiff_t intercepts() const { return weights + inputs * width; }
        ptrdiff_t end() const { return intercepts() + width; }
    };

    Epoch& epoch;
    std::vector<Layer> layers;
    std::vector<T> params, mean, square, gradient;  // padded
    std::vector<T> rows;                            // the batch's features
    std::vector<std::vector<T>> values, errors;     // of each layer
    std::vector<T> turned;                          // a layer's weights, transposed
    std::vector<T> two_logits, two_errors;          // of a network with one output
    std::vector<std::int64_t> targets;
    std::vector<double> factors, losses;
    const Reduction<S> zero{splat<S>(T(0)), temperature_constants<T>(1)};

public:
    // The loss of classes, as the kernel of cross_entropy's gradient.
    const Loop loss;

    EpochRunner(Epoch& e, Loop loss_loop) : epoch(e), loss(loss_loop) {
        ptrdiff_t at = 0, widest = 0;
        for (int l = 0; l < e.layers; ++l) {
            const ptrdiff_t inputs = e.sizes[l], outputs = e.sizes[l + 1], width = padded(outputs);
            layers.push_back({inputs, outputs, width, at});
            at = layers.back().end();
            values.emplace_back(std::size_t(e.batch * width));
            errors.emplace_back(std::size_t(e.batch * width));
            if (l > 0) widest = std::max(widest, outputs * padded(inputs));
        }
        for (auto* numbers : {&params, &mean, &square, &gradient}) numbers->assign(std::size_t(at), T(0));
        rows.resize(std::size_t(e.batch * e.sizes[0]));
        turned.resize(std::size_t(widest));
        if (outputs() == 1) {
            two_logits.assign(std::size_t(2 * e.batch), T(0));
            two_errors.resize(two_logits.size());
        }
        targets.resize(std::size_t(e.batch));
        factors.resize(std::size_t(e.batch));
        losses.resize(std::size_t(e.batch));
    }

    // Ends early where the loss is no longer finite, or `interrupted` says so.
    template <class Interrupted>
    void run(const Interrupted& interrupted) {
        copy(static_cast<T*>(epoch.params), params, false);
        copy(static_cast<T*>(epoch.mean), mean, false);
        copy(static_cast<T*>(epoch.square), square, false);
        epoch.total = 0;
        for (ptrdiff_t first = 0; first < epoch.n && std::isfinite(epoch.total) && !interrupted();
             first += epoch.batch) {
            const ptrdiff_t count = std::min(epoch.batch, epoch.n - first);
            take(first, count);
            epoch.total += (forward_and_backward(count) + epoch.penalty / 2 * squared_weights()) * double(count);
            if (std::isfinite(epoch.total)) step();
        }
        copy(static_cast<T*>(epoch.params), params, true);
        copy(static_cast<T*>(epoch.mean), mean, true);
        copy(static_cast<T*>(epoch.square), square, true);
    }

private:
    static ptrdiff_t padded(ptrdiff_t n) { return (n + S::lanes - 1) / S::lanes * S::lanes; }
    ptrdiff_t outputs() const { return layers.back().outputs; }

    // Between the flat vector (all weights, then all intercepts) and the padded one.
    void copy(T* flat, std::vector<T>& own, bool back) const {
        const auto rows_of = [&](ptrdiff_t at, ptrdiff_t count, const Layer& layer) {
            for (ptrdiff_t i = 0; i < count; ++i, flat += layer.outputs) {
                T* padded_row = own.data() + at + i * layer.width;
                if (back)
                    std::copy_n(padded_row, layer.outputs, flat);
                else
                    std::copy_n(flat, layer.outputs, padded_row);
            }
        };
        for (const Layer& layer : layers) rows_of(layer.weights, layer.inputs, layer);
        for (const Layer& layer : layers) rows_of(layer.intercepts(), 1, layer);
    }

    void take(ptrdiff_t first, ptrdiff_t count) {
        const ptrdiff_t features = layers[0].inputs;
        const T* X = static_cast<const T*>(epoch.X);
        for (ptrdiff_t i = 0; i < count; ++i) {
            const std::int64_t row = epoch.order[first + i];
            std::copy_n(X + row * features, features, rows.data() + i * features);
            targets[std::size_t(i)] = epoch.targets[row];
            factors[std::size_t(i)] = (epoch.weight == nullptr ? 1.0 : epoch.weight[row]) / double(count);
        }
    }

    // The batch's mean loss, without the penalty; its gradient is in `gradient`.
    double forward_and_backward(ptrdiff_t count) {
        const T* input = rows.data();
        ptrdiff_t input_row = layers[0].inputs;
        for (std::size_t l = 0; l < layers.size(); ++l) {
            const Layer& layer = layers[l];
            if (l > 0) activate(values[l - 1].data(), count * layers[l - 1].width);
            Product<T>{count,
                       layer.width / S::lanes,
                       layer.inputs,
                       input,
                       input_row,
                       1,
                       &params[std::size_t(layer.weights)],
                       layer.width,
                       &params[std::size_t(layer.intercepts())],
                       0,
                       values[l].data(),
                       layer.width}();
            input = values[l].data();
            input_row = layer.width;
        }
        const double total = output_errors(count);
        for (std::size_t l = layers.size(); l-- > 0;) {
            const Layer& layer = layers[l];
            const T* below = l == 0 ? rows.data() : values[l - 1].data();
            const ptrdiff_t below_row = l == 0 ? layer.inputs : layers[l - 1].width;
            Product<T>{layer.inputs,
                       layer.width / S::lanes,
                       count,
                       below,
                       1,
                       below_row,
                       errors[l].data(),
                       layer.width,
                       nullptr,
                       0,
                       &gradient[std::size_t(layer.weights)],
                       layer.width}();
            sum_rows(errors[l].data(), count, layer.width, &gradient[std::size_t(layer.intercepts())]);
            if (l == 0) continue;
            transpose(layer, below_row);
            Product<T>{count,
                       below_row / S::lanes,
                       layer.outputs,
                       errors[l].data(),
                       layer.width,
                       1,
                       turned.data(),
                       below_row,
                       nullptr,
                       0,
                       errors[l - 1].data(),
                       below_row}();
            slope(values[l - 1].data(), errors[l - 1].data(), count * below_row);
        }
        return total;
    }

    double output_errors(ptrdiff_t count) {
        const bool two = outputs() == 1;
        const Layer& last = layers.back();
        T *logits = values.back().data(), *error = errors.back().data();
        ptrdiff_t row = last.width;
        if (two) {
            for (ptrdiff_t i = 0; i < count; ++i) two_logits[std::size_t(2 * i + 1)] = logits[i * row];
            logits = two_logits.data();
            error = two_errors.data();
            row = 2;
        }
        bool everywhere = true;
        constexpr ptrdiff_t size = sizeof(T), wide = sizeof(double);
        char* args[] = {reinterpret_cast<char*>(logits),         reinterpret_cast<char*>(targets.data()),
                        reinterpret_cast<char*>(factors.data()), reinterpret_cast<char*>(epoch.options),
                        reinterpret_cast<char*>(&everywhere),    reinterpret_cast<char*>(losses.data()),
                        reinterpret_cast<char*>(error)};
        const ptrdiff_t dimensions[] = {count, two ? 2 : outputs(), 4};
        const ptrdiff_t steps[] = {row * size, wide, wide, 0, 0, wide, row * size, size, wide, 0, size};
        loss(args, dimensions, steps, nullptr);
        if (two) {
            for (ptrdiff_t i = 0; i < count; ++i) errors.back()[std::size_t(i * last.width)] = error[2 * i + 1];
        }
        double total = 0;
        for (ptrdiff_t i = 0; i < count; ++i) total += losses[std::size_t(i)];
        return total;
    }

    void activate(T* z, ptrdiff_t n) const {
        const V none = splat<S>(T(0)), one = splat<S>(T(1));
        for (ptrdiff_t i = 0; i < n; i += S::lanes) {
            const V v = load<S>(z + i);
            if (epoch.tanh) {
                const V s = sigmoid<T, S>(V(v + v), zero);
                store(z + i, V(s + s - one));  // to an ulp of 1
            } else {
                store(z + i, V(v < none ? none : v));
            }
        }
    }
    // error *= the derivative, given the activation's values.
    void slope(const T* a, T* error, ptrdiff_t n) const {
        const V none = splat<S>(T(0)), one = splat<S>(T(1));
        for (ptrdiff_t i = 0; i < n; i += S::lanes) {
            const V v = load<S>(a + i), e = load<S>(error + i);
            store(error + i, epoch.tanh ? V(e * (one - v * v)) : V(v > none ? e : none));
        }
    }
    static void sum_rows(const T* x, ptrdiff_t count, ptrdiff_t width, T* sums) {
        for (ptrdiff_t j = 0; j < width; j += S::lanes) {
            V sum = splat<S>(T(0));
            for (ptrdiff_t i = 0; i < count; ++i) sum = sum + load<S>(x + i * width + j);
            store(sums + j, sum);
        }
    }
    void transpose(const Layer& layer, ptrdiff_t below_row) {
        std::fill(turned.begin(), turned.begin() + layer.outputs * below_row, T(0));
        for (ptrdiff_t i = 0; i < layer.inputs; ++i) {
            const T* from = &params[std::size_t(layer.weights + i * layer.width)];
            for (ptrdiff_t j = 0; j < layer.outputs; ++j) turned[std::size_t(j * below_row + i)] = from[j];
        }
    }

    double squared_weights() const {
        V sum = splat<S>(T(0));
        for (const Layer& layer : layers) {
            for (ptrdiff_t i = layer.weights; i < layer.intercepts(); i += S::lanes) {
                const V w = load<S>(params.data() + i);
                sum = mul_add(w, w, sum);
            }
        }
        return double(fold(sum, [](const auto& a, const auto& b) { return a + b; }));
    }

    // Adds the penalty to the gradient, and moves the parameters.
    void step() {
        ++epoch.steps;
        const double correction = std::sqrt(1 - std::pow(epoch.beta2, double(epoch.steps)));
        const T rate = T(epoch.rate * correction / (1 - std::pow(epoch.beta1, double(epoch.steps))));
        const T floor = T(epoch.epsilon * correction), b1 = T(epoch.beta1), b2 = T(epoch.beta2),
                penalty = T(epoch.penalty);
        const T one = T(1);
        for (const Layer& layer : layers) {
            step_of(layer.weights, layer.intercepts(), penalty, rate, floor, b1, b2, one);
            step_of(layer.intercepts(), layer.end(), T(0), rate, floor, b1, b2, one);
        }
    }
    void step_of(ptrdiff_t first, ptrdiff_t last, T penalty, T rate, T floor, T b1, T b2, T one) {
        T *p = params.data(), *m = mean.data(), *s = square.data();
        const T* g = gradient.data();
        for (ptrdiff_t i = first; i < last; i += S::lanes) {
            const V param = load<S>(p + i), slope = load<S>(g + i) + penalty * param;
            const V first_moment = load<S>(m + i) * b1 + (one - b1) * slope;
            const V second_moment = load<S>(s + i) * b2 + slope * slope * (one - b2);
            store(m + i, first_moment);
            store(s + i, second_moment);
            store(p + i, V(param - first_moment / (square_root(second_moment) + floor) * rate));
        }
    }
};

}  // namespace softmax::SOFTMAX_ISA
