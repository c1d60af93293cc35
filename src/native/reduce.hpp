// Reductions over one contiguous block: its maximum, and the sum of its exponentials. Blocks combine by the monoid
//
//     (m1, s1) (m2, s2) = (m, s1 e^(m1-m) + s2 e^(m2-m)),   m = max(m1, m2)
//
// Every entry always goes to the same accumulator, chosen by its index in the block, and accumulators are combined in a
// fixed order: the bits of a result depend on nothing but the row.
#pragma once

#include "exp.hpp"

namespace softmax::SOFTMAX_ISA {

constexpr int accumulators = 4;                // independent chains, to cover the latency of an addition
constexpr std::ptrdiff_t block_length = 4096;  // entries; two blocks of doubles stay in the second-level cache

// Calls body(accumulator, index, count) for the vectors of n entries; count < lanes only in the last call.
template <class S, class Body>
SOFTMAX_INLINE void for_vectors(std::ptrdiff_t n, const Body& body) {
    std::ptrdiff_t i = 0;
    for (; i + accumulators * S::lanes <= n; i += accumulators * S::lanes) {
        for (int a = 0; a < accumulators; ++a) body(a, i + a * S::lanes, S::lanes);
    }
    for (int a = 0; i < n; i += S::lanes, ++a) body(a, i, int(n - i < S::lanes ? n - i : S::lanes));
}

// The vector at x, its lanes from `count` on filled with `filler`.
template <class S, class T>
SOFTMAX_INLINE typename S::V load_part(const T* x, int count, T filler) {
    if (count == S::lanes) return load<S>(x);
    T part[S::lanes];
    for (int lane = 0; lane < S::lanes; ++lane) part[lane] = lane < count ? x[lane] : filler;
    return load<S>(part);
}

template <class T>
struct Extent {
    T maximum;    // of the entries that are not NaN; -inf where there are none
    bool finite;  // neither NaN nor an infinity among them
};

template <class S, class T>
Extent<T> extent(const T* x, std::ptrdiff_t n) {
    using V = typename S::V;
    V maximum[accumulators], zero[accumulators];  // zero: NaN once 0 x is (x NaN or infinite)
    for (int a = 0; a < accumulators; ++a) {
        maximum[a] = splat<S>(T(-INFINITY));
        zero[a] = splat<S>(T(0));
    }
    for_vectors<S>(n, [&](int a, std::ptrdiff_t i, int count) {
        const V v = load_part<S>(x + i, count, x[i]);
        maximum[a] = max(v, maximum[a]);
        zero[a] = mul_add(v, splat<S>(T(0)), zero[a]);
    });
    for (int a = 1; a < accumulators; ++a) {
        maximum[0] = max(maximum[a], maximum[0]);
        zero[0] = zero[0] + zero[a];
    }
    T maxima[S::lanes], zeros[S::lanes];
    store(maxima, maximum[0]);
    store(zeros, zero[0]);
    Extent<T> result = {maxima[0], zeros[0] == 0};
    for (int lane = 1; lane < S::lanes; ++lane) {
        result.maximum = max(maxima[lane], result.maximum);
        result.finite = result.finite && zeros[lane] == 0;
    }
    return result;
}

// Sum of exponentials, times 2^guard as they are, to far below an ulp of T.
struct Sum {
    DD total;               // of all entries, or of those below the maximum (Others)
    std::ptrdiff_t maxima;  // how many entries equal the maximum (counted with Others only)
};

// sum + compensation = what was added to it, exactly but for roundings of the small compensation.
template <class S>
struct Compensated {
    typename S::V sum, compensation;

    // Any order of magnitude (Knuth).
    SOFTMAX_INLINE void add(const Exponential<S>& term) {
        const auto next = two_sum(sum, term.value);
        compensation = compensation + (next.low + term.error);
        sum = next.high;
    }
    // For sum >= term.value (Dekker).
    SOFTMAX_INLINE void add_smaller(const Exponential<S>& term) {
        const auto next = fast_two_sum(sum, term.value);
        compensation = compensation + (next.low + term.error);
        sum = next.high;
    }
};

// The sum over the lanes, by halves: in double for float, in pairs of doubles for double.
template <class S, class T>
DD across(const Compensated<S>& sums) {
    T values[S::lanes], compensations[S::lanes];
    store(values, sums.sum);
    store(compensations, sums.compensation);
    if constexpr (sizeof(T) == sizeof(float)) {
        double totals[S::lanes];
        for (int lane = 0; lane < S::lanes; ++lane) totals[lane] = double(values[lane]) + double(compensations[lane]);
        for (int half = S::lanes / 2; half > 0; half /= 2) {
            for (int lane = 0; lane < half; ++lane) totals[lane] += totals[lane + half];
        }
        return {totals[0], 0.0};
    } else {
        DD totals[S::lanes];
        for (int lane = 0; lane < S::lanes; ++lane) totals[lane] = two_sum(values[lane], compensations[lane]);
        for (int half = S::lanes / 2; half > 0; half /= 2) {
            for (int lane = 0; lane < half; ++lane) totals[lane] = add(totals[lane], totals[lane + half]);
        }
        return totals[0];
    }
}

// Where an accumulator of exponentials begins: above any of them for the shorter addition, else at 0.
template <class T, bool Others>
constexpr T starting_sum() {
    return Others ? T(0) : T(Float<T>::guard == 64 ? 0x1p65 : 0x1p129);
}

// Where the sum needs more than 0.4 ulp: under a logarithm, and to stay within 2 ulp beside the roundings that a
// temperature or the lack of a fused multiply-add bring.
template <bool Others, bool Tempered>
#if defined(SOFTMAX_EMULATED_FMA)
constexpr bool needs_fine = true;
#else
constexpr bool needs_fine = Others || Tempered;
#endif

// Exponentials of a block: their sum and, where `exponentials` is given, each of them.
//
// Others: leave the maxima themselves out and count them. log(sum) is then log1p of what is left, exact also where the
// maximum holds all the weight but 1e-30. Without it the accumulators begin at a power of two above any term, so that
// the shorter compensated addition is valid; what it drops is below 2^-40 of the row's maximum.
template <class S, bool Others, bool Tempered, class T>
Sum sum_exponentials(const T* x, std::ptrdiff_t n, const Reduction<S>& row_reduction, T maximum, T* exponentials) {
    using V = typename S::V;
    constexpr T above = starting_sum<T, Others>();
    const Reduction<S> row = row_reduction;  // out of reach of the stores below
    Compensated<S> sums[accumulators];
    typename S::I counts = {};
    for (auto& sum : sums) sum = {splat<S>(above), splat<S>(T(0))};
    for_vectors<S>(n, [&](int a, std::ptrdiff_t i, int count) {
        const V v = load_part<S>(x + i, count, T(-INFINITY));
        Exponential<S> e = exponential<Tempered, needs_fine<Others, Tempered>, T>(v, row);
        if (exponentials != nullptr) store_first<S>(exponentials + i, e.value, count);
        if constexpr (Others) {
            const V zero = splat<S>(T(0));
            const auto top = v == splat<S>(maximum);
            e.value = top ? zero : e.value;
            e.error = top ? zero : e.error;
            counts = counts + (top ? typename S::I{} + 1 : typename S::I{});
            sums[a].add(e);
        } else {
            sums[a].add_smaller(e);
        }
    });
    sums[0].sum = sums[0].sum - splat<S>(above);
    for (int a = 1; a < accumulators; ++a) {
        sums[0].add({sums[a].sum - splat<S>(above), sums[a].compensation});
    }
    typename IntOf<T>::type count[S::lanes];
    store(count, counts);
    Sum result = {across<S, T>(sums[0]), 0};
    for (int lane = 0; lane < S::lanes; ++lane) result.maxima += count[lane];
    return result;
}

}  // namespace softmax::SOFTMAX_ISA
