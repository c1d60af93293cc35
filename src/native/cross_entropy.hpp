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

#include "focal.hpp"
#include "logs.hpp"

namespace softmax::SOFTMAX_ISA {

struct LossOptions {
    double smoothing, gamma, z_loss, softcap;  // softcap 0: none

    // Whether rows of few classes are worked on one a lane.
    bool for_lanes(bool soft) const { return z_loss == 0 && softcap == 0 && (gamma == 0 || (!soft && smoothing == 0)); }
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

// Sums over the classes that are left: where smoothed how many and of m - x, and with q the target's probabilities, of q
// and q (m - x).
struct Gaps {
    double left = 0, gap = 0, mass = 0, expected = 0;
};
template <class S, class T>
Gaps gaps_of_block(const T* x, const T* q, ptrdiff_t n, T maximum, bool smoothed) {
    using V = typename S::V;
    const V zero = splat<S>(T(0)), one = splat<S>(T(1)), out = splat<S>(T(-INFINITY)), top = splat<S>(maximum);
    constexpr int chains = interleaved<S>;
    V left[chains];
    Pair<V> gap[chains], mass[chains], expected[chains];
    for (int a = 0; a < chains; ++a) {
        left[a] = zero;
        gap[a] = mass[a] = expected[a] = {zero, zero};
    }
    for_vectors<S>(n, [&](auto width, ptrdiff_t i, int count) {
        V v[width()];
        load_all<S>(v, x + i, count, T(-INFINITY));
        for (int a = 0; a < width() && smoothed; ++a) {
            left[a] = left[a] + (v[a] == out ? zero : one);
            accumulate(gap[a], V(v[a] == out ? zero : V(top - v[a])));
        }
        if (q == nullptr) return;
        V share[width()];
        load_all<S>(share, q + i, count, T(0));
        for (int a = 0; a < width(); ++a) {
            accumulate(mass[a], share[a]);
            accumulate(expected[a], V(share[a] == zero ? zero : V(share[a] * (top - v[a]))));
        }
    });
    const auto total = [](const Pair<V>(&sums)[chains]) {
        DD all = across<S>(sums[0]);
        for (int a = 1; a < chains; ++a) all = add(all, across<S>(sums[a]));
        return all.high + all.low;
    };
    const auto distance = [&](const Pair<V>(&sums)[chains]) {  // one that is infinite leaves inf - inf
        const double all = total(sums);
        return std::isnan(all) ? INFINITY : all;
    };
    for (int a = 1; a < chains; ++a) left[0] = left[0] + left[a];
    return {across<S>(Pair<V>{left[0], zero}).high, distance(gap), total(mass), distance(expected)};
}
template <class S, class T>
Gaps gaps_of(const Row<T>& x, const Row<T>* q, T maximum, bool smoothed, int threads) {
    PerBlock<Gaps> blocks(x.n);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T buffer[block_length], probs[block_length];
        blocks[block] =
            gaps_of_block<S>(x.block(first, count, buffer), q == nullptr ? nullptr : q->block(first, count, probs),
                             count, maximum, smoothed);
    });
    Gaps all;
    for (ptrdiff_t block = 0; block < blocks.blocks; ++block) {
        all.left += blocks[block].left;
        all.gap += blocks[block].gap;
        all.mass += blocks[block].mass;
        all.expected += blocks[block].expected;
    }
    return all;
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
    double of(double part, double p, double others) const {
        const double b = smooth + hit * part;
        return p == 0 ? -b : (hit * (mass - part) + smooth * (left - 1) + more) * p - b * others;
    }
    double of_maximum(double part) const {
        const DD total = add(rest, 1.0);
        return of(part, divide(DD{1.0, 0.0}, total).high, divide(rest, total).high);
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

// A p alone: what an index without smoothing needs. `out` holds the exponentials, if it keeps what is stored.
template <class S, class T>
void write_shares(const Row<T>& x, T maximum, const Slope<T>& slope, const OutRow<T>& out, int threads) {
    Row<T> shifted = x;
    normalize(shifted, maximum, 1.0);
    const Reduction<S> row(splat<S>(maximum), temperature_constants<T>(1));
    const Top<S> top = exponential_of_maximum<S, false>(maximum, row);
    const int octaves = slope.octaves();
    const DD all = {std::ldexp(slope.all(), -octaves), 0.0};
    const Scaling<S> scaling(divide(all, multiply(top.exact, add(slope.rest, 1.0))), top.exact, top.value);
    scale_row<S, false>(shifted, row, scaling, out, threads, T(octaves));
}

// A p - B, but for an index.
template <class S, class T>
void write_slope(const Row<T>& x, T maximum, const Slope<T>& true_slope, const OutRow<T>& out, int threads) {
    using V = typename S::V;
    Row<T> shifted = x;
    T top = maximum;
    normalize(shifted, top, 1.0);
    const int octaves = true_slope.octaves();
    const T power = T(std::ldexp(1.0, octaves));
    const Slope<T> slope = true_slope.times_power(-octaves);
    const Reduction<S> reduction(splat<S>(top), temperature_constants<T>(1));
    const Top<S> of_top = exponential_of_maximum<S, false>(top, reduction);
    const Scaling<S> all(divide(DD{slope.all(), 0.0}, multiply(of_top.exact, add(slope.rest, 1.0))));
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T buffer[block_length], probs[block_length], values[block_length];
        const T* entries = shifted.block(first, count, buffer);
        const T* q = slope.q == nullptr ? nullptr : slope.q->block(first, count, probs);
        const Reduction<S> row = reduction;
        const Scaling<S> scaling = all;
        const V zero = splat<S>(T(0)), smooth = splat<S>(T(slope.smooth)), hit = splat<S>(T(slope.hit));
        for_vectors<S>(count, [&](auto width, ptrdiff_t i, int in_use) {
            V v[width()];
            Exponential<S> e[width()];
            load_all<S>(v, entries + i, in_use, T(-INFINITY));
            exponentials<false, false, S>(v, row, e);
            unsigned tops = 0;
            for (int a = 0; a < width(); ++a) {
                V g = scaling.template scale<false>(e[a].value()) - (v[a] == splat<S>(T(-INFINITY)) ? zero : smooth);
                if (q != nullptr) {
                    g = g - hit * load_first<S>(q + i + a * S::lanes, in_use, T(0));
                    tops |= lane_bits<S>(v[a] == splat<S>(top));
                }
                store_first<S>(values + i + a * S::lanes, g, in_use);
            }
            const ptrdiff_t end = tops == 0 ? i : std::min(i + width() * S::lanes, count);
            for (ptrdiff_t k = i; k < end; ++k) {
                if (entries[k] == top) values[k] = T(slope.of_maximum(double(q[k])));
            }
        });
        if (octaves != 0) {
            for (ptrdiff_t i = 0; i < count; ++i) values[i] *= power;
        }
        if (x.softcap != 0) {
            const T* capped = x.block(first, count, buffer);
            for (ptrdiff_t i = 0; i < count; ++i) values[i] *= T(x.slope(double(capped[i])));
        }
        out.put(first, count, values);
    });
}

template <class S, class T>
void loss_row(const Row<T>& x, const Target<T>& target, double weight, const LossOptions& options, double* loss,
              const OutRow<T>* gradient, int threads) {
    if (weight == 0) {
        *loss = 0;
        if (gradient != nullptr) fill(x, {Kind::nothing, T(0), T(0), 0}, T(0), T(0), *gradient);
        return;
    }
    const Summary<T> summary = summarize<S>(x, 1.0, threads);
    const T maximum = summary.maximum;
    if (summary.kind != Kind::ordinary) {
        return loss_by_classes(x, target, weight, options, summary, 0.0, loss, gradient);
    }
    const bool by_index = target.probs == nullptr;
    const double at_target = by_index ? double(x[target.index]) : 0;  // before its place is written to
    const bool shares_alone = gradient != nullptr && options.smoothing == 0 && by_index && x.softcap == 0;
    const DD rest = others<S>(x, maximum, 1.0, threads, shares_alone ? gradient : nullptr);
    const DD log_sum = log_total(rest);
    if (std::isnan(log_sum.high)) {
        return loss_by_classes(x, target, weight, options, not_a_number<T>, 0.0, loss, gradient);
    }
    if (options.gamma != 0 && (options.smoothing != 0 || target.probs != nullptr)) {
        return loss_by_classes(x, target, weight, options, summary, log_sum.high, loss, gradient);
    }
    Gaps gaps;
    const bool smoothed = options.smoothing != 0;
    if (smoothed || !by_index) gaps = gaps_of<S>(x, target.probs, maximum, smoothed, threads);
    const double share = 1 - options.smoothing;
    Slope<T> slope = {share, 1, gaps.left > 0 ? options.smoothing / gaps.left : 0, gaps.left, 0, rest, target.probs};
    double total, p = 0, others_share = 0;
    if (by_index) {
        const double cost =
            log_sum.high + (log_sum.low + (double(maximum) - at_target));  // also where that is infinite
        const bool sure = at_target == double(maximum);
        p = sure ? divide(DD{1.0, 0.0}, add(rest, 1.0)).high : std::exp(-cost);
        others_share = sure ? divide(rest, add(rest, 1.0)).high : -std::expm1(-cost);
        const Focused focused(cost, p, others_share, options.gamma);
        total = share == 0 ? 0 : share * focused.loss;
        slope.hit *= focused.slope;
    } else {
        slope.mass = gaps.mass;
        total = share == 0 ? 0 : share * (log_sum.high * gaps.mass + (log_sum.low * gaps.mass + gaps.expected));
    }
    if (slope.smooth != 0) total += slope.smooth * (log_sum.high * gaps.left + gaps.gap);
    if (options.z_loss != 0) {
        const double log_total = double(maximum) + log_sum.high;
        total += options.z_loss * log_total * log_total;
        slope.more = 2 * options.z_loss * log_total;
    }
    *loss = weight * total;
    if (gradient == nullptr) return;
    for (double Slope<T>::* number : {&Slope<T>::hit, &Slope<T>::smooth, &Slope<T>::more}) slope.*number *= weight;
    (shares_alone ? write_shares<S, T> : write_slope<S, T>)(x, maximum, slope, *gradient, threads);
    if (!by_index) return;
    if (at_target == -INFINITY) slope.smooth = 0;
    gradient->set(target.index, T(slope.of(1, p, others_share) * x.slope(at_target)));
}

// The sum of probabilities; NaN where one is negative or NaN.
template <class S, class T>
double mass_row(const Row<T>& q, int threads) {
    PerBlock<double> sums(q.n);
    for_blocks(q.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        using V = typename S::V;
        T buffer[block_length];
        const T* probs = q.block(first, count, buffer);
        const V zero = splat<S>(T(0));
        Pair<V> sum = {zero, zero};
        for_vectors<S>(count, [&](auto width, ptrdiff_t i, int in_use) {
            V v[width()];
            load_all<S>(v, probs + i, in_use, T(0));
            for (int a = 0; a < width(); ++a) {
                accumulate(sum, V(v[a] >= zero ? v[a] : splat<S>(T(NAN))));
            }
        });
        sums[block] = across<S>(sum).high;
    });
    double all = 0;
    for (ptrdiff_t block = 0; block < sums.blocks; ++block) all += sums[block];
    return all;
}

}  // namespace softmax::SOFTMAX_ISA
