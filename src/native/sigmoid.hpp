// sigmoid and its logarithm, entry by entry: float32 and float64, any value. With e = e^-|x|, in [0, 1],
//
//     sigmoid(x) = 1 / (1 + e) for x >= 0, e / (1 + e) for x < 0          log_sigmoid(x) = min(x, 0) - log(1 + e)
//
// The quotient is corrected by its remainder, which carries what the rounding of e and of 1 + e left: 1 ulp. It is taken
// times 2^guard, as e comes, so that a subnormal result is rounded once. Both terms of the logarithm are <= 0, so nothing
// cancels: 1.1 ulp.
#pragma once

#include "log.hpp"
#include "rows.hpp"

namespace softmax::SOFTMAX_ISA {

template <class T>
SOFTMAX_INLINE T power(int exponent) {
    return T(std::ldexp(1.0, exponent));
}

// Quotients by 1 + e, e times 2^guard.
template <class T, class S>
struct BySum {
    using V = typename S::V;
    V unguard;
    Pair<V> sum;
    V inverse;

    SOFTMAX_INLINE explicit BySum(const Pair<V>& e) {
        unguard = splat<S>(power<T>(-Float<T>::guard));
        sum = fast_two_sum(splat<S>(T(1)), V(e.high * unguard));
        sum.low = mul_add(e.low, unguard, sum.low);
        inverse = splat<S>(T(1)) / sum.high;
    }
    // Of a numerator that is times 2^guard too.
    SOFTMAX_INLINE V operator()(const Pair<V>& numerator) const {
        const V quotient = numerator.high * inverse;
        const V remainder = fma(V(-quotient), sum.high, numerator.high) + (numerator.low - quotient * sum.low);
        return mul_add(remainder, inverse, quotient) * unguard;
    }
};

// Of every lane of x; `zero` is the reduction of a row whose maximum is 0.
template <class T, class S>
SOFTMAX_INLINE typename S::V sigmoid(const typename S::V& x, const Reduction<S>& zero) {
    using V = typename S::V;
    const V nothing = splat<S>(T(0)), guard = splat<S>(power<T>(Float<T>::guard));
    const auto negative = x < nothing;
    const Pair<V> e = as_pair(absolute(exponential<false, true, S>(V(negative ? x : -x), zero)));
    const V result = BySum<T, S>(e)(Pair<V>{negative ? e.high : guard, negative ? e.low : nothing});
    return x == x ? result : x;
}

template <class T, class S>
SOFTMAX_INLINE typename S::V log_sigmoid(const typename S::V& x, const Reduction<S>& zero) {
    using V = typename S::V;
    const V nothing = splat<S>(T(0)), unguard = splat<S>(power<T>(-Float<T>::guard));
    const auto negative = x < nothing;
    const Pair<V> e = as_pair(absolute(exponential<false, true, S>(V(negative ? x : -x), zero)));
    const V log = log1p<T, S>(Pair<V>{e.high * unguard, e.low * unguard}).high;
    const V result = V(negative ? x : nothing) - log;
    return x == x ? result : x;
}

// Whether x and out share memory in any other way than entry for entry. NumPy allows an `out` that lies behind x then: an
// entry is overwritten only after it has been read, as long as the entries are taken in order.
template <class T>
bool must_keep_order(const Row<T>& x, const OutRow<T>& out) {
    if (x.data == out.data && x.stride == out.stride) return false;
    const auto low = [&](const char* data, ptrdiff_t stride) { return stride < 0 ? data + x.n * stride : data; };
    const auto high = [&](const char* data, ptrdiff_t stride) { return stride < 0 ? data : data + x.n * stride; };
    const char *first = low(x.data, x.stride), *last = high(x.data, x.stride) + sizeof(T);
    return first < high(out.data, out.stride) + sizeof(T) && low(out.data, out.stride) < last;
}

// out = function(x) for every vector of entries, by blocks.
template <class S, class T, class Function>
void for_entries(const Row<T>& x, const OutRow<T>& out, const Function& function) {
    constexpr ptrdiff_t worth_a_thread = 1 << 15;  // entries
    for_blocks(x.n, x.n < worth_a_thread || must_keep_order(x, out) ? 1 : num_threads(),
               [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
                   const Function f = function;  // out of reach of the stores below
                   T buffer[block_length], values[block_length];
                   const T* entries = x.block(first, count, buffer);
                   T* results = out.block(first, values);
                   for_vectors<S>(count, [&](auto width, ptrdiff_t i, int in_use) {
                       typename S::V v[width()];
                       load_all<S>(v, entries + i, in_use, T(0));
                       for (int a = 0; a < width(); ++a) store_first<S>(results + i + a * S::lanes, f(v[a]), in_use);
                   });
                   out.put(first, count, results);
               });
}

template <class S, bool Log, class T>
void sigmoid_row(const Row<T>& x, const OutRow<T>& out) {
    const Reduction<S> zero(splat<S>(T(0)), temperature_constants<T>(1));
    for_entries<S>(x, out, [zero](const typename S::V& entries) {
        return Log ? log_sigmoid<T, S>(entries, zero) : sigmoid<T, S>(entries, zero);
    });
}

}  // namespace softmax::SOFTMAX_ISA
