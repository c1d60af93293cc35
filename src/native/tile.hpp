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
    // Rows that are turned into columns and back as they lie.
    bool turned(ptrdiff_t n) const { return contiguous() && outer != inner && n >= part_length<Simd<T>>; }
    // Rows that lie across memory, side by side: they are columns as they are.
    bool across() const {
        return outer == ptrdiff_t(sizeof(T)) && inner != ptrdiff_t(sizeof(T)) && storage == Storage::own;
    }
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

    // The tile of that number, of a batch of rows of so many classes.
    void place(ptrdiff_t number, ptrdiff_t all_rows, ptrdiff_t classes) {
        first = number * S::lanes;
        rows = int(std::min<ptrdiff_t>(S::lanes, all_rows - first));
        n = classes;
    }
    // Its entries; -inf where the mask is false. A mask of all rows together, or one that lies across memory, is of columns.
    void take(const Batch<T>& x, const Batch<char>* mask) {
        if (mask == nullptr) return read(x);
        if (mask->outer != 0 && (mask->outer != 1 || rows < S::lanes)) return read_buffered(x, mask);
        read(x);
        apply(*mask);
    }
    auto lines(const Batch<T>& x) const { return Lines<S>(reinterpret_cast<char*>(x.entry(first, 0)), x.outer); }
    // Rows that are not of T, or fewer than the lanes, go through a buffer.
    void read(const Batch<T>& x) {
        if (as_they_lie(x)) return read_own(x);
        read_buffered(x, nullptr);
    }
    void write(const Batch<T>& out) {
        if (as_they_lie(out)) return write_own(out);
        write_buffered(out);
    }

private:
    bool as_they_lie(const Batch<T>& x) const { return x.storage == Storage::own && rows == S::lanes; }
    Batch<T> contiguous(T* rows) const {
        return {reinterpret_cast<char*>(rows - first * n), n * ptrdiff_t(sizeof(T)), sizeof(T)};
    }
    // Whether a row begins where the one before it ends.
    bool without_gaps(const Batch<T>& x) const {
        return x.outer == n * x.inner && x.inner == size_of(x.storage, sizeof(T));
    }
    SOFTMAX_OUTLINE void read_buffered(const Batch<T>& x, const Batch<char>* mask) {
        T buffer[S::lanes * lanes_limit];
        const bool at_once =
            rows == S::lanes && without_gaps(x) && (mask == nullptr || (mask->inner == 1 && mask->outer == n));
        const ptrdiff_t length = at_once ? rows * n : n;
        for (int i = 0; i < (at_once ? 1 : S::lanes); ++i) {  // lanes that are not in use repeat the last
            const ptrdiff_t row = first + std::min(i, rows - 1);
            T* const to = buffer + i * n;
            gather(x.data + row * x.outer, x.inner, length, to, x.storage);
            if (mask != nullptr) leave_out(to, mask->data + row * mask->outer, mask->inner, length, to);
        }
        read_own(contiguous(buffer));
    }
    SOFTMAX_OUTLINE void apply(const Batch<char>& mask) {
        for (ptrdiff_t j = 0; j < n; ++j) {
            const char* const kept = mask.entry(first, j);
            if (mask.outer == 1) {
                column[j] = load_where<S>(reinterpret_cast<const T*>(&column[j]), kept, T(-INFINITY));
            } else if (!*kept) {
                column[j] = splat<S>(T(-INFINITY));
            }
        }
    }
    SOFTMAX_OUTLINE void write_buffered(const Batch<T>& out) {
        T buffer[S::lanes * lanes_limit];
        write_own(contiguous(buffer));
        if (without_gaps(out)) return scatter(buffer, rows * n, out.data + first * out.outer, out.inner, out.storage);
        for (int row = 0; row < rows; ++row) {
            scatter(buffer + row * n, n, out.data + (first + row) * out.outer, out.inner, out.storage);
        }
    }
    SOFTMAX_OUTLINE void read_own(const Batch<T>& x) {
        if (x.outer == sizeof(T)) {
            for (ptrdiff_t j = 0; j < n; ++j) column[j] = load<S>(x.entry(first, j));
        } else if (x.turned(n)) {
            const auto from = lines(x);
            for_parts<S>(n, [&](ptrdiff_t j) SOFTMAX_INLINED {
                V v[part_length<S>];
                read_columns<S>(from, j, v);
                for (int a = 0; a < part_length<S>; ++a) column[j + a] = v[a];
            });
        } else {
            for (ptrdiff_t j = 0; j < n; ++j) {
                for (int row = 0; row < S::lanes; ++row) entry(row, j) = *x.entry(first + row, j);
            }
        }
    }
    SOFTMAX_OUTLINE void write_own(const Batch<T>& out) {
        if (out.outer == sizeof(T)) {
            for (ptrdiff_t j = 0; j < n; ++j) store(out.entry(first, j), column[j]);
        } else if (out.turned(n)) {
            const auto to = lines(out);
            for_parts<S>(n, [&](ptrdiff_t j) SOFTMAX_INLINED {
                V v[part_length<S>];
                for (int a = 0; a < part_length<S>; ++a) v[a] = column[j + a];
                write_columns<S>(v, to, j);
            });
        } else {
            for (ptrdiff_t j = 0; j < n; ++j) {
                for (int row = 0; row < S::lanes; ++row) *out.entry(first + row, j) = entry(row, j);
            }
        }
    }
};

}  // namespace softmax::SOFTMAX_ISA
