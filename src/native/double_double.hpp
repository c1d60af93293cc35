// Unevaluated sums high + low of two doubles, for the few scalar steps that finish a row. |low| <= ulp(high) / 2, relative
// error below 2^-100 an operation. Source: Dekker, "A floating-point technique for extending the available precision",
// Numer. Math. 18 (1971); Hida, Li & Bailey, "Library for double-double arithmetic" (2000).
#pragma once

#include "simd.hpp"

namespace softmax::SOFTMAX_ISA {

struct DD {
    double high, low;
};

// high + low = a + b exactly (Knuth).
SOFTMAX_INLINE DD two_sum(double a, double b) {
    const double sum = a + b, back = sum - a;
    return {sum, (a - (sum - back)) + (b - back)};
}

// The same for |a| >= |b| (Dekker).
SOFTMAX_INLINE DD fast_two_sum(double a, double b) {
    const double sum = a + b;
    return {sum, b - (sum - a)};
}

SOFTMAX_INLINE DD add(DD a, double b) {
    const DD sum = two_sum(a.high, b);
    return fast_two_sum(sum.high, sum.low + a.low);
}

SOFTMAX_INLINE DD add(DD a, DD b) {
    const DD high = two_sum(a.high, b.high), low = two_sum(a.low, b.low);
    const DD sum = fast_two_sum(high.high, high.low + low.high);
    return fast_two_sum(sum.high, sum.low + low.low);
}

SOFTMAX_INLINE DD multiply(DD a, DD b) {
    const double product = a.high * b.high;
    return fast_two_sum(product, fma(a.high, b.high, -product) + (a.high * b.low + a.low * b.high));
}

SOFTMAX_INLINE DD divide(DD a, DD b) {
    const double quotient = a.high / b.high;
    const double remainder = (fma(-quotient, b.high, a.high) + a.low) - quotient * b.low;
    return fast_two_sum(quotient, remainder / b.high);
}

}  // namespace softmax::SOFTMAX_ISA
