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

// The same for rows in lanes whose target is not impossible; gamma > 0.
template <class Numbers>
struct FocusedLanes {
    Numbers loss, slope;

    FocusedLanes(const Numbers& cost, const Numbers& p, const Numbers& rest, double gamma) {
        Numbers scale = rest, over_rest = rest - rest + 1;  // rest^gamma, rest^(gamma - 1)
        if (gamma == 2) {
            scale = rest * rest;
            over_rest = rest;
        } else if (gamma != 1) {
            constexpr int lanes = sizeof(Numbers) / sizeof(double);
            double each[lanes], scales[lanes], over[lanes];
            std::memcpy(each, &rest, sizeof each);
            for (int lane = 0; lane < lanes; ++lane) {
                scales[lane] = focus(each[lane], gamma);
                over[lane] = each[lane] == 0 ? 0 : scales[lane] / each[lane];
            }
            std::memcpy(&scale, scales, sizeof scale);
            std::memcpy(&over_rest, over, sizeof over_rest);
        }
        loss = scale * cost;
        slope = scale + gamma * p * over_rest * cost;
    }
};

}  // namespace softmax::SOFTMAX_ISA
