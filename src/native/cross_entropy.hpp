// Cross-entropy of a row, and its gradient. With the target y' (of mass 1: an index or probabilities, smoothed), log p =
// x - L, L = logsumexp(x), and C_k = (1 - p_k)^gamma + gamma p_k (1 - p_k)^(gamma-1) (-log p_k), which is 1 for gamma 0:
//
//     loss     = sum of y'_k (1 - p_k)^gamma (-log p_k) + z L^2
//     gradient = A p - B,   B_k = y'_k C_k,   A = sum of B + 2 z L
//
// -log p_k = (m - x_k) + log(sum): both terms are >= 0, so nothing cancels in the loss. The gradient where p is near 1 is
// (A - B) p - B (1 - p), with 1 - p the share of the others, summed without it; anywhere else p <= 1/2 and the subtraction
// is harmless. So both keep their relative precision however sure and right the model is.
//
// Classes that are left out (masked, or -inf) have p = 0, get no part of the smoothing, and have the gradient 0, unless
// they are a target: an impossible one costs infinity. A row of weight 0 is ignored, whatever it holds.
#pragma once

#include <bit>

#include "focal.hpp"
#include "gaps.hpp"

namespace softmax::SOFTMAX_ISA {

struct LossOptions {
    double smoothing, gamma, z_loss, softcap;  // softcap 0: none

    // Whether a focal loss has more than one class as target: then each has a slope of its own.
    bool by_classes(bool soft) const { return gamma != 0 && (soft || smoothing != 0); }
    // Whether rows of few classes are worked on one a lane.
    bool for_lanes(bool soft) const { return z_loss == 0 && softcap == 0 && !by_classes(soft); }
};

// What a row is to be: a class, or a probability for each.
template <class T>
struct Target {
    ptrdiff_t index;  // or -1
    const Row<T>* probs = nullptr;

    double share(ptrdiff_t k) const { return probs == nullptr ? double(k == index) : double((*probs)[k]); }
};

// Class by class in double: for rows that are not ordinary, and for a focal loss of more than one class.
template <class T>
void loss_by_classes(const Row<T>& x, const Target<T>& target, double weight, const LossOptions& options,
                     const Summary<T>& summary, double log_sum, double* loss, const OutRow<T>* gradient) {
    if (summary.kind == Kind::not_a_number) {
        *loss = NAN;
        if (gradient != nullptr) fill(x, summary, T(0), T(0), *gradient);
        return;
    }
    const bool ordinary = summary.kind == Kind::ordinary;
    const auto cost = [&](double entry) {
        if (ordinary) return double(summary.maximum) - entry + log_sum;
        return summary.kind == Kind::winners && entry >= double(summary.threshold) ? std::log(summary.winners)
                                                                                   : INFINITY;
    };
    double left = 0;
    for (ptrdiff_t k = 0; k < x.n; ++k) left += x[k] > T(-INFINITY);
    const auto share = [&](ptrdiff_t k, double entry) {
        const double smooth = entry > -INFINITY && left > 0 ? options.smoothing / left : 0;
        return target.share(k) * (1 - options.smoothing) + smooth;
    };
    DD total = {0, 0}, slope = {0, 0};  // of all classes; and of all but the first of the most probable ones
    ptrdiff_t top = -1;
    for (ptrdiff_t k = 0; k < x.n; ++k) {
        const double y = share(k, double(x[k]));
        const bool first = top < 0 && x[k] == summary.maximum;
        if (first) top = k;
        if (y == 0) continue;
        const Focused focused(cost(double(x[k])), options.gamma);
        total = std::isinf(total.high + y * focused.loss) ? DD{INFINITY, 0} : add(total, y * focused.loss);
        if (!first) slope = add(slope, y * focused.slope);
    }
    const double of_top =
        top < 0 || share(top, double(summary.maximum)) == 0
            ? 0
            : share(top, double(summary.maximum)) * Focused(cost(double(summary.maximum)), options.gamma).slope;
    const double log_total = ordinary ? double(summary.maximum) + log_sum : double(summary.maximum);
    if (options.z_loss != 0) {
        total = DD{total.high + options.z_loss * log_total * log_total, 0};
        slope = DD{slope.high + 2 * options.z_loss * log_total, 0};
    }
    *loss = weight * total.high;
    if (gradient == nullptr) return;
    for (ptrdiff_t k = 0; k < x.n; ++k) {
        const double entry = double(x[k]), c = cost(entry), y = share(k, entry), p = std::exp(-c);
        const double b = y == 0 ? 0 : y * Focused(c, options.gamma).slope;
        const double others = k == top ? slope.high : add(slope, of_top - b).high;
        const double result = p == 0 ? -b : others * p + b * std::expm1(-c);
        gradient->set(k, T(weight * result * x.slope(entry)));
    }
}

// The sum of the exponentials below `top`, the maximum's, and how many equal it: of rounded ones, `stored` or not, so that
// a loss is the same with and without its gradient.
template <class S, class T>
Sum sum_others(const Row<T>& x, const Reduction<S>& row, T top, const OutRow<T>* stored, int threads) {
    using V = typename S::V;
    struct BlockSum {
        DD total;
        ptrdiff_t maxima;
    };
    PerBlock<BlockSum> sums(x.n);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T buffer[block_length], values[block_length];
        const T* from = values;
        if (stored != nullptr) {
            from = stored->at(first);
        } else {
            exponentiate<S, false>(x.block(first, count, buffer), count, row, values);
        }
        const V zero = splat<S>(T(0));
        Running<T> total;
        typename S::I maxima = {};
        for_vectors<S>(count, [&](auto width, ptrdiff_t i, int in_use) {
            V e[width()];
            load_all<S>(e, from + i, in_use, T(0));
            for (int a = 0; a < width(); ++a) {
                const auto is_top = e[a] == splat<S>(top);
                total.add(is_top ? zero : e[a]);
                maxima = count_lanes<S>(maxima, is_top);
            }
        });
        sums[block] = {total.pair(), ptrdiff_t(fold(maxima, [](const auto& a, const auto& b) { return a + b; }))};
    });
    Sum all = {};
    for (ptrdiff_t block = 0; block < sums.blocks; ++block) {
        all.total = add(all.total, sums[block].total);
        all.maxima += sums[block].maxima;
    }
    return all;
}

// What a row weighs beside its maximum, from the sum of all its exponentials or, where that says too little, of the others.
template <class S, class T>
DD rest_of(const Row<T>& x, const Reduction<S>& row, DD total, const Top<S>& top, const OutRow<T>* stored,
           int threads) {
    const DD rest = all_but_one<T>(total, top.exact);
    if (!(rest.high < many<S>(x.n))) return rest;
    return others_of<T>(sum_others<S>(x, row, first_lane<S>(top.value), stored, threads), top.exact);
}

// The gradient of an ordinary row, A p - B, with B = smooth for every class that is left plus `hit` times its part q of the
// target; `more` is A less the sum of B. All have the row's weight in them.
template <class T>
struct Slope {
    double hit, mass, smooth, left, more;
    DD rest;                    // what the row weighs beside its maximum
    const Row<T>* q = nullptr;  // nullptr: an index, whose entry is written last

    double all() const { return hit * mass + smooth * left + more; }
    // Of one class of probability p, 1 - p = others.
    double of(double part, double p, DD others) const {
        const double b = smooth + hit * part, by_mass = (hit * (mass - part) + smooth * (left - 1) + more) * p;
        return p == 0 ? -b : fma(-b, others.high, by_mass - b * others.low);
    }
    double of_maximum(double part) const {
        const DD total = add(rest, 1.0);
        return of(part, divide(DD{1.0, 0.0}, total).high, divide(rest, total));
    }
    // Numbers far below 1 would lose digits below the normal range of T on their way: they are worked with 2^octaves times
    // larger.
    int octaves() const {
        const double largest = std::max(std::fabs(all()), std::fabs(hit));
        return largest > 0 && largest < 0x1p-12 ? std::ilogb(largest) : 0;
    }
    Slope times_power(int octaves) const {
        Slope larger = *this;
        for (double Slope::* number : {&Slope::hit, &Slope::smooth, &Slope::more})
            larger.*number = std::ldexp(larger.*number, octaves);
        return larger;
    }
};

// What a row's exponentials are finished with, as `Scaling` for softmax: A p - smooth, from which an index or probabilities
// still take their part. It is worked out below `back`, a power of two, see `Slope::octaves`.
template <class S>
struct Sloping {
    using V = typename S::V;
    using T = typename S::T;
    Scaling<S> scaling;
    V smooth, back;
    bool exact_top = false;
    static constexpr bool of_halves = true;

    Sloping() = default;
    Sloping(const Slope<T>& true_slope, const Top<S>& top, ptrdiff_t n) {
        const int octaves = true_slope.octaves();
        const Slope<T> slope = octaves == 0 ? true_slope : true_slope.times_power(-octaves);
        const DD factor = quotient<T>(DD{slope.all(), 0.0}, multiply(top.exact, add(slope.rest, 1.0)));
        scaling = scaling_by<S>(factor, top, n);
        smooth = splat<S>(T(slope.smooth));
        back = splat<S>(T(std::ldexp(1.0, octaves)));
        exact_top = scaling.exact_top;
    }
    template <bool ExactTop, std::size_t Count>
    SOFTMAX_INLINE void finish(V (&e)[Count]) const {
        for (V& each : e) each = (scaling.template finish<ExactTop>(each) - smooth) * back;
    }
};

// A p - B of exponentials, in their place: for an index, of all but its own entry; of probabilities q for each.
template <class S, class T>
void slope_of_block(T* e, const T* q, ptrdiff_t n, const Sloping<S>& row_entry, const Slope<T>& slope, T top) {
    using V = typename S::V;
    const Sloping<S> entry = row_entry;
    const T power = first_lane<S>(entry.back);
    const V hit = splat<S>(T(slope.hit / double(power)));
    for_vectors<S>(n, [&](auto width, ptrdiff_t i, int count) {
        V v[width()];
        load_all<S>(v, e + i, count, T(0));
        unsigned tops[width()] = {}, any = 0;
        for (int a = 0; a < width(); ++a) {
            V g = entry.scaling.template finish<true>(v[a]) - entry.smooth;
            if (q != nullptr) {
                g = g - hit * load_first<S>(q + i + a * S::lanes, count, T(0));
                tops[a] = equal_bits<S>(v[a], splat<S>(top));
                any |= tops[a];
            }
            store_first<S>(e + i + a * S::lanes, V(g * entry.back), count);
        }
        for (int a = 0; a < width() && any != 0; ++a) {
            for (unsigned left = tops[a]; left != 0; left &= left - 1) {
                const ptrdiff_t k = i + a * S::lanes + std::countr_zero(left);
                e[k] = T(slope.of_maximum(double(q[k])));
            }
        }
    });
}

// The gradient of a row, whose exponentials `out` holds already with `kept`.
template <class S, class T>
void write_slope(const Row<T>& x, const Row<T>& shifted, const Reduction<S>& row, const Top<S>& top,
                 const Slope<T>& slope, bool kept, const OutRow<T>& out, int threads) {
    const Sloping<S> entry(slope, top, x.n);
    const bool rereads = x.softcap != 0 || (slope.smooth != 0 && slope.left < double(x.n));
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T buffer[block_length], probs[block_length], values[block_length], read[block_length];
        if (rereads) std::copy_n(x.block(first, count, buffer), count, read);
        T* const e = out.block(first, values);
        const T* q = slope.q == nullptr ? nullptr : slope.q->block(first, count, probs);
        if (!kept) exponentiate<S, false>(shifted.block(first, count, buffer), count, row, e);
        slope_of_block<S>(e, q, count, entry, slope, first_lane<S>(top.value));
        for (ptrdiff_t i = 0; i < count && rereads; ++i) {
            const double of_left_out = q == nullptr ? 0 : -slope.hit * double(q[i]);
            e[i] = read[i] == T(-INFINITY) ? T(of_left_out) : e[i] * T(x.slope(double(read[i])));
        }
        out.put(first, count, e);
    });
}

// What an ordinary row comes to: from what it weighs beside its maximum, and the logarithm of all its weight.
template <class T>
struct RowLoss {
    double loss;
    Slope<T> slope;
    double at_target, p = 0;  // of an index: its entry, its probability
    DD others = {0.0, 0.0};   // and that of the others

    RowLoss(const Row<T>* probs, double at_target, double maximum, DD rest, DD log_sum, const Gaps& gaps, double weight,
            const LossOptions& options)
        : at_target(at_target) {
        const double share = 1 - options.smoothing;
        slope = {share, 1, gaps.left > 0 ? options.smoothing / gaps.left : 0, gaps.left, 0, rest, probs};
        double total;
        if (probs == nullptr) {
            const double cost = log_sum.high + (log_sum.low + (maximum - at_target));  // also where that is infinite
            const bool sure = at_target == maximum;                                    // else p <= 1/2
            p = sure ? inverse_of<T>(add(rest, 1.0)).high : std::exp(-cost);
            others = sure ? quotient<T>(rest, add(rest, 1.0)) : DD{1 - p, 0.0};
            const Focused focused(cost, p, others.high, options.gamma);
            total = share == 0 ? 0 : share * focused.loss;
            slope.hit *= focused.slope;
        } else {
            slope.mass = gaps.mass;
            total = share == 0 ? 0 : share * (log_sum.high * gaps.mass + (log_sum.low * gaps.mass + gaps.expected));
        }
        if (slope.smooth != 0) total += slope.smooth * (log_sum.high * gaps.left + gaps.gap);
        if (options.z_loss != 0) {
            const double log_total = maximum + log_sum.high;
            total += options.z_loss * log_total * log_total;
            slope.more = 2 * options.z_loss * log_total;
        }
        loss = weight * total;
        for (double Slope<T>::* number : {&Slope<T>::hit, &Slope<T>::smooth, &Slope<T>::more}) slope.*number *= weight;
    }
    // The gradient by the target's entry.
    double of_target() const {
        Slope<T> own = slope;
        if (at_target == -INFINITY) own.smooth = 0;
        return own.of(1, p, others);
    }
};

template <class S, class T>
void loss_row(const Row<T>& x, const Target<T>& target, double weight, const LossOptions& options, double* loss,
              const OutRow<T>* gradient, int threads) {
    if (weight == 0) {
        *loss = 0;
        if (gradient != nullptr) fill(x, {Kind::nothing, T(0), T(0), 0}, T(0), T(0), *gradient);
        return;
    }
    // A row that the second-level cache holds beside its exponentials is finished there before it is streamed.
    constexpr ptrdiff_t in_cache = 131072 / sizeof(T);
    if (gradient != nullptr && gradient->streaming && x.n <= in_cache) {
        const std::unique_ptr<T[]> values(new T[x.n]);
        const OutRow<T> here = {reinterpret_cast<char*>(values.get()), sizeof(T)};
        loss_row<S>(x, target, weight, options, loss, &here, threads);
        return gradient->put(0, x.n, values.get());
    }
    const Summary<T> summary = summarize<S>(x, 1.0, threads);
    const T maximum = summary.maximum;
    if (summary.kind != Kind::ordinary) {
        return loss_by_classes(x, target, weight, options, summary, 0.0, loss, gradient);
    }
    const bool by_index = target.probs == nullptr, smoothed = options.smoothing != 0;
    const double at_target = by_index ? double(x[target.index]) : 0;  // before its place is written to
    Gaps gaps = {0, 0, 0, 0};
    if (smoothed || !by_index) gaps = gaps_of<S>(x, target.probs, maximum, smoothed, threads);
    const bool by_classes = options.by_classes(!by_index);
    // Exponentials are kept where the gradient will be, unless the logits there are to be read once more.
    const bool in_place = gradient != nullptr && gradient->data == x.data;
    const bool reads_on = x.softcap != 0 || by_classes || (in_place && smoothed && gaps.left < double(x.n));
    const bool kept = gradient != nullptr && gradient->keeps() && !reads_on;
    Row<T> shifted = x;
    T top_entry = maximum;
    normalize(shifted, top_entry, 1.0);
    const Reduction<S> row(splat<S>(top_entry), temperature_constants<T>(1));
    const Top<S> top = exponential_of_maximum<S, false>(top_entry, row);
    const OutRow<T>* const stored = kept ? gradient : nullptr;
    const DD total = sum_row<S, logs<S>, false>(shifted, row, top_entry, stored, threads).total;
    const DD rest = rest_of<S>(shifted, row, total, top, stored, threads);
    const DD log_sum = log_total<T>(rest);
    if (std::isnan(log_sum.high)) {
        return loss_by_classes(x, target, weight, options, not_a_number<T>, 0.0, loss, gradient);
    }
    if (by_classes) return loss_by_classes(x, target, weight, options, summary, log_sum.high, loss, gradient);
    const RowLoss<T> result(target.probs, at_target, double(maximum), rest, log_sum, gaps, weight, options);
    *loss = result.loss;
    if (gradient == nullptr) return;
    write_slope<S>(x, shifted, row, top, result.slope, kept, *gradient, threads);
    if (by_index) gradient->set(target.index, T(result.of_target() * x.slope(at_target)));
}

}  // namespace softmax::SOFTMAX_ISA
