// Vectors from and to memory where a plain load or store will not do: partly filled, masked, or past the caches.
#pragma once

#include "simd.hpp"

namespace softmax::SOFTMAX_ISA {

// A vector that is to be in a register from here on.
template <class S>
SOFTMAX_INLINE typename S::V keep(typename S::V v) {
#if defined(__AVX2__)
    if constexpr (S::lanes > 1) asm("" : "+v"(v));
#endif
    return v;
}

// A vector that is used more than once. With AVX2, GCC would read it from memory for each use, and loads are scarce there.
template <class S, class T>
SOFTMAX_INLINE typename S::V load_once(const T* from) {
#if defined(__AVX512F__)
    return load<S>(from);
#else
    return keep<S>(load<S>(from));
#endif
}

// The first `count` numbers at `from` and `filler` behind them, touching no memory there; and the reverse.
#if defined(__AVX512F__)
template <class S, class T>
SOFTMAX_INLINE typename S::V load_first(const T* from, int count, T filler) {
    if (count >= S::lanes) return load<S>(from);
    const auto behind = splat<S>(filler);
    if constexpr (S::lanes == 16) {
        return (typename S::V)_mm512_mask_loadu_ps((__m512)behind, __mmask16((1u << count) - 1), from);
    } else if constexpr (S::lanes == 8) {
        return (typename S::V)_mm512_mask_loadu_pd((__m512d)behind, __mmask8((1u << count) - 1), from);
    } else {
        return behind;
    }
}
template <class S, class T>
SOFTMAX_INLINE void store_first(T* to, const typename S::V& v, int count) {
    if (count >= S::lanes) return store(to, v);
    if constexpr (S::lanes == 16) {
        _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), (__m512)v);
    } else if constexpr (S::lanes == 8) {
        _mm512_mask_storeu_pd(to, __mmask8((1u << count) - 1), (__m512d)v);
    }
}
#elif defined(__AVX2__)
// Of floats and doubles alike: words of 4 bytes. The mask is a window into ones followed by zeros. Stores go by halves: AMD's
// processors take a masked one for some twenty steps.
template <class S, class T>
SOFTMAX_INLINE typename S::V load_first(const T* from, int count, T filler) {
    if (count >= S::lanes) return load<S>(from);
    const auto behind = splat<S>(filler);
    if constexpr (S::lanes == 1) return behind;
    static const std::int32_t ones_and_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    const char* middle = reinterpret_cast<const char*>(ones_and_zeros) + 32;
    const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(middle - count * int(sizeof(T))));
    const __m256i words = _mm256_maskload_epi32(reinterpret_cast<const int*>(from), mask);
    return bit_cast<typename S::V>(_mm256_blendv_epi8(bit_cast<__m256i>(behind), words, mask));
}
template <class S, class T>
SOFTMAX_INLINE void store_first(T* to, const typename S::V& v, int count) {
    if (count >= S::lanes) return store(to, v);
    if constexpr (S::lanes > 1) {
        const __m256i all = bit_cast<__m256i>(v);
        __m128i left = _mm256_castsi256_si128(all);
        char* place = reinterpret_cast<char*>(to);
        const int words = count * int(sizeof(T) / 4);
        if (words & 4) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(place), left);
            left = _mm256_extracti128_si256(all, 1);
            place += 16;
        }
        if (words & 2) {
            _mm_storel_epi64(reinterpret_cast<__m128i*>(place), left);
            left = _mm_unpackhi_epi64(left, left);
            place += 8;
        }
        if (words & 1) _mm_storeu_si32(place, left);
    }
}
#else
template <class S, class T>
SOFTMAX_INLINE typename S::V load_first(const T* from, int count, T filler) {
    if (count >= S::lanes) return load<S>(from);
    T part[S::lanes];
    for (int lane = 0; lane < S::lanes; ++lane) part[lane] = lane < count ? from[lane] : filler;
    return load<S>(part);
}
template <class S, class T>
SOFTMAX_INLINE void store_first(T* to, const typename S::V& v, int count) {
    if (count >= S::lanes) return store(to, v);
    T part[S::lanes];
    store(part, v);
    for (int lane = 0; lane < count; ++lane) to[lane] = part[lane];
}
#endif

// A vector of the numbers at `from`, `filler` where the byte at `kept` is 0.
template <class S, class T>
SOFTMAX_INLINE typename S::V load_where(const T* from, const char* kept, T filler) {
    [[maybe_unused]] const auto left_out = splat<S>(filler);
#if defined(__AVX512F__)
    if constexpr (S::lanes == 16) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kept));
        return (typename S::V)_mm512_mask_loadu_ps((__m512)left_out, _mm_test_epi8_mask(bytes, bytes), from);
    } else if constexpr (S::lanes == 8) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kept));
        return (typename S::V)_mm512_mask_loadu_pd((__m512d)left_out, __mmask8(_mm_test_epi8_mask(bytes, bytes)), from);
    }
#elif defined(__AVX2__)
    using I = typename S::I;
    if constexpr (S::lanes == 8) {
        const I wide = (I)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kept)));
        return wide != 0 ? load<S>(from) : left_out;
    } else if constexpr (S::lanes == 4) {
        const I wide = (I)_mm256_cvtepi8_epi64(_mm_loadu_si32(kept));
        return wide != 0 ? load<S>(from) : left_out;
    }
#endif
    T numbers[S::lanes];
    for (int i = 0; i < S::lanes; ++i) numbers[i] = kept[i] ? from[i] : filler;
    return load<S>(numbers);
}

// Stores past the caches, for results that will not fit there; `to` is aligned to a whole vector. `end_streaming` makes
// them visible to other threads.
template <class S, class T>
SOFTMAX_INLINE void stream(T* to, const typename S::V& v) {
#if defined(__AVX512F__)
    if constexpr (S::lanes > 1) return _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)v);
#elif defined(__AVX2__)
    if constexpr (S::lanes > 1) return _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)v);
#elif defined(__SSE2__)
    if constexpr (S::lanes > 1) return _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)v);
#endif
    store(to, v);
}
inline void end_streaming() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

// A vector of parts of 16 bytes that lie at address(0), address(1) ...; and the reverse. Written out, for GCC would shuffle
// registers where memory does as well.
#if defined(__AVX512F__)
template <class S, class Address>
SOFTMAX_INLINE typename S::V load_parts(const Address& address) {
    const auto part = [&](int p) SOFTMAX_INLINED { return _mm_loadu_ps(reinterpret_cast<const float*>(address(p))); };
    constexpr __mmask16 all = 0xffff;
    __m512 v = _mm512_zextps128_ps512(part(0));
    v = _mm512_maskz_insertf32x4(all, v, part(1), 1);
    v = _mm512_maskz_insertf32x4(all, v, part(2), 2);
    return (typename S::V)_mm512_maskz_insertf32x4(all, v, part(3), 3);
}
template <class S, class Address>
SOFTMAX_INLINE void store_parts(const typename S::V& v, const Address& address) {
    using Part = float __attribute__((vector_size(16), aligned(4), may_alias));
    asm("vmovups %x1, %0" : "=m"(*reinterpret_cast<Part*>(address(0))) : "v"(v));
    asm("vextractf32x4 $1, %1, %0" : "=m"(*reinterpret_cast<Part*>(address(1))) : "v"(v));
    asm("vextractf32x4 $2, %1, %0" : "=m"(*reinterpret_cast<Part*>(address(2))) : "v"(v));
    asm("vextractf32x4 $3, %1, %0" : "=m"(*reinterpret_cast<Part*>(address(3))) : "v"(v));
}
#elif defined(__AVX2__)
template <class S, class Address>
SOFTMAX_INLINE typename S::V load_parts(const Address& address) {
    const auto part = [&](int p) SOFTMAX_INLINED { return _mm_loadu_ps(reinterpret_cast<const float*>(address(p))); };
    return (typename S::V)_mm256_insertf128_ps(_mm256_castps128_ps256(part(0)), part(1), 1);
}
template <class S, class Address>
SOFTMAX_INLINE void store_parts(const typename S::V& v, const Address& address) {
    _mm_storeu_ps(reinterpret_cast<float*>(address(0)), _mm256_castps256_ps128((__m256)v));
    _mm_storeu_ps(reinterpret_cast<float*>(address(1)), _mm256_extractf128_ps((__m256)v, 1));
}
#else
template <class S, class Address>
SOFTMAX_INLINE typename S::V load_parts(const Address& address) {
    return load<S>(address(0));
}
template <class S, class Address>
SOFTMAX_INLINE void store_parts(const typename S::V& v, const Address& address) {
    store(address(0), v);
}
#endif

}  // namespace softmax::SOFTMAX_ISA
