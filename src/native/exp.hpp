// The exponential that everything here is made of: e^((x - m) / T) for the entries x of a row with maximum m, without
// subtracting m.
//
// Softmax does not change when a row is shifted, so x itself is reduced, and the row enters as an integer only:
//
//     n = round(x log2(e) / T)      r = x / T - n ln 2      k = round(m log2(e) / T)
//     e^(x/T) 2^-k = 2^(n-k) e^r    with |r| <= 0.3475
//
// * x - n (T ln 2)_high is exact in one fused multiply-add: both terms are multiples of half an ulp of (T ln 2)_high and
//   the difference is below that constant. x - m, which every plain implementation rounds, is never formed.
// * n - k falls out of the rounding: adding `magic` = 1.5 2^(p-1) - k + bias to x log2(e) / T leaves n - k + bias in the
//   low bits of the sum, and these bits, moved into the exponent field, are 2^(n-k+guard).
// * e^r = 1 + r + r^2 q(r), q minimax (Remez, weighted for the relative error of e^r): error 2^-28.2 (float, degree 4)
//   and 2^-64 (double, degree 10: the error of e^r - 1 has to be small beside r, for logarithms) for |r| <= 0.3475.
//
// Where a vector register can be a table (`table_bits` = b > 0 in simd.hpp), the steps of n are 2^-b octaves instead:
// the low b bits of n - k choose 2^(j/2^b) from the table, |r| <= 0.3475 / 2^b, and q needs 2 or 3 coefficients instead
// of 5 (error 2^-29), 6 or 7 instead of 11 (2^-58.2, 2^-65). What the table's entries round off is added to r where it
// counts. Then r, being small, may be rounded, and so may its polynomial: the exponential has one rounding that
// matters, its last.
//
// Powers are kept times 2^guard, so that every n - k that can show in a result stays in the normal range; the guard leaves
// in the last multiplication, where subnormal results are rounded once. Entries further below the maximum than `floor`
// octaves are moved up to it, where the exponent field is 0 and with it the power: they count as exactly 0.
//
// Valid for |m / T| <= 2^11, where n is exact to far more than needed. Beyond it, rows are read less their maximum, which
// is then exact for every x that counts (x > m / 2: Sterbenz). Error: see `exponentials`.
#pragma once

#include "pair.hpp"

namespace softmax::SOFTMAX_ISA {

template <class T>
struct Float;

template <>
struct Float<float> {
    static constexpr int fraction_bits = 23, exponent_bias = 127, guard = 64, floor = -exponent_bias - guard;
    static constexpr float magic = 0x1.8p23f;
    static constexpr float q[] = {0x1.fffffcp-2f, 0x1.55549p-3f, 0x1.5558fap-5f, 0x1.123b6ap-7f, 0x1.6a21acp-10f};
};
template <>
struct Float<double> {
    static constexpr int fraction_bits = 52, exponent_bias = 1023, guard = 128, floor = -exponent_bias - guard;
    static constexpr double magic = 0x1.8p52;
    static constexpr double q[] = {0x1p-1,
                                   0x1.555555555555cp-3,
                                   0x1.5555555555501p-5,
                                   0x1.111111110eb9bp-7,
                                   0x1.6c16c16c30d05p-10,
                                   0x1.a01a01b3cb12ep-13,
                                   0x1.a01a0134ec737p-16,
                                   0x1.71ddef5d20b32p-19,
                                   0x1.27e5b62ddcf2cp-22,
                                   0x1.af6d42c0206efp-26,
                                   0x1.1e3c45d024ebdp-29};
};

template <class T>
constexpr typename IntOf<T>::type exponent_field =
    -(typename IntOf<T>::type(1) << Float<T>::fraction_bits);  // the sign's bit with it

constexpr double log2_e = 0x1.71547652b82fep+0;
constexpr DD ln_2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
constexpr double largest_unshifted = 0x1p11;                                    // of |m / T|
constexpr double smallest_temperature = 0x1p-60, largest_temperature = 0x1p60;  // that the constants below carry

// 1 / T and T ln 2 as high + low, and log2(e) / T: what a temperature brings to the reduction.
template <class T>
struct Temperature {
    T log2e_t, ln2t_high, ln2t_low, inverse_high, inverse_low;
};

template <class T>
Temperature<T> temperature_constants(double temperature) {
    const DD ln2t = temperature == 1 ? ln_2 : multiply(ln_2, DD{temperature, 0.0});
    const DD inverse = temperature == 1 ? DD{1.0, 0.0} : divide(DD{1.0, 0.0}, DD{temperature, 0.0});
    const T ln2t_high = T(ln2t.high), inverse_high = T(inverse.high);
    return {T(log2_e * inverse.high), ln2t_high, T((ln2t.high - double(ln2t_high)) + ln2t.low), inverse_high,
            T((inverse.high - double(inverse_high)) + inverse.low)};
}

// What the reduction of an entry needs to know of its row, one row a lane or the same row in all of them.
template <class S>
struct Reduction {
    using V = typename S::V;
    using T = typename S::T;
    static constexpr T steps = T(1 << table_bits<S>);  // an octave
    V log2e_t, ln2t_high, ln2t_low, inverse_high, inverse_low;
    V floor;    // entries below are moved up to it
    V magic;    // rounds to an integer, subtracts k, and adds the bias of the exponent field
    V octaves;  // k

    Reduction(const V& maximum, const Temperature<T>& t)
        : Reduction(maximum, splat<S>(t.log2e_t), splat<S>(t.ln2t_high), splat<S>(t.ln2t_low), splat<S>(t.inverse_high),
                    splat<S>(t.inverse_low)) {}

    Reduction(const V& maximum, V log2e_t, V ln2t_high, V ln2t_low, V inverse_high, V inverse_low)
        : log2e_t(log2e_t * steps),
          ln2t_high(ln2t_high / steps),
          ln2t_low(ln2t_low / steps),
          inverse_high(inverse_high),
          inverse_low(inverse_low) {
        const V rounder = splat<S>(Float<T>::magic);
        octaves = fma(maximum, log2e_t, rounder) - rounder;
        magic = rounder + (T(Float<T>::exponent_bias + Float<T>::guard) - octaves) * steps;
        floor = (octaves + T(Float<T>::floor)) * ln2t_high;
    }
};

// What 2^(j / 2^bits) is made of, j = 0 .. 2^bits - 1, and q for |r| <= ln 2 / 2^(bits + 1). `powers` are bit patterns less
// the exponent's bias and less j / 2^bits octaves, so that adding n - k, fraction and all, to the exponent field leaves
// the power; `errors` is what the number so rounded is off by, relative to it.
//
// AVX2's eight numbers need no errors: `values` are 2^(j/8) times a scale, found by search, for which all eight happen to
// round with less than 2^-28.4 (float) and 2^-58.8 (double). Shares and their logarithms do not change when all exponentials
// are scaled; see `absolute`.
template <class T, int bits>
struct ExpTable;

template <>
struct ExpTable<float, 4> {
    static constexpr std::int32_t powers[] = {0x0,      -0x2553d, -0x46a3e, -0x63c2d, -0x7c810, -0x90ace,
                                              -0xa0129, -0xaa7c1, -0xafb0d, -0xaf75c, -0xa98d6, -0x9db74,
                                              -0x8bb03, -0x73321, -0x53f39, -0x2da83};
    static constexpr float errors[] = {0x0p0f,           0x1.8d96d4p-25f,  -0x1.9c0c22p-27f, 0x1.964904p-25f,
                                       0x1.125002p-25f,  0x1.370be4p-25f,  -0x1.0a3550p-25f, -0x1.00d8acp-27f,
                                       0x1.26055cp-26f,  -0x1.05cb44p-25f, 0x1.67a1cap-28f,  0x1.a3b5e4p-28f,
                                       -0x1.f9c304p-27f, -0x1.6961b4p-28f, -0x1.a5217cp-28f, 0x1.61428ep-28f};
    static constexpr float q[] = {0x1.00024p-1f, 0x1.5555fep-3f};
};
template <>
struct ExpTable<float, 3> {
    static constexpr float values[] = {0x1.16747cp+0f, 0x1.2fa848p+0f, 0x1.4b2404p+0f, 0x1.691c8ap+0f,
                                       0x1.89cb7cp+0f, 0x1.ad6fb4p+0f, 0x1.d44dbcp+0f, 0x1.feb052p+0f};
    static constexpr float inverse_scale = 0x1.d6b62ap-1f, inverse_less_one = -0x1.4a4eb0p-4f;
    static constexpr float q[] = {0x1p-1f, 0x1.554f8ap-3f, 0x1.504ec4p-5f};
};
#if defined(__AVX512F__)
template <>
struct ExpTable<double, 3> {
    static constexpr std::int64_t powers[] = {0x0,
                                              -0x8d47c382ae85,
                                              -0xf901f5ce48eb,
                                              -0x140252ac9d5d9,
                                              -0x15f619980c433,
                                              -0x1531abdd55f25,
                                              -0x1176066a52c53,
                                              -0xa7e723045b79};
    static constexpr double errors[] = {0x0p0,
                                        -0x1.01b15eaa59348p-55,
                                        0x1.34d754db0abb6p-55,
                                        0x1.690cebb7aafb0p-56,
                                        -0x1.3b3efbf5e2228p-54,
                                        0x1.db72fc1f0eab4p-55,
                                        0x1.c1a7792cb3387p-55,
                                        0x1.4a385a63d07a7p-56};
    static constexpr double q[] = {0x1p-1,
                                   0x1.5555555555528p-3,
                                   0x1.5555555553424p-5,
                                   0x1.11111113e7f84p-7,
                                   0x1.6c16c638e08e1p-10,
                                   0x1.a019364a375b4p-13,
                                   0x1.9c3eec8227c12p-16};
};
#else
// Eight doubles as `lookup` has them.
struct DoubleTable {
    std::uint32_t low[8], high[8];
};
template <class... Bits>
constexpr DoubleTable double_table(Bits... bits) {
    return {{std::uint32_t(bits)...}, {std::uint32_t(bits >> 32)...}};
}
template <>
struct ExpTable<double, 3> {
    static constexpr DoubleTable values =
        double_table(0x3ff02f189edf8eee, 0x3ff1a61413040271, 0x3ff33effdbdba07c, 0x3ff4fcee55d93563,  //
                     0x3ff6e33909683041, 0x3ff8f5871bf8ff6a, 0x3ffb37d4564dd71f, 0x3ffdae78cd8a0ab7);
    static constexpr double inverse_scale = 0x1.fa2e0dd030658p-1, inverse_less_one = -0x1.747c8bf3e69f5p-7;
    static constexpr double q[] = {0x1.000000000010fp-1, 0x1.5555555555121p-3,  0x1.55555547ebbbcp-5,
                                   0x1.111111261043ep-7, 0x1.6c1cc5602f304p-10, 0x1.a016348530f65p-13};
};
#endif

// q(r) by Estrin's scheme: pairs of coefficients, then powers r^2, r^4, r^8.
template <class S>
SOFTMAX_INLINE typename S::V tail(const typename S::V& r, const typename S::V& r2, const float (&q)[5]) {
    const auto c = [&](int i) { return splat<S>(q[i]); };
    return mul_add(r2, mul_add(r2, c(4), mul_add(r, c(3), c(2))), mul_add(r, c(1), c(0)));
}
template <class S>
SOFTMAX_INLINE typename S::V tail(const typename S::V& r, const typename S::V& r2, const double (&q)[11]) {
    const auto pair = [&](int i) { return mul_add(r, splat<S>(q[i + 1]), splat<S>(q[i])); };
    const auto r4 = r2 * r2;
    const auto low = mul_add(r2, pair(2), pair(0)), middle = mul_add(r2, pair(6), pair(4));
    const auto high = mul_add(r2, splat<S>(q[10]), pair(8));
    return mul_add(r4, mul_add(r4, high, middle), low);
}

template <class S>
SOFTMAX_INLINE typename S::V tail(const typename S::V& r, const typename S::V&, const float (&q)[2]) {
    return fma(r, splat<S>(q[1]), splat<S>(q[0]));
}
template <class S>
SOFTMAX_INLINE typename S::V tail(const typename S::V& r, const typename S::V& r2, const float (&q)[3]) {
    return fma(r2, splat<S>(q[2]), fma(r, splat<S>(q[1]), splat<S>(q[0])));
}
template <class S>
SOFTMAX_INLINE typename S::V tail(const typename S::V& r, const typename S::V& r2, const double (&q)[6]) {
    const auto pair = [&](int i) { return fma(r, splat<S>(q[i + 1]), splat<S>(q[i])); };
    return fma(r2, fma(r2, pair(4), pair(2)), pair(0));
}
template <class S>
SOFTMAX_INLINE typename S::V tail(const typename S::V& r, const typename S::V& r2, const double (&q)[7]) {
    const auto pair = [&](int i) { return fma(r, splat<S>(q[i + 1]), splat<S>(q[i])); };
    const auto high = fma(r2, splat<S>(q[6]), pair(4));
    return fma(r2, fma(r2, high, pair(2)), pair(0));
}

// e^(r + r_error) - 1 for |r| <= 0.3475.
template <class T, class S>
SOFTMAX_INLINE Pair<typename S::V> expm1(const typename S::V& r, const typename S::V& r_error) {
    using V = typename S::V;
    const V r2 = r * r;
    return fast_two_sum(r, V(mul_add(r2, tail<S>(r, r2, Float<T>::q), r_error)));
}

// tanh|u| = -e / (2 + e), e = exp(-2|u|) - 1; from |u| = 20 on it is 1.
template <class T, class S>
SOFTMAX_INLINE typename S::V tanh(const typename S::V& u) {
    using V = typename S::V;
    using I = typename S::I;
    const V zero = splat<S>(T(0)), magic = splat<S>(Float<T>::magic);
    const V size = u < zero ? V(-u) : u, y = (size > splat<S>(T(20)) ? splat<S>(T(20)) : size) * T(-2);
    const V rounded = fma(y, splat<S>(T(log2_e)), magic), minus_n = magic - rounded;
    const T ln2_high = T(ln_2.high), ln2_low = T((ln_2.high - double(ln2_high)) + ln_2.low);
    const V first = fma(minus_n, splat<S>(ln2_high), y), r = fma(minus_n, splat<S>(ln2_low), first);
    const V r_error = fma(minus_n, splat<S>(ln2_low), V(first - r));
    const V power = bit_cast<V>(I((bit_cast<I>(rounded) + Float<T>::exponent_bias) << Float<T>::fraction_bits));
    const V e = fma(expm1<T, S>(r, r_error).high, power, V(power - T(1)));
    const V result = -e / (e + T(2));
    return u < zero ? V(-result) : result;
}

// e = 2^(n-k+guard) e^r as an unevaluated sum. With a table: high (1 + low), |low| < 1/8; else high + low, |low| <= half
// an ulp of high.
template <class S>
struct Exponential {
    using V = typename S::V;
    V high, low;

    SOFTMAX_INLINE V value() const {  // e rounded
        if constexpr (table_bits<S> > 0) return fma(high, low, high);
        return high;
    }
    SOFTMAX_INLINE V add_low(const V& sum) const {  // sum + (e - high)
        if constexpr (table_bits<S> > 0) return fma(high, low, sum);
        return sum + low;
    }
    template <class Lanes>
    SOFTMAX_INLINE void clear_where(const Lanes& lanes) {
        const V zero = splat<S>(typename S::T(0));
        high = lanes ? zero : high;
        if constexpr (table_bits<S> == 0) low = lanes ? zero : low;  // else it is relative to high
    }
};

// e times a power of two.
template <class S>
SOFTMAX_INLINE Exponential<S> scaled(const Exponential<S>& e, const typename S::V& power) {
    using V = typename S::V;
    if constexpr (table_bits<S> > 0) return {V(e.high * power), e.low};
    return {V(e.high * power), V(e.low * power)};
}

// Whether a table's numbers have a scale: e^0 is not 1 to the last bit then.
template <class S>
constexpr bool has_scale = requires { ExpTable<typename S::T, table_bits<S>>::inverse_scale; };

// e without the scale of its table, for what is not divided by another exponential.
template <class S>
SOFTMAX_INLINE Exponential<S> absolute(const Exponential<S>& e) {
    using T = typename S::T;
    if constexpr (has_scale<S>) {
        using Table = ExpTable<T, table_bits<S>>;
        return {e.high, fma(e.low, splat<S>(Table::inverse_scale), splat<S>(Table::inverse_less_one))};
    }
    return e;
}

// e as a pair whose low part is below half an ulp of the high one.
template <class S>
SOFTMAX_INLINE Pair<typename S::V> as_pair(const Exponential<S>& e) {
    using V = typename S::V;
    if constexpr (table_bits<S> == 0) return {e.high, e.low};
    const V value = e.value();
    return {value, fma(e.high, e.low, V(e.high - value))};
}

// Exponentials of `Count` vectors, written step by step: so many are under way at once that none waits for another.
//
// high and low together are within 0.11 ulp of the exact exponential, times its table's scale; without a table, within
// 0.4 ulp, and within 0.2 ulp where Fine also carries the rounding of e^r - 1.
template <bool Tempered, bool Fine, class S, std::size_t Count>
SOFTMAX_INLINE void exponentials(const typename S::V (&entries)[Count], const Reduction<S>& row,
                                 Exponential<S> (&e)[Count]) {
    using V = typename S::V;
    using I = typename S::I;
    using T = typename S::T;
    constexpr int bits = table_bits<S>;
#define SOFTMAX_EACH for (std::size_t i = 0; i < Count; ++i)
    V x[Count], rounded[Count], minus_n[Count], first[Count], r[Count];
    SOFTMAX_EACH x[i] = max(row.floor, entries[i]);  // NaN stays NaN
    SOFTMAX_EACH rounded[i] = fma(x[i], row.log2e_t, row.magic);
    SOFTMAX_EACH minus_n[i] = row.magic - rounded[i];
    SOFTMAX_EACH first[i] = fma(minus_n[i], row.ln2t_high, x[i]);
    SOFTMAX_EACH r[i] = fma(minus_n[i], row.ln2t_low, first[i]);
    if constexpr (bits > 0) {
        using Table = ExpTable<T, bits>;
        if constexpr (Tempered) SOFTMAX_EACH r[i] = r[i] * row.inverse_high;
        if constexpr (requires { Table::errors; }) {
            SOFTMAX_EACH r[i] = r[i] + lookup<S>(Table::errors, bit_cast<I>(rounded[i]));
            SOFTMAX_EACH {
                const I power = bit_cast<I>(rounded[i]) << (Float<T>::fraction_bits - bits);
                e[i].high = bit_cast<V>(I(bit_cast<I>(lookup<S>(Table::powers, bit_cast<I>(rounded[i]))) + power));
            }
        } else {
            SOFTMAX_EACH {
                const I power = (bit_cast<I>(rounded[i]) << (Float<T>::fraction_bits - bits)) & exponent_field<T>;
                e[i].high = lookup<S>(&Table::values, bit_cast<I>(rounded[i])) * bit_cast<V>(power);
            }
        }
        V r2[Count], q[Count];
        SOFTMAX_EACH r2[i] = r[i] * r[i];
        SOFTMAX_EACH q[i] = tail<S>(r[i], r2[i], Table::q);
        SOFTMAX_EACH e[i].low = fma(r2[i], q[i], r[i]);
    } else {
        SOFTMAX_EACH {
            V r_error = fma(minus_n[i], row.ln2t_low, V(first[i] - r[i]));
            if constexpr (Tempered) {
                const V quotient = r[i] * row.inverse_high;
                r_error = mul_add(r_error, row.inverse_high,
                                  mul_add(r[i], row.inverse_low, fma(r[i], row.inverse_high, V(-quotient))));
                r[i] = quotient;
            }
            const V power = bit_cast<V>(I(bit_cast<I>(rounded[i]) << Float<T>::fraction_bits));
            const Pair<V> minus_one = expm1<T, S>(r[i], r_error);
            e[i].high = fma(minus_one.high, power, power);
            e[i].low = fma(minus_one.high, power, V(power - e[i].high));
            if constexpr (Fine) e[i].low = mul_add(minus_one.low, power, e[i].low);
        }
    }
#undef SOFTMAX_EACH
}

template <bool Tempered, bool Fine, class S>
SOFTMAX_INLINE Exponential<S> exponential(const typename S::V& entries, const Reduction<S>& row) {
    const typename S::V one[1] = {entries};
    Exponential<S> e[1];
    exponentials<Tempered, Fine, S>(one, row, e);
    return e[0];
}

}  // namespace softmax::SOFTMAX_ISA
