// Products of a sparse matrix with a dense one, a row of the result at a time: base + sum over the row's entries t of
// value[t] * dense[index[t]]. Rows of X W + b are made of the rows of X in CSR form, rows of XᵀE of its columns in CSC
// form, so that each row is one sum in the order of its entries, whatever the threads.
#pragma once

#include "tile.hpp"

namespace softmax::SOFTMAX_ISA {

template <class T>
struct SparseProduct {
    Batch<std::int64_t> start, stop;  // of each row, in index and value
    Batch<std::int32_t> index;
    Batch<T> value, dense;  // dense: `outer` from row to row
    Batch<T> base, out;
    ptrdiff_t k;

    bool contiguous() const { return dense.contiguous() && base.contiguous() && out.contiguous(); }

    void row(ptrdiff_t i) const {
        using S = Simd<T>;
        constexpr ptrdiff_t most = 8 * S::lanes;
        if (!contiguous() || k == 1) return row_in_steps(i);
        for (ptrdiff_t j = 0; j < k; j += most) part(i, j, std::min(most, k - j), std::make_integer_sequence<int, 8>{});
    }

private:
    void row_in_steps(ptrdiff_t i) const {
        for (ptrdiff_t j = 0; j < k; ++j) {
            T sum = *base.entry(i, j);
            for (ptrdiff_t t = start.value(i); t < stop.value(i); ++t) {
                sum = mul_add(*value.entry(0, t), *dense.entry(*index.entry(0, t), j), sum);
            }
            *out.entry(i, j) = sum;
        }
    }

    // `count` columns from j on, at most 8 vectors of them.
    template <int... Less>
    void part(ptrdiff_t i, ptrdiff_t j, ptrdiff_t count, std::integer_sequence<int, Less...>) const {
        const ptrdiff_t vectors = (count + Simd<T>::lanes - 1) / Simd<T>::lanes;
        ((vectors == Less + 1 ? vectors_of<Less + 1>(i, j, int(count - Less * Simd<T>::lanes)) : void()), ...);
    }
    // `last` of the last vector's lanes are in use.
    template <int Vectors>
    void vectors_of(ptrdiff_t i, ptrdiff_t j, int last) const {
        using S = Simd<T>;
        constexpr int behind = Vectors - 1;
        typename S::V sum[Vectors];
        const T* const from = base.entry(i, j);
        for (int v = 0; v < behind; ++v) sum[v] = load<S>(from + v * S::lanes);
        sum[behind] = load_first<S>(from + behind * S::lanes, last, T(0));
        for (ptrdiff_t t = start.value(i), end = stop.value(i); t < end; ++t) {
            const auto factor = splat<S>(*value.entry(0, t));
            const T* const entries = dense.entry(*index.entry(0, t), j);
            for (int v = 0; v < behind; ++v) sum[v] = mul_add(factor, load<S>(entries + v * S::lanes), sum[v]);
            sum[behind] = mul_add(factor, load_first<S>(entries + behind * S::lanes, last, T(0)), sum[behind]);
        }
        T* const to = out.entry(i, j);
        for (int v = 0; v < behind; ++v) store(to + v * S::lanes, sum[v]);
        store_first<S>(to + behind * S::lanes, sum[behind], last);
    }
};

// Pieces of like numbers of products on the average of all rows; `entries` in all rows together.
template <class T>
void sparse_product(const SparseProduct<T>& product, ptrdiff_t rows, ptrdiff_t entries) {
    if (rows == 0 || product.k == 0) return;
    const ptrdiff_t work = std::max<ptrdiff_t>(entries / rows, 1) * product.k;
    for_row_pieces(rows, work, rows_of_piece(work), [&](ptrdiff_t first, ptrdiff_t count) {
        for (ptrdiff_t i = first; i < first + count; ++i) product.row(i);
    });
}

}  // namespace softmax::SOFTMAX_ISA
