// Rows to columns and back, 16 bytes of each row at a time: the parts of as many rows as a vector has lanes make one vector
// an entry. Parts come from memory to their place in a vector; what is left is a small transposition within 16 bytes.
#pragma once

#include "memory.hpp"

namespace softmax::SOFTMAX_ISA {

template <class S>
constexpr int part_length = S::lanes == 1 ? 1 : 16 / int(sizeof(typename S::T));  // entries

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

// As many rows as a vector has lanes, `step` bytes from one to the next. Each part of a vector has an address of its own,
// so that those of all rows take few registers: a table of addresses would be read for every part.
template <class S>
struct Lines {
    static constexpr int parts = S::lanes / part_length<S>;
    char* part[parts];
    std::ptrdiff_t step;

    Lines(char* first, std::ptrdiff_t step) : step(step) {
        for (int p = 0; p < parts; ++p) part[p] = first + p * part_length<S> * step;
    }
    // Entry j of the row `i` behind the first of that part.
    typename S::T* entry(int p, int i, std::ptrdiff_t j) const {
        return reinterpret_cast<typename S::T*>(part[p] + i * step) + j;
    }
};

// Entries j, j + 1 ... of the rows, `part_length` of them: one vector an entry.
template <class S>
SOFTMAX_INLINE void read_columns(const Lines<S>& rows, std::ptrdiff_t j, typename S::V (&columns)[part_length<S>]) {
    for (int i = 0; i < part_length<S>; ++i) {
        columns[i] = load_parts<S>([&](int p) SOFTMAX_INLINED { return rows.entry(p, i, j); });
    }
    transpose_parts<S>(columns);
}

// The reverse.
template <class S>
SOFTMAX_INLINE void write_columns(typename S::V (&columns)[part_length<S>], const Lines<S>& rows, std::ptrdiff_t j) {
    transpose_parts<S>(columns);
    for (int i = 0; i < part_length<S>; ++i) {
        store_parts<S>(columns[i], [&](int p) SOFTMAX_INLINED { return rows.entry(p, i, j); });
    }
}

// Calls body(j) for the parts of n entries, n >= part_length; the last one may begin in the one before.
template <class S, class Body>
SOFTMAX_INLINE void for_parts(std::ptrdiff_t n, const Body& body) {
    std::ptrdiff_t j = 0;
    for (; j + part_length<S> <= n; j += part_length<S>) body(j);
    if (j < n) body(n - part_length<S>);
}

}  // namespace softmax::SOFTMAX_ISA
