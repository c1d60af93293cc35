// Squares of vectors, rows to columns and back.
#pragma once

#include "simd.hpp"

namespace softmax::SOFTMAX_ISA {

// Rows to columns: v[i][j] and v[j][i] change places, in log2(lanes) rounds of exchanging blocks of `Half` lanes.
#if !defined(SOFTMAX_ONE_LANE)
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
#endif

// Only the first `width` columns of the result are made.
template <class S, int Half = S::lanes / 2, int First = 0>
SOFTMAX_INLINE void transpose([[maybe_unused]] typename S::V (&v)[S::lanes], [[maybe_unused]] int width) {
#if !defined(SOFTMAX_ONE_LANE)
    if constexpr (Half > 0) {
        for (int i = First; i < First + Half; ++i) {
            Exchange<S::lanes, Half>::run(v[i], v[i + Half], std::make_index_sequence<S::lanes>());
        }
        transpose<S, Half / 2, First>(v, width);
        if (First + Half < width) transpose<S, Half / 2, First + Half>(v, width);
    }
#endif
}

// The same of vectors of which only the first `width` hold anything.
template <class S, int Half = 1>
SOFTMAX_INLINE void transpose_back([[maybe_unused]] typename S::V (&v)[S::lanes], [[maybe_unused]] int width) {
#if !defined(SOFTMAX_ONE_LANE)
    if constexpr (Half < S::lanes) {
        for (int first = 0; first < S::lanes; first += 2 * Half) {
            if (first >= width) break;
            for (int i = first; i < first + Half; ++i) {
                Exchange<S::lanes, Half>::run(v[i], v[i + Half], std::make_index_sequence<S::lanes>());
            }
        }
        transpose_back<S, 2 * Half>(v, width);
    }
#endif
}

}  // namespace softmax::SOFTMAX_ISA
