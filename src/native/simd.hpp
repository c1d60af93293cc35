// One vector of T, on GCC's and Clang's vector extensions; a plain T (one lane) for scalar finishing steps and for
// compilers without them. This is the only file that knows instruction sets: it is compiled once for each of them, in a
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
#else
#define SOFTMAX_INLINE inline
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

// Types of one vector: V holds `lanes` numbers of T, I as many integers of T's size.
template <class T, int Bytes = SOFTMAX_VECTOR_BYTES>
struct Simd {
    static constexpr int lanes = Bytes / sizeof(T);
#if !defined(SOFTMAX_ONE_LANE)
    typedef T V __attribute__((vector_size(Bytes)));
    typedef typename IntOf<T>::type I __attribute__((vector_size(Bytes)));
#endif
};
template <class T>
struct Simd<T, 0> {
    static constexpr int lanes = 1;
    using V = T;
    using I = typename IntOf<T>::type;
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
        return typename S::V{} + value;
    }
}

// The first `count` numbers at `from` and zeros, touching no memory behind them; and the reverse.
template <class S, class T>
SOFTMAX_INLINE typename S::V load_first(const T* from, int count) {
    if (count >= S::lanes) return load<S>(from);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4 && S::lanes == 16) {
        return (typename S::V)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from);
    } else if constexpr (sizeof(T) == 8 && S::lanes == 8) {
        return (typename S::V)_mm512_maskz_loadu_pd(__mmask8((1u << count) - 1), from);
    }
#endif
    T part[S::lanes] = {};
    for (int lane = 0; lane < count; ++lane) part[lane] = from[lane];
    return load<S>(part);
}

template <class S, class T>
SOFTMAX_INLINE void store_first(T* to, const typename S::V& v, int count) {
    if (count >= S::lanes) return store(to, v);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4 && S::lanes == 16) {
        return _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), (__m512)v);
    } else if constexpr (sizeof(T) == 8 && S::lanes == 8) {
        return _mm512_mask_storeu_pd(to, __mmask8((1u << count) - 1), (__m512d)v);
    }
#endif
    T part[S::lanes];
    store(part, v);
    for (int lane = 0; lane < count; ++lane) to[lane] = part[lane];
}

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

template <class S, int Half = S::lanes / 2>
SOFTMAX_INLINE void transpose([[maybe_unused]] typename S::V (&v)[S::lanes]) {
#if !defined(SOFTMAX_ONE_LANE)
    if constexpr (Half > 0) {
        for (int i = 0; i < S::lanes; ++i) {
            if ((i & Half) == 0) {
                Exchange<S::lanes, Half>::run(v[i], v[i + Half], std::make_index_sequence<S::lanes>());
            }
        }
        transpose<S, Half / 2>(v);
    }
#endif
}

// a where a > b, else b: b also where a is NaN.
template <class V>
SOFTMAX_INLINE V max(const V& a, const V& b) {
    return a > b ? a : b;
}

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
