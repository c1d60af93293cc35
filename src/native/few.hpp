// softmax and log_softmax of few classes, tile after tile: in one loop, one tile is turned into columns, the exponentials of
// the one before are summed, and an earlier one is finished and turned back. Exponentials keep the arithmetic busy, turning
// the shuffles and the memory. Between a sum and what it makes of its tile, where each step waits for the one before, the
// next tile is summed.
#pragma once

#include "lanes.hpp"

namespace softmax::SOFTMAX_ISA {

// What becomes of a tile, one step after the other.
template <bool Log, bool Tempered, class T>
struct FamilyTile {
    using S = Simd<T>;
    using V = typename S::V;
    using Columns = ColumnSum<T, Log, Tempered, !Log>;
    V maximum;
    Pair<V> total;
    Exponential<S> top;
    std::conditional_t<Log, Logarithm<S, Tempered>, Scaling<S>> entry;

    SOFTMAX_OUTLINE void sum(Tile<T>& tile, const Reduction<S>& row) {
        if constexpr (Log) {
            total = others_columns<Tempered, false>(tile, row, maximum);
        } else {
            Columns columns;
            columns.take_all(tile.column, tile.n, row, maximum);
            take(columns, row);
        }
    }
    // What was summed. The columns are exponentials now or, for logarithms, still the entries.
    SOFTMAX_INLINE void take(const Columns& columns, const Reduction<S>& row) {
        if constexpr (Log) {
            total = columns.others(row, maximum);
        } else {
            total = columns.sum();
            top = exponential<Tempered, true, S>(maximum, row);
        }
    }
    void divide(const Temperatures<T>& t) {
        if constexpr (Log) {
            entry = {maximum, log1p<T, S>(total).high, t.inverse_high, t.inverse_low};
        } else {
            const Pair<V> factor = inverse(total);
            entry = {factor, top.value(), multiply(factor, as_pair(top)).high};
        }
    }
    SOFTMAX_OUTLINE void finish(Tile<T>& tile) const {
        for (ptrdiff_t j = 0; j < tile.n; ++j) {
            V v[1] = {tile.column[j]};
            entry.template finish<true>(v);
            tile.column[j] = v[0];
        }
    }
};

// A tile whose rows are not all ordinary, or have temperatures of their own. Those of temperature 1 take the shorter
// arithmetic, also beside others that do not.
template <bool Log, class T>
SOFTMAX_OUTLINE void family_tile(Tile<T>& tile, const Temperatures<T>& t, const Batch<double>& temperature) {
    using S = Simd<T>;
    const typename S::V maximum = maxima_of(tile);
    Rescued<T> rescued(tile, t.out_of_range(maximum), [&](const Row<T>& row, ptrdiff_t i, const OutRow<T>& to) {
        (Log ? log_softmax_row<S, T> : softmax_row<S, T>)(row, temperature.value(i), to, 1);
    });
    const auto all = [&](auto family, Tile<T>& of) {
        family.maximum = maximum;
        family.sum(of, t.reduction(maximum));
        family.divide(t);
        family.finish(of);
    };
    const FamilyTile<Log, false, T> untempered = {};
    const FamilyTile<Log, true, T> tempered = {};
    const unsigned in_use = (1u << (tile.rows - 1) << 1) - 1, plain = t.plain & in_use;
    if (plain == in_use) {
        all(untempered, tile);
    } else if (plain == 0) {
        all(tempered, tile);
    } else {
        Tile<T> copy = tile;
        all(tempered, tile);
        all(untempered, copy);
        for (int lane = 0; lane < tile.rows; ++lane) {
            if (!(plain >> lane & 1)) continue;
            for (ptrdiff_t j = 0; j < tile.n; ++j) tile.entry(lane, j) = copy.entry(lane, j);
        }
    }
    rescued.restore();
}

// Tiles of one temperature.
template <bool Log, bool Tempered, class T>
class FamilyTiles {
    using S = Simd<T>;
    using V = typename S::V;
    struct Place {
        Tile<T> tile;
        FamilyTile<Log, Tempered, T> family;
        bool done;  // nothing is left but to write it
    };
    const Batch<T>&x, &out;
    const Batch<char>* mask;
    const Batch<double>& temperature;
    const ptrdiff_t rows, n;
    const Temperatures<T> t = {temperature, 0, 1};
    static constexpr ptrdiff_t tiles_ahead = 1024;  // entries
    // In one loop: not for what is rare.
    static constexpr bool may_beside = leaves_time && !(Log && Tempered);
    const bool along = x.turned(n) && out.turned(n);
    const bool beside = may_beside && (along || (x.across() && out.across())) && mask == nullptr;

public:
    FamilyTiles(const Batch<T>& x, const Batch<double>& temperature, const Batch<char>* mask, const Batch<T>& out,
                ptrdiff_t rows, ptrdiff_t n)
        : x(x), out(out), mask(mask), temperature(temperature), rows(rows), n(n) {}

    void run() const {
        const ptrdiff_t tiles = (rows + S::lanes - 1) / S::lanes;
        for_row_pieces(tiles, n * S::lanes, rows_of_piece(n * S::lanes),
                       [&](ptrdiff_t first, ptrdiff_t count) { run(first, count); });
    }

private:
    void run(ptrdiff_t first, ptrdiff_t count) const {
        Place places[4];
        for (ptrdiff_t i = 0; i < count + 3; ++i) {
            Place &ahead = places[i % 4], &here = places[(i + 3) % 4], &summed = places[(i + 2) % 4],
                  &behind = places[(i + 1) % 4];
            const bool reads = i < count, sums = i >= 1 && i <= count, ends = i >= 3;
            if (i >= 2 && i <= count + 1 && !summed.done) summed.family.divide(t);
            if (sums) here.done = t.out_of_range(here.family.maximum) != 0;
            if (reads) ahead.tile.place(first + i, rows, n);
            if constexpr (may_beside) {
                if (reads && ends && beside && ahead.tile.rows == S::lanes && !here.done && !behind.done) {
                    along ? together<true>(ahead, here, behind) : together<false>(ahead, here, behind);
                    continue;
                }
            }
            if (reads) {
                ahead.tile.take(x, mask);
                ahead.family.maximum = maxima_of(ahead.tile);
            }
            if (sums && here.done) family_tile<Log>(here.tile, t, temperature);
            if (sums && !here.done) here.family.sum(here.tile, t.reduction(here.family.maximum));
            if (ends && !behind.done) behind.family.finish(behind.tile);
            if (ends) behind.tile.write(out);
        }
    }
    // The three in one loop, as many columns at a time as are turned or worked on at once. Rows that lie across memory are
    // columns as they are.
    template <bool Along>
    SOFTMAX_OUTLINE void together(Place& ahead, Place& here, const Place& behind) const {
        constexpr int length = part_length<S>, wide = interleaved<S>, step = std::max(length, wide);
        const auto from = ahead.tile.lines(x), to = behind.tile.lines(out);
        const auto entry = behind.family.entry;
        const V maximum = here.family.maximum;
        const Reduction<S> row = t.reduction(maximum);
        typename FamilyTile<Log, Tempered, T>::Columns columns;
        V top[2] = {splat<S>(T(-INFINITY)), splat<S>(T(-INFINITY))};
        const auto turn = [&](auto width, ptrdiff_t j) SOFTMAX_INLINED {
            V v[width()];
            if constexpr (Along) {
                // As many entries of later tiles, in the order in which they lie if there are no gaps.
                prefetch(from.entry(0, 0, j * S::lanes), width() * S::lanes, tiles_ahead);
                prefetch<true>(to.entry(0, 0, j * S::lanes), width() * S::lanes, tiles_ahead);
                read_columns<S>(from, j, v);
            } else {
                for (int a = 0; a < width(); ++a) {
                    prefetch(x.entry(ahead.tile.first, j + a), S::lanes, 2 * S::lanes);
                    prefetch<true>(out.entry(behind.tile.first, j + a), S::lanes, 2 * S::lanes);
                    v[a] = load<S>(x.entry(ahead.tile.first, j + a));
                }
            }
            for (int a = 0; a < width(); ++a) {
                ahead.tile.column[j + a] = v[a];
                top[a % 2] = max(v[a], top[a % 2]);
            }
            for (int a = 0; a < width(); ++a) v[a] = behind.tile.column[j + a];
            entry.template finish<true>(v);
            if constexpr (Along) {
                write_columns<S>(v, to, j);
            } else {
                for (int a = 0; a < width(); ++a) store(out.entry(behind.tile.first, j + a), v[a]);
            }
        };
        ptrdiff_t j = 0;
        for (; j + step <= n; j += step) {
            for (int a = 0; a < step; a += length) turn(Width<length>(), j + a);
            for (int a = 0; a < step; a += wide) columns.template take<wide>(here.tile.column + j + a, row, maximum);
        }
        columns.take_all(here.tile.column + j, n - j, row, maximum);
        if constexpr (Along) {
            for (; j + length <= n; j += length) turn(Width<length>(), j);
            if (j < n) turn(Width<length>(), n - length);  // some of them once more
        } else {
            for (; j < n; ++j) turn(Width<1>(), j);
        }
        ahead.family.maximum = max(top[1], top[0]);
        here.family.take(columns, row);
    }
};

template <bool Log, class T>
void family_lanes(const Batch<T>& x, const Batch<double>& temperature, const Batch<char>* mask, const Batch<T>& out,
                  ptrdiff_t rows, ptrdiff_t n) {
    if (temperature.outer != 0) {
        return for_tiles(x, mask, rows, n, [&](Tile<T>& tile) {
            family_tile<Log>(tile, Temperatures<T>(temperature, tile.first, tile.rows), temperature);
            tile.write(out);
        });
    }
    if (temperature.value(0) == 1) return FamilyTiles<Log, false, T>(x, temperature, mask, out, rows, n).run();
    FamilyTiles<Log, true, T>(x, temperature, mask, out, rows, n).run();
}

}  // namespace softmax::SOFTMAX_ISA
