// softmax: p = 2^(n-k) e^r / s (see exp.hpp), s summed far below an ulp and inverted as high + low, so that an entry
// carries two roundings: its exponential's (0.7 ulp of it) and the last multiplication's. Error <= 2 ulp.
//
// Three passes over a block while it is in cache: maximum; exponentials, stored, and their sum; scaling of what is stored.
// Rows that are not contiguous on the output side compute their exponentials a second time instead of storing them.
#pragma once

#include <memory>

#include "rows.hpp"

namespace softmax::SOFTMAX_ISA {

// The sum of a row's exponentials by blocks. They are stored where `out` is contiguous.
template <class S, bool Others, bool Tempered, class T>
Sum sum_row(const Row<T>& x, const Reduction<S>& row, T maximum, const OutRow<T>* out, int threads) {
    const ptrdiff_t blocks = (x.n + block_length - 1) / block_length;
    Sum few[16];
    std::unique_ptr<Sum[]> many(blocks > 16 ? new Sum[blocks] : nullptr);
    Sum* sums = many ? many.get() : few;
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T buffer[block_length];
        T* exponentials = out != nullptr && out->direct() ? out->at(first) : nullptr;
        sums[block] =
            sum_exponentials<S, Others, Tempered>(x.block(first, count, buffer), count, row, maximum, exponentials);
    });
    for (ptrdiff_t block = 1; block < blocks; ++block) {
        sums[0].total = add(sums[0].total, sums[block].total);
        sums[0].maxima += sums[block].maxima;
    }
    return sums[0];
}

// out = exponentials times factor. The exponentials are in `out` already where it is contiguous.
template <class S, bool Tempered, class T>
void scale_row(const Row<T>& x, const Reduction<S>& row, DD factor, const OutRow<T>& out, int threads) {
    const auto high = splat<S>(T(factor.high));
    const auto low = splat<S>(T((factor.high - double(T(factor.high))) + factor.low));
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T buffer[block_length], values[block_length];
        T* exponentials = out.block(first, values);
        if (!out.direct()) {
            const T* entries = x.block(first, count, buffer);
            for_vectors<S>(count, [&](int, ptrdiff_t i, int lanes) {
                const auto v = load_part<S>(entries + i, lanes, T(-INFINITY));
                store_first<S>(values + i, exponential<Tempered, false, T>(v, row).value, lanes);
            });
        }
        for_vectors<S>(count, [&](int, ptrdiff_t i, int lanes) {
            const auto v = load_first<S>(exponentials + i, lanes);
            store_first<S>(exponentials + i, fma(v, high, v * low), lanes);
        });
        out.put(first, count, exponentials);
    });
}

template <class S, bool Tempered, class T>
void softmax_ordinary(const Row<T>& x, T maximum, double temperature, const OutRow<T>& out, int threads) {
    const Reduction<S> row(splat<S>(maximum), temperature_constants<T>(temperature));
    const Sum sum = sum_row<S, false, Tempered>(x, row, maximum, &out, threads);
    scale_row<S, Tempered>(x, row, divide(DD{1.0, 0.0}, sum.total), out, threads);
}

template <class S, class T>
void softmax_row(Row<T> x, double temperature, const OutRow<T>& out, int threads) {
    Summary<T> summary = summarize<S>(x, temperature, threads);
    if (summary.kind != Kind::ordinary) return fill(x, summary, T(1 / summary.winners), T(0), out);
    temperature = normalize(x, summary, temperature);
    if (temperature == 1) {
        softmax_ordinary<S, false>(x, summary.maximum, temperature, out, threads);
    } else {
        softmax_ordinary<S, true>(x, summary.maximum, temperature, out, threads);
    }
}

}  // namespace softmax::SOFTMAX_ISA
