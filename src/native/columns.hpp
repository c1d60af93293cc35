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
            for (int lane = 0; lane < S::lanes; lane += interleaved<S>) take(Width<interleaved<S>>(), j + lane, lane);
        }
        for (int lane = 0; j < count; ++j, ++lane) take(Width<1>(), j, lane);
        for (int lane = 0; lane < S::lanes; ++lane) accumulators[lane].add_to(totals[lane]);
    });
}

// What a Finisher finishes entries with, for one row a lane: a lane of it from what is meant for that row.
template <class S>
void set_lane(Scaling<S>& lanes, int lane, const Scaling<S>& row) {
    lanes.high[lane] = row.high[0];
    lanes.low[lane] = row.low[0];
    lanes.top[lane] = row.top[0];
    lanes.top_low[lane] = row.top_low[0];
}
template <class S, bool Tempered>
void set_lane(Logarithm<S, Tempered>& lanes, int lane, const Logarithm<S, Tempered>& row) {
    lanes.maximum[lane] = row.maximum[0];
    lanes.log_sum[lane] = row.log_sum[0];
    lanes.inverse_high = row.inverse_high;
    lanes.inverse_low = row.inverse_low;
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
    static constexpr ptrdiff_t longest = 262144 / ptrdiff_t(sizeof(T)) / together;  // the buffer stays in the cache

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
            const ptrdiff_t row = first + v * S::lanes;
            Pair<V> totals[S::lanes];
            sum_lanes<S, Of::what, Tempered, !Log>(
                column, n, family.reduction(maxima[v]), totals,
                Asked{x.entry(row + together, 0), out.entry(row, 0), x.inner, out.inner});
            if (!take_sums(column, maxima[v], totals, entries[v])) return false;
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
    // What the rows of a vector are finished with; false where one holds a NaN.
    SOFTMAX_OUTLINE bool take_sums(const T* column, const V& maxima, const Pair<V> (&totals)[S::lanes],
                                   Entry& entry) const {
        T maximum[S::lanes], high[S::lanes][S::lanes], low[S::lanes][S::lanes];
        store(maximum, maxima);
        for (int k = 0; k < S::lanes; ++k) {
            for (int lane = 0; lane < S::lanes; ++lane) {
                high[lane][k] = totals[k].high[lane];
                low[lane][k] = totals[k].low[lane];
            }
        }
        for (int lane = 0; lane < S::lanes; ++lane) {
            const DD total = across<S>({load<S>(high[lane]), load<S>(low[lane])});
            if (std::isnan(total.high)) return false;
            const Row<T> row = {reinterpret_cast<const char*>(column + lane), S::lanes * ptrdiff_t(sizeof(T)), nullptr,
                                0, n};
            Entry of_row;
            family.set(row, {maximum[lane], T(0), total}, family.reduction(splat<S>(maximum[lane])), of_row);
            set_lane(entry, lane, of_row);
        }
        return true;
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
        if (mask != nullptr || !across(x) || !across(out) || 2 * rows < Any::together || n > Any::longest) return false;
        (temperature == 1 ? column_rows<S, Log, false, T> : column_rows<S, Log, true, T>)(x, out, rows, n, temperature);
        return true;
    }
    return false;
}

}  // namespace softmax::SOFTMAX_ISA
