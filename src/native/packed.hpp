// Rows that lie across memory (softmax along the first axis of a matrix): as many of them as a vector has lanes are
// transposed into a buffer, worked on there like any other row, and transposed back.
#pragma once

#include "lanes.hpp"

namespace softmax::SOFTMAX_ISA {

template <class T>
constexpr ptrdiff_t longest_transposed = 262144 / sizeof(T) / Simd<T>::lanes;  // the buffer stays in the cache

// Whether adjacent rows are adjacent in memory, entry by entry.
template <class T>
bool across(const Batch<T>& x) {
    return x.outer == ptrdiff_t(sizeof(T)) && x.inner != ptrdiff_t(sizeof(T)) && x.storage == Storage::own;
}

// `count` rows of n entries from row `first` on, to one row after the other; and back.
template <class T>
void read_transposed(const Batch<T>& x, ptrdiff_t first, int count, ptrdiff_t n, T* rows) {
    using S = Simd<T>;
    for (ptrdiff_t j = 0; j < n; j += S::lanes) {
        const int width = int(n - j < S::lanes ? n - j : S::lanes);
        typename S::V square[S::lanes];
        for (int i = 0; i < S::lanes; ++i) {
            square[i] = i < width ? load_first<S>(x.entry(first, j + i), count, T(0)) : splat<S>(T(0));
        }
        transpose<S>(square, count);
        for (int i = 0; i < S::lanes && i < count; ++i) store_first<S>(rows + i * n + j, square[i], width);
    }
}
template <class T>
void write_transposed(const T* rows, const Batch<T>& out, ptrdiff_t first, int count, ptrdiff_t n) {
    using S = Simd<T>;
    for (ptrdiff_t j = 0; j < n; j += S::lanes) {
        const int width = int(n - j < S::lanes ? n - j : S::lanes);
        typename S::V square[S::lanes];
        for (int i = 0; i < S::lanes; ++i) {
            square[i] = i < count ? load_first<S>(rows + i * n + j, width, T(0)) : splat<S>(T(0));
        }
        transpose<S>(square, width);
        for (int i = 0; i < S::lanes && i < width; ++i) store_first<S>(out.entry(first, j + i), square[i], count);
    }
}

template <class T>
Row<T> row_of(const Batch<T>& x, const Batch<char>* mask, ptrdiff_t i, ptrdiff_t n) {
    const char* kept = mask == nullptr ? nullptr : mask->data + i * mask->outer;
    return {x.data + i * x.outer, x.inner, kept, mask == nullptr ? 0 : mask->inner, n, x.storage};
}

// Whether a result of so many entries is better written past the caches: not in place, where it is in them already.
template <class T>
bool worth_streaming(const Batch<T>& x, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n) {
    constexpr ptrdiff_t beyond_caches = 1 << 25;  // bytes
    return rows * n * ptrdiff_t(sizeof(T)) >= beyond_caches && x.data != out.data;
}

// Calls body(row, out, i, threads) for every row: contiguous floats where that is possible, `out` a pointer to an OutRow or,
// for a kernel without a result of the row's shape, nullptr.
template <class T, class Body>
void for_each_row(const Batch<T>& x, const Batch<char>* mask, const Batch<T>* out, ptrdiff_t rows, ptrdiff_t n,
                  const Body& body) {
    constexpr int lanes = Simd<T>::lanes;
    if (lanes > 1 && rows > 1 && across(x) && mask == nullptr && n <= longest_transposed<T>) {
        return for_rows((rows + lanes - 1) / lanes, n * lanes, [&](ptrdiff_t index, int) {
            alignas(64) T buffer[longest_transposed<T> * lanes];
            const ptrdiff_t first = index * lanes;
            const int count = int(rows - first < lanes ? rows - first : lanes);
            read_transposed(x, first, count, n, buffer);
            const bool back = out != nullptr && across(*out);
            for (int i = 0; i < count; ++i) {
                char* row = reinterpret_cast<char*>(buffer + i * n);
                OutRow<T> to = {row, sizeof(T)};
                if (out != nullptr && !back) to = {out->data + (first + i) * out->outer, out->inner, out->storage};
                with_packed(Row<T>{row, sizeof(T), nullptr, 0, n}, out == nullptr ? nullptr : &to,
                            [&](const Row<T>& x, const OutRow<T>* y) { body(x, y, first + i, 1); });
            }
            if (back) write_transposed(buffer, *out, first, count, n);
        });
    }
    const bool streaming = out != nullptr && worth_streaming(x, *out, rows, n);
    for_rows(rows, n, [&](ptrdiff_t i, int threads) {
        OutRow<T> to = {};
        if (out != nullptr) to = {out->data + i * out->outer, out->inner, out->storage, streaming};
        with_packed(row_of(x, mask, i, n), out == nullptr ? nullptr : &to,
                    [&](const Row<T>& row, const OutRow<T>* y) { body(row, y, i, threads); });
    });
}

}  // namespace softmax::SOFTMAX_ISA
