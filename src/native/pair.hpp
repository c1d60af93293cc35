// Unevaluated sums high + low of two numbers, or two vectors of them, with |low| <= ulp(high) / 2: twice the precision of
// V, for the few steps that finish a row. Relative error of an operation: about 2^-46 (float), 2^-104 (double).
// Source: Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18 (1971); Hida, Li &
// Bailey, "Library for double-double and quad-double arithmetic" (2007).
#pragma once

#include "simd.hpp"

namespace softmax::SOFTMAX_ISA {

template <class V>
struct Pair {
    V high, low;
};
using DD = Pair<double>;

// high + low = a + b exactly (Knuth).
template <class V>
SOFTMAX_INLINE Pair<V> two_sum(const V& a, const V& b) {
    const V sum = a + b, back = sum - a;
    return {sum, (a - (sum - back)) + (b - back)};
}

// The same for |a| >= |b| (Dekker).
template <class V>
SOFTMAX_INLINE Pair<V> fast_two_sum(const V& a, const V& b) {
    const V sum = a + b;
    return {sum, b - (sum - a)};
}

template <class V>
SOFTMAX_INLINE Pair<V> add(const Pair<V>& a, const V& b) {
    const Pair<V> sum = two_sum(a.high, b);
    return fast_two_sum(sum.high, V(sum.low + a.low));
}

template <class V>
SOFTMAX_INLINE Pair<V> add(const Pair<V>& a, const Pair<V>& b) {
    const Pair<V> high = two_sum(a.high, b.high), low = two_sum(a.low, b.low);
    const Pair<V> sum = fast_two_sum(high.high, V(high.low + low.high));
    return fast_two_sum(sum.high, V(sum.low + low.low));
}

// sum += v, where `low` gathers what the additions to `high` round off. Not normalized.
template <class V>
SOFTMAX_INLINE void accumulate(Pair<V>& sum, const V& v) {
    const Pair<V> next = two_sum(sum.high, v);
    sum = {next.high, sum.low + next.low};
}

template <class V>
SOFTMAX_INLINE Pair<V> multiply(const Pair<V>& a, const Pair<V>& b) {
    const V product = a.high * b.high;
    return fast_two_sum(product, V(fma(a.high, b.high, V(-product)) + (a.high * b.low + a.low * b.high)));
}

template <class V>
SOFTMAX_INLINE Pair<V> divide(const Pair<V>& a, const Pair<V>& b) {
    const V quotient = a.high / b.high;
    const V remainder = (fma(V(-quotient), b.high, a.high) + a.low) - quotient * b.low;
    return fast_two_sum(quotient, V(remainder / b.high));
}

// 1 / a, with one division.
template <class V>
SOFTMAX_INLINE Pair<V> inverse(const Pair<V>& a) {
    const V one = V{} + 1, quotient = one / a.high;
    const V remainder = fma(V(-quotient), a.high, one) - quotient * a.low;
    return fast_two_sum(quotient, V(remainder * quotient));
}

// The sum of all lanes, by halves; the low parts of the sums are gathered and count at the end.
template <class T>
    requires std::is_arithmetic_v<T>
SOFTMAX_INLINE Pair<T> fold(const Pair<T>& v) {
    return two_sum(v.high, v.low);
}
#if !defined(SOFTMAX_ONE_LANE)
template <class V>
    requires(!std::is_arithmetic_v<V>)
SOFTMAX_INLINE auto fold(const Pair<V>& v) {
    constexpr std::size_t half = lanes_of<V> / 2;
    using Half = std::make_index_sequence<half>;
    const auto sum = two_sum(lanes_from<0>(v.high, Half()), lanes_from<half>(v.high, Half()));
    const auto low = lanes_from<0>(v.low, Half()) + lanes_from<half>(v.low, Half());
    return fold(Pair<std::remove_const_t<decltype(low)>>{sum.high, sum.low + low});
}
#endif

}  // namespace softmax::SOFTMAX_ISA
