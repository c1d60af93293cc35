// Cross-entropy of a row with an integer target t, and its gradient, in one visit:
//
//     loss = log(sum) + (m - x_t)          gradient = p - onehot(t)
//
// Both terms of the loss are >= 0. Where t is the one maximum, the gradient's p_t - 1 is minus the share of the others,
// summed without it; anywhere else p_t <= 1/2 and the subtraction is harmless. So both keep their relative precision
// however sure and right the model is. A row of weight 0 is ignored, whatever it holds.
#pragma once

#include "logs.hpp"

namespace softmax::SOFTMAX_ISA {

template <class T>
double special_loss(const Summary<T>& summary, T target) {
    if (summary.kind == Kind::not_a_number) return NAN;
    return summary.kind == Kind::winners && target == summary.maximum ? std::log(summary.winners) : INFINITY;
}

template <class S, class T>
void cross_entropy_row(const Row<T>& x, ptrdiff_t target, double weight, double* loss, const OutRow<T>* gradient,
                       int threads) {
    if (weight == 0) {
        *loss = 0;
        if (gradient != nullptr) fill(x, {Kind::nothing, T(0), T(0), 0}, T(0), T(0), *gradient);
        return;
    }
    const Summary<T> summary = summarize<S>(x, 1.0, threads);
    const T maximum = summary.maximum, at_target = x[target];
    if (summary.kind != Kind::ordinary) {
        *loss = weight * special_loss(summary, at_target);
        if (gradient == nullptr) return;
        fill(x, summary, T(weight / summary.winners), T(0), *gradient);
        *gradient->at(target) -= T(weight);
        return;
    }
    const Temperature<T> constants = temperature_constants<T>(1);
    const DD rest = others<S>(x, maximum, 1.0, threads, gradient);
    const DD top = exponential_of_maximum(maximum, constants);
    const double distance = double(maximum) - double(at_target);
    const DD log_sum = log_total(rest);
    *loss = weight * (log_sum.high + (log_sum.low + distance));  // also where the distance is infinite
    if (gradient == nullptr) return;
    const DD factor = divide(DD{weight, 0.0}, multiply(top, add(rest, 1.0)));
    scale_row<S, false>(x, Reduction<S>(splat<S>(maximum), constants), factor, *gradient, threads);
    T* hit = gradient->at(target);
    if (at_target == maximum) {
        *hit = T(-weight * divide(rest, add(rest, 1.0)).high);
    } else {
        *hit = T(double(*hit) - weight);
    }
}

}  // namespace softmax::SOFTMAX_ISA
