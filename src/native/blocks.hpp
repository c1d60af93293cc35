// A long row by its blocks: the monoid's pair (maximum, sum) of each, and their product.
#pragma once

#include "beside.hpp"

namespace softmax::SOFTMAX_ISA {

// A sum as it is kept for each block of a row, to 2^-47 or better: three numbers of T a block are a thousandth of the row.
template <class T>
Pair<T> narrowed(const DD& sum) {
    const T high = T(sum.high);
    return {high, T((sum.high - double(high)) + sum.low)};
}
template <class T>
DD widened(const Pair<T>& sum) {
    return two_sum(double(sum.high), double(sum.low));
}

// The monoid's pair of a block: exponentials relative to the block's own maximum, in units of 2^octaves.
template <class T>
struct BlockPair {
    T maximum, octaves;
    DD total;

    bool empty() const { return maximum == T(-INFINITY); }
    bool in_range(const Temperature<T>& t) const {
        return empty() || std::fabs(maximum * t.inverse_high) <= T(largest_unshifted);
    }
};

// As it is kept for each block of a row.
template <class S, class T>
struct KeptPair {
    T maximum;
    Pair<T> total;

    KeptPair() = default;
    explicit KeptPair(const BlockPair<T>& pair) : maximum(pair.maximum), total(narrowed<T>(pair.total)) {}
    T octaves(const Temperature<T>& constants) const {
        return maximum == T(-INFINITY) ? T(0) : first_lane<S>(Reduction<S>(splat<S>(maximum), constants).octaves);
    }
};

// With `kept`, the exponentials are stored there.
template <class S, Summed What, bool Tempered, class T>
void sum_block(const T* x, ptrdiff_t n, const Temperature<T>& constants, T* kept, BlockPair<T>& pair) {
    pair.octaves = T(0);
    pair.total = {0.0, 0.0};
    if (pair.empty()) {
        for (ptrdiff_t i = 0; i < n; ++i) {
            if (std::isnan(x[i])) pair.total.high = NAN;
            if (kept != nullptr) kept[i] = T(0);
        }
    } else if (pair.in_range(constants)) {
        const Reduction<S> row(splat<S>(pair.maximum), constants);
        pair.octaves = first_lane<S>(row.octaves);
        pair.total = sum_exponentials<S, What, Tempered, T>(x, n, row, pair.maximum, kept).total;
    }
}

// The product of all pairs. Not in range: the total says nothing.
template <class S, class T>
BlockPair<T> combine(PerBlock<KeptPair<S, T>>& pairs, const Temperature<T>& constants, bool& in_range) {
    BlockPair<T> all = {T(-INFINITY), T(0), {0.0, 0.0}};
    in_range = true;
    for (ptrdiff_t block = 0; block < pairs.blocks; ++block) {
        const T maximum = pairs[block].maximum;
        in_range = in_range && BlockPair<T>{maximum, T(0), {}}.in_range(constants);
        if (maximum > all.maximum) all.maximum = maximum;
    }
    if (!in_range) return all;
    all.octaves = KeptPair<S, T>(all).octaves(constants);
    for (ptrdiff_t block = 0; block < pairs.blocks; ++block) {
        const int down = int(pairs[block].octaves(constants) - all.octaves);
        const DD total = widened(pairs[block].total);
        all.total = down == 0 ? add(all.total, total)
                              : add(all.total, DD{std::ldexp(total.high, down), std::ldexp(total.low, down)});
    }
    return all;
}

// The pairs of neighbouring blocks of a row of n, which is read once: each is summed beside the maximum of the next.
template <class S, Summed What, bool Tempered, class T>
SOFTMAX_OUTLINE void sum_run(const T* x, ptrdiff_t n, const Temperature<T>& constants, ptrdiff_t begin, ptrdiff_t end,
                             PerBlock<KeptPair<S, T>>& pairs) {
    T maximum = maximum_of<S>(x + begin * block_length, length_of_block(n, begin));
    Nothing nothing;
    for (ptrdiff_t block = begin; block < end; ++block) {
        const T* const entries = x + block * block_length;
        const ptrdiff_t length = length_of_block(n, block);
        BlockPair<T> pair = {maximum, T(0), {0.0, 0.0}};
        const bool more = block + 1 < end;
        if (pair.in_range(constants) && !pair.empty() && (!more || length_of_block(n, block + 1) == length)) {
            Later<T> next;
            if (more) next.entries = entries + length;
            next.ahead = far_ahead;
            T* const none = nullptr;
            const Reduction<S> row(splat<S>(maximum), constants);
            pair.total = sum_beside<S, What, Tempered, false>(entries, length, row, none, next, maximum, nothing);
        } else {
            sum_block<S, What, Tempered>(entries, length, constants, (T*)nullptr, pair);
            if (more) maximum = maximum_of<S>(entries + length, length_of_block(n, block + 1));
        }
        pairs[block] = KeptPair<S, T>(pair);
    }
}

// The pairs of all blocks, and their product. With `kept`, the exponentials are stored there, unless the row is empty or not
// in range: then its total says nothing.
template <class S, Summed What, bool Tempered, class T>
BlockPair<T> sum_blocks(const Row<T>& x, const Temperature<T>& constants, PerBlock<KeptPair<S, T>>& pairs,
                        const OutRow<T>* kept, int threads, bool& in_range) {
    const auto for_each = [&](const auto& body) {
        for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
            T buffer[block_length];
            BlockPair<T> pair = {pairs[block].maximum, T(0), {0.0, 0.0}};
            body(x.block(first, count, buffer), count, first, pair);
            pairs[block] = KeptPair<S, T>(pair);
        });
    };
    if (kept != nullptr && kept->data == x.data) {  // all maxima before the first exponential is written
        for_each([&](const T* entries, ptrdiff_t n, ptrdiff_t, BlockPair<T>& pair) {
            pair.maximum = maximum_of<S>(entries, n);
        });
        const BlockPair<T> all = combine(pairs, constants, in_range);
        if (!in_range || all.empty()) return all;
        for_each([&](const T* entries, ptrdiff_t n, ptrdiff_t first, BlockPair<T>& pair) {
            sum_block<S, What, Tempered>(entries, n, constants, kept->at(first), pair);
        });
#if !defined(SOFTMAX_EMULATED_FMA)  // whose arithmetic leaves nothing to be done beside it
    } else if (kept == nullptr && x.direct()) {
        for_block_runs(x.n, threads, [&](ptrdiff_t begin, ptrdiff_t count) {
            sum_run<S, What, Tempered>(reinterpret_cast<const T*>(x.data), x.n, constants, begin, begin + count, pairs);
        });
#endif
    } else {  // a block is read from memory once
        for_each([&](const T* entries, ptrdiff_t n, ptrdiff_t first, BlockPair<T>& pair) {
            pair.maximum = maximum_of<S>(entries, n);
            sum_block<S, What, Tempered>(entries, n, constants, kept == nullptr ? nullptr : kept->at(first), pair);
        });
    }
    return combine(pairs, constants, in_range);
}

}  // namespace softmax::SOFTMAX_ISA
