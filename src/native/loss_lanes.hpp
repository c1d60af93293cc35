// Cross-entropy of integer targets for few classes, one row a lane, smoothed or not; the rows that are special go to
// `loss_row`.
#pragma once

#include "cross_entropy.hpp"
#include "lanes.hpp"

namespace softmax::SOFTMAX_ISA {

// The lanes of a tile that hold a class of -inf.
template <class T>
unsigned holes(const Tile<T>& tile) {
    using S = Simd<T>;
    unsigned lanes = 0;
    for (ptrdiff_t j = 0; j < tile.n; ++j)
        lanes |= lane_bits<S>(tile.column[j] < splat<S>(std::numeric_limits<T>::lowest()));
    return lanes;
}
// The sum of maximum - x.
template <class T>
typename Simd<T>::V gap_of(const Tile<T>& tile, const typename Simd<T>::V& maximum) {
    using V = typename Simd<T>::V;
    Pair<V> sum = {splat<Simd<T>>(T(0)), splat<Simd<T>>(T(0))};
    for (ptrdiff_t j = 0; j < tile.n; ++j) {
        accumulate(sum, V(maximum - tile.column[j]));
    }
    return sum.high + sum.low;
}

template <class T>
void cross_entropy_lanes(const Batch<T>& x, const Batch<std::int64_t>& targets, const Batch<double>& weights,
                         const Batch<double>& losses, double smoothing, const Batch<T>* gradient, ptrdiff_t rows,
                         ptrdiff_t n) {
    using S = Simd<T>;
    using V = typename S::V;
    const LossOptions options = {smoothing, 0, 0, 0};
    const double share = 1 - smoothing, part = smoothing / double(n);
    for_tiles(x, nullptr, rows, n, [&](Tile<T>& tile) {
        const Tops<T> tops(tile);
        const Temperatures<T> t(no_temperature, tile.first, tile.rows);
        unsigned special = tops.special | t.out_of_range(tops.maximum);
        T gaps[S::lanes] = {};
        if (smoothing != 0) {
            special |= holes(tile);
            store(gaps, gap_of(tile, tops.maximum));
        }
        T at_target[S::lanes] = {}, maximum[S::lanes], log_high[S::lanes], log_low[S::lanes];
        T weight_high[S::lanes] = {}, weight_low[S::lanes] = {};
        for (int lane = 0; lane < tile.rows; ++lane) {
            const double weight = weights.value(tile.first + lane);
            special |= unsigned(weight == 0) << lane;
            at_target[lane] = tile.entry(lane, ptrdiff_t(targets.value(tile.first + lane)));
            weight_high[lane] = T(weight);
            weight_low[lane] = T(weight - double(weight_high[lane]));
        }
        Rescued<T> rescued(tile, special, [&](const Row<T>& row, ptrdiff_t i, const OutRow<T>& to) {
            loss_row<S>(row, Target<T>{ptrdiff_t(targets.value(i))}, weights.value(i), options, &losses.value(i),
                        gradient == nullptr ? nullptr : &to, 1);
        });
        const Reduction<S> row = t.reduction(tops.maximum);
        const Pair<V> others = gradient == nullptr ? others_columns<false, false>(tile, row, tops.maximum)
                                                   : others_columns<false, true>(tile, row, tops.maximum);
        const Pair<V> log_sum = log1p<T, S>(others);
        store(maximum, tops.maximum);
        store(log_high, log_sum.high);
        store(log_low, log_sum.low);
        for (int lane = 0; lane < tile.rows; ++lane) {
            if (special >> lane & 1) continue;
            const double distance = double(maximum[lane]) - double(at_target[lane]);
            const double log_sum = double(log_high[lane]) + double(log_low[lane]);
            const double of_target = double(log_high[lane]) + (double(log_low[lane]) + distance);
            const double loss = smoothing == 0 ? of_target
                                : share == 0   ? log_sum + part * double(gaps[lane])
                                               : share * of_target + (smoothing * log_sum + part * double(gaps[lane]));
            losses.value(tile.first + lane) = weights.value(tile.first + lane) * loss;
        }
        if (gradient == nullptr) return;
        const Pair<V> top = as_pair(exponential<false, true, S>(tops.maximum, row));
        const Pair<V> all = add(others, splat<S>(T(1))), weight = {load<S>(weight_high), load<S>(weight_low)};
        scale_columns<false>(tile, divide(weight, multiply(top, all)), row, tops.maximum);
        T hit[S::lanes];  // of a target that is the maximum: minus the share of the others
        V of_hit = -multiply(weight, divide(others, all)).high;
        if (smoothing != 0) {
            const V p = divide(Pair<V>{splat<S>(T(1)), splat<S>(T(0))}, all).high, rest = divide(others, all).high;
            of_hit = weight.high * (p * T(part * double(n - 1)) - rest * T(share + part));
            const V even = weight.high * T(part);
            for (ptrdiff_t j = 0; j < n; ++j) tile.column[j] = tile.column[j] - even;
        }
        store(hit, of_hit);
        for (int lane = 0; lane < tile.rows; ++lane) {
            T& entry = tile.entry(lane, ptrdiff_t(targets.value(tile.first + lane)));
            entry = at_target[lane] == maximum[lane] ? hit[lane]
                                                     : T(double(entry) - share * weights.value(tile.first + lane));
        }
        rescued.restore();
        tile.write(*gradient);
    });
}

}  // namespace softmax::SOFTMAX_ISA
