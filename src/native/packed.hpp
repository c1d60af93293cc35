// Rows that lie across memory (softmax along the first axis of a matrix): as many of them as two cache lines have entries
// are transposed into a buffer, worked on there like any other row, and transposed back.
#pragma once

#include "lanes.hpp"

namespace softmax::SOFTMAX_ISA {

template <class T>
constexpr int cache_line = 64 / int(sizeof(T));  // entries

template <class T>
constexpr ptrdiff_t longest_transposed = 262144 / (sizeof(T) * cache_line<T>);  // the buffer stays in the cache

// Rows of n that are turned at a time: whole cache lines of each entry, two neighbours where the buffer holds them.
template <class T>
constexpr int turned(ptrdiff_t n) {
    return 2 * n <= longest_transposed<T> ? 2 * cache_line<T> : cache_line<T>;
}

// From row to row in the buffer: an odd number of cache lines, so that rows do not share places in the cache.
template <class T>
constexpr ptrdiff_t turned_stride(ptrdiff_t n) {
    return ((n + cache_line<T> - 1) / cache_line<T> | 1) * cache_line<T>;
}
template <class T>
constexpr ptrdiff_t turned_buffer =
    turned_stride<T>(longest_transposed<T>) * cache_line<T> + 2 * cache_line<T> * cache_line<T>;

// Calls body(j) for the whole vectors of n >= lanes entries; the last one may begin in the one before.
template <class S, class Body>
void for_vectors_of(ptrdiff_t n, const Body& body) {
    ptrdiff_t j = 0;
    for (; j + S::lanes <= n; j += S::lanes) body(j);
    if (j < n) body(n - S::lanes);
}

// `count` rows of n entries from row `first` on, to rows `stride` entries apart; and back.
template <class T>
SOFTMAX_OUTLINE void read_transposed(const Batch<T>& x, ptrdiff_t first, int count, ptrdiff_t n, T* rows,
                                     ptrdiff_t stride) {
    using S = Simd<T>;
    if (n < S::lanes || count < part_length<S>) {
        for (int i = 0; i < count; ++i) {
            for (ptrdiff_t j = 0; j < n; ++j) rows[i * stride + j] = *x.entry(first + i, j);
        }
        return;
    }
    for_vectors_of<S>(n, [&](ptrdiff_t j) {
        const Lines<S> lines(reinterpret_cast<char*>(x.entry(first, j)), x.inner);
        for_parts<S>(count, [&](ptrdiff_t i) {
            typename S::V v[part_length<S>];
            read_columns<S>(lines, i, v);
            for (int k = 0; k < part_length<S>; ++k) store(rows + (i + k) * stride + j, v[k]);
        });
    });
}
template <class T>
SOFTMAX_OUTLINE void write_transposed(const T* rows, ptrdiff_t stride, const Batch<T>& out, ptrdiff_t first, int count,
                                      ptrdiff_t n) {
    using S = Simd<T>;
    if (n < S::lanes || count < part_length<S>) {
        for (int i = 0; i < count; ++i) {
            for (ptrdiff_t j = 0; j < n; ++j) *out.entry(first + i, j) = rows[i * stride + j];
        }
        return;
    }
    for_vectors_of<S>(n, [&](ptrdiff_t j) {
        const Lines<S> lines(reinterpret_cast<char*>(out.entry(first, j)), out.inner);
        for_parts<S>(count, [&](ptrdiff_t i) {
            typename S::V v[part_length<S>];
            for (int k = 0; k < part_length<S>; ++k) v[k] = load<S>(rows + (i + k) * stride + j);
            write_columns<S>(v, lines, i);
        });
    });
}

template <class T>
Row<T> row_of(const Batch<T>& x, const Batch<char>* mask, ptrdiff_t i, ptrdiff_t n) {
    const char* kept = mask == nullptr ? nullptr : mask->data + i * mask->outer;
    return {x.data + i * x.outer, x.inner, kept, mask == nullptr ? 0 : mask->inner, n, x.storage};
}

// The same from that row on.
template <class T>
Batch<T> rows_from(const Batch<T>& batch, ptrdiff_t first) {
    return {batch.data + first * batch.outer, batch.outer, batch.inner, batch.storage};
}

template <class T>
OutRow<T> out_of(const Batch<T>& out, ptrdiff_t i) {
    return {out.data + i * out.outer, out.inner, out.storage};
}

// Whether so many entries are better not expected in a cache.
template <class T>
bool beyond_caches(ptrdiff_t rows, ptrdiff_t n) {
    return rows * n * ptrdiff_t(sizeof(T)) >= 1 << 25;
}
// Whether results are better written past them: not in place, where they are in them already.
template <class T>
bool worth_streaming(const Batch<T>& x, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n) {
    return beyond_caches<T>(rows, n) && x.data != out.data;
}

// Asks for the entries from `begin` to `end` of a tile's rows, one after the other: they lie so far apart that no processor
// sees them coming.
template <bool Write, class T>
void ask_for(const Batch<T>& of, ptrdiff_t first, ptrdiff_t begin, ptrdiff_t end) {
#if defined(__GNUC__) || defined(__clang__)
    for (ptrdiff_t j = begin; j < end; ++j) __builtin_prefetch(of.entry(first, j), Write, 2);
#endif
}

// `count` rows that lie across memory, from row `first` on. Beside each of them, a part of the tile behind is asked for.
template <class T, class Body>
void turn_rows(const Batch<T>& x, const Batch<T>* out, ptrdiff_t first, int count, ptrdiff_t n, bool more,
               const Body& body) {
    const int together = turned<T>(n);
    alignas(64) T buffer[turned_buffer<T>];
    const ptrdiff_t stride = turned_stride<T>(n);
    read_transposed(x, first, count, n, buffer, stride);
    const bool back = out != nullptr && out->across();
    for (int i = 0; i < count; ++i) {
        char* row = reinterpret_cast<char*>(buffer + i * stride);
        OutRow<T> to = {row, sizeof(T)};
        if (out != nullptr && !back) to = {out->data + (first + i) * out->outer, out->inner, out->storage};
        with_packed(Row<T>{row, sizeof(T), nullptr, 0, n}, out == nullptr ? nullptr : &to,
                    [&](const Row<T>& x, const OutRow<T>* y) { body(x, y, first + i, 1); });
        if (!more) continue;
        ask_for<false>(x, first + together, i * n / together, (i + 1) * n / together);
        if (back) ask_for<true>(*out, first + together, i * n / together, (i + 1) * n / together);
    }
    if (back) write_transposed(buffer, stride, *out, first, count, n);
}

// Calls body(first, count, more) for the rows across memory, `together` at a time; more: this thread goes on behind them.
template <class Body>
void for_turned(ptrdiff_t rows, ptrdiff_t n, int together, const Body& body) {
    const ptrdiff_t tiles = (rows + together - 1) / together;
    const ptrdiff_t piece = std::max<ptrdiff_t>(std::min<ptrdiff_t>(8, tiles / 8), rows_of_piece(n * together));
    for_row_pieces(tiles, n * together, piece, [&](ptrdiff_t begin, ptrdiff_t tiles_here) {
        for (ptrdiff_t tile = begin; tile < begin + tiles_here; ++tile) {
            const ptrdiff_t first = tile * together;
            body(first, int(std::min<ptrdiff_t>(together, rows - first)), tile + 1 < begin + tiles_here);
        }
    });
}

// Calls body(row, out, i, threads) for every row: contiguous floats where that is possible, `out` a pointer to an OutRow or,
// for a kernel without a result of the row's shape, nullptr.
template <class T, class Body>
void for_each_row(const Batch<T>& x, const Batch<char>* mask, const Batch<T>* out, ptrdiff_t rows, ptrdiff_t n,
                  const Body& body) {
    const int together = turned<T>(n);
    if (Simd<T>::lanes > 1 && rows > 1 && x.across() && mask == nullptr && n <= longest_transposed<T>) {
        return for_turned(rows, n, together, [&](ptrdiff_t first, int count, bool more) {
            turn_rows(x, out, first, count, n, more, body);
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
