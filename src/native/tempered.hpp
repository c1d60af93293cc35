// What Newton's method on the temperature T asks of a row x with the target t, all relative to x_t:
//
//     loss = logsumexp((x - x_t) / T)      mean and variance of x - x_t under softmax(x / T)
//
// With the maximum m, u = (x - m) / T and e = e^u, the maxima have u = 0 and e = 1, so that the others alone are summed:
//
//     s0 = sum of e + (number of maxima - 1)     s1 = sum of e u     s2 = sum of e u^2
//     loss = log1p(s0) + (m - x_t) / T     mean = T s1 / (1 + s0) + (m - x_t)     variance = T^2 (s2 / (1 + s0) - (...)^2)
//
// Sure and right rows keep their relative precision: there m = x_t, and nothing is added to what is tiny. Sums are in T by
// parts and in double between them: within some 1e-7 for float, 1e-15 for double.
#pragma once

#include "packed.hpp"
#include "softmax.hpp"

namespace softmax::SOFTMAX_ISA {

struct Tempered {
    double loss, mean, variance;
};

struct TemperedSums {
    double others = 0, first = 0, second = 0, maxima = 0;
};

// Adds the sums of a block, exponentials times 2^guard as they are.
template <class S, class T>
void add_tempered(const T* x, ptrdiff_t n, const Reduction<S>& reduction, T maximum, T inverse, TemperedSums& sums) {
    using V = typename S::V;
    const Reduction<S> row = reduction;
    const V top = splat<S>(maximum), zero = splat<S>(T(0));
    const V floor = splat<S>(T(2 * Float<T>::floor));  // e is 0 long before
    constexpr ptrdiff_t part = 32 * S::lanes;          // of sums that keep no roundings
    const auto plus = [](const auto& a, const auto& b) { return a + b; };
    for (ptrdiff_t start = 0; start < n; start += part) {
        V others = zero, first = zero, second = zero, maxima = zero;
        for_vectors<S>(std::min(n - start, part), [&](auto width, ptrdiff_t i, int in_use) {
            V v[width()];
            Exponential<S> each[width()];
            load_all<S>(v, x + start + i, in_use, T(-INFINITY));
            exponentials<true, false, S>(v, row, each);
            for (int a = 0; a < width(); ++a) {
                const V u = max(floor, V((v[a] - top) * inverse));
                const V value = each[a].value(), e = v[a] < row.floor ? zero : value, product = e * u;
                others = others + (v[a] == top ? zero : e);
                maxima = maxima + (v[a] == top ? splat<S>(T(1)) : zero);
                first = first + product;
                second = fma(product, u, second);
            }
        });
        sums.others += fold(as_doubles<S>(others), plus);
        sums.maxima += fold(as_doubles<S>(maxima), plus);
        sums.first += fold(as_doubles<S>(first), plus);
        sums.second += fold(as_doubles<S>(second), plus);
    }
}

// `constants` are those of the temperature: rows of the same one share them.
template <class S, class T>
Tempered tempered_row(const Row<T>& x, T of_target, double temperature, const Temperature<T>& constants) {
    const T highest = maximum_of_row<S>(x, 1);
    if (!std::isfinite(highest)) return {NAN, NAN, NAN};
    Row<T> shifted = x;
    T maximum = highest;
    const double carried = normalize(shifted, maximum, temperature);
    const Reduction<S> reduction(splat<S>(maximum),
                                 carried == temperature ? constants : temperature_constants<T>(carried));
    TemperedSums sums;
    for (ptrdiff_t first = 0; first < x.n; first += block_length) {
        const ptrdiff_t count = std::min(block_length, x.n - first);
        T buffer[block_length];
        add_tempered<S, T>(shifted.block(first, count, buffer), count, reduction, maximum, T(1 / carried), sums);
    }
    const double unit = 1 / exponential_of_maximum<S, true>(maximum, reduction).exact.high;
    const double others = unit * sums.others + (sums.maxima - 1), total = 1 + others;
    const double mean = unit * sums.first / total, square = unit * sums.second / total;
    const double above = double(highest) - double(of_target);
    return {std::log1p(others) + above / temperature, temperature * mean + above,
            temperature * temperature * std::max(square - mean * mean, 0.0)};
}

template <class S, class T>
void tempered_rows(const Batch<T>& x, const Batch<std::int64_t>& targets, const Batch<double>& temperature,
                   const Batch<double> (&results)[3], ptrdiff_t rows, ptrdiff_t n) {
    const bool same = temperature.outer == 0;
    const Temperature<T> constants = temperature_constants<T>(same ? temperature.value(0) : 1.0);
    for_rows(rows, n, [&](ptrdiff_t i, int) {
        const Row<T> row = row_of(x, nullptr, i, n);
        const double t = temperature.value(i);
        const Tempered found =
            tempered_row<S>(row, row[targets.value(i)], t, same ? constants : temperature_constants<T>(t));
        results[0].value(i) = found.loss;
        results[1].value(i) = found.mean;
        results[2].value(i) = found.variance;
    });
}

}  // namespace softmax::SOFTMAX_ISA
