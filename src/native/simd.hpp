// One vector of T, on GCC's and Clang's vector extensions; a plain T (one lane) for scalar finishing steps and for
// compilers without them. This file, memory.hpp and storage.hpp know instruction sets: they are compiled once for each, in a
// namespace of its own, so that the linker can never replace a baseline function with an AVX one of the same name.
//
// Arithmetic is written out: the build turns contraction off, so that `fma` below is the only fused operation, and no
// compiler reassociates. `mul_add` fuses where that is free and rounds twice where it is not.
#pragma once

#include <cfenv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include <arm_neon.h>
#else
#define SOFTMAX_ONE_LANE 1
#endif

#if defined(SOFTMAX_ONE_LANE)
#define SOFTMAX_VECTOR_BYTES 0
#elif defined(__AVX512F__)
#define SOFTMAX_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define SOFTMAX_VECTOR_BYTES 32
#else
#define SOFTMAX_VECTOR_BYTES 16
#endif

#if defined(__GNUC__) || defined(__clang__)
#define SOFTMAX_INLINE inline __attribute__((always_inline))
#define SOFTMAX_INLINED __attribute__((always_inline))  // for lambdas
#define SOFTMAX_OUTLINE __attribute__((noinline))
#else
#define SOFTMAX_INLINE inline
#define SOFTMAX_INLINED
#define SOFTMAX_OUTLINE
#endif

namespace softmax::SOFTMAX_ISA {

template <class T>
struct IntOf;
template <>
struct IntOf<float> {
    using type = std::int32_t;
};
template <>
struct IntOf<double> {
    using type = std::int64_t;
};

// Types of one vector: V holds `lanes` numbers of T, I as many integers of T's size and U as many that wrap around.
template <class Number, int Bytes = SOFTMAX_VECTOR_BYTES>
struct Simd {
    using T = Number;
    static constexpr int lanes = Bytes / sizeof(T);
#if !defined(SOFTMAX_ONE_LANE)
    typedef T V __attribute__((vector_size(Bytes)));
    typedef typename IntOf<T>::type I __attribute__((vector_size(Bytes)));
    typedef std::make_unsigned_t<typename IntOf<T>::type> U __attribute__((vector_size(Bytes)));
#endif
};
template <class Number>
struct Simd<Number, 0> {
    using T = Number;
    static constexpr int lanes = 1;
    using V = T;
    using I = typename IntOf<T>::type;
    using U = std::make_unsigned_t<I>;
};
template <class T>
using Scalar = Simd<T, 0>;

template <class To, class From>
SOFTMAX_INLINE To bit_cast(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

template <class S, class T>
SOFTMAX_INLINE typename S::V load(const T* from) {
    typename S::V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <class V, class T>
SOFTMAX_INLINE void store(T* to, const V& v) {
    std::memcpy(to, &v, sizeof v);
}

template <class S, class T>
SOFTMAX_INLINE typename S::V splat(T value) {
    if constexpr (S::lanes == 1) {
        return value;
    } else {
        return value - typename S::V{};  // a sum with 0 is an operation: it turns -0 into 0
    }
}

// A vector as a table of 2^table_bits numbers: lookup(table, index)[i] = table[low bits of index[i]].
template <class S>
constexpr int table_bits = 0;
#if defined(__AVX512F__)
template <>
constexpr int table_bits<Simd<float>> = 4;
template <>
constexpr int table_bits<Simd<double>> = 3;
template <class S>
SOFTMAX_INLINE typename S::V lookup(const void* table, const typename S::I& index) {
    if constexpr (S::lanes == 16) {
        return (typename S::V)_mm512_maskz_permutexvar_ps(__mmask16(-1), (__m512i)index, _mm512_loadu_ps(table));
    } else {
        return (typename S::V)_mm512_maskz_permutexvar_pd(__mmask8(-1), (__m512i)index, _mm512_loadu_pd(table));
    }
}
#elif defined(__AVX2__)
template <>
constexpr int table_bits<Simd<float>> = 3;
template <>
constexpr int table_bits<Simd<double>> = 3;
// Of doubles, which no instruction of AVX2 looks up, the table holds the low halves of all and then the high ones.
template <class S>
SOFTMAX_INLINE typename S::V lookup(const void* table, const typename S::I& index) {
    const float* const from = static_cast<const float*>(table);
    __m256 entries = _mm256_loadu_ps(from);
    asm("" : "+x"(entries));  // in a register: AMD's take twice as long with a table in memory
    const __m256 low = _mm256_permutevar8x32_ps(entries, (__m256i)index);
    if constexpr (S::lanes == 8) return (typename S::V)low;
    __m256 high_entries = _mm256_loadu_ps(from + 8);
    asm("" : "+x"(high_entries));
    const __m256i low_index = (__m256i)_mm256_moveldup_ps((__m256)index);
    return (typename S::V)_mm256_blend_ps(low, _mm256_permutevar8x32_ps(high_entries, low_index), 0xaa);
}
#endif

// A vector's lanes combined by halves, lane i with lane i + half, to one number. `Combine` takes vectors of any length.
template <class T, class Combine>
    requires std::is_arithmetic_v<T>
SOFTMAX_INLINE T fold(const T& v, const Combine&) {
    return v;
}
#if !defined(SOFTMAX_ONE_LANE)
template <class V>
constexpr std::size_t lanes_of = sizeof(V) / sizeof(std::declval<V>()[0]);

template <std::size_t First, class V, std::size_t... I>
SOFTMAX_INLINE auto lanes_from(const V& v, std::index_sequence<I...>) {
    if constexpr (sizeof...(I) == 1) {
        return std::remove_cvref_t<decltype(v[0])>(v[First]);
    } else {
        return __builtin_shufflevector(v, v, int(First + I)...);
    }
}
template <class V, class Combine>
    requires(!std::is_arithmetic_v<V>)
SOFTMAX_INLINE auto fold(const V& v, const Combine& combine) {
    constexpr std::size_t half = lanes_of<V> / 2;
    const auto low = lanes_from<0>(v, std::make_index_sequence<half>());
    const auto high = lanes_from<half>(v, std::make_index_sequence<half>());
    return fold(combine(low, high), combine);
}
#endif

// The numbers of a vector as those of another.
#if defined(SOFTMAX_ONE_LANE)
template <class To, class From>
SOFTMAX_INLINE To convert(const From& from) {
    return To(from);
}
#else
template <class To, class From>
SOFTMAX_INLINE To convert(const From& from) {
    if constexpr (std::is_arithmetic_v<To>) {
        return To(from);
    } else {
#if defined(__AVX2__)  // in one step each; GCC takes six
        using Floats = Simd<float, SOFTMAX_VECTOR_BYTES / 2>::V;
        using Doubles = Simd<double, SOFTMAX_VECTOR_BYTES>::V;
        constexpr bool widens = std::is_same_v<From, Floats> && std::is_same_v<To, Doubles>;
        constexpr bool narrows = std::is_same_v<From, Doubles> && std::is_same_v<To, Floats>;
#if defined(__AVX512F__)
        if constexpr (widens) return (To)_mm512_maskz_cvtps_pd(0xff, (__m256)from);
        if constexpr (narrows) return (To)_mm512_maskz_cvtpd_ps(0xff, (__m512d)from);
#else
        if constexpr (widens) return (To)_mm256_cvtps_pd((__m128)from);
        if constexpr (narrows) return (To)_mm256_cvtpd_ps((__m256d)from);
#endif
#endif
        return __builtin_convertvector(from, To);
    }
}
#endif
template <class S>
using Doubles = typename Simd<double, S::lanes == 1 ? 0 : S::lanes * int(sizeof(double))>::V;
template <class S>
SOFTMAX_INLINE Doubles<S> as_doubles(const typename S::V& v) {
    return convert<Doubles<S>>(v);
}

template <class S>
SOFTMAX_INLINE typename S::T first_lane(const typename S::V& v) {
    if constexpr (S::lanes == 1) {
        return v;
    } else {
        return v[0];
    }
}

// One bit for each lane of a comparison.
template <class S, class Lanes>
SOFTMAX_INLINE unsigned lane_bits(const Lanes& lanes) {
    if constexpr (S::lanes == 1) {
        return lanes ? 1 : 0;
    } else {
#if defined(__AVX512F__)
        if constexpr (S::lanes == 16) return unsigned(_mm512_movepi32_mask((__m512i)lanes));
        return unsigned(_mm512_movepi64_mask((__m512i)lanes));
#elif defined(__AVX2__)
        if constexpr (S::lanes == 8) return unsigned(_mm256_movemask_ps((__m256)lanes));
        return unsigned(_mm256_movemask_pd((__m256d)lanes));
#else
        unsigned bits = 0;
        for (int lane = 0; lane < S::lanes; ++lane) bits |= unsigned(lanes[lane] != 0) << lane;
        return bits;
#endif
    }
}

// The same of a == b.
template <class S>
SOFTMAX_INLINE unsigned equal_bits(const typename S::V& a, const typename S::V& b) {
#if defined(__AVX512F__)  // GCC would make a vector of the mask, and a mask of that
    if constexpr (S::lanes == 16) return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
    if constexpr (S::lanes == 8) return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_EQ_OQ);
#endif
    return lane_bits<S>(a == b);
}

// The same of |v| > limit.
template <class S, class T>
SOFTMAX_INLINE unsigned beyond(const typename S::V& v, T limit) {
#if defined(__AVX512F__)
    if constexpr (S::lanes == 16) {
        return _mm512_cmp_ps_mask(_mm512_abs_ps((__m512)v), (__m512)splat<S>(limit), _CMP_GT_OQ);
    }
    if constexpr (S::lanes == 8) {
        return _mm512_cmp_pd_mask(_mm512_abs_pd((__m512d)v), (__m512d)splat<S>(limit), _CMP_GT_OQ);
    }
#endif
    return lane_bits<S>(v > splat<S>(limit)) | lane_bits<S>(v < splat<S>(T(-limit)));
}

// a where a > b, else b: b also where a is NaN.
template <class V>
SOFTMAX_INLINE V max(const V& a, const V& b) {
    return a > b ? a : b;
}

#if defined(__AVX512F__)  // GCC may make two steps of it
SOFTMAX_INLINE Simd<float>::V max(const Simd<float>::V& a, const Simd<float>::V& b) {
    return (Simd<float>::V)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
}
#endif

// The same of the lesser.
template <class V>
SOFTMAX_INLINE V min(const V& a, const V& b) {
    return a < b ? a : b;
}

// 1 / v, within 2^-14 at least.
template <class S>
SOFTMAX_INLINE typename S::V near_inverse(const typename S::V& v) {
#if defined(__AVX512F__)
    if constexpr (S::lanes == 16) return (typename S::V)_mm512_maskz_rcp14_ps(0xffff, (__m512)v);
#endif
    return typename S::T(1) / v;
}

#if defined(SOFTMAX_ONE_LANE)
template <class T>
SOFTMAX_INLINE T square_root(T v) {
    return std::sqrt(v);
}
#elif defined(__AVX512F__)
SOFTMAX_INLINE auto square_root(Simd<float>::V v) { return (Simd<float>::V)_mm512_maskz_sqrt_ps(-1, (__m512)v); }
SOFTMAX_INLINE auto square_root(Simd<double>::V v) { return (Simd<double>::V)_mm512_maskz_sqrt_pd(-1, (__m512d)v); }
#elif defined(__AVX2__)
SOFTMAX_INLINE auto square_root(Simd<float>::V v) { return (Simd<float>::V)_mm256_sqrt_ps((__m256)v); }
SOFTMAX_INLINE auto square_root(Simd<double>::V v) { return (Simd<double>::V)_mm256_sqrt_pd((__m256d)v); }
#elif defined(__aarch64__)
SOFTMAX_INLINE auto square_root(Simd<float>::V v) { return (Simd<float>::V)vsqrtq_f32((float32x4_t)v); }
SOFTMAX_INLINE auto square_root(Simd<double>::V v) { return (Simd<double>::V)vsqrtq_f64((float64x2_t)v); }
#else
SOFTMAX_INLINE auto square_root(Simd<float>::V v) { return (Simd<float>::V)_mm_sqrt_ps((__m128)v); }
SOFTMAX_INLINE auto square_root(Simd<double>::V v) { return (Simd<double>::V)_mm_sqrt_pd((__m128d)v); }
#endif

// fma(a, b, c) = a b + c, rounded once. Instruction sets without it take the same result from arithmetic twice as wide.
#if defined(SOFTMAX_ONE_LANE)
SOFTMAX_INLINE float fma(float a, float b, float c) { return std::fma(a, b, c); }
SOFTMAX_INLINE double fma(double a, double b, double c) { return std::fma(a, b, c); }
#else
SOFTMAX_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
SOFTMAX_INLINE double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }

using F32 = Simd<float>::V;
using F64 = Simd<double>::V;
#if defined(__AVX512F__)
SOFTMAX_INLINE F32 fma(F32 a, F32 b, F32 c) { return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
SOFTMAX_INLINE F64 fma(F64 a, F64 b, F64 c) { return (F64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
#elif defined(__FMA__)
SOFTMAX_INLINE F32 fma(F32 a, F32 b, F32 c) { return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
SOFTMAX_INLINE F64 fma(F64 a, F64 b, F64 c) { return (F64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
#elif defined(__aarch64__)
SOFTMAX_INLINE F32 fma(F32 a, F32 b, F32 c) { return (F32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
SOFTMAX_INLINE F64 fma(F64 a, F64 b, F64 c) { return (F64)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
#else
#define SOFTMAX_EMULATED_FMA 1
// A product of two floats is exact in double; the sum is rounded there first, which moves the result in one of 2^29 cases.
SOFTMAX_INLINE F32 fma(F32 a, F32 b, F32 c) {
    typedef double Wide __attribute__((vector_size(32)));
    return __builtin_convertvector(
        __builtin_convertvector(a, Wide) * __builtin_convertvector(b, Wide) + __builtin_convertvector(c, Wide), F32);
}
// Dekker's product (a = high + low, 26 bits each) and Knuth's sum. A huge a would overflow in the splitting: it is made
// smaller first, and c with it. Valid while |b| < 2^996.
SOFTMAX_INLINE F64 fma(F64 huge, F64 b, F64 addend) {
    const F64 one = F64{} + 1.0, shrink = F64{} + 0x1p-64, limit = F64{} + 0x1p960;
    const F64 scale = huge > limit ? shrink : (huge < -limit ? shrink : one);
    const F64 a = huge * scale, c = addend * scale;
    const F64 split_a = a * 134217729.0, split_b = b * 134217729.0;
    const F64 a_high = split_a - (split_a - a), b_high = split_b - (split_b - b);
    const F64 a_low = a - a_high, b_low = b - b_high;
    const F64 product = a * b;
    const F64 product_error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    const F64 sum = product + c, back = sum - product;
    const F64 sum_error = (product - (sum - back)) + (c - back);
    return (sum + (sum_error + product_error)) / scale;
}
#endif
#endif

// Forgets the floating-point exceptions of the arithmetic so far (an infinity met, an underflow): a result is documented
// for every input, and NumPy would turn them into warnings.
inline void clear_exceptions() {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() & ~0x3fu);
#else
    std::feclearexcept(FE_ALL_EXCEPT);
#endif
}

template <class V>
SOFTMAX_INLINE V mul_add(const V& a, const V& b, const V& c) {
#if defined(SOFTMAX_EMULATED_FMA) || defined(SOFTMAX_ONE_LANE)
    return a * b + c;
#else
    return fma(a, b, c);
#endif
}

}  // namespace softmax::SOFTMAX_ISA
