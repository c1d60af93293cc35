// What finishes the rows of a tile more exactly than T does, one number a lane: doubles, and what stands for them in double.
#pragma once

#include "lanes.hpp"

namespace softmax::SOFTMAX_ISA {

// One double for each lane of a vector of T.
template <class T>
struct DoubleLanes {
    using S = Simd<T>;
    using D = Simd<double>;
    using V = typename S::V;
    static constexpr int parts = S::lanes / D::lanes;
    using HalfOf = Simd<T, parts == 1 ? SOFTMAX_VECTOR_BYTES : D::lanes * int(sizeof(T))>;
    typename D::V part[parts];

    template <class Of>
    static SOFTMAX_INLINE DoubleLanes each(const Of& of) {
        DoubleLanes all;
        for (int k = 0; k < parts; ++k) all.part[k] = of(k);
        return all;
    }
    static SOFTMAX_INLINE DoubleLanes splat_of(double value) {
        return each([&](int) { return splat<D>(value); });
    }
    static SOFTMAX_INLINE DoubleLanes of(const V& v) {
        if constexpr (parts == 1) {
            return {{convert<typename D::V>(v)}};
        } else {
            static_assert(parts == 2);
            using Half = std::make_index_sequence<D::lanes>;
            return {{convert<typename D::V>(lanes_from<0>(v, Half())),
                     convert<typename D::V>(lanes_from<D::lanes>(v, Half()))}};
        }
    }
    static SOFTMAX_INLINE DoubleLanes of(const Pair<V>& pair) { return of(pair.high) + of(pair.low); }

    SOFTMAX_INLINE V rounded() const { return joined<V, typename HalfOf::V>(part); }
    SOFTMAX_INLINE Pair<V> pair() const {
        const V high = rounded();
        return {high, (*this - of(high)).rounded()};
    }
    // Vectors of 8-byte numbers as one of `To`, with `Half` of its numbers in each.
    template <class To, class Half, class From>
    static SOFTMAX_INLINE To joined(const From (&from)[parts]) {
        if constexpr (parts == 1) {
            return convert<To>(from[0]);
        } else {
            return [&]<std::size_t... J>(const Half& a, const Half& b, std::index_sequence<J...>) {
                return __builtin_shufflevector(a, b, int(J)...);
            }(convert<Half>(from[0]), convert<Half>(from[1]), std::make_index_sequence<S::lanes>());
        }
    }

    friend SOFTMAX_INLINE DoubleLanes operator+(const DoubleLanes& a, const DoubleLanes& b) {
        return each([&](int k) { return a.part[k] + b.part[k]; });
    }
    friend SOFTMAX_INLINE DoubleLanes operator-(const DoubleLanes& a, const DoubleLanes& b) {
        return each([&](int k) { return a.part[k] - b.part[k]; });
    }
    friend SOFTMAX_INLINE DoubleLanes operator*(const DoubleLanes& a, const DoubleLanes& b) {
        return each([&](int k) { return a.part[k] * b.part[k]; });
    }
    friend SOFTMAX_INLINE DoubleLanes operator/(const DoubleLanes& a, const DoubleLanes& b) {
        return each([&](int k) { return a.part[k] / b.part[k]; });
    }
    friend SOFTMAX_INLINE DoubleLanes operator*(const DoubleLanes& a, double b) {
        return each([&](int k) { return a.part[k] * b; });
    }
};

template <class T>
SOFTMAX_INLINE DoubleLanes<T> multiply(const DoubleLanes<T>& a, const DoubleLanes<T>& b) {
    return a * b;
}

// Numbers of twice T's precision, or about it: doubles for float, pairs for double.
template <class T>
struct Exact {
    using V = typename Simd<T>::V;
    using Number = DoubleLanes<T>;

    static SOFTMAX_INLINE Number of(const Pair<V>& pair) { return Number::of(pair); }
    static SOFTMAX_INLINE Number of(const Number& numbers) { return numbers; }
    static SOFTMAX_INLINE Number inverse(const Number& a) { return Number::splat_of(1) / a; }
    static SOFTMAX_INLINE Number one_more(const Number& a) { return a + Number::splat_of(1); }
    static SOFTMAX_INLINE Number doubles(const Number& a) { return a; }
    static SOFTMAX_INLINE Pair<V> pair(const Number& a) { return a.pair(); }
    static SOFTMAX_INLINE V rounded(const Number& a) { return a.rounded(); }
};
template <>
struct Exact<double> {
    using V = typename Simd<double>::V;
    using Number = Pair<V>;

    static SOFTMAX_INLINE Number of(const Number& pair) { return pair; }
    static SOFTMAX_INLINE Number of(const DoubleLanes<double>& numbers) { return {numbers.part[0], V{}}; }
    static SOFTMAX_INLINE Number inverse(const Number& a) { return softmax::SOFTMAX_ISA::inverse(a); }
    static SOFTMAX_INLINE Number one_more(const Number& a) { return add(a, V(V{} + 1)); }
    static SOFTMAX_INLINE DoubleLanes<double> doubles(const Number& a) { return DoubleLanes<double>::of(a); }
    static SOFTMAX_INLINE Pair<V> pair(const Number& a) { return a; }
    static SOFTMAX_INLINE V rounded(const Number& a) { return a.high; }
};

}  // namespace softmax::SOFTMAX_ISA
