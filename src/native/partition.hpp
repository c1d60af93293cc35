// The monoid itself: the pair (maximum, others) of two pieces of a row together, and what a row's pair says of entries.
//
//     (m1, o1) (m2, o2) = (m1, o1 + (1 + o2) e^(m2-m1))  for m1 > m2,      (m, o1 + o2 + 1)  for m1 = m2
//
// others is a pair of doubles, and so is e^(m2-m1): the distance is exact (two_sum), its exponential within 2^-94. So a
// thousand combinations later the sum is still as good as its pieces were, a fifth of an ulp. For float rows, double alone
// leaves 29 bits, and the exponential is the C library's.
#pragma once

#include "logs.hpp"

namespace softmax::SOFTMAX_ISA {

// e^d within 2^-94, for d below the overflow: e^(r/64) - 1 from Taylor's series, then (1 + e)^2 - 1 = 2 e + e^2 six times.
inline DD exponential_of_pair(DD d) {
    if (!(d.high > -1100)) return {d.high < 0 ? 0.0 : d.high, 0.0};  // 0, or the NaN
    if (d.high > 1100) return {INFINITY, 0.0};
    constexpr int terms = 10, squarings = 6;
    const double n = std::nearbyint(d.high * log2_e);
    const DD multiple = multiply(ln_2, DD{n, 0.0});
    DD r = add(d, DD{-multiple.high, -multiple.low});
    r = {std::ldexp(r.high, -squarings), std::ldexp(r.low, -squarings)};
    DD series = {1.0, 0.0};
    for (int k = terms; k > 1; --k) series = add(divide(multiply(series, r), DD{double(k), 0.0}), 1.0);
    DD minus_one = multiply(series, r);
    for (int i = 0; i < squarings; ++i) {
        minus_one = add(DD{2 * minus_one.high, 2 * minus_one.low}, multiply(minus_one, minus_one));
    }
    const DD e = add(minus_one, 1.0);
    return {std::ldexp(e.high, int(n)), std::ldexp(e.low, int(n))};
}

template <class T>
DD exponential_of_distance(T a, T b) {
    const DD d = two_sum(double(a), -double(b));
    if constexpr (sizeof(T) == sizeof(float)) return {std::exp(d.high), 0.0};
    return exponential_of_pair(std::isinf(d.high) ? DD{d.high, 0.0} : d);
}

template <class T>
struct Element {
    T maximum;
    DD others;
};

constexpr ptrdiff_t merge_cost = 64;  // of one combination, in entries of a row

template <class T>
Element<T> merge(const Element<T>& a, const Element<T>& b) {
    if (std::isnan(a.maximum) || std::isnan(b.maximum)) return {T(NAN), {NAN, 0.0}};
    const Element<T>&upper = a.maximum < b.maximum ? b : a, &lower = a.maximum < b.maximum ? a : b;
    if (upper.maximum == lower.maximum) {
        if (upper.maximum == T(-INFINITY)) return {upper.maximum, {0.0, 0.0}};
        return {max(a.maximum, b.maximum), add(add(a.others, b.others), 1.0)};
    }
    if (lower.maximum == T(-INFINITY) || upper.maximum == T(INFINITY)) return upper;
    const DD scale = exponential_of_distance(lower.maximum, upper.maximum);
    return {upper.maximum, add(upper.others, multiply(add(lower.others, 1.0), scale))};
}

template <class T>
T logsumexp_of(const Element<T>& z) {
    if (!std::isfinite(z.maximum)) return z.maximum;
    return T(add(log_total(z.others), double(z.maximum)).high);
}

// An entry that is not part of the row: above its maximum, or NaN. e^(x - logsumexp), which may exceed 1, or its logarithm.
template <bool Log, class T>
T foreign_entry(T x, T maximum, DD others) {
    if (std::isnan(x) || std::isnan(maximum)) return T(NAN);
    if (std::isinf(maximum) || std::isinf(x)) return T(INFINITY);
    const DD all = add(others, 1.0);
    if constexpr (!Log) return T(divide(exponential_of_distance(x, maximum), all).high);
    const DD log_sum = log_total(others);
    return T(add(two_sum(double(x), -double(maximum)), DD{-log_sum.high, -log_sum.low}).high);
}

template <class S, bool Log, class T>
void foreign_entries(const Row<T>& x, T maximum, DD others, const OutRow<T>& out, int threads) {
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T buffer[block_length];
        const Extent<T> block = extent<S>(x.block(first, count, buffer), count);
        if (block.finite && block.maximum <= maximum) return;
        for (ptrdiff_t i = first; i < first + count; ++i) {
            if (!(x[i] <= maximum)) *out.at(i) = foreign_entry<Log>(x[i], maximum, others);
        }
    });
}

}  // namespace softmax::SOFTMAX_ISA
