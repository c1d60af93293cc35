// Cross-entropy and its gradient of many rows with one class as target, in the pipeline of softmax: what finishes a row's
// exponentials is a `Sloping`, and the target's own entry is written over when that is done. Formulas, names and bits are
// those of cross_entropy.hpp, whose `loss_row` takes the rows that are not ordinary.
#pragma once

#include "cross_entropy.hpp"
#include "pipeline.hpp"

namespace softmax::SOFTMAX_ISA {

template <class S>
class LossFamily {
    using T = typename S::T;

public:
    using Lanes = S;
    using Entry = Sloping<S>;
    static constexpr bool tempered = false, stores = true;
    static constexpr Summed what = logs<S>;
    const Temperature<T> constants = temperature_constants<T>(1);

    // Rows of n, counted from `first`.
    LossFamily(ptrdiff_t first, ptrdiff_t n, const Batch<std::int64_t>& targets, const Batch<double>& weights,
               const Batch<double>& losses, const LossOptions& options)
        : first(first), n(n), targets(targets), weights(weights), losses(losses), options(options) {}

    Reduction<S> reduction(const typename S::V& maxima) const { return Reduction<S>(maxima, constants); }

    // What the entries say before exponentials take their place. Where rows of weight 0 have their target is nothing to
    // look at, and of smoothed ones with a class that is left out none is finished alike.
    bool begin(ptrdiff_t i, const T* x, T maximum) {
        Place& place = places[i % 4];
        if (weights.value(first + i) == 0) return false;
        place.at_target = double(x[targets.value(first + i)]);
        place.gaps = {0, 0, 0, 0};
        if (options.smoothing == 0) return true;
        const Row<T>* const no_probs = nullptr;
        place.gaps = gaps_of<S>(row_at(x), no_probs, maximum, true, 1);
        return place.gaps.left == double(n);
    }
    bool finish(ptrdiff_t i, const Row<T>& x, const BlockPair<T>& all, const Reduction<S>& row, bool ordinary, T* e,
                const OutRow<T>& out, Entry& entry) {
        Place& place = places[i % 4];
        const Target<T> target = {ptrdiff_t(targets.value(first + i))};
        const double weight = weights.value(first + i);
        double* const loss = &losses.value(first + i);
        place.pending = false;
        if (std::isnan(all.total.high)) {
            loss_by_classes(x, target, weight, options, not_a_number<T>, 0.0, loss, &out);
            return false;
        }
        if (!ordinary) {
            loss_row<S>(x, target, weight, options, loss, &out, 1);
            return false;
        }
        const Top<S> top = exponential_of_maximum<S, false>(all.maximum, row);
        const OutRow<T> stored = {reinterpret_cast<char*>(e), sizeof(T)};
        const DD rest = rest_of<S>(row_at(e), row, all.total, top, &stored, 1);
        const RowLoss<T> result(nullptr, place.at_target, double(all.maximum), rest, log_total<T>(rest), place.gaps,
                                weight, options);
        *loss = result.loss;
        place.of_target = T(result.of_target());
        place.pending = true;
        ::new (&entry) Entry(result.slope, top, n);
        return true;
    }
    void end(ptrdiff_t i, const OutRow<T>& out) const {
        const Place& place = places[i % 4];
        if (place.pending) out.set(targets.value(first + i), place.of_target);
    }

private:
    const ptrdiff_t first, n;
    const Batch<std::int64_t>& targets;
    const Batch<double>&weights, &losses;
    const LossOptions& options;
    struct Place {
        double at_target;
        Gaps gaps;
        T of_target;
        bool pending;  // of_target is still to be written
    } places[4];

    Row<T> row_at(const T* entries) const { return {reinterpret_cast<const char*>(entries), sizeof(T), nullptr, 0, n}; }
};

// False where the rows are not taken this way.
template <class S, class T>
bool cross_entropy_pipelined(const Batch<T>& x, const Batch<std::int64_t>& targets, const Batch<double>& weights,
                             const Batch<double>& losses, const LossOptions& options, const Batch<T>& gradient,
                             ptrdiff_t rows, ptrdiff_t n) {
    if (n > short_row<T> || options.by_classes(false)) return false;
    return pipelined<S, true>(
        x, nullptr, gradient, rows, n,
        [&](ptrdiff_t first, ptrdiff_t count, const auto& x_at, const auto& out_at, ptrdiff_t asked) {
            LossFamily<S> family(first, n, targets, weights, losses, options);
            short_rows(family, count, x_at, out_at, asked);
        });
}

}  // namespace softmax::SOFTMAX_ISA
