// Softmax of many rows on one thread, three rows at a time: beside the exponentials of one, the maximum of the next is
// taken and the one before is scaled. Exponentials keep the arithmetic busy and the other two wait for memory: together
// they take little longer than the exponentials alone, and memory is read and written evenly.
//
// Long rows are taken by the blocks of `softmax_by_blocks`. Bits as from `softmax_row`, which also takes the rows that are
// not ordinary.
#pragma once

#include "softmax.hpp"

namespace softmax::SOFTMAX_ISA {

// The scaling of stored exponentials, a few vectors at each call: whole ones of `to`, past the caches where that is asked
// for. `to` is what it is scaled from or lies elsewhere.
template <class S>
class Scaler {
    using T = typename S::T;
    using V = typename S::V;

public:
    Scaler() = default;
    Scaler(const T* from, T* to, ptrdiff_t n, const Scaling<S>& scaling, bool streaming)
        : scaling(scaling), from(from), to(to), n(n), exact(scaling.exact_top()), streaming(streaming) {
        const ptrdiff_t behind = ptrdiff_t(reinterpret_cast<std::uintptr_t>(to) % sizeof(V) / sizeof(T));
        head = behind == 0 ? 0 : std::min(S::lanes - behind, n);
        if (head > 0) part(0, int(head));
    }

    // The vectors behind the first i entries from the first whole vector on.
    template <class Width>
    SOFTMAX_INLINE void operator()(Width width, ptrdiff_t i) const {
        const ptrdiff_t at = head + i;
        if (at + width() * S::lanes > n) {
            const int left = int(std::max<ptrdiff_t>(n - at, 0));  // below width * lanes
            for (int a = 0; a < width(); ++a) part(at + a * S::lanes, left - a * S::lanes);
        } else if (exact) {
            whole<true>(width, at);
        } else {
            whole<false>(width, at);
        }
    }

    void rest() const {
        for_vectors<S>(n - head, [&](auto width, ptrdiff_t i, int) { (*this)(width, i); });
    }

private:
    Scaling<S> scaling;
    const T* from = nullptr;
    T* to = nullptr;
    ptrdiff_t n = 0, head = 0;
    bool exact = false, streaming = false;

    template <bool ExactTop, class Width>
    SOFTMAX_INLINE void whole(Width width, ptrdiff_t at) const {
        V e[width()];
        for (int a = 0; a < width(); ++a) e[a] = scaling.template scale<ExactTop>(load<S>(from + at + a * S::lanes));
        for (int a = 0; a < width(); ++a) {
            if (streaming) {
                stream<S>(to + at + a * S::lanes, e[a]);
            } else {
                store(to + at + a * S::lanes, e[a]);
            }
        }
    }
    void part(ptrdiff_t at, int count) const {
        if (count <= 0) return;
        const V e = load_first<S>(from + at, count, T(0));
        store_first<S>(to + at, exact ? scaling.template scale<true>(e) : scaling.template scale<false>(e), count);
    }
};

constexpr ptrdiff_t pipeline_ahead = 2048;  // entries, asked for before their maximum is taken

// Exponentials of n entries, stored and summed, and what is done beside them; `next` may be nullptr.
template <class S, bool Tempered, class T>
DD sum_beside(const T* x, ptrdiff_t n, const Reduction<S>& row, T* kept, const T* next, T& next_maximum,
              const Scaler<S>& previous) {
    const Scaler<S> scaler = previous;
    auto top = splat<S>(T(-INFINITY));
    const Sum sum =
        sum_exponentials<S, false, Tempered, true>(x, n, row, T(0), kept, [&](auto width, ptrdiff_t i, int count) {
            if (next != nullptr) {
                typename S::V v[width()];
                load_all<S>(v, next + i, count, T(-INFINITY));
                for (int a = 0; a < width(); ++a) {
                    prefetch<S>(next + i + a * S::lanes, pipeline_ahead);
                    top = max(v[a], top);
                }
            }
            scaler(width, i);
        });
    next_maximum = fold(top, [](const auto& a, const auto& b) { return max(a, b); });
    return sum.total;
}

// A row is one unit of work, a long one as many as it has blocks.
template <class T>
struct Units {
    const ptrdiff_t n, length = n <= short_row<T> ? n : block_length, in_row = (n + length - 1) / length;

    ptrdiff_t row(ptrdiff_t unit) const { return in_row == 1 ? unit : unit / in_row; }
    ptrdiff_t block(ptrdiff_t unit) const { return unit - row(unit) * in_row; }
    ptrdiff_t first(ptrdiff_t unit) const { return block(unit) * length; }
    ptrdiff_t count(ptrdiff_t unit) const { return std::min(length, n - first(unit)); }
};

// What is known of a row whose exponentials are stored.
template <class S>
struct Summed {
    using T = typename S::T;
    PerBlock<KeptPair<S, T>> pairs;
    BlockPair<T> last;  // of the last block as it is: all there is of a short row
    Scaling<S> scaling;
    T octaves = 0;
    bool to_scale = false;  // else all is done

    explicit Summed(ptrdiff_t blocks) : pairs(blocks * block_length), last() {}
};

// Entries of buffers for rows that are not contiguous, or whose results are not to be read again.
template <class T>
constexpr ptrdiff_t pipeline_buffer = 131072 / sizeof(T);

// x_at(i) and out_at(i) are the rows, of which all are alike. They are contiguous, or four of them fit the buffer; a long
// row's result is contiguous and not the row itself, which is read once more where it turns out not to be ordinary.
template <class S, bool Tempered, class T, class RowAt, class OutAt>
void softmax_rows(ptrdiff_t rows, const RowAt& x_at, const OutAt& out_at, double temperature) {
    const Units<T> units = {x_at(0).n};
    const Temperature<T> constants = temperature_constants<T>(temperature);
    alignas(64) T buffer[pipeline_buffer<T>];
    const auto slot = [&](ptrdiff_t number) { return buffer + number * units.length; };
    const auto read = [&](ptrdiff_t unit) {
        return x_at(units.row(unit)).block(units.first(unit), units.count(unit), slot(unit % 2));
    };
    const auto kept = [&](ptrdiff_t unit) {
        return out_at(units.row(unit)).block(units.first(unit), slot(2 + unit % 2));
    };

    Summed<S> summed[2] = {Summed<S>(units.in_row), Summed<S>(units.in_row)};
    const auto scaler_of = [&](ptrdiff_t unit) -> Scaler<S> {
        Summed<S>& row = summed[units.row(unit) % 2];
        if (!row.to_scale) return {};
        const OutRow<T> out = out_at(units.row(unit));
        const T down = units.in_row == 1 ? T(0) : row.pairs[units.block(unit)].octaves(constants) - row.octaves;
        T* const from = kept(unit);
        T* const to = out.direct() ? out.at(units.first(unit)) : from;
        const ptrdiff_t n = units.count(unit);
        if (down == T(0)) return {from, to, n, row.scaling, out.streaming};
        if (down >= near_octaves<T>) {
            return {from, to, n, row.scaling.times_power(T(std::ldexp(1.0, int(down)))), out.streaming};
        }
        scale_block<S>(from, n, row.scaling, down);
        return {};
    };
    const auto deliver = [&](ptrdiff_t unit) {
        const OutRow<T> out = out_at(units.row(unit));
        if (!out.direct() && summed[units.row(unit) % 2].to_scale)
            out.put(units.first(unit), units.count(unit), kept(unit));
    };
    const auto finish = [&](ptrdiff_t i) {
        Summed<S>& row = summed[i % 2];
        bool in_range = row.last.in_range(constants);
        const BlockPair<T> all = units.in_row == 1 ? row.last : combine(row.pairs, constants, in_range);
        row.to_scale = false;
        if (std::isnan(all.total.high)) {
            fill(x_at(i), not_a_number<T>, T(0), T(0), out_at(i));
        } else if (!in_range || all.empty()) {
            softmax_row<S>(x_at(i), temperature, out_at(i), 1);
        } else {
            const Reduction<S> reduction(splat<S>(all.maximum), constants);
            row.scaling = scaling_of<S, Tempered>(all.total, all.maximum, reduction);
            row.octaves = all.octaves;
            row.to_scale = true;
        }
    };

    const ptrdiff_t count = rows * units.in_row;
    const T* x = read(0);
    T maximum = maximum_of<S>(x, units.count(0));
    for (ptrdiff_t unit = 0; unit < count + units.in_row; ++unit) {
        const ptrdiff_t before = unit - units.in_row;
        const Scaler<S> scaler = before < 0 ? Scaler<S>() : scaler_of(before);
        if (unit >= count) {
            scaler.rest();
        } else {
            Summed<S>& row = summed[units.row(unit) % 2];
            BlockPair<T>& pair = row.last;
            const ptrdiff_t n = units.count(unit);
            const T* const next = unit + 1 < count ? read(unit + 1) : nullptr;
            pair = {maximum, T(0), {0.0, 0.0}};
            const bool alike = next == nullptr || units.count(unit + 1) == n;
            if (alike && pair.in_range(constants) && !pair.empty()) {
                const Reduction<S> reduction(splat<S>(maximum), constants);
                pair.octaves = first_lane<S>(reduction.octaves);
                pair.total = sum_beside<S, Tempered>(x, n, reduction, kept(unit), next, maximum, scaler);
            } else {
                scaler.rest();
                if (next != nullptr) maximum = maximum_of<S>(next, units.count(unit + 1));
                if (units.in_row > 1 || !pair.empty()) sum_block<S, Tempered>(x, n, constants, kept(unit), pair);
            }
            if (units.in_row > 1) row.pairs[units.block(unit)] = KeptPair<S, T>(pair);
            x = next;
        }
        if (before >= 0) deliver(before);
        if (unit < count && units.block(unit) == units.in_row - 1) finish(units.row(unit));
    }
}

}  // namespace softmax::SOFTMAX_ISA
