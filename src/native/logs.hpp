// logsumexp, log_softmax, and the pair (maximum, sum) itself.
//
// log(sum) relative to the maximum is log1p of the others' share, sum over x < m of e^(x-m), plus the maxima but one: no
// term cancels, so it keeps its relative precision down to the smallest numbers (log_softmax([20, 0])[0] = -2.06e-9).
// log_softmax = (x - m) / T - log(sum): both terms are <= 0, so nothing cancels here either, and three roundings of half
// an ulp of the result at most make 1.5 ulp. logsumexp = m + log(sum): 1 ulp of max(|m|, |log s|, |result|).
#pragma once

#include "softmax.hpp"

namespace softmax::SOFTMAX_ISA {

// e^((m - ...)/T) as the vectors compute it, for the maximum itself: value + error.
template <class T>
DD exponential_of(T x, const Reduction<T>& row) {
    const auto e = exponential<true, Scalar<T>>(x, row);
    return two_sum(double(e.value), double(e.error));
}

// log(a) for a >= 1, to 2^-60 relative to a result of any size: the library's logarithm and one Newton step.
inline DD log_of(DD a) {
    const double first = std::log(a.high);
    const Reduction<double> plain = reduction(0.0, 1.0);
    const auto inverse = exponential<false, Scalar<double>>(-first, plain);
    const double unguard = 0x1p-128, e = inverse.value * unguard;
    const double product = a.high * e;
    const double left = (product - 1) + (fma(a.high, e, -product) + (a.low * e + a.high * (inverse.error * unguard)));
    return fast_two_sum(first, left);
}

// What a row weighs beside its maximum: sum of e^((x-m)/T) = 1 + others.
template <class S, class T>
DD others(const Row<T>& x, T maximum, double temperature, int threads, const Reduction<T>& row, const OutRow<T>* out) {
    const Sum sum = temperature == 1 ? sum_row<S, true, false>(x, row, maximum, out, threads)
                                     : sum_row<S, true, true>(x, row, maximum, out, threads);
    return add(divide(sum.total, exponential_of(maximum, row)), double(sum.maxima - 1));
}

template <class S, class T>
DD others(const Row<T>& x, T maximum, double temperature, int threads) {
    return others<S>(x, maximum, temperature, threads, reduction(maximum, temperature), (const OutRow<T>*)nullptr);
}

// log(1 + others) in what T needs.
template <class T>
DD log_total(DD others) {
    if constexpr (sizeof(T) == sizeof(float)) return {std::log1p(others.high), 0.0};
    return log_of(add(others, 1.0));
}

template <class S, class T>
void logsumexp_row(const Row<T>& x, T* out, int threads) {
    const Summary<T> summary = summarize<S>(x, 1.0, threads);
    if (summary.kind != Kind::ordinary) {
        *out = summary.maximum;
    } else {
        *out = T(add(log_total<T>(others<S>(x, summary.maximum, 1.0, threads)), double(summary.maximum)).high);
    }
}

// The monoid's element: the maximum, and the sum of e^(x-m) over all entries but one maximum. A row with nothing in it
// has no maximum to leave out: others = 0 with maximum = -inf.
template <class S, class T>
void partition_row(const Row<T>& x, T* maximum, double* rest, int threads) {
    const Summary<T> summary = summarize<S>(x, 1.0, threads);
    *maximum = summary.maximum;
    *rest = summary.kind == Kind::not_a_number ? NAN
            : summary.kind == Kind::nothing    ? 0.0
            : summary.kind == Kind::winners    ? summary.winners - 1
                                               : others<S>(x, summary.maximum, 1.0, threads).high;
}

template <class S, class T>
void log_softmax_ordinary(const Row<T>& x, T maximum, double temperature, T log_sum, const OutRow<T>& out, int threads) {
    using V = typename S::V;
    const Reduction<T> row = reduction(maximum, temperature);
    const V m = splat<S>(maximum), l = splat<S>(log_sum);
    const V inverse = splat<S>(row.inv_t_high), inverse_low = splat<S>(row.inv_t_low);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T buffer[block_length], values[block_length];
        const T* entries = x.block(first, count, buffer);
        T* results = out.block(first, values);
        for_vectors<S>(count, [&](int, ptrdiff_t i, int lanes) {
            const V v = load_part<S>(entries + i, lanes, maximum);
            const V d = v - m;
            if (temperature == 1) {
                store_part(results + i, V(d - l), lanes);
            } else {  // the quotient with its error: what x - m dropped, and what the product did
                const V back = d + m, d_error = (v - back) - (m - (back - d));
                const V q = d * inverse;
                const V q_error = mul_add(d, inverse_low, mul_add(d_error, inverse, fma(d, inverse, V(-q))));
                const V exact = (q - l) + q_error;
                store_part(results + i, V(q < splat<S>(std::numeric_limits<T>::lowest()) ? q : exact), lanes);
            }
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
    const T log_sum = T(log_total<T>(others<S>(x, summary.maximum, temperature, threads)).high);
    log_softmax_ordinary<S>(x, summary.maximum, temperature, log_sum, out, threads);
}

// softmax and log_softmax of entries x under a sum that was taken elsewhere, 1 + rest relative to `maximum`.
template <class S, class T>
void partition_softmax_row(const Row<T>& x, T maximum, double rest, const OutRow<T>& out, int threads) {
    if (!std::isfinite(maximum)) {
        const Kind kind = std::isnan(maximum) ? Kind::not_a_number : maximum > 0 ? Kind::winners : Kind::nothing;
        return fill(x, {kind, maximum, maximum, rest + 1}, T(1 / (rest + 1)), T(0), out);
    }
    const Reduction<T> row = reduction(maximum, 1.0);
    const DD total = multiply(exponential_of(maximum, row), add({rest, 0.0}, 1.0));
    sum_row<S, false, false>(x, row, maximum, &out, threads);
    scale_row<S, false>(x, row, divide({1.0, 0.0}, total), out, threads);
}

template <class S, class T>
void partition_log_softmax_row(const Row<T>& x, T maximum, double rest, const OutRow<T>& out, int threads) {
    if (!std::isfinite(maximum)) {
        const Kind kind = std::isnan(maximum) ? Kind::not_a_number : maximum > 0 ? Kind::winners : Kind::nothing;
        return fill(x, {kind, maximum, maximum, rest + 1}, T(-std::log(rest + 1)), T(-INFINITY), out);
    }
    log_softmax_ordinary<S>(x, maximum, 1.0, T(log_total<T>({rest, 0.0}).high), out, threads);
}

}  // namespace softmax::SOFTMAX_ISA
