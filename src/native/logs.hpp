// logsumexp, log_softmax, and the pair (maximum, sum) itself.
//
// log(sum) relative to the maximum is log1p of the others' share, sum over x < m of e^(x-m), plus the maxima but one: no
// term cancels, so it keeps its relative precision down to the smallest numbers (log_softmax([20, 0])[0] = -2.06e-9).
// log_softmax = (x - m) / T - log(sum): both terms are <= 0, so nothing cancels here either, and three roundings of half
// an ulp of the result at most make 1.5 ulp. logsumexp = m + log(sum): 1 ulp of max(|m|, |log s|, |result|).
#pragma once

#include "log.hpp"
#include "softmax.hpp"

namespace softmax::SOFTMAX_ISA {

// What a row weighs beside its maximum, whose exponential is `top`: sum of e^((x-m)/T) = 1 + others.
template <class T>
DD others_of(const Sum& sum, DD top) {
    return add(quotient<T>(sum.total, top), double(sum.maxima - 1));
}
// The same from the sum of all, whose error is relative to all: where the others are `many`, that is theirs too. For t terms
// in a lane (see `sum_length`), what the sum of n rounds off is below n t 2^(-2p) of the maximum's, which is 2^(-p-4) of
// theirs. A quarter of all (without a table, a half) always counts as many: in the longest row of one sum that is 2^(-p-1).
template <class T>
DD all_but_one(DD total, DD top) {
    return add(quotient<T>(total, top), -1.0);
}
template <class S>
double many(ptrdiff_t n) {
    const double terms = double(std::min(n, sum_length) / S::lanes);
    return std::clamp(8 * std::numeric_limits<typename S::T>::epsilon() * double(n) * terms, 0x1p-10,
                      table_bits<S> > 0 ? 0.25 : 0.5);
}

// A row's kind, and what an ordinary one weighs beside its maximum.
template <class T>
struct Weighed {
    Summary<T> summary;
    DD others;
};

template <class S, bool Tempered, class T>
DD others_of_row(const Row<T>& x, T maximum, const Reduction<S>& row, int threads) {
    const OutRow<T>* none = nullptr;
    Sum sum;
    with_packed(x, none, [&](const Row<T>& packed, const OutRow<T>*) {
        sum = sum_row<S, Summed::others, Tempered>(packed, row, maximum, none, threads);
    });
    return others_of<T>(sum, exponential_of_maximum<S, true>(maximum, row).exact);
}

// What a row weighs beside its maximum, from the sum of all its exponentials; where that says too little and is to be
// `precise`, from another sum.
template <class S, bool Tempered, class T>
DD others_beside(const Row<T>& x, DD total, T maximum, const Reduction<S>& row, bool precise, int threads) {
    const DD others = all_but_one<T>(total, exponential_of_maximum<S, true>(maximum, row).exact);
    return !precise || !(others.high < many<S>(x.n)) ? others : others_of_row<S, Tempered>(x, maximum, row, threads);
}

// Beside a maximum of at least `large`, a logarithm is added to it whose digits do not show: then the others of a row that
// weigh little are no more precise than the sum of all.
template <class S, bool Tempered, class T>
Weighed<T> weigh(const Row<T>& x, double temperature, T large, int threads) {
    const OutRow<T>* none = nullptr;
    const bool in_range = temperature >= smallest_temperature && temperature <= largest_temperature;
    if (x.n > short_row<T> && in_range) {  // by blocks: it is read from memory once
        const Temperature<T> constants = temperature_constants<T>(temperature);
        PerBlock<KeptPair<S, T>> pairs(x.n);
        bool blocks_in_range;
        const BlockPair<T> all = sum_blocks<S, logs<S>, Tempered>(x, constants, pairs, none, threads, blocks_in_range);
        if (blocks_in_range && !all.empty()) {
            const Reduction<S> row(splat<S>(all.maximum), constants);
            const bool precise = std::fabs(all.maximum) < large;
            return {{Kind::ordinary, all.maximum, T(0), 0},
                    others_beside<S, Tempered>(x, all.total, all.maximum, row, precise, threads)};
        }
    }
    const Summary<T> summary = summarize<S>(x, temperature, threads);
    if (summary.kind != Kind::ordinary) return {summary, {0.0, 0.0}};
    Row<T> shifted = x;
    T maximum = summary.maximum;
    temperature = normalize(shifted, maximum, temperature);
    const Reduction<S> row(splat<S>(maximum), temperature_constants<T>(temperature));
    const DD total = sum_row<S, logs<S>, Tempered>(shifted, row, maximum, none, threads).total;
    const bool precise = std::fabs(summary.maximum) < large;
    return {summary, others_beside<S, Tempered>(shifted, total, maximum, row, precise, threads)};
}
template <class S, class T>
Weighed<T> weigh(const Row<T>& x, double temperature, int threads) {
    return temperature == 1 ? weigh<S, false>(x, temperature, T(INFINITY), threads)
                            : weigh<S, true>(x, temperature, T(INFINITY), threads);
}

// log(1 + others), to twice the precision of T.
template <class T>
DD log_total(DD others) {
    if constexpr (sizeof(T) == sizeof(float)) return {std::log1p(others.high), 0.0};
    return log1p<double, Scalar<double>>(others);
}

// logsumexp of an ordinary row, from the sum of all its exponentials. A logarithm that is added to a maximum of 1 or more
// does not show its last digits: then the others of a row that weigh little are no more precise than the sum of all.
template <class S, class T>
T logsumexp_of_total(const Row<T>& x, DD total, T maximum, const Reduction<S>& row, int threads) {
    const DD others = others_beside<S, false>(x, total, maximum, row, std::fabs(maximum) < T(1), threads);
    return T(add(log_total<T>(others), double(maximum)).high);
}

template <class S, class T>
void logsumexp_row(const Row<T>& x, T* out, int threads) {
    const auto [summary, others] = weigh<S, false>(x, 1.0, T(1), threads);
    *out =
        summary.kind == Kind::ordinary ? T(add(log_total<T>(others), double(summary.maximum)).high) : summary.maximum;
}

template <class S, class T>
DD others_of_partition(Row<T> x, T maximum, int threads) {
    normalize(x, maximum, 1.0);
    return others_of_row<S, false>(x, maximum, Reduction<S>(splat<S>(maximum), temperature_constants<T>(1)), threads);
}

// The monoid's element: the maximum, and the sum of e^(x-m) over all entries but one maximum. A row with nothing in it
// has no maximum to leave out: others = 0 with maximum = -inf.
template <class S, class T>
void partition_row(const Row<T>& x, T* maximum, double* rest_high, double* rest_low, int threads) {
    const Summary<T> summary = summarize<S>(x, 1.0, threads);
    const DD rest = summary.kind == Kind::ordinary       ? others_of_partition<S>(x, summary.maximum, threads)
                    : summary.kind == Kind::not_a_number ? DD{NAN, 0.0}
                    : summary.kind == Kind::nothing      ? DD{0.0, 0.0}
                                                         : DD{summary.winners - 1, 0.0};
    *maximum = std::isnan(rest.high) ? T(NAN) : summary.maximum;
    *rest_high = rest.high;
    *rest_low = rest.low;
}

// (x - m) / T - log_sum. A quotient carries its error: what x - m dropped, and what the product did.
template <bool Tempered, class T, class S>
SOFTMAX_INLINE typename S::V log_entry(const typename S::V& x, const typename S::V& maximum,
                                       const typename S::V& log_sum, const typename S::V& inverse_high,
                                       const typename S::V& inverse_low) {
    using V = typename S::V;
    const Pair<V> d = two_sum(x, V(-maximum));
    if constexpr (!Tempered) return d.high - log_sum;
    // Scores so far apart that x - m overflows: each by itself is exact enough, for neither is small beside the other.
    const V apart = x * inverse_high - maximum * inverse_high;
    const V q = d.high < splat<S>(std::numeric_limits<T>::lowest()) ? apart : V(d.high * inverse_high);
    const V q_error = mul_add(d.high, inverse_low, mul_add(d.low, inverse_high, fma(d.high, inverse_high, V(-q))));
    const V result = (q - log_sum) + q_error;
    return result == result ? result : V(q + log_sum);  // an infinite quotient has no error to carry
}

// What a row of log_softmax is finished with, as `Scaling` for softmax.
template <class S, bool Tempered>
struct Logarithm {
    using V = typename S::V;
    using T = typename S::T;
    V maximum, log_sum, inverse_high, inverse_low;
    static constexpr bool exact_top = false, of_halves = true;

    Logarithm() = default;
    Logarithm(const V& maximum, const V& log_sum, const Temperature<T>& t)
        : maximum(maximum),
          log_sum(log_sum),
          inverse_high(splat<S>(t.inverse_high)),
          inverse_low(splat<S>(t.inverse_low)) {}
    Logarithm(const V& maximum, const V& log_sum, const V& inverse_high, const V& inverse_low)
        : maximum(maximum), log_sum(log_sum), inverse_high(inverse_high), inverse_low(inverse_low) {}

    template <bool, std::size_t Count>
    SOFTMAX_INLINE void finish(V (&x)[Count]) const {
        for (V& each : x) each = log_entry<Tempered, T, S>(each, maximum, log_sum, inverse_high, inverse_low);
    }
};

template <class S, bool Tempered, class T>
void log_softmax_ordinary(const Row<T>& x, T maximum, double temperature, T log_sum, const OutRow<T>& out,
                          int threads) {
    const Logarithm<S, Tempered> entry(splat<S>(maximum), splat<S>(log_sum), temperature_constants<T>(temperature));
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T buffer[block_length], values[block_length];
        T* const results = out.direct() ? out.at(first) : values;
        finish_block<S>(x.block(first, count, buffer), results, count, entry, out.streaming, block_length);
        out.put(first, count, results);
    });
}

template <class S, class T>
void log_softmax_row(const Row<T>& x, double temperature, const OutRow<T>& out, int threads) {
    const auto [summary, others] = weigh<S>(x, temperature, threads);
    if (summary.kind != Kind::ordinary) {
        return fill(x, summary, T(-std::log(summary.winners)), T(-INFINITY), out);
    }
    T maximum = summary.maximum;
    const T log_sum = T(log_total<T>(others).high);
    if (temperature == 1) return log_softmax_ordinary<S, false>(x, maximum, temperature, log_sum, out, threads);
    Row<T> in_range = x;
    if (temperature < smallest_temperature || temperature > largest_temperature) {
        temperature = normalize(in_range, maximum, temperature);
    }
    log_softmax_ordinary<S, true>(in_range, maximum, temperature, log_sum, out, threads);
}

// softmax and log_softmax of entries x under a sum that was taken elsewhere, 1 + rest relative to `maximum`.
template <class S, class T>
void partition_softmax_row(const Row<T>& x, T maximum, DD rest, const OutRow<T>& out, int threads) {
    if (!std::isfinite(maximum)) {
        const Kind kind = std::isnan(maximum) ? Kind::not_a_number : maximum > 0 ? Kind::winners : Kind::nothing;
        return fill(x, {kind, maximum, maximum, rest.high + 1}, T(1 / (rest.high + 1)), T(0), out);
    }
    Row<T> in_range = x;
    normalize(in_range, maximum, 1.0);
    const Reduction<S> row(splat<S>(maximum), temperature_constants<T>(1));
    const DD total = multiply(exponential_of_maximum<S, false>(maximum, row).exact, add(rest, 1.0));
    sum_row<S, Summed::shares, false>(in_range, row, maximum, &out, threads);
    if (std::isnan(rest.high)) return fill(x, not_a_number<T>, T(0), T(0), out);
    scale_row<S, false>(in_range, row, scaling_of<S, false>(total, maximum, row, x.n), out, threads);
}

template <class S, class T>
void partition_log_softmax_row(const Row<T>& x, T maximum, DD rest, const OutRow<T>& out, int threads) {
    if (!std::isfinite(maximum)) {
        const Kind kind = std::isnan(maximum) ? Kind::not_a_number : maximum > 0 ? Kind::winners : Kind::nothing;
        return fill(x, {kind, maximum, maximum, rest.high + 1}, T(-std::log(rest.high + 1)), T(-INFINITY), out);
    }
    log_softmax_ordinary<S, false>(x, maximum, 1.0, T(log_total<T>(rest).high), out, threads);
}

}  // namespace softmax::SOFTMAX_ISA
