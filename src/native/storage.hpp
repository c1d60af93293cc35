// How entries are stored: as the float type that is computed in, or as one of 16 bits, widened to float32 on the way in
// and rounded once (to nearest, ties to even) on the way out.
#pragma once

#include "memory.hpp"

namespace softmax::SOFTMAX_ISA {

enum class Storage { own, float16, bfloat16, single };  // single: float32, computed in double

constexpr std::ptrdiff_t size_of(Storage storage, std::ptrdiff_t own) {
    return storage == Storage::own ? own : storage == Storage::single ? 4 : 2;
}

constexpr bool of_16_bits(Storage storage) { return storage == Storage::float16 || storage == Storage::bfloat16; }

using Bits16 = std::uint16_t;

inline float from_bfloat16(Bits16 bits) { return bit_cast<float>(std::uint32_t(bits) << 16); }

inline Bits16 to_bfloat16(float value) {
    const std::uint32_t bits = bit_cast<std::uint32_t>(value);
    if (value != value) return Bits16(bits >> 16 | 0x40);  // NaN, quiet
    return Bits16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// The exponent of a float16 moved to a float32's place; powers of two make up for the other bias, subnormals included.
inline float from_float16(Bits16 bits) {
    const std::uint32_t sign = std::uint32_t(bits & 0x8000) << 16, magnitude = std::uint32_t(bits & 0x7fff) << 13;
    if (magnitude >= 0x0f800000) return bit_cast<float>(sign | 0x7f800000 | magnitude);  // infinite or NaN
    return bit_cast<float>(sign | bit_cast<std::uint32_t>(bit_cast<float>(magnitude) * 0x1p112f));
}

// Adding a power of two whose unit in the last place is that of the float16 rounds to it.
inline Bits16 to_float16(float value) {
    const std::uint32_t bits = bit_cast<std::uint32_t>(value), sign = bits >> 16 & 0x8000,
                        magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return Bits16(sign | 0x7e00);   // NaN
    if (magnitude >= 0x477ff000) return Bits16(sign | 0x7c00);  // 65520 and more round to infinity
    if (magnitude < 0x38800000) {                               // below 2^-14: subnormal, in steps of 2^-24
        const float rounder = 0.5f;
        return Bits16(sign | (bit_cast<std::uint32_t>(bit_cast<float>(magnitude) + rounder) - 0x3f000000));
    }
    const std::uint32_t odd = magnitude >> 13 & 1;
    return Bits16(sign | (magnitude - 0x38000000 + 0xfff + odd) >> 13);
}

// As many 16-bit numbers as a vector has lanes, widened; and the reverse, of numbers that may or may not be NaN.
template <Storage stored>
SOFTMAX_INLINE Simd<float>::V widened(const Bits16* from) {
    using V = Simd<float>::V;
    constexpr bool half = stored == Storage::float16;
#if defined(__AVX512F__)
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    constexpr __mmask16 all = 0xffff;  // GCC 12 takes the plain forms for a use of uninitialized vectors
    if constexpr (half) return (V)_mm512_maskz_cvtph_ps(all, bits);
    return (V)_mm512_maskz_slli_epi32(all, _mm512_maskz_cvtepu16_epi32(all, bits), 16);
#elif defined(__F16C__)
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    if constexpr (half) return (V)_mm256_cvtph_ps(bits);
    return (V)_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16);
#else
    float to[Simd<float>::lanes];
    for (int i = 0; i < Simd<float>::lanes; ++i) to[i] = half ? from_float16(from[i]) : from_bfloat16(from[i]);
    return bit_cast<V>(to);
#endif
}
#if !defined(SOFTMAX_ONE_LANE)
// As to_bfloat16, in the upper half of the bits.
template <bool MayBeNan>
SOFTMAX_INLINE Simd<float>::U bfloat16_above(const Simd<float>::V& value) {
    using U = Simd<float>::U;
    const U bits = bit_cast<U>(value);
#if defined(__AVX512F__)
    const __m512i even = (__m512i)(bits + 0x7fff), unit = _mm512_set1_epi32(0x10000);
    const U rounded =
        (U)_mm512_mask_add_epi32(even, _mm512_test_epi32_mask((__m512i)bits, unit), even, _mm512_set1_epi32(1));
#else
    const U rounded = bits + 0x7fff + (bits >> 16 & 1);
#endif
    if constexpr (MayBeNan) return value == value ? rounded : (bits | 0x400000);
    return rounded;
}
#endif
template <Storage stored, bool MayBeNan>
SOFTMAX_INLINE void narrow(const Simd<float>::V& value, Bits16* to) {
    using S [[maybe_unused]] = Simd<float>;
    if constexpr (stored == Storage::float16) {
#if defined(__AVX512F__)
        const __m256i bits = _mm512_maskz_cvtps_ph(0xffff, (__m512)value, _MM_FROUND_TO_NEAREST_INT);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bits);
#elif defined(__F16C__)
        const __m128i bits = _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bits);
#else
        float from[S::lanes];
        store(from, value);
        for (int i = 0; i < S::lanes; ++i) to[i] = to_float16(from[i]);
#endif
    } else {
#if defined(SOFTMAX_ONE_LANE)
        *to = to_bfloat16(value);
#else
        const S::U result = bfloat16_above<MayBeNan>(value) >> 16;
#if defined(__AVX512F__)  // in fewer steps than GCC takes
        const __m256i words = _mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)result);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words);
#elif defined(__AVX2__)
        const __m256i pairs = _mm256_packus_epi32((__m256i)result, (__m256i)result);
        const __m256i all = _mm256_permute4x64_epi64(pairs, 0x08);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(all));
#else
        typedef Bits16 Narrow __attribute__((vector_size(S::lanes * sizeof(Bits16))));
        const Narrow half = __builtin_convertvector(result, Narrow);
        std::memcpy(to, &half, sizeof half);
#endif
#endif
    }
}

// `Count` vectors of them; of bfloat16, two at once where that is one step for both.
template <Storage stored, std::size_t Count>
SOFTMAX_INLINE void widened(const Bits16* from, Simd<float>::V (&to)[Count]) {
    constexpr int lanes = Simd<float>::lanes;
#if defined(__AVX512F__)
    if constexpr (stored == Storage::bfloat16 && Count % 2 == 0) {  // each to the upper half of a float's bits
        static constexpr Bits16 order[] = {0, 0, 0, 1, 0, 2,  0, 3,  0, 4,  0, 5,  0, 6,  0, 7,
                                           0, 8, 0, 9, 0, 10, 0, 11, 0, 12, 0, 13, 0, 14, 0, 15};
        const __m512i first = _mm512_loadu_si512(order), second = _mm512_or_si512(first, _mm512_set1_epi16(16));
        for (std::size_t a = 0; a < Count; a += 2) {
            const __m512i both = _mm512_loadu_si512(from + a * lanes);
            to[a] = (Simd<float>::V)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, first, both);
            to[a + 1] = (Simd<float>::V)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, second, both);
        }
        return;
    }
#endif
    for (std::size_t a = 0; a < Count; ++a) to[a] = widened<stored>(from + a * lanes);
}
template <Storage stored, bool MayBeNan, std::size_t Count>
SOFTMAX_INLINE void narrow(const Simd<float>::V (&values)[Count], Bits16* to) {
    constexpr int lanes = Simd<float>::lanes;
#if defined(__AVX512F__) || defined(__AVX2__)
    if constexpr (stored == Storage::bfloat16 && Count % 2 == 0) {
        for (std::size_t a = 0; a < Count; a += 2) {
            const auto low = bfloat16_above<MayBeNan>(values[a]) >> 16, high = bfloat16_above<MayBeNan>(values[a + 1]);
#if defined(__AVX512F__)
            static constexpr Bits16 order[] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                               1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
            const __m512i words = _mm512_mask_blend_epi16(0xaaaaaaaa, (__m512i)low, (__m512i)high);
            const __m512i all = _mm512_maskz_permutexvar_epi16(~0u, _mm512_loadu_si512(order), words);
            _mm512_storeu_si512(to + a * lanes, all);
#else
            const __m256i words = _mm256_packus_epi32((__m256i)low, (__m256i)(high >> 16));
            const __m256i all = _mm256_permute4x64_epi64(words, 0xd8);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + a * lanes), all);
#endif
        }
        return;
    }
#endif
    for (std::size_t a = 0; a < Count; ++a) narrow<stored, MayBeNan>(values[a], to + a * lanes);
}

// The same, as they are stored.
template <std::size_t Count>
SOFTMAX_INLINE void widened(const Bits16* from, Storage storage, Simd<float>::V (&to)[Count]) {
    storage == Storage::float16 ? widened<Storage::float16>(from, to) : widened<Storage::bfloat16>(from, to);
}
template <bool MayBeNan, std::size_t Count>
SOFTMAX_INLINE void narrow(const Simd<float>::V (&values)[Count], Bits16* to, Storage storage) {
    storage == Storage::float16 ? narrow<Storage::float16, MayBeNan>(values, to)
                                : narrow<Storage::bfloat16, MayBeNan>(values, to);
}

// The same of the first `count`, touching no memory behind them; the other lanes are of `filler`.
inline Simd<float>::V widened_first(const Bits16* from, int count, Storage storage, Bits16 filler = 0) {
    constexpr int lanes = Simd<float>::lanes;
    Bits16 part[lanes];
#if defined(__AVX512F__)
    const __m256i bits = _mm256_mask_loadu_epi16(_mm256_set1_epi16(short(filler)), __mmask16((1u << count) - 1), from);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(part), bits);
#else
    for (int i = 0; i < lanes; ++i) part[i] = i < count ? from[i] : filler;
#endif
    Simd<float>::V v[1];
    widened(part, storage, v);
    return v[0];
}
template <bool MayBeNan>
SOFTMAX_INLINE void narrow_first(const Simd<float>::V& value, int count, Bits16* to, Storage storage) {
    Bits16 part[Simd<float>::lanes];
    const Simd<float>::V values[1] = {value};
    narrow<MayBeNan>(values, part, storage);
#if defined(__AVX512F__)
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(part));
    _mm256_mask_storeu_epi16(to, __mmask16((1u << count) - 1), bits);
#else
    for (int i = 0; i < count; ++i) to[i] = part[i];
#endif
}

// `n` of them.
inline void widen(const Bits16* from, std::ptrdiff_t n, float* to, Storage storage) {
    using S = Simd<float>;
    std::ptrdiff_t i = 0;
    for (S::V v[1]; i + S::lanes <= n; i += S::lanes) {
        widened(from + i, storage, v);
        store(to + i, v[0]);
    }
    if (i < n) store_first<S>(to + i, widened_first(from + i, int(n - i), storage), int(n - i));
}

inline void narrow(const float* from, std::ptrdiff_t n, Bits16* to, Storage storage) {
    using S = Simd<float>;
    std::ptrdiff_t i = 0;
    for (S::V v[1]; i + S::lanes <= n; i += S::lanes) {
        v[0] = load<S>(from + i);
        narrow<true>(v, to + i, storage);
    }
    if (i < n) narrow_first<true>(load_first<S>(from + i, int(n - i), 0.0f), int(n - i), to + i, storage);
}

// Entries of T from each `stride` bytes behind the last to the same.
template <class T>
void copy_apart(const char* from, std::ptrdiff_t stride, std::ptrdiff_t n, char* to, std::ptrdiff_t to_stride) {
    for (std::ptrdiff_t i = 0; i < n; ++i) std::memcpy(to + i * to_stride, from + i * stride, sizeof(T));
}

// Calls body(first, count, packed) for parts of n numbers of 16 bits, `packed` a place for `count` of them side by side.
template <class Body>
void for_packed(std::ptrdiff_t n, const Body& body) {
    constexpr std::ptrdiff_t length = 256;
    Bits16 packed[length];
    for (std::ptrdiff_t i = 0; i < n; i += length) body(i, n - i < length ? n - i : length, packed);
}

// Entries `stride` bytes apart to contiguous ones of the type that is computed in, and back.
template <class T>
void gather(const char* data, std::ptrdiff_t stride, std::ptrdiff_t n, T* to, Storage storage) {
    if constexpr (sizeof(T) == sizeof(float)) {
        if (storage != Storage::own) {
            if (stride == 2) return widen(reinterpret_cast<const Bits16*>(data), n, to, storage);
            return for_packed(n, [&](std::ptrdiff_t first, std::ptrdiff_t count, Bits16* packed) {
                copy_apart<Bits16>(data + first * stride, stride, count, reinterpret_cast<char*>(packed), 2);
                widen(packed, count, to + first, storage);
            });
        }
    }
    if constexpr (sizeof(T) == sizeof(double)) {
        if (storage != Storage::own) {
            for (std::ptrdiff_t i = 0; i < n; ++i) {
                float value;
                gather(data + i * stride, stride, 1, &value, storage == Storage::single ? Storage::own : storage);
                to[i] = value;
            }
            return;
        }
    }
    if (stride == sizeof(T)) {
        std::memcpy(to, data, std::size_t(n) * sizeof(T));
        return;
    }
    copy_apart<T>(data, stride, n, reinterpret_cast<char*>(to), sizeof(T));
}

template <class T>
void scatter(const T* from, std::ptrdiff_t n, char* data, std::ptrdiff_t stride, Storage storage) {
    if constexpr (sizeof(T) == sizeof(float)) {
        if (storage != Storage::own) {
            if (stride == 2) return narrow(from, n, reinterpret_cast<Bits16*>(data), storage);
            return for_packed(n, [&](std::ptrdiff_t first, std::ptrdiff_t count, Bits16* packed) {
                narrow(from + first, count, packed, storage);
                copy_apart<Bits16>(reinterpret_cast<const char*>(packed), 2, count, data + first * stride, stride);
            });
        }
    }
    if constexpr (sizeof(T) == sizeof(double)) {
        if (storage != Storage::own) {
            for (std::ptrdiff_t i = 0; i < n; ++i) {
                const float value = float(from[i]);
                scatter(&value, 1, data + i * stride, stride, storage == Storage::single ? Storage::own : storage);
            }
            return;
        }
    }
    copy_apart<T>(reinterpret_cast<const char*>(from), sizeof(T), n, data, stride);
}

// The same to contiguous memory too large for the caches: whole vectors past them. `end_streaming` is the caller's.
template <class T>
void scatter_streaming(const T* from, std::ptrdiff_t n, T* to) {
    using S = Simd<T>;
    std::ptrdiff_t i = 0;
    constexpr std::uintptr_t size = sizeof(typename S::V);
    while (i < n && reinterpret_cast<std::uintptr_t>(to + i) % size != 0 && i < S::lanes) {
        to[i] = from[i];
        ++i;
    }
    for (; i + S::lanes <= n; i += S::lanes) stream<S>(to + i, load<S>(from + i));
    for (; i < n; ++i) to[i] = from[i];
}

}  // namespace softmax::SOFTMAX_ISA
