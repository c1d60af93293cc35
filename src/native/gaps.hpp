// What a loss needs of a row's target beside the exponentials: sums over classes and probabilities.
#pragma once

#include "double_lanes.hpp"

namespace softmax::SOFTMAX_ISA {

// A sum of vectors far below an ulp: in double for float, in pairs for double.
template <class T>
class Running {
    static constexpr bool wide = std::is_same_v<T, float>;
    using V = typename Simd<T>::V;
    std::conditional_t<wide, DoubleLanes<T>, Pair<V>> sum = {};

public:
    SOFTMAX_INLINE void add(const V& v) {
        if constexpr (wide) {
            sum = sum + DoubleLanes<T>::of(v);
        } else {
            accumulate(sum, v);
        }
    }
    DD pair() const {
        if constexpr (wide) {
            double all = 0;
            for (const auto& part : sum.part) all += fold(part, [](const auto& a, const auto& b) { return a + b; });
            return {all, 0.0};
        } else {
            const Pair<double> all = fold(sum);
            return two_sum(all.high, all.low);
        }
    }
    double total() const { return pair().high; }
};

// Sums over the classes that are left: where smoothed how many and of m - x, and with q, the target's probabilities, of q
// and q (m - x).
struct Gaps {
    double left, gap, mass, expected;
};
// With Every, no class is -inf, or the result is NaN or infinite.
template <class S, bool Every, class T>
Gaps sum_gaps(const T* x, const T* q, ptrdiff_t n, T maximum, bool smoothed) {
    using V = typename S::V;
    const V zero = splat<S>(T(0)), out = splat<S>(T(-INFINITY)), top = splat<S>(maximum);
    typename S::I left = {};
    Running<T> gap, mass, expected;
    for_vectors<S>(n, [&](auto width, ptrdiff_t i, int count) {
        V v[width()], d[width()];
        load_all<S>(v, x + i, count, Every ? maximum : T(-INFINITY));
        for (int a = 0; a < width(); ++a) d[a] = top - v[a];
        if (smoothed) {
            V sum = zero;
            for (int a = 0; a < width(); ++a) {
                if constexpr (!Every) left = count_lanes<S>(left, v[a] != out);
                sum = sum + (Every ? d[a] : V(v[a] == out ? zero : d[a]));
            }
            gap.add(sum);
        }
        if (q == nullptr) return;
        prefetch(q + i, width() * S::lanes, block_length);
        V sum = zero;
        for (int a = 0; a < width(); ++a) {
            const V share = load_first<S>(q + i + a * S::lanes, count, T(0));
            mass.add(share);
            sum = sum + (Every ? V(share * d[a]) : V(share == zero ? zero : V(share * d[a])));
        }
        expected.add(sum);
    });
    const double counted = fold(left, [](const auto& a, const auto& b) { return a + b; });
    return {Every ? double(n) : counted, gap.total(), mass.total(), expected.total()};
}
template <class S, class T>
Gaps gaps_of(const Row<T>& x, const Row<T>* q, T maximum, bool smoothed, int threads) {
    PerBlock<Gaps> blocks(x.n);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T buffer[block_length], probs[block_length];
        const T* entries = x.block(first, count, buffer);
        const T* shares = q == nullptr ? nullptr : q->block(first, count, probs);
        Gaps& gaps = blocks[block];
        gaps = sum_gaps<S, true>(entries, shares, count, maximum, smoothed);
        if (!std::isfinite(gaps.gap + gaps.expected)) {
            gaps = sum_gaps<S, false>(entries, shares, count, maximum, smoothed);
            if (std::isnan(gaps.gap)) gaps.gap = INFINITY;  // of an infinite one, a pair leaves inf - inf
            if (std::isnan(gaps.expected)) gaps.expected = INFINITY;
        }
    });
    Gaps all = {0, 0, 0, 0};
    for (ptrdiff_t block = 0; block < blocks.blocks; ++block) {
        all.left += blocks[block].left;
        all.gap += blocks[block].gap;
        all.mass += blocks[block].mass;
        all.expected += blocks[block].expected;
    }
    return all;
}

// The sum of probabilities, to within 2^-16 of it; NaN where one is negative or NaN. Signs are only gathered: that of -0,
// which is none to object to, is looked at where there is one.
template <class S, class T>
double mass_of_block(const T* q, ptrdiff_t n) {
    using V = typename S::V;
    using I = typename S::I;
    V sums[interleaved<S>] = {};
    I signs = {};
    for_vectors<S>(n, [&](auto width, ptrdiff_t i, int count) {
        V v[width()];
        load_all<S>(v, q + i, count, T(0));
        prefetch(q + i, width() * S::lanes, block_length);
        for (int a = 0; a < width(); ++a) {
            sums[a] = sums[a] + v[a];
            signs = signs | bit_cast<I>(v[a]);
        }
    });
    const bool any_sign = fold(signs, [](const auto& a, const auto& b) { return a | b; }) < 0;
    for (ptrdiff_t i = 0; any_sign && i < n; ++i) {
        if (!(q[i] >= T(0))) return NAN;
    }
    for (int a = 1; a < interleaved<S>; ++a) sums[0] = sums[0] + sums[a];
    return fold(as_doubles<S>(sums[0]), [](const auto& a, const auto& b) { return a + b; });
}
template <class S, class T>
double mass_row(const Row<T>& q, int threads) {
    PerBlock<double> sums(q.n);
    for_blocks(q.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        T buffer[block_length];
        sums[block] = mass_of_block<S>(q.block(first, count, buffer), count);
    });
    double all = 0;
    for (ptrdiff_t block = 0; block < sums.blocks; ++block) all += sums[block];
    return all;
}

}  // namespace softmax::SOFTMAX_ISA
