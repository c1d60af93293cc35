// Cross-entropy of few classes, one row a lane: integer targets, smoothed or focal, and probabilities. Formulas and
// notation are those of cross_entropy.hpp; what finishes a row is in double. Rows that are special go to `loss_row`.
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

// The rows of a tile and what they weigh. Pairs of T's carry what a gradient is made of, doubles what a loss is.
template <class T>
struct LossTile {
    using S = Simd<T>;
    using V = typename S::V;
    using D = Doubles<S>;

    Tile<T>& tile;
    const ptrdiff_t n = tile.n;
    const Tops<T> tops{tile};
    const Temperatures<T> plain{no_temperature, 0, S::lanes};
    D weight;
    unsigned special;
    // known from `exponentiate` on; `inverse` is 1 / (top all)
    Pair<V> others, top, all, inverse;
    D log_sum;

    LossTile(Tile<T>& tile, const Batch<double>& weights) : tile(tile) {
        double each[S::lanes] = {};
        for (int lane = 0; lane < tile.rows; ++lane) each[lane] = weights.value(tile.first + lane);
        std::memcpy(&weight, each, sizeof weight);
        special = tops.special | plain.out_of_range(tops.maximum);
        for (int lane = 0; lane < tile.rows; ++lane) special |= unsigned(each[lane] == 0) << lane;
    }

    static D doubles(const Pair<V>& pair) { return as_doubles<S>(pair.high) + as_doubles<S>(pair.low); }
    static Pair<V> pair(const D& numbers) {
        const V high = from_doubles<S>(numbers);
        return {high, from_doubles<S>(D(numbers - as_doubles<S>(high)))};
    }

    // The sum of what `of(j)` says of the classes.
    template <class Of>
    D sum(const Of& of) const {
        Pair<V> all = {splat<S>(T(0)), splat<S>(T(0))};
        for (ptrdiff_t j = 0; j < n; ++j) accumulate(all, V(of(j)));
        return doubles(all);
    }
    D sum_of_gaps() const {
        return sum([&](ptrdiff_t j) { return tops.maximum - tile.column[j]; });
    }

    // Columns become exponentials, where they are to be kept.
    void exponentiate(bool keep) {
        const Reduction<S> row = reduction();
        others = keep ? others_columns<false, true>(tile, row, tops.maximum)
                      : others_columns<false, false>(tile, row, tops.maximum);
        const Pair<V> one = {splat<S>(T(1)), splat<S>(T(0))};
        all = add(others, one.high);
        top = as_pair(exponential<false, true, S>(tops.maximum, row));
        inverse = divide(one, multiply(top, all));
        log_sum = doubles(log1p<T, S>(others));
    }
    Reduction<S> reduction() const { return plain.reduction(tops.maximum); }

    // The share of the maximum and of an entry x, and of all classes but that one, with their relative precision.
    Pair<V> p_of_maximum() const { return multiply(top, inverse); }
    Pair<V> rest_of_maximum() const { return multiply(others, p_of_maximum()); }
    Pair<V> p_of(const V& x) const { return multiply(as_pair(exponential<false, true, S>(x, reduction())), inverse); }
    Pair<V> rest_of(const V& x, const Pair<V>& p) const {
        const Pair<V> sure = rest_of_maximum(), other = fast_two_sum(splat<S>(T(1)), V(-p.high));  // other: p <= 1/2
        const auto is_sure = x == tops.maximum;
        const V low = other.low - p.low;
        return {is_sure ? sure.high : other.high, is_sure ? sure.low : low};
    }

    void deliver(const D& loss, const Batch<double>& losses) const {
        double each[S::lanes];
        const D weighted = weight * loss;
        std::memcpy(each, &weighted, sizeof each);
        for (int lane = 0; lane < tile.rows; ++lane) {
            if (!(special >> lane & 1)) losses.value(tile.first + lane) = each[lane];
        }
    }

    // Columns times slope / (top all). A slope so small that the factor would lose digits is left 2^octaves larger; the
    // powers returned make up for it.
    bool scale(const D& slopes, V& powers) {
        double slope[S::lanes];
        T power[S::lanes];
        std::memcpy(slope, &slopes, sizeof slope);
        bool tiny = false;
        for (double one : slope) tiny = tiny || (std::fabs(one) < 0x1p-40 && one != 0);
        Pair<V> factor = pair(slopes);
        if (tiny) {
            for (int lane = 0; lane < S::lanes; ++lane) {
                const int octaves = slope[lane] == 0 ? 0 : std::ilogb(slope[lane]);
                power[lane] = T(std::ldexp(1.0, octaves));
                slope[lane] = std::ldexp(slope[lane], -octaves);
            }
            D larger;
            std::memcpy(&larger, slope, sizeof larger);
            factor = pair(larger);
            powers = load<S>(power);
        }
        scale_columns<false>(tile, multiply(factor, inverse), reduction(), tops.maximum);
        return tiny;
    }
};

template <class T>
void cross_entropy_lanes(const Batch<T>& x, const Batch<std::int64_t>& targets, const Batch<double>& weights,
                         const Batch<double>& losses, const LossOptions& options, const Batch<T>* gradient,
                         ptrdiff_t rows, ptrdiff_t n) {
    using S = Simd<T>;
    using V = typename S::V;
    using D = Doubles<S>;
    const double share = 1 - options.smoothing, part = options.smoothing / double(n);
    const auto index = [&](const Tile<T>& tile, int lane) { return ptrdiff_t(targets.value(tile.first + lane)); };
    for_tiles(x, nullptr, rows, n, [&](Tile<T>& tile) {
        LossTile<T> of(tile, weights);
        T at[S::lanes] = {};
        for (int lane = 0; lane < tile.rows; ++lane) at[lane] = tile.entry(lane, index(tile, lane));
        const V at_target = load<S>(at);
        D gaps = {};
        if (part != 0) {
            of.special |= holes(tile);
            gaps = of.sum_of_gaps();
        }
        if (options.gamma != 0) of.special |= lane_bits<S>(at_target < splat<S>(std::numeric_limits<T>::lowest()));
        Rescued<T> rescued(tile, of.special, [&](const Row<T>& row, ptrdiff_t i, const OutRow<T>& to) {
            loss_row<S>(row, Target<T>{ptrdiff_t(targets.value(i))}, weights.value(i), options, &losses.value(i),
                        gradient == nullptr ? nullptr : &to, 1);
        });
        of.exponentiate(gradient != nullptr);

        D loss = of.log_sum + (as_doubles<S>(of.tops.maximum) - as_doubles<S>(at_target)), hit = of.weight * share;
        Pair<V> p, rest;
        if (gradient != nullptr || options.gamma != 0) {
            p = of.p_of(at_target);
            rest = of.rest_of(at_target, p);
        }
        if (options.gamma != 0) {
            const FocusedLanes<D> focused(loss, of.doubles(p), of.doubles(rest), options.gamma);
            loss = focused.loss;
            hit = hit * focused.slope;
        }
        if (part != 0) {
            const D smoothed = options.smoothing * of.log_sum + part * gaps;
            loss = share == 0 ? smoothed : D(share * loss + smoothed);
        }
        of.deliver(loss, losses);
        if (gradient == nullptr) return;

        const D even = of.weight * part;
        V powers;
        const bool tiny = of.scale(D(hit + even * double(n)), powers);
        const V smooth = from_doubles<S>(even);
        const V of_target = smooth * (p.high * T(n - 1) - rest.high) - multiply(of.pair(hit), rest).high;
        if (part != 0 || tiny) {
            for (ptrdiff_t j = 0; j < n; ++j) {
                const V g = tiny ? V(tile.column[j] * powers) : tile.column[j];
                tile.column[j] = g - smooth;
            }
        }
        store(at, of_target);
        for (int lane = 0; lane < tile.rows; ++lane) tile.entry(lane, index(tile, lane)) = at[lane];
        rescued.restore();
        tile.write(*gradient);
    });
}

// Of probabilities: without gamma.
template <class T>
void soft_cross_entropy_lanes(const Batch<T>& x, const Batch<T>& probs, const Batch<double>& weights,
                              const Batch<double>& losses, const LossOptions& options, const Batch<T>* gradient,
                              ptrdiff_t rows, ptrdiff_t n) {
    using S = Simd<T>;
    using V = typename S::V;
    using D = Doubles<S>;
    const double share = 1 - options.smoothing, part = options.smoothing / double(n);
    for_tiles(x, nullptr, rows, n, [&](Tile<T>& tile) {
        LossTile<T> of(tile, weights);
        const V maximum = of.tops.maximum;
        of.special |= holes(tile);
        Tile<T> q;
        q.first = tile.first;
        q.rows = tile.rows;
        q.n = n;
        q.read(probs);
        const D mass = of.sum([&](ptrdiff_t j) { return q.column[j]; });
        const D expected = of.sum([&](ptrdiff_t j) { return q.column[j] * (maximum - tile.column[j]); });
        D smoothed = {};
        if (part != 0) smoothed = part * of.sum_of_gaps();
        Rescued<T> rescued(tile, of.special, [&](const Row<T>& row, ptrdiff_t i, const OutRow<T>& to) {
            const Row<T> target = {probs.data + i * probs.outer, probs.inner, nullptr, 0, n, probs.storage};
            loss_row<S>(row, Target<T>{-1, &target}, weights.value(i), options, &losses.value(i),
                        gradient == nullptr ? nullptr : &to, 1);
        });
        V scores[lanes_limit];
        if (gradient != nullptr) std::copy(tile.column, tile.column + n, scores);
        of.exponentiate(gradient != nullptr);

        smoothed = smoothed + options.smoothing * of.log_sum;
        of.deliver(share == 0 ? smoothed : D(share * (of.log_sum * mass + expected) + smoothed), losses);
        if (gradient == nullptr) return;

        const D hit = of.weight * share, even = of.weight * part;
        V powers;
        const bool tiny = of.scale(D(hit * mass + even * double(n)), powers);
        const Pair<V> whole = of.pair(mass);
        const V p = of.p_of_maximum().high, rest = of.rest_of_maximum().high;
        const V own = from_doubles<S>(hit), smooth = from_doubles<S>(even);
        for (ptrdiff_t j = 0; j < n; ++j) {
            const V hit_j = own * q.column[j], left = (whole.high - q.column[j]) + whole.low;
            const V at_maximum = (own * left + smooth * T(n - 1)) * p - (smooth + hit_j) * rest;
            const V g = (tiny ? V(tile.column[j] * powers) : tile.column[j]) - smooth - hit_j;
            tile.column[j] = scores[j] == maximum ? at_maximum : g;
        }
        rescued.restore();
        tile.write(*gradient);
    });
}

}  // namespace softmax::SOFTMAX_ISA
