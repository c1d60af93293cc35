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

// The exponential of the maximum itself, as the vectors compute it: value + error.
template <class T>
DD exponential_of_maximum(T maximum, const Temperature<T>& temperature) {
    const Reduction<Scalar<T>> row(maximum, temperature);
    const auto e = exponential<true, true, T>(maximum, row);
    return two_sum(double(e.value), double(e.error));
}

// What a row weighs beside its maximum: sum of e^((x-m)/T) = 1 + others.
template <class S, class T>
DD others(const Row<T>& x, T maximum, double temperature, int threads, const OutRow<T>* out = nullptr) {
    const Temperature<T> constants = temperature_constants<T>(temperature);
    const Reduction<S> row(splat<S>(maximum), constants);
    const Sum sum = temperature == 1 ? sum_row<S, true, false>(x, row, maximum, out, threads)
                                     : sum_row<S, true, true>(x, row, maximum, out, threads);
    return add(divide(sum.total, exponential_of_maximum(maximum, constants)), double(sum.maxima - 1));
}

inline DD log_total(DD others) { return log1p<double, Scalar<double>>(others); }

template <class S, class T>
void logsumexp_row(const Row<T>& x, T* out, int threads) {
    const Summary<T> summary = summarize<S>(x, 1.0, threads);
    if (summary.kind != Kind::ordinary) {
        *out = summary.maximum;
    } else {
        *out = T(add(log_total(others<S>(x, summary.maximum, 1.0, threads)), double(summary.maximum)).high);
    }
}

// The monoid's element: the maximum, and the sum of e^(x-m) over all entries but one maximum. A row with nothing in it
// has no maximum to leave out: others = 0 with maximum = -inf.
template <class S, class T>
void partition_row(const Row<T>& x, T* maximum, double* rest_high, double* rest_low, int threads) {
    const Summary<T> summary = summarize<S>(x, 1.0, threads);
    const DD rest = summary.kind == Kind::ordinary       ? others<S>(x, summary.maximum, 1.0, threads)
                    : summary.kind == Kind::not_a_number ? DD{NAN, 0.0}
                    : summary.kind == Kind::nothing      ? DD{0.0, 0.0}
                                                         : DD{summary.winners - 1, 0.0};
    *maximum = summary.maximum;
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
    return result == result ? result : q;  // an infinite quotient has no error to carry
}

template <class S, bool Tempered, class T>
void log_softmax_ordinary(const Row<T>& x, T maximum, double temperature, T log_sum, const OutRow<T>& out,
                          int threads) {
    using V = typename S::V;
    const Temperature<T> t = temperature_constants<T>(temperature);
    const V m = splat<S>(maximum), l = splat<S>(log_sum);
    const V inverse_high = splat<S>(t.inverse_high), inverse_low = splat<S>(t.inverse_low);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T buffer[block_length], values[block_length];
        const T* entries = x.block(first, count, buffer);
        T* results = out.block(first, values);
        for_vectors<S>(count, [&](int, ptrdiff_t i, int lanes) {
            const V v = load_first<S>(entries + i, lanes);
            store_first<S>(results + i, log_entry<Tempered, T, S>(v, m, l, inverse_high, inverse_low), lanes);
        });
        out.put(first, count, results);
    });
}

template <class S, class T>
void log_softmax_row(Row<T> x, double temperature, const OutRow<T>& out, int threads) {
    Summary<T> summary = summarize<S>(x, temperature, threads);
    if (summary.kind != Kind::ordinary) {
        return fill(x, summary, T(-std::log(summary.winners)), T(-INFINITY), out);
    }
    temperature = normalize(x, summary, temperature);
    const T log_sum = T(log_total(others<S>(x, summary.maximum, temperature, threads)).high);
    if (temperature == 1) {
        log_softmax_ordinary<S, false>(x, summary.maximum, temperature, log_sum, out, threads);
    } else {
        log_softmax_ordinary<S, true>(x, summary.maximum, temperature, log_sum, out, threads);
    }
}

// softmax and log_softmax of entries x under a sum that was taken elsewhere, 1 + rest relative to `maximum`.
template <class S, class T>
void partition_softmax_row(const Row<T>& x, T maximum, DD rest, const OutRow<T>& out, int threads) {
    if (!std::isfinite(maximum)) {
        const Kind kind = std::isnan(maximum) ? Kind::not_a_number : maximum > 0 ? Kind::winners : Kind::nothing;
        return fill(x, {kind, maximum, maximum, rest.high + 1}, T(1 / (rest.high + 1)), T(0), out);
    }
    const Temperature<T> constants = temperature_constants<T>(1);
    const Reduction<S> row(splat<S>(maximum), constants);
    const DD total = multiply(exponential_of_maximum(maximum, constants), add(rest, 1.0));
    sum_row<S, false, false>(x, row, maximum, &out, threads);
    scale_row<S, false>(x, row, divide(DD{1.0, 0.0}, total), out, threads);
}

template <class S, class T>
void partition_log_softmax_row(const Row<T>& x, T maximum, DD rest, const OutRow<T>& out, int threads) {
    if (!std::isfinite(maximum)) {
        const Kind kind = std::isnan(maximum) ? Kind::not_a_number : maximum > 0 ? Kind::winners : Kind::nothing;
        return fill(x, {kind, maximum, maximum, rest.high + 1}, T(-std::log(rest.high + 1)), T(-INFINITY), out);
    }
    log_softmax_ordinary<S, false>(x, maximum, 1.0, T(log_total(rest).high), out, threads);
}

}  // namespace softmax::SOFTMAX_ISA
