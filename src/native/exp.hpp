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
// Powers are kept times 2^guard, so that every n - k that can show in a result stays in the normal range; the guard leaves
// in the last multiplication, where subnormal results are rounded once. Entries further below the maximum than `floor`
// octaves are moved up to it, where the exponent field is 0 and with it the power: they count as exactly 0.
//
// Valid for |m / T| <= 2^11, where n is exact to far more than needed; beyond it, the caller subtracts m first, which is
// then exact for every x that counts (x > m / 2: Sterbenz). Error: see `exponential`.
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
    V log2e_t, ln2t_high, ln2t_low, inverse_high, inverse_low;
    V shift;  // 0, or m where |m / T| is beyond the range of n
    V floor;  // entries below are moved up to it
    V magic;  // rounds to an integer, subtracts k, and adds the bias of the exponent field

    template <class T>
    Reduction(const V& maximum, const Temperature<T>& t)
        : Reduction(maximum, splat<S>(t.log2e_t), splat<S>(t.ln2t_high), splat<S>(t.ln2t_low), splat<S>(t.inverse_high),
                    splat<S>(t.inverse_low), Float<T>()) {}

    template <class T>
    Reduction(const V& maximum, V log2e_t, V ln2t_high, V ln2t_low, V inverse_high, V inverse_low, Float<T>)
        : log2e_t(log2e_t),
          ln2t_high(ln2t_high),
          ln2t_low(ln2t_low),
          inverse_high(inverse_high),
          inverse_low(inverse_low) {
        const V scaled = maximum * inverse_high, limit = splat<S>(T(largest_unshifted));
        const V inside = scaled > limit ? maximum : splat<S>(T(0));
        shift = scaled < -limit ? maximum : inside;
        const V rounder = splat<S>(Float<T>::magic);
        const V k = fma(V(maximum - shift), log2e_t, rounder) - rounder;
        magic = (rounder + T(Float<T>::exponent_bias + Float<T>::guard)) - k;
        floor = (k + T(Float<T>::floor)) * ln2t_high;
    }
};

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

// e^(r + r_error) - 1 for |r| <= 0.3475.
template <class T, class S>
SOFTMAX_INLINE Pair<typename S::V> expm1(const typename S::V& r, const typename S::V& r_error) {
    using V = typename S::V;
    const V r2 = r * r;
    return fast_two_sum(r, V(mul_add(r2, tail<S>(r, r2, Float<T>::q), r_error)));
}

// 2^(n-k+guard) e^r: `value` rounded, and what the rounding left.
template <class S>
struct Exponential {
    typename S::V value, error;
};

// value is within 1.1 ulp of the exact exponential, value + error within 0.4 ulp, and within 0.2 ulp where Fine also
// carries the rounding of e^r - 1.
template <bool Tempered, bool Fine, class T, class S>
SOFTMAX_INLINE Exponential<S> exponential(const typename S::V& entries, const Reduction<S>& row) {
    using V = typename S::V;
    using I = typename S::I;
    const V x = max(V(entries - row.shift), row.floor);
    const V rounded = fma(x, row.log2e_t, row.magic);
    const V minus_n = row.magic - rounded;
    const V first = fma(minus_n, row.ln2t_high, x);
    V r = fma(minus_n, row.ln2t_low, first);
    V r_error = fma(minus_n, row.ln2t_low, V(first - r));
    if constexpr (Tempered) {
        const V quotient = r * row.inverse_high;
        r_error =
            mul_add(r_error, row.inverse_high, mul_add(r, row.inverse_low, fma(r, row.inverse_high, V(-quotient))));
        r = quotient;
    }
    const V power = bit_cast<V>(I(bit_cast<I>(rounded) << Float<T>::fraction_bits));
    const Pair<V> minus_one = expm1<T, S>(r, r_error);
    const V value = fma(minus_one.high, power, power);
    const V error = fma(minus_one.high, power, V(power - value));
    if constexpr (!Fine) return {value, error};
    return {value, mul_add(minus_one.low, power, error)};
}

}  // namespace softmax::SOFTMAX_ISA
