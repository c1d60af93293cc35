// The entries of a row that the support of its entmax is looked for among (see entmax.hpp): those within reach of the
// maximum, gathered in one pass.
#pragma once

#include <algorithm>

#include "lanes.hpp"

namespace softmax::SOFTMAX_ISA::entmax {

constexpr int accumulators = 4;  // independent chains, to cover the latency of an addition
using Wide = Simd<double>;

template <class V>
SOFTMAX_INLINE double total(const V& v) {
    double lanes[Wide::lanes];
    store(lanes, v);
    for (int half = Wide::lanes / 2; half > 0; half /= 2) {
        for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    }
    return lanes[0];
}

// n entries as doubles, and back.
template <class T>
void to_doubles(const T* x, ptrdiff_t n, double* wide) {
    using S = Simd<T>;
    ptrdiff_t i = 0;
    for (; i + S::lanes <= n; i += S::lanes) store(wide + i, as_doubles<S>(load<S>(x + i)));
    for (; i < n; ++i) wide[i] = double(x[i]);
}
template <class T>
void from_doubles(const double* wide, ptrdiff_t n, T* x) {
    using S = Simd<T>;
    ptrdiff_t i = 0;
    for (; i + S::lanes <= n; i += S::lanes) {
        store(x + i,
              convert<typename S::V>(load<Simd<double, S::lanes == 1 ? 0 : S::lanes * int(sizeof(double))>>(wide + i)));
    }
    for (; i < n; ++i) x[i] = T(wide[i]);
}

// The largest T below x.
template <class T>
T below(double x) {
    return std::nextafter(T(x), T(-INFINITY));
}

// Calls body(i, count, hit) for groups of a block: `hit` tells whether any entry of the group is at least `cut`.
template <class T>
constexpr int group_length = accumulators * Simd<T>::lanes;
template <class T, class Body>
void for_groups(const T* x, ptrdiff_t n, T cut, const Body& body) {
    using S = Simd<T>;
    const auto limit = splat<S>(cut);
    ptrdiff_t i = 0;
    for (; i + group_length<T> <= n; i += group_length<T>) {
        auto found = load<S>(x + i) >= limit;
        for (int a = 1; a < accumulators; ++a) found |= load<S>(x + i + a * S::lanes) >= limit;
        body(i, group_length<T>, lane_bits<S>(found) != 0);
    }
    if (i < n) body(i, int(n - i), true);
}

// The entries of a row that its support is looked for among, as doubles: the candidates in a buffer, or where they are too
// many the whole row by blocks.
template <class T>
class Entries {
public:
    Entries(const Row<T>& row, int threads) : row(row), threads(threads) {}

    // Drops what is below `cut` if few enough entries are left.
    void keep(double cut) {
        if (kept < 0) kept = gather(below<T>(cut));
    }

    // The sum, by blocks in order, of body(x, n).
    template <class Result, class Body>
    Result sum(const Body& body) const {
        if (kept >= 0) return body(buffer, kept);
        const std::unique_ptr<Result[]> parts(new Result[(row.n + block_length - 1) / block_length]);
        for_blocks(row.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
            T copy[block_length];
            double wide[block_length];
            const T* x = row.block(first, count, copy);
            to_doubles(x, count, wide);
            parts[block] = body(wide, count);
        });
        for (ptrdiff_t block = 1; block * block_length < row.n; ++block) parts[0] += parts[block];
        return parts[0];
    }

private:
    static constexpr ptrdiff_t capacity = block_length;
    const Row<T>& row;
    int threads;
    ptrdiff_t kept = -1;
    double buffer[capacity + group_length<T>];

    ptrdiff_t gather(T cut) {
        ptrdiff_t count = 0;
        T copy[block_length];
        for (ptrdiff_t first = 0; first < row.n && count <= capacity; first += block_length) {
            const ptrdiff_t n = std::min(row.n - first, block_length);
            const T* x = row.block(first, n, copy);
            for_groups(x, n, cut, [&](ptrdiff_t start, int length, bool hit) {
                if (!hit || count > capacity) return;
                for (int i = 0; i < length; ++i) {
                    buffer[count] = double(x[start + i]);
                    count += x[start + i] >= cut;
                }
            });
        }
        return count <= capacity ? count : -1;
    }
};

}  // namespace softmax::SOFTMAX_ISA::entmax
