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

// The same of a row a lane, in DoubleLanes; gamma > 0 and the cost finite.
template <class Numbers>
struct FocusedLanes {
    Numbers loss, slope;

    FocusedLanes(const Numbers& cost, const Numbers& p, const Numbers& rest, double gamma) {
        const Numbers below = power(rest, gamma - 1), scale = below * rest;
        loss = scale * cost;
        slope = scale + p * below * cost * gamma;
    }

private:
    // 0^(negative) is 0 here: where nothing is left to learn the slope is 0.
    static Numbers power(const Numbers& x, double exponent) {
        if (exponent == 1) return x;
        if (exponent == 0) return Numbers::splat_of(1);
        constexpr std::size_t bytes = sizeof(Numbers), lanes = bytes / sizeof(double);
        double each[lanes];
        std::memcpy(each, x.part, bytes);
        for (double& number : each) number = number == 0 ? 0 : std::pow(number, exponent);
        Numbers result;
        std::memcpy(result.part, each, bytes);
        return result;
    }
};

}  // namespace softmax::SOFTMAX_ISA
