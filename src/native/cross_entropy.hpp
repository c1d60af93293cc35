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
        gradient->set(target, gradient->get(target) - T(weight));
        return;
    }
    const DD rest = others<S>(x, maximum, 1.0, threads);
    const double distance = double(maximum) - double(at_target);
    const DD log_sum = log_total(rest);
    *loss = weight * (log_sum.high + (log_sum.low + distance));  // also where the distance is infinite
    if (gradient == nullptr) return;
    Row<T> shifted = x;
    T top = maximum;
    normalize(shifted, top, 1.0);
    const Reduction<S> row(splat<S>(top), temperature_constants<T>(1));
    const Top<S> of_top = exponential_of_maximum<S, false>(top, row);
    sum_row<S, false, false>(shifted, row, top, gradient, threads);
    const DD factor = divide(DD{weight, 0.0}, multiply(of_top.exact, add(rest, 1.0)));
    scale_row<S, false>(shifted, row, Scaling<S>(factor, of_top.exact, of_top.value), *gradient, threads);
    const bool sure = at_target == maximum;
    gradient->set(target,
                  sure ? T(-weight * divide(rest, add(rest, 1.0)).high) : T(double(gradient->get(target)) - weight));
}

}  // namespace softmax::SOFTMAX_ISA
