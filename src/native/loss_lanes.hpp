// Cross-entropy of few classes, one row a lane: of integer targets, plain, smoothed or focal, and of probabilities, plain
// or smoothed. Formulas and names are those of cross_entropy.hpp; what finishes a row is in double. Rows that are special
// go to `loss_row`.
#pragma once

#include <optional>

#include "cross_entropy.hpp"

namespace softmax::SOFTMAX_ISA {

// What each row of a tile has of `from`, in vectors of 8-byte numbers; `filler` in lanes that are not in use.
template <class T, class Vector, class Number>
SOFTMAX_INLINE void read_lanes(const Batch<Number>& from, const Tile<T>& tile, Number filler,
                               Vector (&to)[DoubleLanes<T>::parts]) {
    constexpr int lanes = Simd<T>::lanes;
    Number each[lanes];
    const Number* numbers = each;
    if (from.outer == ptrdiff_t(sizeof(Number)) && tile.rows == lanes) {
        numbers = &from.value(tile.first);
    } else {
        for (int lane = 0; lane < lanes; ++lane) {
            each[lane] = lane < tile.rows ? from.value(tile.first + lane) : filler;
        }
    }
    for (int k = 0; k < DoubleLanes<T>::parts; ++k)
        std::memcpy(&to[k], numbers + k * Simd<double>::lanes, sizeof to[k]);
}

// The lanes that are infinite or NaN.
template <class S>
unsigned not_finite(const typename S::V& v) {
    constexpr unsigned all = (1u << (S::lanes - 1) << 1) - 1;
    const auto limit = splat<S>(std::numeric_limits<typename S::T>::max());
    return all & ~(lane_bits<S>(v <= limit) & lane_bits<S>(v >= -limit));
}

// A power of two below each number, for those below 1: what is too small for T is worked with that times larger.
template <class T>
DoubleLanes<T> powers_below(const DoubleLanes<T>& numbers) {
    using D = Simd<double>;
    using I = typename D::I;
    const auto one = splat<D>(1.0), least = splat<D>(sizeof(T) == 4 ? 0x1p-140 : 0x1p-1000);
    return DoubleLanes<T>::each([&](int k) {
        const auto power = bit_cast<typename D::V>(I(bit_cast<I>(numbers.part[k]) & std::int64_t(0x7ff0000000000000)));
        const auto small = power < one ? power : one;
        return small > least ? small : least;
    });
}
template <class T>
DoubleLanes<T> inverse_of_powers(const DoubleLanes<T>& powers) {
    using D = Simd<double>;
    using I = typename D::I;
    return DoubleLanes<T>::each([&](int k) {
        return bit_cast<typename D::V>(I(std::int64_t(0x7fe0000000000000) - bit_cast<I>(powers.part[k])));
    });
}

// The rows of a tile, from their maxima to their gradient: B = smooth + hit y, A = slope, as in `Slope`.
template <class T>
struct LossTile {
    using S = Simd<T>;
    using V = typename S::V;
    using D = DoubleLanes<T>;
    using E = Exact<T>;

    Tile<T>& tile;
    const V maximum;
    const Reduction<S> row;
    D weight;
    unsigned special;
    // from `exponentiate` on
    Pair<V> others;
    // from `conclude` on
    V top;  // e of the maximum, among the others and as it is exactly
    Pair<V> exact_top;
    typename E::Number inverse, p, rest;  // 1 / (sum of e); p and 1 - p of the maximum
    Pair<V> log_sum;

    LossTile(Tile<T>& tile, const Temperatures<T>& plain, const Batch<double>& weights)
        : tile(tile), maximum(maxima_of(tile)), row(plain.reduction(maximum)) {
        special = plain.out_of_range(maximum);
        if (weights.outer == 0) {
            weight = D::splat_of(weights.value(0));
        } else {
            read_lanes(weights, tile, 1.0, weight.part);
        }
        for (int k = 0; k < D::parts; ++k) {
            special |= lane_bits<Simd<double>>(weight.part[k] == splat<Simd<double>>(0.0)) << k * Simd<double>::lanes;
        }
    }

    // The sum of maximum - x; lanes where it is not finite are special.
    D gap() {
        Pair<V> sum = {splat<S>(T(0)), splat<S>(T(0))};
        for (ptrdiff_t j = 0; j < tile.n; ++j) accumulate(sum, V(maximum - tile.column[j]));
        special |= not_finite<S>(sum.high);
        return D::of(sum);
    }

    // With `keep`, columns become exponentials.
    void exponentiate(bool keep) {
        others = (keep ? others_columns<false, true, T> : others_columns<false, false, T>)(tile, row, maximum);
    }
    // What the sum of the exponentials says of the maximum.
    void conclude() {
        const Exponential<S> of_maximum = exponential<false, true, S>(maximum, row);
        top = of_maximum.value();
        exact_top = as_pair(of_maximum);
        const auto e = E::of(exact_top), beside = E::of(others);
        log_sum = log1p<T, S>(others);
        inverse = E::inverse(multiply(e, E::one_more(beside)));
        p = multiply(e, inverse);
        rest = multiply(beside, p);
    }

    void deliver(const D& loss, const Batch<double>& losses) const {
        const D weighted = loss * weight;
        if (special == 0 && tile.rows == S::lanes && losses.outer == ptrdiff_t(sizeof(double))) {
            double* to = &losses.value(tile.first);
            for (int k = 0; k < D::parts; ++k) store(to + k * Simd<double>::lanes, weighted.part[k]);
            return;
        }
        double each[S::lanes];
        std::memcpy(each, weighted.part, sizeof each);
        for (int lane = 0; lane < tile.rows; ++lane) {
            if (!(special >> lane & 1)) losses.value(tile.first + lane) = each[lane];
        }
    }

    // Every column e becomes of(j, e, A p) times the power that A, `hit` and `smooth` are then relative to.
    template <class Of>
    void write(const D& slope, const D& power, const Of& of) {
        const Pair<V> factor = E::pair(multiply(E::of(slope * inverse_of_powers(power)), inverse));
        const auto scaling = Scaling<S>(factor, top, multiply(factor, exact_top).high);
        const V back = power.rounded();
        for (ptrdiff_t j = 0; j < tile.n; ++j) {
            const V e = tile.column[j];
            tile.column[j] = of(j, e, scaling.template finish<true>(e)) * back;
        }
    }
};

// Rows with one class as target.
template <class T>
struct ClassTargets {
    using S = Simd<T>;
    using V = typename S::V;
    using I = typename S::I;
    using D = DoubleLanes<T>;
    using E = Exact<T>;

    static constexpr bool may_focus = true;
    I index;
    V at_target;

    ClassTargets(LossTile<T>& of, const Batch<std::int64_t>& targets, const LossOptions& options) {
        const Tile<T>& tile = of.tile;
        typename Simd<double>::I wide[D::parts];
        read_lanes(targets, tile, std::int64_t(0), wide);
        index = D::template joined<I, typename D::HalfOf::I>(wide);
        at_target = tile.column[0];
        I number = {};
        for (ptrdiff_t j = 1; j < tile.n; ++j) {
            number = number + 1;
            at_target = index == number ? tile.column[j] : at_target;
        }
        if (options.gamma != 0) of.special |= not_finite<S>(at_target);
    }

    D distance(const LossTile<T>& of) const { return D::of(of.maximum) - D::of(at_target); }
    D cost(const LossTile<T>& of) const {  // also where that is infinite
        return D::of(of.log_sum.high) + (D::of(of.log_sum.low) + distance(of));
    }
    FocusedLanes<D> focused(const LossTile<T>& of, double gamma) const {
        const auto e = E::of(as_pair(exponential<false, true, S>(at_target, of.row)));
        const D p = E::doubles(multiply(e, of.inverse)), sure = E::doubles(of.rest), from = distance(of);
        const auto zero = splat<Simd<double>>(0.0), one = splat<Simd<double>>(1.0);
        const D rest = D::each([&](int k) {
            const auto less = one - p.part[k];  // p <= 1/2
            return from.part[k] == zero ? sure.part[k] : less;
        });
        return {cost(of), p, rest, gamma};
    }
    void gradient(LossTile<T>& of, const D& hit, double part) const {
        const double n = double(of.tile.n);
        const D slope = hit + of.weight * (part * n), power = powers_below(slope), up = inverse_of_powers(power);
        const V smooth = (of.weight * part * up).rounded(), own = (hit * up).rounded();
        // At the target A p - B, but with 1 - p at hand where that is the maximum: kept (A p - smooth) + change.
        const auto sure = at_target == of.maximum;
        const V zero = splat<S>(T(0)), one = splat<S>(T(1));
        const V p = E::rounded(of.p), rest = E::rounded(of.rest);
        const V at_maximum = smooth * (p * T(n - 1) - rest) - own * rest, less = -own;
        const V kept = sure ? zero : one, change = sure ? at_maximum : less;
        I number = {};
        of.write(slope, power, [&](ptrdiff_t, const V&, const V& share) {
            const V g = share - smooth, at = mul_add(g, kept, change);
            const V result = index == number ? at : g;
            number = number + 1;
            return result;
        });
    }
};

// Rows with probabilities as target.
template <class T>
struct ProbabilityTargets {
    using S = Simd<T>;
    using V = typename S::V;
    using D = DoubleLanes<T>;

    static constexpr bool may_focus = false;
    Tile<T> q;
    Pair<V> mass;
    D expected;

    ProbabilityTargets(LossTile<T>& of, const Batch<T>& probs, const LossOptions&) {
        const Tile<T>& tile = of.tile;
        q.first = tile.first;
        q.rows = tile.rows;
        q.n = tile.n;
        q.read(probs);
        const V zero = splat<S>(T(0));
        Pair<V> sum = {zero, zero}, distance = {zero, zero};
        for (ptrdiff_t j = 0; j < tile.n; ++j) {
            const V share = q.column[j], d = of.maximum - tile.column[j];
            const V product = share * d;
            accumulate(sum, share);
            accumulate(distance, V(share == zero ? zero : product));
        }
        mass = two_sum(sum.high, sum.low);
        expected = D::of(distance);
        of.special |= not_finite<S>(distance.high);
    }

    D cost(const LossTile<T>& of) const {
        const D total = D::of(mass);
        return D::of(of.log_sum.high) * total + (D::of(of.log_sum.low) * total + expected);
    }
    void gradient(LossTile<T>& of, const D& hit, double part) const {
        const double n = double(of.tile.n);
        const D slope = hit * D::of(mass) + of.weight * (part * n), power = powers_below(slope);
        const D up = inverse_of_powers(power);
        const V smooth = (of.weight * part * up).rounded(), own = (hit * up).rounded(), top = of.top;
        // At the maximum (A - B) p - B (1 - p).
        const V p = Exact<T>::rounded(of.p), rest = Exact<T>::rounded(of.rest);
        const V even = smooth * (p * T(n - 1) - rest), own_p = own * p, own_rest = own * rest;
        of.write(slope, power, [&](ptrdiff_t j, const V& e, const V& share) {
            const V y = q.column[j], left = (mass.high - y) + mass.low;
            const V at_maximum = even + (left * own_p - y * own_rest), g = (share - smooth) - own * y;
            return V(e == top ? at_maximum : g);
        });
    }
};

// Targets: ClassTargets or ProbabilityTargets; `with_target(i, body)` calls body with the Target of row i.
template <class Targets, class T, class Number, class WithTarget>
void cross_entropy_lanes(const Batch<T>& x, const Batch<Number>& targets, const Batch<double>& weights,
                         const Batch<double>& losses, const LossOptions& options, const Batch<T>* gradient,
                         ptrdiff_t rows, ptrdiff_t n, const WithTarget& with_target) {
    using D = DoubleLanes<T>;
    const double smoothing = options.smoothing, share = 1 - smoothing, part = smoothing / double(n);
    const Temperatures<T> plain(no_temperature, 0, 1);
    struct State {
        std::optional<LossTile<T>> of;
        std::optional<Targets> target;
        std::optional<Rescued<T>> rescued;
        D gap;
    };
    const auto begin = [&](Tile<T>& tile, State& state) {
        LossTile<T>& of = state.of.emplace(tile, plain, weights);
        state.target.emplace(of, targets, options);
        state.gap = smoothing == 0 ? D::splat_of(0) : of.gap();
        state.rescued.emplace(tile, of.special, [&](const Row<T>& row, ptrdiff_t i, const OutRow<T>& to) {
            with_target(i, [&](const Target<T>& of_row) {
                loss_row<Simd<T>>(row, of_row, weights.value(i), options, &losses.value(i),
                                  gradient == nullptr ? nullptr : &to, 1);
            });
        });
        of.exponentiate(gradient != nullptr);
    };
    const auto end = [&](Tile<T>& tile, State& state) {
        LossTile<T>& of = *state.of;
        const Targets& target = *state.target;
        of.conclude();
        D loss = target.cost(of), hit = of.weight * share;
        if constexpr (Targets::may_focus) {
            if (options.gamma != 0) {
                const auto focused = target.focused(of, options.gamma);
                loss = focused.loss;
                hit = hit * focused.slope;
            }
        }
        if (smoothing != 0) loss = loss * share + (D::of(of.log_sum) * smoothing + state.gap * part);
        of.deliver(loss, losses);
        if (gradient == nullptr) return;
        target.gradient(of, hit, part);
        state.rescued->restore();
        tile.write(*gradient);
    };
    for_tiles<State>(x, nullptr, rows, n, begin, end);
}

// The sums of probabilities, as `mass_of_block`; NaN where one is negative or NaN.
template <class T>
void mass_lanes(const Batch<T>& q, const Batch<double>& mass, ptrdiff_t rows, ptrdiff_t n) {
    using S = Simd<T>;
    using V = typename S::V;
    for_tiles(q, nullptr, rows, n, [&](Tile<T>& tile) {
        const V zero = splat<S>(T(0)), wrong = splat<S>(T(NAN));
        V sum = zero;
        for (ptrdiff_t j = 0; j < n; ++j) sum = sum + (tile.column[j] >= zero ? tile.column[j] : wrong);
        T each[S::lanes];
        store(each, sum);
        for (int lane = 0; lane < tile.rows; ++lane) mass.value(tile.first + lane) = each[lane];
    });
}

}  // namespace softmax::SOFTMAX_ISA
