// Softmax and log_softmax of rows that lie across memory (along the first axis of a matrix): one row a lane, as for few
// classes, two cache lines of neighbours at a time. What is a lane of a sum for a row along memory is a vector here, of as
// many rows: the same terms in the same order, and the same bits.
#pragma once

#include "pipeline.hpp"

namespace softmax::SOFTMAX_ISA {

// Exponentials of n vectors, one row a lane, with Keep stored in their place; totals[k] is what lane k of a vector sums for
// a row along memory. beside.next(width) is called for the vectors at hand.
template <class S, Summed What, bool Tempered, bool Keep, class T, class Beside>
SOFTMAX_INLINE void sum_lanes(T* entries, ptrdiff_t n, const Reduction<S>& reduction,
                              Pair<typename S::V> (&totals)[S::lanes], Beside& beside) {
    using V = typename S::V;
    constexpr int wide = std::min(interleaved<S>, S::lanes);
    const Reduction<S> row = reduction;
    for (auto& total : totals) total = {splat<S>(T(0)), splat<S>(T(0))};
    for_sums(n, [&](ptrdiff_t first, ptrdiff_t count) SOFTMAX_INLINED {
        Accumulator<S, What> accumulators[S::lanes];
        T* const x = entries + first * S::lanes;
        const auto take = [&](auto width, ptrdiff_t j, int lane) SOFTMAX_INLINED {
            V v[width()];
            Exponential<S> e[width()];
            for (int a = 0; a < width(); ++a) v[a] = load<S>(x + (j + a) * S::lanes);
            exponentials<Tempered, fine<What, Tempered>, S>(v, row, e);
            beside.next(width);
            for (int a = 0; a < width(); ++a) {
                if constexpr (Keep) store(x + (j + a) * S::lanes, e[a].value());
                accumulators[lane + a].add(e[a]);
            }
        };
        ptrdiff_t j = 0;
        for (; j + S::lanes <= count; j += S::lanes) {
            for (int lane = 0; lane < S::lanes; lane += wide) take(Width<wide>(), j + lane, lane);
        }
        for (int lane = 0; j < count; ++j, ++lane) take(Width<1>(), j, lane);
        for (int lane = 0; lane < S::lanes; ++lane) accumulators[lane].add_to(totals[lane]);
    });
}

// For rows that are not taken as below: too few for a tile, or one of them not ordinary.
template <class S, bool Log, class T>
SOFTMAX_OUTLINE void turn_family(const Batch<T>& x, const Batch<T>& out, ptrdiff_t first, int count, ptrdiff_t n,
                                 double temperature) {
    turn_rows(x, &out, first, count, n, false, [&](const Row<T>& row, const OutRow<T>* y, ptrdiff_t, int threads) {
        (Log ? log_softmax_row<S, T> : softmax_row<S, T>)(row, temperature, *y, threads);
    });
}

// Rows across memory, a tile of `together` of them at a time: two cache lines of each entry, copied to a buffer. Beside the
// exponentials of one tile, the one before is finished, and the one behind takes its place in the buffer.
template <class S, bool Log, bool Tempered>
class Across {
    using T = typename S::T;
    using V = typename S::V;
    using Of = Family<S, Log, Tempered, T>;
    using Entry = typename Of::Entry;
    static constexpr int vectors = 2 * cache_line<T> / S::lanes;

public:
    static constexpr int together = vectors * S::lanes;
    static constexpr ptrdiff_t longest = longest_transposed<T> / 2;  // of which two cache lines fit a buffer

    Across(const Batch<T>& x, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n, double temperature)
        : x(x), out(out), rows(rows), n(n), family{temperature} {}

    // `count` tiles from the first on.
    SOFTMAX_OUTLINE void finish(ptrdiff_t first_tile, ptrdiff_t count) const {
        alignas(64) T buffers[2][longest * together];
        T *here = buffers[0], *other = buffers[1];
        V maxima[vectors] = {}, next_maxima[vectors] = {};
        Entry entries[vectors];
        bool behind = false;  // whether the tile before is in the other buffer and not finished
        if (takes(first_tile)) read(first_tile, here, maxima);
        for (ptrdiff_t tile = first_tile; tile < first_tile + count; ++tile) {
            const bool more = tile + 1 < first_tile + count && takes(tile + 1);
            const bool whole = more && size(tile + 1) == together;
            if (takes(tile) && in_range(maxima)) {
                Beside beside(*this, tile, other, behind ? entries : nullptr, whole);
                behind = sum(here, maxima, beside, entries);
                for (int v = 0; v < vectors; ++v) next_maxima[v] = beside.maxima[v];
                if (more && !whole) read(tile + 1, other, next_maxima);
            } else {
                if (behind) write(tile - 1, other, entries);
                behind = false;
                if (more) read(tile + 1, other, next_maxima);
            }
            if (!behind) turn_family<S, Log>(x, out, tile * together, size(tile), n, family.temperature);
            std::swap(here, other);
            for (int v = 0; v < vectors; ++v) maxima[v] = next_maxima[v];
        }
        if (behind) write(first_tile + count - 1, other, entries);
    }

private:
    const Batch<T>& x;
    const Batch<T>& out;
    const ptrdiff_t rows, n;
    const Of family;

    // Few rows are better turned.
    bool takes(ptrdiff_t tile) const { return 2 * size(tile) >= together; }
    int size(ptrdiff_t tile) const { return int(std::min<ptrdiff_t>(together, rows - tile * together)); }
    bool in_range(const V (&maxima)[vectors]) const {
        unsigned special = 0;
        for (const V& maximum : maxima) {
            special |= beyond<S>(V(maximum * splat<S>(family.constants.inverse_high)), T(largest_unshifted));
        }
        return special == 0;
    }

    // What is asked for: rows lie so far apart that no processor sees them coming. So many entries on, the last of which
    // belong to the tile behind.
    struct Asked {
        static constexpr ptrdiff_t ahead = 64;
        T* at;
        ptrdiff_t step, left, n;

        Asked(const Batch<T>& of, ptrdiff_t tile, ptrdiff_t n, ptrdiff_t ahead = Asked::ahead)
            : at(further(of.entry(0, 0), tile * bytes + ahead * of.inner)), step(of.inner), left(n - ahead), n(n) {
            at += cache_line<T> - 1;  // by its last row: where a line begins, those before it end
        }
        template <bool Write>
        SOFTMAX_INLINE void next() {
            prefetch<Write>(at, together, 0);
            at = further(at, --left == 0 ? bytes - (n - 1) * step : step);
        }
    };
    // Of the tiles before and behind `tile`, both of them whole, one entry of all rows after the other.
    struct Beside {
        T* buffer;
        const Entry* entries;  // nullptr: there is nothing to finish
        bool reads;
        ptrdiff_t n, x_step, out_step;
        T *from, *to;
        Asked x_asked, out_asked;  // or, where nothing is read or finished, the results of this tile
        int pending = 0;
        V maxima[vectors];

        Beside(const Across& of, ptrdiff_t tile, T* buffer, const Entry* entries, bool reads)
            : buffer(buffer),
              entries(entries),
              reads(reads),
              n(of.n),
              x_step(of.x.inner),
              out_step(of.out.inner),
              from(further(of.x.entry(0, 0), (tile + 1) * bytes)),
              to(further(of.out.entry(0, 0), (tile - 1) * bytes)),
              x_asked(reads ? Asked(of.x, tile + 1, n) : Asked(of.out, tile, n, 0)),
              out_asked(entries != nullptr ? Asked(of.out, tile - 1, n) : Asked(of.out, tile, n, 0)) {
            for (V& maximum : maxima) maximum = splat<S>(T(-INFINITY));
        }
        // So many vectors of exponentials take as long as one entry of all rows.
        template <int Width>
        SOFTMAX_INLINE void next(softmax::SOFTMAX_ISA::Width<Width>) {
            for (int k = 0; k < Width / vectors; ++k) entry();
            pending += Width % vectors;
            if (pending < vectors) return;
            pending -= vectors;
            entry();
        }
        SOFTMAX_INLINE void entry() {
            x_asked.template next<false>();
            out_asked.template next<true>();
            if (entries != nullptr) {
                for (int v = 0; v < vectors; ++v) {
                    V each[1] = {load_once<S>(buffer + v * n * S::lanes)};
                    entries[v].template finish<true>(each);
                    store(to + v * S::lanes, each[0]);
                }
            }
            if (reads) {
                for (int v = 0; v < vectors; ++v) {
                    const V each = load<S>(from + v * S::lanes);
                    store(buffer + v * n * S::lanes, each);
                    maxima[v] = max(each, maxima[v]);
                }
            }
            buffer += S::lanes;
            from = further(from, x_step);
            to = further(to, out_step);
        }
    };
    static constexpr ptrdiff_t bytes = together * ptrdiff_t(sizeof(T));  // from tile to tile
    // By addresses: what is asked for may lie outside of the array.
    static SOFTMAX_INLINE T* further(T* entry, ptrdiff_t step) {
        return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(entry) + std::uintptr_t(step));
    }

    // What the rows of a tile are finished with; false where one of them holds a NaN.
    bool sum(T* buffer, const V (&maxima)[vectors], Beside& shared, Entry (&entries)[vectors]) const {
        Beside beside = shared;  // out of reach of what is stored
        Entry found[vectors];
        bool ordinary = true;
        for (int v = 0; v < vectors; ++v) {
            T* const column = buffer + v * n * S::lanes;
            const Reduction<S> reduction = family.reduction(maxima[v]);
            Pair<V> totals[S::lanes];
            sum_lanes<S, Of::what, Tempered, !Log>(column, n, reduction, totals, beside);
            ordinary = take_sums(column, maxima[v], reduction, totals, found[v]) && ordinary;
        }
        shared = beside;
        for (int v = 0; v < vectors; ++v) entries[v] = found[v];
        return ordinary;
    }

    // A line of fewer rows goes through one of its own.
    void read(ptrdiff_t tile, T* buffer, V (&maxima)[vectors]) const {
        const int count = size(tile);
        T* line = x.entry(tile * together, 0);
        T few[together] = {};
        for (V& maximum : maxima) maximum = splat<S>(T(-INFINITY));
        for (ptrdiff_t j = 0; j < n; ++j, line = further(line, x.inner), buffer += S::lanes) {
            if (count < together) std::memcpy(few, line, std::size_t(count) * sizeof(T));
            const T* const from = count < together ? few : line;
            for (int v = 0; v < vectors; ++v) {
                const V entry = load<S>(from + v * S::lanes);
                store(buffer + v * n * S::lanes, entry);
                maxima[v] = max(entry, maxima[v]);
            }
        }
    }
    void write(ptrdiff_t tile, const T* buffer, const Entry (&entries)[vectors]) const {
        const int count = size(tile);
        T* line = out.entry(tile * together, 0);
        T few[together];
        for (ptrdiff_t j = 0; j < n; ++j, line = further(line, out.inner), buffer += S::lanes) {
            T* const to = count < together ? few : line;
            for (int v = 0; v < vectors; ++v) {
                V each[1] = {load_once<S>(buffer + v * n * S::lanes)};
                entries[v].template finish<true>(each);
                store(to + v * S::lanes, each[0]);
            }
            if (count < together) std::memcpy(line, few, std::size_t(count) * sizeof(T));
        }
    }
    // What the rows of a vector are finished with, as for one alone; false where one holds a NaN.
    SOFTMAX_OUTLINE bool take_sums(const T* column, const V& maxima, const Reduction<S>& row,
                                   Pair<V> (&totals)[S::lanes], Entry& entry) const {
        constexpr bool tempered = Tempered || Log;  // as `exponential_of_maximum` is called
        const auto e = exponential<tempered, true, S>(maxima, row);
        const auto top = as_pair(e);
        Pair<V> sums[S::lanes];  // of the lanes of a row's sum
        turn(totals, &Pair<V>::high, sums);
        turn(totals, &Pair<V>::low, sums);
        T maximum[S::lanes], top_high[S::lanes], top_low[S::lanes], high[S::lanes], low[S::lanes], value[S::lanes];
        store(maximum, maxima);
        store(top_high, top.high);
        store(top_low, top.low);
        for (int lane = 0; lane < S::lanes; ++lane) {
            const DD total = across<S>(sums[lane]), exact = two_sum(double(top_high[lane]), double(top_low[lane]));
            if (std::isnan(total.high)) return false;
            if constexpr (Log) {
                DD others = all_but_one<T>(total, exact);
                if (others.high < many<S>(n)) {
                    const Row<T> x = {reinterpret_cast<const char*>(column + lane), S::lanes * ptrdiff_t(sizeof(T)),
                                      nullptr, 0, n};
                    const Reduction<S> alone = family.reduction(splat<S>(maximum[lane]));
                    others = others_of_row<S, Tempered>(x, maximum[lane], alone, 1);
                }
                value[lane] = T(log_total<T>(others).high);
            } else {
                const DD factor = inverse_of<T>(total);
                const Pair<T> parts = Scaling<S>::parts(factor);
                high[lane] = parts.high;
                low[lane] = parts.low;
                value[lane] = T(multiply(factor, exact).high);
            }
        }
        if constexpr (Log) {
            entry = Entry(maxima, load<S>(value), family.constants);
        } else {
            entry = Entry({load<S>(high), load<S>(low)}, e.value(), load<S>(value), exact_from(n));
        }
        return true;
    }
    // One part of pairs, rows to columns.
    static void turn(Pair<V> (&from)[S::lanes], V Pair<V>::* part, Pair<V> (&to)[S::lanes]) {
        const Lines<S> rows(reinterpret_cast<char*>(&(from[0].*part)), sizeof(Pair<V>));
        for (int j = 0; j < S::lanes; j += part_length<S>) {
            V columns[part_length<S>];
            read_columns<S>(rows, j, columns);
            for (int a = 0; a < part_length<S>; ++a) to[j + a].*part = columns[a];
        }
    }
};

template <class S, bool Log, bool Tempered, class T>
void column_rows(const Batch<T>& x, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n, double temperature) {
    using Tiles = Across<S, Log, Tempered>;
    const Tiles tiles(x, out, rows, n, temperature);
    const ptrdiff_t count = (rows + Tiles::together - 1) / Tiles::together;
    // The first and the last tile of a piece have nothing beside them: as few pieces as keep all threads busy.
    const ptrdiff_t of_thread = (count - 1) / threads_for(count, n * Tiles::together) + 1;
    const ptrdiff_t piece = of_thread < 8 ? of_thread : std::min<ptrdiff_t>(16, (of_thread + 1) / 2);
    for_row_pieces(count, n * Tiles::together, std::max(piece, rows_of_piece(n * Tiles::together)),
                   [&](ptrdiff_t first, ptrdiff_t tiles_here) { tiles.finish(first, tiles_here); });
}

// softmax and log_softmax: false where the rows are not taken this way.
template <class S, bool Log, class T>
bool family_columns(const Batch<T>& x, const Batch<char>* mask, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n,
                    double temperature) {
    if constexpr (S::lanes > 1) {
        using Any = Across<S, Log, false>;
        if (mask != nullptr || !x.across() || !out.across() || 2 * rows < Any::together || n > Any::longest)
            return false;
        (temperature == 1 ? column_rows<S, Log, false, T> : column_rows<S, Log, true, T>)(x, out, rows, n, temperature);
        return true;
    }
    return false;
}

}  // namespace softmax::SOFTMAX_ISA
