// log(1 + a) for a >= 0 given as high + low, to about 2^-36 (float) and 2^-66 (double) relative to a result of any size:
//
//     y = a first guess, Padé's [2/2] of log1p on the fraction        within 2^-13
//     d = (1 + a) e^-y - 1 = a + e + a e,   e = e^-y - 1              exact to far below an ulp: a and e cancel exactly
//     log(1 + a) = y + log1p(d) = y + d - d^2/2 + d^3/3 - d^4/4
#pragma once

#include "exp.hpp"

namespace softmax::SOFTMAX_ISA {

template <class T, class S>
SOFTMAX_INLINE Pair<typename S::V> log1p(const Pair<typename S::V>& a) {
    using V = typename S::V;
    using I = typename S::I;
    using U = typename S::U;
    using F = Float<T>;
    const auto constant = [](double value) { return splat<S>(T(value)); };
    const V one = constant(1);
    // 1 + a = 2^exponent (1 + z), z in [-0.293, 0.4143). Lanes that hold no sum, and are written over, may wrap around.
    const V sqrt_half = constant(0x1.6a09e667f3bcdp-1), whole = one + a.high;
    const I exponent = bit_cast<I>(U(bit_cast<U>(whole) - bit_cast<U>(sqrt_half))) >> F::fraction_bits;
    const V power = bit_cast<V>(U(bit_cast<U>(one) - (bit_cast<U>(exponent) << F::fraction_bits)));  // 2^-exponent
    const V z = mul_add(a.high, power, V(power - one));
    const V rounder = constant(F::magic);
    const V count = bit_cast<V>(I(bit_cast<I>(rounder) + exponent)) - rounder;
    const V fraction = z * mul_add(z, constant(3), constant(6)) / mul_add(z, V(z + constant(6)), constant(6));
    const V y = mul_add(count, constant(ln_2.high), fraction);

    // e^-y - 1 with n = -exponent at hand: |n ln 2 - (-y)| stays within 0.3475 as y is close to log(1 + a)
    const V ln2_high = constant(ln_2.high),
            ln2_low = constant(T(ln_2.high) == ln_2.high ? ln_2.low : ln_2.high - T(ln_2.high));
    const V first = fma(count, ln2_high, V(-y)), r = fma(count, ln2_low, first);
    const V r_error = fma(count, ln2_low, V(first - r));
    const Pair<V> reduced = expm1<T, S>(r, r_error);
    const Pair<V> e = add(Pair<V>{reduced.high * power, reduced.low * power}, V(power - one));

    const Pair<V> sum = two_sum(a.high, e.high);
    const V product = a.high * e.high, product_error = fma(a.high, e.high, V(-product));
    const Pair<V> difference = two_sum(sum.high, product);
    const V small =
        (sum.low + difference.low) + (product_error + ((a.low + e.low) + (a.low * e.high + a.high * e.low)));
    const V d = difference.high + small;
    const V rest = mul_add(d, mul_add(d, mul_add(d, constant(-0.25), constant(1.0 / 3)), constant(-0.5)), one);
    return fast_two_sum(y, V(d * rest));
}

}  // namespace softmax::SOFTMAX_ISA
