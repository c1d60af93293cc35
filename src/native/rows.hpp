// Rows as the caller has them (any stride, a mask), read and written by contiguous blocks, and what every operation on a
// row starts with: its maximum and the kind of row that it is.
#pragma once

#include <cmath>
#include <limits>

#include "parallel.hpp"
#include "reduce.hpp"

namespace softmax::SOFTMAX_ISA {

using std::ptrdiff_t;

// Calls body(first, count, block) for each block of n entries.
template <class Body>
void for_blocks(ptrdiff_t n, int threads, const Body& body) {
    struct Context {
        const Body& body;
        ptrdiff_t n;
    } context = {body, n};
    parallel_for((n + block_length - 1) / block_length, threads,
                 [](void* data, ptrdiff_t block) {
                     const Context& c = *static_cast<Context*>(data);
                     const ptrdiff_t first = block * block_length, left = c.n - first;
                     c.body(first, left < block_length ? left : block_length, block);
                 },
                 &context, n * ptrdiff_t(sizeof(float)));
}

// One row of the input. A masked-out entry reads as -inf.
template <class T>
struct Row {
    const char* data;
    ptrdiff_t stride;
    const char* mask;  // of bool, or nullptr
    ptrdiff_t mask_stride;
    ptrdiff_t n;
    T shift = 0;  // x is read as (x - shift) 2^exponent: for temperatures outside the range of T
    int exponent = 0;

    bool direct() const { return stride == ptrdiff_t(sizeof(T)) && mask == nullptr && exponent == 0; }

    T operator[](ptrdiff_t i) const {
        if (mask != nullptr && !mask[i * mask_stride]) return T(-INFINITY);
        T value;
        std::memcpy(&value, data + i * stride, sizeof value);
        return exponent == 0 ? value : T(std::ldexp(double(value) - double(shift), exponent));
    }

    // The entries from `first` on as contiguous memory: the row's own where possible, else a copy in `buffer`.
    const T* block(ptrdiff_t first, ptrdiff_t count, T* buffer) const {
        if (direct()) return reinterpret_cast<const T*>(data) + first;
        for (ptrdiff_t i = 0; i < count; ++i) buffer[i] = (*this)[first + i];
        return buffer;
    }
};

template <class T>
struct OutRow {
    char* data;
    ptrdiff_t stride;

    bool direct() const { return stride == ptrdiff_t(sizeof(T)); }
    T* at(ptrdiff_t i) const { return reinterpret_cast<T*>(data + i * stride); }

    // Where to write a block: the row itself where it is contiguous, else `buffer`, which `put` then scatters.
    T* block(ptrdiff_t first, T* buffer) const { return direct() ? at(first) : buffer; }
    void put(ptrdiff_t first, ptrdiff_t count, const T* values) const {
        if (values == at(first)) return;
        for (ptrdiff_t i = 0; i < count; ++i) std::memcpy(at(first + i), values + i, sizeof(T));
    }
};

// Rows that no sum is needed for end in `winners`: the entries from a threshold on share the whole weight equally.
enum class Kind { ordinary, not_a_number, nothing, winners };

template <class T>
struct Summary {
    Kind kind;
    T maximum;
    T threshold;     // winners: entries >= threshold
    double winners;  // how many
};

template <class S, class T>
Summary<T> summarize(const Row<T>& x, double temperature, int threads) {
    const ptrdiff_t blocks = (x.n + block_length - 1) / block_length;
    Extent<T> few[16];
    Extent<T>* extents = blocks <= 16 ? few : new Extent<T>[blocks];
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T buffer[block_length];
        extents[block] = extent<S>(x.block(first, count, buffer), count);
    });
    Summary<T> result = {Kind::ordinary, T(-INFINITY), T(0), 0};
    bool finite = true;
    for (ptrdiff_t block = 0; block < blocks; ++block) {
        result.maximum = max(extents[block].maximum, result.maximum);
        finite = finite && extents[block].finite;
    }
    if (extents != few) delete[] extents;
    if (!finite) {
        for (ptrdiff_t i = 0; i < x.n; ++i) {
            if (std::isnan(x[i])) return {Kind::not_a_number, T(NAN), T(0), 0};
        }
    }
    if (result.maximum == T(-INFINITY)) {
        result.kind = Kind::nothing;
    } else if (result.maximum == T(INFINITY) || temperature == 0 || std::isinf(temperature)) {
        result.kind = Kind::winners;
        const bool all = std::isinf(temperature) && result.maximum < T(INFINITY);
        result.threshold = all ? std::numeric_limits<T>::lowest() : result.maximum;
        for (ptrdiff_t i = 0; i < x.n; ++i) result.winners += x[i] >= result.threshold;
    }
    return result;
}

// Writes a row that needs no sum: `share` on the winners, `rest` elsewhere, NaN everywhere in a row that holds one.
template <class T>
void fill(const Row<T>& x, const Summary<T>& summary, T share, T rest, const OutRow<T>& out) {
    for (ptrdiff_t i = 0; i < x.n; ++i) {
        const bool wins = summary.kind == Kind::winners && x[i] >= summary.threshold;
        *out.at(i) = summary.kind == Kind::not_a_number ? T(NAN) : wins ? share : rest;
    }
}

// Brings a temperature that T's range would not carry to [1/2, 1), and the row with it: no entry overflows whose quotient
// does not.
template <class T>
double normalize(Row<T>& x, Summary<T>& summary, double temperature) {
    if (temperature >= smallest_temperature && temperature <= largest_temperature) return temperature;
    const double scaled = double(summary.maximum) / temperature;
    x.exponent = -std::ilogb(temperature) - 1;
    x.shift = std::fabs(scaled) <= largest_unshifted ? T(0) : summary.maximum;
    summary.maximum = T(std::ldexp(double(summary.maximum) - double(x.shift), x.exponent));
    return std::ldexp(temperature, x.exponent);
}

// Calls body(row, threads) for each of n rows of k entries: rows in parallel where there are enough of them, else each
// row by blocks. Small work stays on the calling thread.
template <class Body>
void for_rows(ptrdiff_t rows, ptrdiff_t k, const Body& body) {
    constexpr ptrdiff_t worth_a_thread = 1 << 15, task = 1 << 14;  // entries
    const int threads = rows * k < worth_a_thread ? 1 : num_threads();
    if (threads > 1 && k > block_length && rows < 2 * threads) {
        for (ptrdiff_t row = 0; row < rows; ++row) body(row, threads);
        return;
    }
    struct Context {
        const Body& body;
        ptrdiff_t rows, chunk;
    } context = {body, rows, k >= task ? 1 : task / (k > 0 ? k : 1)};
    parallel_for((rows + context.chunk - 1) / context.chunk, threads,
                 [](void* data, ptrdiff_t index) {
                     const Context& c = *static_cast<Context*>(data);
                     const ptrdiff_t first = index * c.chunk, left = c.rows - first;
                     for (ptrdiff_t row = first; row < first + (left < c.chunk ? left : c.chunk); ++row) c.body(row, 1);
                 },
                 &context, rows * k * ptrdiff_t(sizeof(float)));
}

}  // namespace softmax::SOFTMAX_ISA
