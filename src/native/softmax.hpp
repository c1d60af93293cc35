// softmax: p = 2^(n-k) e^r / s (see exp.hpp), s summed far below an ulp and inverted as high + low, so that an entry
// carries two roundings: its exponential's (1/2 ulp of it and little more) and the last multiplication's. Error <= 2 ulp.
// Entries that equal a maximum with nearly all the weight get e^0 / s, rounded once: one class without rivals has exactly 1.
//
// Rows that fit a cache take three passes: maximum; exponentials, stored, and their sum; scaling of what is stored. Longer
// ones wait for memory, and take two: the monoid's pair of each block, one read; then the exponentials anew, scaled while
// they are in the cache, one read and one write. Either way a row has the same bits.
#pragma once

#include "blocks.hpp"

namespace softmax::SOFTMAX_ISA {

// The sum of a row's exponentials by blocks. They are stored where `out` is given and contiguous.
template <class S, Summed What, bool Tempered, class T>
Sum sum_row(const Row<T>& x, const Reduction<S>& row, T maximum, const OutRow<T>* out, int threads) {
    const bool keep = out != nullptr && out->keeps();
    if (x.direct() && x.n <= short_row<T>) {
        return sum_exponentials<S, What, Tempered>(reinterpret_cast<const T*>(x.data), x.n, row, maximum,
                                                   keep ? out->at(0) : nullptr);
    }
    struct BlockSum {
        Pair<T> total;
        std::int32_t maxima;
    };
    PerBlock<BlockSum> sums(x.n);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T buffer[block_length];
        const Sum sum = sum_exponentials<S, What, Tempered>(x.block(first, count, buffer), count, row, maximum,
                                                            keep ? out->at(first) : nullptr);
        sums[block] = {narrowed<T>(sum.total), std::int32_t(sum.maxima)};
    });
    Sum all = {};
    for (ptrdiff_t block = 0; block < sums.blocks; ++block) {
        all.total = add(all.total, widened(sums[block].total));
        all.maxima += sums[block].maxima;
    }
    return all;
}

// The exponential of a row's maximum: as the vectors compute it, and that exactly.
template <class S>
struct Top {
    typename S::V value;
    DD exact;
};
template <class S, bool Tempered>
Top<S> exponential_of_maximum(typename S::T maximum, const Reduction<S>& row) {
    const auto e = exponential<Tempered, true, S>(splat<S>(maximum), row);
    const auto pair = as_pair(e);
    return {e.value(), two_sum(double(first_lane<S>(pair.high)), double(first_lane<S>(pair.low)))};
}

// From which share on the maximum's is exact: no share is above 1, and a class without rivals has 1. In rows of up to
// `always_exact` entries, of two rivals alike each also has 1/2; there all are scaled with an exact maximum, for whether it
// shows no processor can guess, and the next row would wait for the answer. Longer rows ask: few of them, or most, have a
// maximum of nearly all the weight.
constexpr ptrdiff_t always_exact = 256;
constexpr double exact_from(ptrdiff_t n) { return n <= always_exact ? 0.5 : 0x1.f8p-1; }

// What exponentials are multiplied with, as high + low. With ExactTop, what equals `top`, the maximum's, becomes the
// maximum's exact exponential scaled, if that is `least` or more: `top_low` is what top high then lacks. Below, its own
// rounding shows no more than that of its neighbours, which may equal it when they are rounded; no exponential is -1.
template <class S>
struct Scaling {
    using V = typename S::V;
    using T = typename S::T;
    V high, low, top, top_low;
    bool exact_top = false;
    static constexpr bool of_halves = false;  // see halves.hpp

    Scaling() = default;
    static Pair<T> parts(DD factor) { return {T(factor.high), T((factor.high - double(T(factor.high))) + factor.low)}; }
    explicit Scaling(DD factor)
        : high(splat<S>(parts(factor).high)),
          low(splat<S>(parts(factor).low)),
          top(splat<S>(T(0))),
          top_low(splat<S>(T(0))) {}
    // With the maximum's exponential as it is exactly, and as it is among the others.
    Scaling(DD factor, DD exact, const V& among_others, double least = 0.5) : Scaling(factor) {
        set_top(among_others, splat<S>(T(multiply(factor, exact).high)), T(least));
        exact_top = true;
    }
    // One row a lane; `value` is what the maximum becomes.
    Scaling(const Pair<V>& factor, const V& among_others, const V& value, double least = 0.5)
        : high(factor.high), low(factor.low) {
        set_top(among_others, value, T(least));
    }
    Scaling times_power(T power) const {  // for exponentials that are `power` times smaller relative to the row
        Scaling down = *this;
        down.high = high * power;
        down.low = low * power;
        down.top = top / power;
        return down;
    }

    template <bool ExactTop>
    SOFTMAX_INLINE V finish(const V& e) const {
        V error = e * low;
        if constexpr (ExactTop) error = e == top ? top_low : error;
        return fma(e, high, error);
    }
    template <bool ExactTop, std::size_t Count>
    SOFTMAX_INLINE void finish(V (&e)[Count]) const {
        for (V& each : e) each = finish<ExactTop>(each);
    }

private:
    SOFTMAX_INLINE void set_top(const V& among_others, const V& value, T least) {
        top = value >= splat<S>(least) ? among_others : splat<S>(T(-1));
        top_low = fma(V(-among_others), high, value);
    }
};

// For exponentials so far below the rest of their row that the factor's low part would leave the normal range: that of the
// row, and the power of two afterwards.
template <class S>
struct FarScaling {
    using V = typename S::V;
    Scaling<S> scaling;
    V power;
    static constexpr bool exact_top = false;

    template <bool>
    SOFTMAX_INLINE V finish(const V& e) const {
        return scaling.template finish<false>(e) * power;
    }
};

// n exponentials scaled, in place.
template <class S, bool ExactTop, class T, class By>
void scale_stored(T* e, ptrdiff_t n, const By& row_scaling) {
    const By scaling = row_scaling;
    for_vectors<S>(n, [&](auto width, ptrdiff_t i, int count) {
        typename S::V v[width()];
        load_all<S>(v, e + i, count, T(0));
        for (int a = 0; a < width(); ++a) {
            store_first<S>(e + i + a * S::lanes, scaling.template finish<ExactTop>(v[a]), count);
        }
    });
}

// The exponentials of n entries; `to` may be x itself.
template <class S, bool Tempered, class T>
void exponentiate(const T* x, ptrdiff_t n, const Reduction<S>& row_reduction, T* to) {
    const Reduction<S> row = row_reduction;
    for_vectors<S>(n, [&](auto width, ptrdiff_t i, int count) {
        typename S::V v[width()];
        Exponential<S> e[width()];
        load_all<S>(v, x + i, count, T(-INFINITY));
        exponentials<Tempered, false, S>(v, row, e);
        prefetch(x + i, width() * S::lanes, -block_length);  // blocks are taken last to first
        for (int a = 0; a < width(); ++a) store_first<S>(to + i + a * S::lanes, e[a].value(), count);
    });
}

// The exponentials of n entries, and what becomes of each. As what a Finisher finishes entries with.
template <class S, bool Tempered, class By>
struct Share {
    using V = typename S::V;
    Reduction<S> row;
    By scaling;
    bool exact_top;
    static constexpr bool of_halves = false;

    Share(const Reduction<S>& row, const By& scaling) : row(row), scaling(scaling), exact_top(scaling.exact_top) {}

    template <bool ExactTop, std::size_t Count>
    SOFTMAX_INLINE void finish(V (&v)[Count]) const {
        Exponential<S> e[Count];
        exponentials<Tempered, false, S>(v, row, e);
        for (std::size_t a = 0; a < Count; ++a) v[a] = scaling.template finish<ExactTop>(e[a].value());
    }
};

// So far the factor's low part stays in the normal range.
template <class T>
constexpr T near_octaves = -12;

// Calls body(scaling) with what scales a block, `octaves` of the block less those of the row.
template <class S, class T, class Body>
void with_scaling(const Scaling<S>& scaling, T octaves, const Body& body) {
    const T power = T(std::ldexp(1.0, int(octaves)));
    if (octaves < near_octaves<T>) {
        body(FarScaling<S>{scaling, splat<S>(power)});
    } else {
        body(scaling.times_power(power));
    }
}

// Scales what is stored in a block.
template <class S, class T>
void scale_block(T* e, ptrdiff_t n, const Scaling<S>& scaling, T octaves) {
    with_scaling(scaling, octaves, [&](const auto& by) {
        by.exact_top ? scale_stored<S, true>(e, n, by) : scale_stored<S, false>(e, n, by);
    });
}

// a / b, to twice the precision of T.
template <class T>
DD quotient(DD a, DD b) {
    if constexpr (sizeof(T) == sizeof(float)) return {a.high / b.high, 0.0};
    return divide(a, b);
}
// 1 / a, likewise.
template <class T>
DD inverse_of(DD a) {
    if constexpr (sizeof(T) == sizeof(float)) return {1 / a.high, 0.0};
    return inverse(a);
}

// The scaling of a row of n by `factor`, with what the maximum needs of its own.
template <class S>
Scaling<S> scaling_by(DD factor, const Top<S>& top, ptrdiff_t n) {
    const double least = exact_from(n);
    if (n > always_exact && factor.high * top.exact.high < least - 0x1p-10) return Scaling<S>(factor);
    return Scaling<S>(factor, top.exact, top.value, least);
}
template <class S, bool Tempered, class T>
Scaling<S> scaling_of(DD total, T maximum, const Reduction<S>& row, ptrdiff_t n) {
    return scaling_by<S>(inverse_of<T>(total), exponential_of_maximum<S, Tempered>(maximum, row), n);
}

// out = exponentials scaled and moved by octaves, those that `out` holds already if it keeps what is stored.
template <class S, bool Tempered, class T>
void scale_row(const Row<T>& x, const Reduction<S>& row, const Scaling<S>& scaling, const OutRow<T>& out, int threads,
               T octaves = 0) {
    if (out.keeps() && x.n <= short_row<T>) return scale_block<S>(out.at(0), x.n, scaling, octaves);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T buffer[block_length], values[block_length];
        T* e = out.block(first, values);
        if (!out.keeps()) exponentiate<S, Tempered>(x.block(first, count, buffer), count, row, e);
        scale_block<S>(e, count, scaling, octaves);
        out.put(first, count, e);
    });
}

template <class S, bool Tempered, class T>
void softmax_ordinary(Row<T> x, T maximum, double temperature, const OutRow<T>& out, int threads) {
    temperature = normalize(x, maximum, temperature);
    const Reduction<S> row(splat<S>(maximum), temperature_constants<T>(temperature));
    const Sum sum = sum_row<S, Summed::shares, Tempered>(x, row, maximum, &out, threads);
    if (std::isnan(sum.total.high)) return fill(x, not_a_number<T>, T(0), T(0), out);
    scale_row<S, Tempered>(x, row, scaling_of<S, Tempered>(sum.total, maximum, row, x.n), out, threads);
}

// A long row by the monoid: the pair of each block, their product, and each block scaled. While the row stays in the
// cache, its exponentials are kept in the result between the two. False, with x as it was, where a block is out of range.
template <class S, bool Tempered, class T>
bool softmax_by_blocks(const Row<T>& x, double temperature, const OutRow<T>& out, int threads) {
    constexpr ptrdiff_t in_cache = (1 << 20) / sizeof(T);
    const bool keep = out.keeps() && x.n <= in_cache;
    const Temperature<T> constants = temperature_constants<T>(temperature);
    PerBlock<KeptPair<S, T>> pairs(x.n);
    bool in_range;
    const BlockPair<T> all =
        sum_blocks<S, Summed::shares, Tempered>(x, constants, pairs, keep ? &out : nullptr, threads, in_range);
    if (!in_range || (all.empty() && !std::isnan(all.total.high))) return false;
    if (std::isnan(all.total.high)) {
        fill(x, not_a_number<T>, T(0), T(0), out);
        return true;
    }
    const Reduction<S> row(splat<S>(all.maximum), constants);
    const Scaling<S> scaling = scaling_of<S, Tempered>(all.total, all.maximum, row, x.n);
    const auto finish = [&](ptrdiff_t first, ptrdiff_t n, ptrdiff_t block) {
        const T maximum = pairs[block].maximum;
        const T down = T(pairs[block].octaves(constants) - all.octaves);
        const Reduction<S> of_block(splat<S>(maximum), constants);
        T buffer[block_length], values[block_length];
#if !defined(SOFTMAX_EMULATED_FMA)
        if (!keep && out.direct() && maximum > T(-INFINITY)) {  // at once: arithmetic while memory is waited for
            const T* const entries = x.block(first, n, buffer);
            return with_scaling(scaling, down, [&](const auto& by) {
                using By = std::remove_cvref_t<decltype(by)>;
                finish_block<S>(entries, out.at(first), n, Share<S, Tempered, By>(of_block, by), out.streaming,
                                -block_length);
            });
        }
#endif
        T* e = out.block(first, values);
        if (!keep && maximum == T(-INFINITY)) {
            for (ptrdiff_t i = 0; i < n; ++i) e[i] = T(0);
        } else if (!keep) {
            exponentiate<S, Tempered>(x.block(first, n, buffer), n, of_block, e);
        }
        scale_block<S>(e, n, scaling, down);
        out.put(first, n, e);
    };
    for_blocks(x.n, threads, finish, !keep);  // backwards: the caches hold the end of what a thread has read
    return true;
}

template <class S, class T>
void softmax_row(const Row<T>& x, double temperature, const OutRow<T>& out, int threads) {
    const bool plain = temperature == 1;
    const bool in_range = temperature >= smallest_temperature && temperature <= largest_temperature;
    if (x.n > short_row<T> && in_range) {
        const auto by_blocks = plain ? softmax_by_blocks<S, false, T> : softmax_by_blocks<S, true, T>;
        if (by_blocks(x, temperature, out, threads)) return;
    }
    const Summary<T> summary = summarize<S>(x, temperature, threads);
    if (summary.kind != Kind::ordinary) return fill(x, summary, T(1 / summary.winners), T(0), out);
    (plain ? softmax_ordinary<S, false, T> : softmax_ordinary<S, true, T>)(x, summary.maximum, temperature, out,
                                                                           threads);
}

}  // namespace softmax::SOFTMAX_ISA
