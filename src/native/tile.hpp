// A batch of rows as NumPy hands it over, and a tile of it: as many rows as a vector has lanes, turned into columns.
#pragma once

#include <type_traits>

#include "rows.hpp"
#include "transpose.hpp"

namespace softmax::SOFTMAX_ISA {

constexpr ptrdiff_t lanes_limit = 128;

// One operand of a loop call: `outer` bytes from row to row, `inner` from entry to entry.
template <class T>
struct Batch {
    char* data;
    ptrdiff_t outer, inner;
    Storage storage = Storage::own;

    T* entry(ptrdiff_t row, ptrdiff_t i) const { return reinterpret_cast<T*>(data + row * outer + i * inner); }
    T& value(ptrdiff_t row) const { return *entry(row, 0); }
    bool contiguous() const { return inner == ptrdiff_t(sizeof(T)) && storage == Storage::own; }
    bool is(T everywhere) const { return outer == 0 && value(0) == everywhere; }
    T get(ptrdiff_t row) const {
        T value{};
        gather(data + row * outer, 0, 1, &value, storage);
        return value;
    }
    void set(ptrdiff_t row, T value) const { scatter(&value, 1, data + row * outer, 0, storage); }
};

template <class T>
struct Tile {
    using S = Simd<T>;
    using V = typename S::V;
    V column[lanes_limit];
    ptrdiff_t first;  // the row in lane 0
    int rows;         // lanes in use
    ptrdiff_t n;      // classes

    T& entry(int lane, ptrdiff_t j) { return reinterpret_cast<T*>(&column[j])[lane]; }

    // The tile of that number, of a batch of rows of so many classes; -inf where the mask is false.
    void take(const Batch<T>& x, const Batch<char>* mask, ptrdiff_t number, ptrdiff_t all_rows, ptrdiff_t classes) {
        first = number * S::lanes;
        rows = int(std::min<ptrdiff_t>(S::lanes, all_rows - first));
        n = classes;
        read(x);
        if (mask != nullptr) apply(*mask);
    }
    void read(const Batch<T>& x) {
        if (x.storage != Storage::own) {
            T buffer[S::lanes * lanes_limit];
            for (int row = 0; row < rows; ++row) {
                gather(x.data + (first + row) * x.outer, x.inner, n, buffer + row * n, x.storage);
            }
            return read_own({reinterpret_cast<char*>(buffer - first * n), n * ptrdiff_t(sizeof(T)), sizeof(T)});
        }
        read_own(x);
    }
    SOFTMAX_OUTLINE void read_own(const Batch<T>& x) {
        if (x.outer == sizeof(T) && rows == S::lanes) {
            for (ptrdiff_t j = 0; j < n; ++j) column[j] = load<S>(x.entry(first, j));
        } else if (x.inner == sizeof(T) && n >= part_length<S>) {
            const T* lane[S::lanes];  // those that are not in use repeat the last
            for (int i = 0; i < S::lanes; ++i) lane[i] = x.entry(first + std::min(i, rows - 1), 0);
            for_parts<S>(n, [&](ptrdiff_t j) { read_columns<S>(lane, j, column + j); });
        } else {
            for (ptrdiff_t j = 0; j < n; ++j) {
                column[j] = splat<S>(T(0));
                for (int row = 0; row < rows; ++row) entry(row, j) = *x.entry(first + row, j);
            }
        }
    }

    void write(const Batch<T>& out) {
        if (out.storage != Storage::own) {
            T buffer[S::lanes * lanes_limit];
            write_own({reinterpret_cast<char*>(buffer - first * n), n * ptrdiff_t(sizeof(T)), sizeof(T)});
            for (int row = 0; row < rows; ++row) {
                scatter(buffer + row * n, n, out.data + (first + row) * out.outer, out.inner, out.storage);
            }
            return;
        }
        write_own(out);
    }
    SOFTMAX_OUTLINE void write_own(const Batch<T>& out) {
        if (out.outer == sizeof(T) && rows == S::lanes) {
            for (ptrdiff_t j = 0; j < n; ++j) store(out.entry(first, j), column[j]);
        } else if (out.inner == sizeof(T) && n >= part_length<S>) {
            T* lane[S::lanes];
            if (rows == S::lanes) {
                for (int i = 0; i < S::lanes; ++i) lane[i] = out.entry(first + i, 0);
                constexpr std::integral_constant<int, S::lanes> all = {};
                return for_parts<S>(n, [&](ptrdiff_t j) { write_columns<S>(column + j, lane, j, all); });
            }
            for (int i = 0; i < S::lanes; ++i) lane[i] = out.entry(first + std::min(i, rows - 1), 0);
            for_parts<S>(n, [&](ptrdiff_t j) { write_columns<S>(column + j, lane, j, rows); });
        } else {
            for (ptrdiff_t j = 0; j < n; ++j) {
                for (int row = 0; row < rows; ++row) *out.entry(first + row, j) = entry(row, j);
            }
        }
    }

    void apply(const Batch<char>& mask) {
        for (ptrdiff_t j = 0; j < n; ++j) {
            for (int row = 0; row < rows; ++row) {
                if (!*mask.entry(first + row, j)) entry(row, j) = T(-INFINITY);
            }
        }
    }
};

}  // namespace softmax::SOFTMAX_ISA
