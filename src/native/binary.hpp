// Binary cross-entropy, entry by entry, and its gradient. With p = sigmoid(x), the smoothed target y', and the weights
// a = pos_weight y', b = 1 - y':
//
//     loss     = a (1 - p)^gamma (-log p) + b p^gamma (-log(1 - p))
//     gradient = b p^gamma (p + gamma (1 - p) (-log(1 - p))) - a (1 - p)^gamma ((1 - p) + gamma p (-log p))
//
// With e = e^-|x|, the logarithms are max(-x, 0) + log(1 + e) and max(x, 0) + log(1 + e), sums of terms >= 0, and p and
// 1 - p are 1 / (1 + e) and e / (1 + e), each by itself. So nothing cancels in the loss; in the gradient only its two
// terms do, of which a target of 0 or 1 leaves one. A term of weight 0 is 0, whatever it multiplies.
#pragma once

#include "focal.hpp"
#include "sigmoid.hpp"

namespace softmax::SOFTMAX_ISA {

struct BinaryOptions {
    double factor, smoothing, gamma;  // factor: of the gradient
};

template <class T>
struct BinaryRow {
    Row<T> x, y;
    Row<double> weight;
    const char* mask;  // of bool, or nullptr
    ptrdiff_t mask_stride;
};

template <class V>
struct LossAndSlope {
    V loss, slope;
};

// For gamma 0, of every lane of x.
template <bool Gradient, class T, class S>
SOFTMAX_INLINE LossAndSlope<typename S::V> binary_entry(const typename S::V& x, const typename S::V& a,
                                                        const typename S::V& b, const Reduction<S>& zero) {
    using V = typename S::V;
    const V none = splat<S>(T(0));
    const auto negative = x < none;
    const Exponential<S> e = falling<S>(x, zero);
    const V log = log_beside_one<T, S>(e);
    const V if_true = V(negative ? -x : none) + log, if_false = V(negative ? none : x) + log;
    const V loss = V(a == none ? none : a * if_true) + V(b == none ? none : b * if_false);
    LossAndSlope<V> result = {x == x ? loss : x, none};
    if constexpr (Gradient) {
        const V unlikely = Part<S, true>(e, 1).value(), likely = T(1) - unlikely;
        const V slope = b * V(negative ? unlikely : likely) - a * V(negative ? likely : unlikely);
        result.slope = x == x ? slope : x;
    }
    return result;
}

// For any gamma.
inline LossAndSlope<double> binary_focal(double x, double a, double b, double gamma) {
    if (std::isnan(x)) return {x, x};
    const double e = std::exp(-std::fabs(x)), log = std::log1p(e), likely = 1 / (1 + e), unlikely = e / (1 + e);
    const double p = x < 0 ? unlikely : likely, rest = x < 0 ? likely : unlikely;
    const Focused if_true(std::fmax(-x, 0.0) + log, p, rest, gamma), if_false(std::fmax(x, 0.0) + log, rest, p, gamma);
    const double loss = (a == 0 ? 0 : a * if_true.loss) + (b == 0 ? 0 : b * if_false.loss);
    return {loss, b * p * if_false.slope - a * rest * if_true.slope};
}

// The sum of a block, far below an ulp; where that is out of T's range, in double.
template <class S, class T>
DD sum_of_block(const T* values, ptrdiff_t n) {
    using V = typename S::V;
    Pair<V> sum = {splat<S>(T(0)), splat<S>(T(0))};
    for_vectors<S>(n, [&](auto width, ptrdiff_t i, int in_use) {
        V v[width()];
        load_all<S>(v, values + i, in_use, T(0));
        for (int a = 0; a < width(); ++a) {
            accumulate(sum, v[a]);
        }
    });
    const DD total = across<S>(sum);
    if (std::isfinite(total.high)) return total;
    double plain = 0;
    for (ptrdiff_t i = 0; i < n; ++i) plain += double(values[i]);
    return {plain, 0.0};
}

// The losses and, with Gradient, the slopes of a block. x and y are contiguous.
template <class S, bool Gradient, class T>
void binary_block(const T* x, const T* y, const T* weight, ptrdiff_t n, const BinaryOptions& options, T* losses,
                  T* slopes) {
    using V = typename S::V;
    if (options.gamma != 0) {
        const double keep = 1 - options.smoothing, half = options.smoothing / 2;
        for (ptrdiff_t i = 0; i < n; ++i) {
            const double a = double(weight[i]) * (double(y[i]) * keep + half), b = (1 - double(y[i])) * keep + half;
            const LossAndSlope<double> entry = binary_focal(double(x[i]), a, b, options.gamma);
            losses[i] = T(entry.loss);
            if constexpr (Gradient) slopes[i] = T(entry.slope * options.factor);
        }
        return;
    }
    const Reduction<S> zero(splat<S>(T(0)), temperature_constants<T>(1));
    const V one = splat<S>(T(1)), keep = splat<S>(T(1 - options.smoothing)), half = splat<S>(T(options.smoothing / 2));
    const V factor = splat<S>(T(options.factor));
    for_vectors<S>(n, [&](auto width, ptrdiff_t i, int in_use) {
        V v[width()], target[width()], w[width()];
        load_all<S>(v, x + i, in_use, T(0));
        load_all<S>(target, y + i, in_use, T(0));
        load_all<S>(w, weight + i, in_use, T(0));
        for (int k = 0; k < width(); ++k) {
            const V a = w[k] * V(target[k] * keep + half), b = V(one - target[k]) * keep + half;
            const LossAndSlope<V> entry = binary_entry<Gradient, T, S>(v[k], a, b, zero);
            store_first<S>(losses + i + k * S::lanes, entry.loss, in_use);
            if constexpr (Gradient) store_first<S>(slopes + i + k * S::lanes, V(entry.slope * factor), in_use);
        }
    });
}

// The losses, where asked for, their sum, and the gradient times `factor`.
template <class S, bool Gradient, class T>
double binary_row(const BinaryRow<T>& row, const BinaryOptions& options, const OutRow<T>* losses,
                  const OutRow<T>* slopes, int threads) {
    PerBlock<DD> sums(row.x.n);
    for_blocks(row.x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T x_buffer[block_length], y_buffer[block_length], weights[block_length], loss[block_length],
            slope[Gradient ? block_length : 1];
        {
            double buffer[block_length];
            const double* given = row.weight.block(first, count, buffer);
            for (ptrdiff_t i = 0; i < count; ++i) weights[i] = T(given[i]);
        }
        binary_block<S, Gradient>(row.x.block(first, count, x_buffer), row.y.block(first, count, y_buffer), weights,
                                  count, options, loss, slope);
        if (row.mask != nullptr) {
            for (ptrdiff_t i = 0; i < count; ++i) {
                if (row.mask[(first + i) * row.mask_stride]) continue;
                loss[i] = 0;
                if constexpr (Gradient) slope[i] = 0;
            }
        }
        sums[block] = sum_of_block<S>(loss, count);
        if (losses != nullptr) losses->put(first, count, loss);
        if constexpr (Gradient) slopes->put(first, count, slope);
    });
    DD total = {0.0, 0.0};
    for (ptrdiff_t block = 0; block < sums.blocks; ++block) {
        const double plain = total.high + sums[block].high;  // an infinite sum has no error to carry
        total = std::isfinite(plain) ? add(total, sums[block]) : DD{plain, 0.0};
    }
    return total.high;
}

}  // namespace softmax::SOFTMAX_ISA
