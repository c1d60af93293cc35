// sigmoid and its logarithm, entry by entry: float32 and float64, any value. With e = e^-|x|, in [0, 1],
//
//     sigmoid(x) = 1 / (1 + e) for x >= 0, e / (1 + e) for x < 0          log_sigmoid(x) = min(x, 0) - log(1 + e)
//
// of which 1 / (1 + e) is taken as 1 - e / (1 + e): 1 ulp, and 1.7 in float32, where e is rounded. Quotients are times
// 2^guard, as e comes, so that a subnormal result is rounded once. Both terms of the logarithm are <= 0, so nothing
// cancels: 1.2 ulp.
#pragma once

#include "log.hpp"
#include "rows.hpp"

namespace softmax::SOFTMAX_ISA {

template <class T>
SOFTMAX_INLINE T power(int exponent) {
    return T(std::ldexp(1.0, exponent));
}

// e / (c + e) for e in [0, 1] and c = 1 or 2, times 2^guard, in two parts: a quotient, and what corrects it by its remainder,
// which carries what the rounding of c + e left and, if Fine, that of e.
template <class S, bool Fine>
struct Part {
    using V = typename S::V;
    using T = typename S::T;
    V high, low;

    SOFTMAX_INLINE Part(const Exponential<S>& e, T c) {
        const V unguard = splat<S>(power<T>(-Float<T>::guard)), value = e.value();
        const V sum = fma(value, unguard, splat<S>(c)), rounded = sum - c, inverse = near_inverse<S>(sum);
        high = value * inverse;
        V remainder = fma(V(-high), sum, value);
        if constexpr (Fine) {
            const Exponential<S> plain = scaled(e, unguard);
            remainder =
                remainder + mul_add(V(-high), plain.add_low(V(plain.high - rounded)), e.add_low(V(e.high - value)));
        } else {
            remainder = mul_add(high, fma(V(-value), unguard, rounded), remainder);
        }
        low = remainder * inverse;
    }
    SOFTMAX_INLINE V value() const { return V(high + low) * splat<S>(power<T>(-Float<T>::guard)); }
};

// e^-|x|, times 2^guard; `zero` is the reduction of a row whose maximum is 0.
template <class S>
SOFTMAX_INLINE Exponential<S> falling(const typename S::V& x, const Reduction<S>& zero) {
    using I = typename S::I;
    using Bits = typename IntOf<typename S::T>::type;
    const I sign = I{} + std::numeric_limits<Bits>::min();
    return absolute(exponential<false, true, S>(bit_cast<typename S::V>(I(bit_cast<I>(x) | sign)), zero));
}

// log(1 + e). In float32 by the series of 2 artanh(q) = 2 q (1 + q^2 / 3 + ...), q = e / (2 + e): minimax, 2^-27.7.
template <class T, class S>
SOFTMAX_INLINE typename S::V log_beside_one(const Exponential<S>& e) {
    using V = typename S::V;
    const V unguard = splat<S>(power<T>(-Float<T>::guard));
    if constexpr (std::is_same_v<T, float>) {
        constexpr float series[] = {0x1.555502p-2f, 0x1.99d208p-3f, 0x1.1ebd0ep-3f, 0x1.1ed7bep-3f};
        const Part<S, true> part(e, 2);
        const Pair<V> q = fast_two_sum(part.high, part.low);
        const V plain = q.high * unguard, square = plain * plain;
        V sum = mul_add(square, splat<S>(series[3]), splat<S>(series[2]));
        sum = mul_add(square, sum, splat<S>(series[1]));
        sum = mul_add(square, sum, splat<S>(series[0]));
        return V(q.high + mul_add(V(q.high * square), sum, q.low)) * V(2 * unguard);
    } else {
        const Pair<V> pair = as_pair(e);
        return log1p<T, S>(Pair<V>{pair.high * unguard, pair.low * unguard}).high;
    }
}

// Of every lane of x.
template <class T, class S>
SOFTMAX_INLINE typename S::V sigmoid(const typename S::V& x, const Reduction<S>& zero) {
    using V = typename S::V;
    const V lesser = Part<S, std::is_same_v<T, double>>(falling<S>(x, zero), 1).value();
    return x < splat<S>(T(0)) ? lesser : V(T(1) - lesser);
}
template <class T, class S>
SOFTMAX_INLINE typename S::V log_sigmoid(const typename S::V& x, const Reduction<S>& zero) {
    using V = typename S::V;
    return V(min(splat<S>(T(0)), x) - log_beside_one<T, S>(falling<S>(x, zero)));
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
                   for_vectors<S>(count, [&](auto width, ptrdiff_t i, auto in_use) SOFTMAX_INLINED {
                       typename S::V v[width()];
                       load_all<S>(v, entries + i, in_use, T(0));
                       prefetch(entries + i, width() * S::lanes, block_length);
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
