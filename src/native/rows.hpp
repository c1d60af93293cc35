// Rows as the caller has them (any stride, a mask), read and written by contiguous blocks, and what every operation on a
// row starts with: its maximum and the kind of row that it is.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "parallel.hpp"
#include "reduce.hpp"
#include "storage.hpp"

namespace softmax::SOFTMAX_ISA {

using std::ptrdiff_t;

// Calls body(block, count) for neighbouring blocks of n entries, which a thread takes one after the other: several in a row
// beyond the caches, so that the next can be asked for in time. Backwards, the last runs first.
template <class Body>
void for_block_runs(ptrdiff_t n, int threads, const Body& body, bool backwards = false) {
    constexpr ptrdiff_t large = 1 << 19;  // entries
    struct Context {
        const Body& body;
        ptrdiff_t blocks, run;
    } context = {body, (n + block_length - 1) / block_length, n < large ? 1 : 8};
    parallel_for((context.blocks + context.run - 1) / context.run, threads,
                 [](void* data, ptrdiff_t index) {
                     const Context& c = *static_cast<Context*>(data);
                     c.body(index * c.run, std::min(c.run, c.blocks - index * c.run));
                     end_streaming();
                 },
                 &context, n * ptrdiff_t(sizeof(float)), backwards);
}
// Entries of a block of a row of n.
inline ptrdiff_t length_of_block(ptrdiff_t n, ptrdiff_t block) {
    return std::min(block_length, n - block * block_length);
}
// Calls body(first, count, block) for each block of n entries; backwards, the last first.
template <class Body>
void for_blocks(ptrdiff_t n, int threads, const Body& body, bool backwards = false) {
    for_block_runs(
        n, threads,
        [&](ptrdiff_t begin, ptrdiff_t count) {
            for (ptrdiff_t i = 0; i < count; ++i) {
                const ptrdiff_t block = begin + (backwards ? count - 1 - i : i);
                body(block * block_length, length_of_block(n, block), block);
            }
        },
        backwards);
}

// Rows of up to so many entries are worked on in a buffer where they are not contiguous floats already; longer ones by
// blocks. It stays in the second-level cache.
template <class T>
constexpr ptrdiff_t short_row = 65536 / sizeof(T);

// c tanh(x / c).
template <class T>
void cap(T* x, ptrdiff_t n, T c) {
    using S = Simd<T>;
    for (ptrdiff_t i = 0; i < n; i += S::lanes) {
        const int count = int(n - i < S::lanes ? n - i : S::lanes);
        const typename S::V v = load_first<S>(x + i, count, T(0)) / c;
        store_first<S>(x + i, typename S::V(tanh<T, S>(v) * c), count);
    }
}

// The n entries of x, -inf where the mask is false; `to` may be x.
template <class T>
void leave_out(const T* x, const char* mask, ptrdiff_t stride, ptrdiff_t n, T* to) {
    using S = Simd<T>;
    ptrdiff_t i = 0;
    for (; stride == 1 && i + S::lanes <= n; i += S::lanes) store(to + i, load_where<S>(x + i, mask + i, T(-INFINITY)));
    for (; i < n; ++i) to[i] = mask[i * stride] ? x[i] : T(-INFINITY);
}

// One row of the input. A masked-out entry reads as -inf.
template <class T>
struct Row {
    const char* data;
    ptrdiff_t stride;
    const char* mask;  // of bool, or nullptr
    ptrdiff_t mask_stride;
    ptrdiff_t n;
    Storage storage = Storage::own;
    T shift = 0;  // x is read as (x - shift) 2^exponent, for scores or temperatures outside the range of exp.hpp
    int exponent = 0;
    T softcap = 0;  // c: before all else, x is read as c tanh(x / c)

    bool direct() const {
        return stride == ptrdiff_t(sizeof(T)) && mask == nullptr && storage == Storage::own && !transformed() &&
               softcap == 0;
    }

    bool halves() const {  // 16-bit numbers side by side
        return stride == 2 && mask == nullptr && !transformed() && softcap == 0 && of_16_bits(storage);
    }

    bool transformed() const { return shift != 0 || exponent != 0; }

    // What the derivative by an entry takes from the one by what it reads as.
    double slope(double read) const {
        if (softcap == 0 || read == -INFINITY) return 1;
        const double tanh = read / double(softcap);
        return 1 - tanh * tanh;
    }

    T operator[](ptrdiff_t i) const {
        T value{};
        return *block(i, 1, &value);
    }

    // The entries from `first` on as contiguous memory: the row's own where possible, else a copy in `buffer`.
    const T* block(ptrdiff_t first, ptrdiff_t count, T* buffer) const {
        if (direct()) return reinterpret_cast<const T*>(data) + first;
        const T* from = reinterpret_cast<const T*>(data) + first;
        if (stride != ptrdiff_t(sizeof(T)) || storage != Storage::own || softcap != 0 || mask == nullptr) {
            gather(data + first * stride, stride, count, buffer, storage);
            from = buffer;
        }
        if (softcap != 0) cap(buffer, count, softcap);
        if (mask != nullptr) leave_out(from, mask + first * mask_stride, mask_stride, count, buffer);
        if (transformed()) {
            for (ptrdiff_t i = 0; i < count; ++i) {
                buffer[i] = T(std::ldexp(double(buffer[i]) - double(shift), exponent));
            }
        }
        return buffer;
    }
};

template <class T>
struct OutRow {
    char* data;
    ptrdiff_t stride;
    Storage storage = Storage::own;
    bool streaming = false;  // too much for the caches

    bool direct() const { return stride == ptrdiff_t(sizeof(T)) && storage == Storage::own; }
    bool halves() const { return stride == 2 && of_16_bits(storage); }
    bool keeps() const { return direct() && !streaming; }  // what is stored may be read again
    T* at(ptrdiff_t i) const { return reinterpret_cast<T*>(data + i * stride); }

    // Where to write a block: the row itself where it is contiguous, else `buffer`, which `put` then scatters.
    T* block(ptrdiff_t first, T* buffer) const { return keeps() ? at(first) : buffer; }
    void put(ptrdiff_t first, ptrdiff_t count, const T* values) const {
        char* to = data + first * stride;
        if (reinterpret_cast<const char*>(values) == to) return;
        if (direct() && streaming) return scatter_streaming(values, count, reinterpret_cast<T*>(to));
        scatter(values, count, to, stride, storage);
    }
    T get(ptrdiff_t i) const {
        T value{};
        gather(data + i * stride, stride, 1, &value, storage);
        return value;
    }
    void set(ptrdiff_t i, T value) const { scatter(&value, 1, data + i * stride, stride, storage); }
};

// Calls body(x, out) with rows of contiguous floats where they are short, packed if need be, and delivers the result.
template <class T, class Body>
void with_packed(const Row<T>& x, const OutRow<T>* out, const Body& body) {
    if (x.n > short_row<T> || (x.direct() && (out == nullptr || out->keeps()))) return body(x, out);
    alignas(64) T buffer[short_row<T>];
    const Row<T> packed = {reinterpret_cast<const char*>(x.block(0, x.n, buffer)), sizeof(T), nullptr, 0, x.n};
    if (out == nullptr) return body(packed, out);
    T* values = out->block(0, buffer);
    const OutRow<T> result = {reinterpret_cast<char*>(values), sizeof(T)};
    body(packed, &result);
    out->put(0, x.n, values);
}

// Rows that no sum is needed for end in `winners`: the entries from a threshold on share the whole weight equally.
enum class Kind { ordinary, not_a_number, nothing, winners };

template <class T>
struct Summary {
    Kind kind;
    T maximum;
    T threshold;     // winners: entries >= threshold
    double winners;  // how many
};

// Arrays of one element a block, on the stack where they are few.
template <class Element>
class PerBlock {
public:
    explicit PerBlock(ptrdiff_t n) : blocks((n + block_length - 1) / block_length) {
        if (blocks > 16) many.reset(new Element[blocks]);
    }
    Element& operator[](ptrdiff_t block) { return many ? many[block] : few[block]; }
    const ptrdiff_t blocks;

private:
    Element few[16];
    std::unique_ptr<Element[]> many;
};

template <class S, class T>
T maximum_of_row(const Row<T>& x, int threads) {
    if (x.direct() && x.n <= short_row<T>) return maximum_of<S>(reinterpret_cast<const T*>(x.data), x.n);
    PerBlock<T> maxima(x.n);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T buffer[block_length];
        maxima[block] = maximum_of<S>(x.block(first, count, buffer), count);
    });
    T result = T(-INFINITY);
    for (ptrdiff_t block = 0; block < maxima.blocks; ++block) result = max(maxima[block], result);
    return result;
}

// What becomes of a row with this maximum of the entries that are not NaN. An ordinary row may still hold a NaN: its sum
// says so.
template <class T>
Summary<T> classify(const Row<T>& x, T maximum, double temperature) {
    const bool infinite = maximum == T(INFINITY), extreme = temperature == 0 || std::isinf(temperature);
    if (maximum > T(-INFINITY) && !infinite && !extreme) return {Kind::ordinary, maximum, T(0), 0};
    const bool all = std::isinf(temperature) && !infinite;
    Summary<T> result = {Kind::winners, maximum, all ? std::numeric_limits<T>::lowest() : maximum, 0};
    if (maximum == T(-INFINITY)) result.kind = Kind::nothing;
    for (ptrdiff_t i = 0; i < x.n; ++i) {
        const T entry = x[i];
        if (std::isnan(entry)) return {Kind::not_a_number, T(NAN), T(0), 0};
        result.winners += entry >= result.threshold;
    }
    return result;
}

template <class T>
constexpr Summary<T> not_a_number = {Kind::not_a_number, T(NAN), T(0), 0};

// For what makes no sum that would say so.
template <class S, class T>
bool holds_nan(const Row<T>& x, T maximum, int threads) {
    PerBlock<char> found(x.n);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T buffer[block_length];
        found[block] = any_above<S>(x.block(first, count, buffer), count, maximum);
    });
    bool any = false;
    for (ptrdiff_t block = 0; block < found.blocks; ++block) any = any || found[block];
    return any;
}

template <class S, class T>
Summary<T> summarize(const Row<T>& x, double temperature, int threads) {
    return classify(x, maximum_of_row<S>(x, threads), temperature);
}

// Writes a row that needs no sum: `share` on the winners, `rest` elsewhere, NaN everywhere in a row that holds one.
template <class T>
void fill(const Row<T>& x, const Summary<T>& summary, T share, T rest, const OutRow<T>& out) {
    for (ptrdiff_t i = 0; i < x.n; ++i) {
        const bool wins = summary.kind == Kind::winners && x[i] >= summary.threshold;
        out.set(i, summary.kind == Kind::not_a_number ? T(NAN) : wins ? share : rest);
    }
}

// Brings a row into the range of exp.hpp, its maximum and temperature with it: a huge maximum is subtracted, and a
// temperature that T's range would not carry is brought to [1/2, 1), so that no entry overflows whose quotient does not.
template <class T>
double normalize(Row<T>& x, T& maximum, double temperature) {
    const double scaled = temperature == 1 ? double(maximum) : double(maximum) / temperature;
    const bool far = !(std::fabs(scaled) <= largest_unshifted);
    if (far) x.shift = maximum;
    if (temperature < smallest_temperature || temperature > largest_temperature) {
        x.exponent = -std::ilogb(temperature) - 1;
        temperature = std::ldexp(temperature, x.exponent);
    }
    maximum = far ? T(0) : T(std::ldexp(double(maximum), x.exponent));
    return temperature;
}

// Whether rows of k entries are worked on one after the other, each by all threads: where they are long, and few or too
// large for the caches together. Small work stays on the calling thread.
inline int threads_for(ptrdiff_t rows, ptrdiff_t k) {
    constexpr ptrdiff_t worth_a_thread = 1 << 15;  // entries
    return rows * k < worth_a_thread ? 1 : num_threads();
}
inline bool shared_rows(ptrdiff_t rows, ptrdiff_t k) {
    constexpr ptrdiff_t large = 1 << 19;  // entries
    const int threads = threads_for(rows, k);
    return threads > 1 && k > short_row<float> && (rows < 2 * threads || k >= large);
}

// Calls body(first, count) for pieces of the rows, in parallel.
template <class Body>
void for_row_pieces(ptrdiff_t rows, ptrdiff_t k, ptrdiff_t piece, const Body& body) {
    struct Context {
        const Body& body;
        ptrdiff_t rows, piece;
    } context = {body, rows, piece};
    parallel_for((rows + piece - 1) / piece, threads_for(rows, k),
                 [](void* data, ptrdiff_t index) {
                     const Context& c = *static_cast<Context*>(data);
                     const ptrdiff_t first = index * c.piece, left = c.rows - first;
                     c.body(first, left < c.piece ? left : c.piece);
                     end_streaming();
                 },
                 &context, rows * k * ptrdiff_t(sizeof(float)));
}

// Rows that are worth a thread's while.
inline ptrdiff_t rows_of_piece(ptrdiff_t k) {
    constexpr ptrdiff_t task = 1 << 14;  // entries
    return k >= task ? 1 : task / (k > 0 ? k : 1);
}

// Calls body(row, threads) for each of n rows of k entries.
template <class Body>
void for_rows(ptrdiff_t rows, ptrdiff_t k, const Body& body) {
    if (shared_rows(rows, k)) {
        const int threads = num_threads();
        for (ptrdiff_t row = 0; row < rows; ++row) body(row, threads);
        return;
    }
    for_row_pieces(rows, k, rows_of_piece(k), [&](ptrdiff_t first, ptrdiff_t count) {
        for (ptrdiff_t row = first; row < first + count; ++row) body(row, 1);
    });
}

}  // namespace softmax::SOFTMAX_ISA
