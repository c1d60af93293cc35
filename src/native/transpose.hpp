// Rows to columns and back, 16 bytes of each row at a time: the parts of as many rows as a vector has lanes make one vector
// an entry. Parts come from memory to their place in a vector; what is left is a small transposition within 16 bytes.
#pragma once

#include "simd.hpp"

namespace softmax::SOFTMAX_ISA {

template <class S>
constexpr int part_length = S::lanes == 1 ? 1 : 16 / int(sizeof(typename S::T));  // entries

#if !defined(SOFTMAX_ONE_LANE)
// Exchanges blocks of `Half` lanes: those behind the first of a with those before the last of b.
template <int Lanes, int Half>
struct Exchange {
    static constexpr int upper(int j) { return j & Half ? Lanes + j - Half : j; }
    static constexpr int lower(int j) { return j & Half ? Lanes + j : j + Half; }
    template <class V, std::size_t... J>
    static SOFTMAX_INLINE void run(V& a, V& b, std::index_sequence<J...>) {
        const V first = __builtin_shufflevector(a, b, upper(J)...);
        b = __builtin_shufflevector(a, b, lower(J)...);
        a = first;
    }
};

// v[i] and v[j] change entries j and i, in each 16 bytes.
template <class S, int Half = part_length<S> / 2>
SOFTMAX_INLINE void transpose_parts(typename S::V (&v)[part_length<S>]) {
    if constexpr (Half > 0) {
        for (int i = 0; i < part_length<S>; ++i) {
            if (!(i & Half)) Exchange<S::lanes, Half>::run(v[i], v[i + Half], std::make_index_sequence<S::lanes>());
        }
        transpose_parts<S, Half / 2>(v);
    }
}

template <class V, std::size_t... J>
SOFTMAX_INLINE auto side_by_side(const V& a, const V& b, std::index_sequence<J...>) {
    return __builtin_shufflevector(a, b, int(J)...);
}

// The parts of every `part_length`th row, as one vector of `Lanes` numbers.
template <class S, int Lanes = S::lanes>
SOFTMAX_INLINE auto parts_of(const typename S::T* const* rows, std::ptrdiff_t j) {
    if constexpr (Lanes == part_length<S>) {
        return load<Simd<typename S::T, 16>>(rows[0] + j);
    } else {
        return side_by_side(parts_of<S, Lanes / 2>(rows, j), parts_of<S, Lanes / 2>(rows + Lanes / 2, j),
                            std::make_index_sequence<Lanes>());
    }
}
#endif

// Entries j, j + 1 ... of `lanes` rows, `part_length` of them: one vector an entry.
template <class S>
SOFTMAX_INLINE void read_columns(const typename S::T* const* rows, std::ptrdiff_t j, typename S::V* columns) {
#if defined(SOFTMAX_ONE_LANE)
    *columns = rows[0][j];
#else
    typename S::V v[part_length<S>];
    for (int i = 0; i < part_length<S>; ++i) v[i] = parts_of<S>(rows + i, j);
    transpose_parts<S>(v);
    for (int i = 0; i < part_length<S>; ++i) columns[i] = v[i];
#endif
}

// The reverse, to the first `count` rows.
template <class S, class Count>
SOFTMAX_INLINE void write_columns(const typename S::V* columns, typename S::T* const* rows, std::ptrdiff_t j,
                                  Count count) {
#if defined(SOFTMAX_ONE_LANE)
    if (count > 0) rows[0][j] = *columns;
#else
    constexpr int length = part_length<S>;
    typename S::V v[length];
    for (int i = 0; i < length; ++i) v[i] = load<S>(reinterpret_cast<const typename S::T*>(columns + i));
    transpose_parts<S>(v);
    const auto parts = [&](auto part) {
        for (int i = 0; i < length; ++i) {
            if (part() * length + i >= count) return;
            store(rows[part() * length + i] + j, lanes_from<part() * length>(v[i], std::make_index_sequence<length>()));
        }
    };
    [&]<std::size_t... Part>(std::index_sequence<Part...>) {
        (parts(std::integral_constant<int, int(Part)>()), ...);
    }(std::make_index_sequence<S::lanes / length>());
#endif
}

// Calls body(j) for the parts of n entries, n >= part_length; the last one may begin in the one before.
template <class S, class Body>
SOFTMAX_INLINE void for_parts(std::ptrdiff_t n, const Body& body) {
    std::ptrdiff_t j = 0;
    for (; j + part_length<S> <= n; j += part_length<S>) body(j);
    if (j < n) body(n - part_length<S>);
}

}  // namespace softmax::SOFTMAX_ISA
