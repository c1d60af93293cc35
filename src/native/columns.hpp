// Softmax and log_softmax of rows that lie across memory (along the first axis of a matrix): one row a lane, as for few
// classes, two cache lines of neighbours at a time. What is a lane of a sum for a row along memory is a vector here, of as
// many rows: the same terms in the same order, and the same bits.
#pragma once

#include "pipeline.hpp"

namespace softmax::SOFTMAX_ISA {

// Exponentials of n vectors, one row a lane, with Keep stored in their place; totals[k] is what lane k of a vector sums for
// a row along memory. beside.next() is called for each.
template <class S, Summed What, bool Tempered, bool Keep, class T, class Beside>
SOFTMAX_INLINE void sum_lanes(T* entries, ptrdiff_t n, const Reduction<S>& reduction,
                              Pair<typename S::V> (&totals)[S::lanes], Beside beside) {
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
            for (int a = 0; a < width(); ++a) {
                beside.next();
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

// Rows across memory, `together` of them at a time.
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

    Across(const Batch<T>& x, const Batch<T>& out, ptrdiff_t n, double temperature)
        : x(x), out(out), n(n), family{temperature} {}

    // `count` rows from the first on. False, with nothing written, where one of them is not ordinary.
    SOFTMAX_OUTLINE bool finish(ptrdiff_t first, int count) const {
        alignas(64) T buffer[longest * together];
        V maxima[vectors];
        read(first, count, buffer, maxima);
        unsigned special = 0;
        for (const V& maximum : maxima) {
            special |= beyond<S>(V(maximum * splat<S>(family.constants.inverse_high)), T(largest_unshifted));
        }
        if (special != 0) return false;
        Entry entries[vectors];
        for (int v = 0; v < vectors; ++v) {
            T* const column = buffer + v * n * S::lanes;
            // By its last row: the cache line that a vector begins in is the one that those before it end in.
            const ptrdiff_t last = first + (v + 1) * S::lanes - 1;
            const Reduction<S> reduction = family.reduction(maxima[v]);
            Pair<V> totals[S::lanes];
            sum_lanes<S, Of::what, Tempered, !Log>(
                column, n, reduction, totals,
                Asked{x.entry(last + together, 0), out.entry(last, 0), x.inner, out.inner});
            if (!take_sums(column, maxima[v], reduction, totals, entries[v])) return false;
        }
        write(first, count, buffer, entries);
        return true;
    }

private:
    const Batch<T>& x;
    const Batch<T>& out;
    const ptrdiff_t n;
    const Of family;

    // What is asked for meanwhile: of the rows behind, to read, and of these, to write. They lie so far apart that no
    // processor sees them coming.
    struct Asked {
        const T* x;
        const T* out;
        const ptrdiff_t x_step, out_step;

        SOFTMAX_INLINE void next() {
#if defined(__GNUC__) || defined(__clang__)
            __builtin_prefetch(x, 0, 2);
            __builtin_prefetch(out, 1, 2);
#endif
            x = further(x, x_step);
            out = further(out, out_step);
        }
    };
    // By addresses: what is asked for may lie behind the array.
    static SOFTMAX_INLINE T* further(const T* entry, ptrdiff_t step) {
        return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(entry) + std::uintptr_t(step));
    }

    // A line of fewer rows goes through one of its own.
    void read(ptrdiff_t first, int count, T* buffer, V (&maxima)[vectors]) const {
        const ptrdiff_t n = this->n, step = x.inner;
        const T* line = x.entry(first, 0);
        T few[together] = {};
        V top[vectors];
        for (V& v : top) v = splat<S>(T(-INFINITY));
        for (ptrdiff_t j = 0; j < n; ++j, line = further(line, step), buffer += S::lanes) {
            if (count < together) std::memcpy(few, line, std::size_t(count) * sizeof(T));
            const T* const from = count < together ? few : line;
            for (int v = 0; v < vectors; ++v) {
                const V entry = load<S>(from + v * S::lanes);
                store(buffer + v * n * S::lanes, entry);
                top[v] = max(entry, top[v]);
            }
        }
        for (int v = 0; v < vectors; ++v) maxima[v] = top[v];
    }
    void write(ptrdiff_t first, int count, const T* buffer, const Entry (&entries)[vectors]) const {
        const ptrdiff_t n = this->n, step = out.inner;
        T* line = out.entry(first, 0);
        T few[together];
        for (ptrdiff_t j = 0; j < n; ++j, line = further(line, step), buffer += S::lanes) {
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
                if (others.high < many<S>) {
                    const Row<T> x = {reinterpret_cast<const char*>(column + lane), S::lanes * ptrdiff_t(sizeof(T)),
                                      nullptr, 0, n};
                    const Reduction<S> alone = family.reduction(splat<S>(maximum[lane]));
                    others = others_of_row<S, Tempered>(x, maximum[lane], alone, 1);
                }
                value[lane] = T(log_total<T>(others).high);
            } else {
                const DD factor = quotient<T>(DD{1.0, 0.0}, total);
                const Pair<T> parts = Scaling<S>::parts(factor);
                high[lane] = parts.high;
                low[lane] = parts.low;
                value[lane] = T(multiply(factor, exact).high);
            }
        }
        if constexpr (Log) {
            entry = Entry(maxima, load<S>(value), family.constants);
        } else {
            entry = Entry({load<S>(high), load<S>(low)}, e.value(), load<S>(value));
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

// Rows that are not taken this way: too few for a tile, or one of them not ordinary.
template <class S, bool Log, class T>
SOFTMAX_OUTLINE void turn_family(const Batch<T>& x, const Batch<T>& out, ptrdiff_t first, int count, ptrdiff_t n,
                                 double temperature) {
    turn_rows(x, &out, first, count, n, false, [&](const Row<T>& row, const OutRow<T>* y, ptrdiff_t, int threads) {
        (Log ? log_softmax_row<S, T> : softmax_row<S, T>)(row, temperature, *y, threads);
    });
}

template <class S, bool Log, bool Tempered, class T>
void column_rows(const Batch<T>& x, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n, double temperature) {
    const Across<S, Log, Tempered> columns(x, out, n, temperature);
    for_turned(rows, n, columns.together, [&](ptrdiff_t first, int count, bool) {
        if (2 * count >= columns.together && columns.finish(first, count)) return;
        turn_family<S, Log>(x, out, first, count, n, temperature);
    });
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
