// The monoid itself: the pair (maximum, others) of two pieces of a row together, and what a row's pair says of entries.
//
//     (m1, o1) (m2, o2) = (m1, o1 + (1 + o2) e^(m2-m1))  for m1 > m2,      (m, o1 + o2 + 1)  for m1 = m2
//
// others is a pair of doubles, and so is e^(m2-m1): the distance is exact (two_sum), its exponential within 2^-94. So a
// thousand combinations later the sum is still as good as its pieces were, a fifth of an ulp. For float rows, double alone
// leaves 29 bits, and the exponential is the C library's.
#pragma once

#include <vector>

#include "logs.hpp"

namespace softmax::SOFTMAX_ISA {

// value 2^exponent, so that what the value is multiplied by comes before the rounding below the normal range.
struct Scaled {
    DD value;
    int exponent;

    DD times(DD factor) const {
        const DD product = multiply(value, factor);
        return {std::ldexp(product.high, exponent), std::ldexp(product.low, exponent)};
    }
};

constexpr double largest_exponent = 2000;  // far beyond the range of e^d in either direction

// e^d within 2^-94, for d.high up to there: e^(r/64) - 1 from Taylor's series, then (1 + e)^2 - 1 = 2 e + e^2 six times.
inline Scaled exponential_of_pair(DD d) {
    if (d.high < -largest_exponent) return {{0.0, 0.0}, 0};
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
    return {add(minus_one, 1.0), int(n)};
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
    const DD distance = two_sum(double(lower.maximum), -double(upper.maximum)), weight = add(lower.others, 1.0);
    const DD share = sizeof(T) == sizeof(float) ? multiply(weight, DD{std::exp(distance.high), 0.0})
                                                : exponential_of_pair(distance).times(weight);
    return {upper.maximum, add(upper.others, share)};
}

template <class T>
T logsumexp_of(const Element<T>& z) {
    if (!std::isfinite(z.maximum)) return z.maximum;
    return T(add(log_total<T>(z.others), double(z.maximum)).high);
}

// An entry that is not part of the row: above its maximum, or NaN. e^(x - logsumexp), which may exceed 1, or its logarithm.
template <bool Log, class T>
T foreign_entry(T x, T maximum, DD others) {
    if (std::isnan(x) || std::isnan(maximum)) return T(NAN);
    const double distance = double(x) - double(maximum);
    if (distance > (Log ? std::numeric_limits<double>::max() : largest_exponent)) return T(INFINITY);
    const DD d = two_sum(double(x), -double(maximum));
    const DD log_sum = log_total<T>(others);
    if constexpr (Log) return T(add(d, DD{-log_sum.high, -log_sum.low}).high);
    return T(exponential_of_pair(d).times(divide(DD{1.0, 0.0}, add(others, 1.0))).high);
}

// The entries of x that are not part of the row: found before the result, which may be x itself, is written.
template <class S, class T>
class ForeignEntries {
public:
    ForeignEntries(const Row<T>& x, T maximum, int threads) : maximum(maximum) {
        PerBlock<char> found(x.n);
        for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
            T buffer[block_length];
            found[block] = any_above<S>(x.block(first, count, buffer), count, maximum);
        });
        for (ptrdiff_t i = 0; i < x.n; ++i) {
            if (!found[i / block_length]) {
                i += block_length - 1 - i % block_length;
            } else if (const T entry = x[i]; !(entry <= maximum)) {
                entries.push_back({i, entry});
            }
        }
    }
    template <bool Log>
    void write(DD others, const OutRow<T>& out) const {
        for (const auto& [i, entry] : entries) out.set(i, foreign_entry<Log>(entry, maximum, others));
    }

private:
    T maximum;
    std::vector<std::pair<ptrdiff_t, T>> entries;
};

}  // namespace softmax::SOFTMAX_ISA
