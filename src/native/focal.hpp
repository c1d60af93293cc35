// The focal loss (1 - p)^gamma (-log p) of a class of probability p, and its derivative -C (1 - p) by the logit:
//
//     C = (1 - p)^gamma + gamma p (1 - p)^(gamma-1) (-log p)
//
// Source: Lin et al., "Focal loss for dense object detection", ICCV 2017, doi:10.1109/ICCV.2017.324.
#pragma once

#include <cmath>

#include "simd.hpp"

namespace softmax::SOFTMAX_ISA {

// x^gamma for x in [0, 1], with 0^0 = 1.
inline double focus(double x, double gamma) {
    return gamma == 0 ? 1 : gamma == 1 ? x : gamma == 2 ? x * x : std::pow(x, gamma);
}

// Of one class with -log p = `cost`: the focal loss, and C.
struct Focused {
    double loss, slope;

    Focused(double cost, double gamma) : Focused(cost, std::exp(-cost), -std::expm1(-cost), gamma) {}
    Focused(double cost, double p, double rest, double gamma) {
        const double scale = focus(rest, gamma);
        loss = cost == 0 ? 0 : scale * cost;
        slope = gamma == 0 ? 1 : rest == 0 ? 0 : p == 0 ? 1 : scale + gamma * p * (scale / rest) * cost;
    }
};

}  // namespace softmax::SOFTMAX_ISA
