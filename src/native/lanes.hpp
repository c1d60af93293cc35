// Few classes: one row a lane. A tile of as many rows as a vector has lanes is turned into columns, one vector a class, so
// that maximum, sum and logarithm are plain vector arithmetic without a step across lanes. Rows of up to `lanes_limit`
// entries always go this way, alone or among others, so their bits do not depend on what is beside them.
//
// Lanes that hold something special (a NaN, an infinite maximum, a temperature at the end of its range) are done by the
// general row functions; what the vectors compute in such a lane is thrown away.
#pragma once

#include "logs.hpp"
#include "tile.hpp"

namespace softmax::SOFTMAX_ISA {

// The maxima of a tile's rows. A NaN makes its lane NaN by itself.
template <class T>
SOFTMAX_OUTLINE typename Simd<T>::V maxima_of(const Tile<T>& tile) {
    constexpr int chains = 2;
    typename Simd<T>::V top[chains];
    for (auto& v : top) v = splat<Simd<T>>(T(-INFINITY));
    ptrdiff_t j = 0;
    for (; j + chains <= tile.n; j += chains) {
        for (int a = 0; a < chains; ++a) top[a] = max(tile.column[j + a], top[a]);
    }
    if (j < tile.n) top[0] = max(tile.column[j], top[0]);
    return max(top[1], top[0]);
}

// The temperatures of a tile's rows: constants for each lane, and the lanes whose temperature is special.
template <class T>
struct Temperatures {
    using S = Simd<T>;
    using V = typename S::V;
    V log2e_t, ln2t_high, ln2t_low, inverse_high, inverse_low;
    unsigned special = 0, plain = 0;  // lanes with a temperature out of range, and with temperature 1

    static bool ordinary(double t) { return t >= smallest_temperature && t <= largest_temperature; }

    Temperatures(const Batch<double>& temperature, ptrdiff_t first, int rows) {
        if (temperature.outer == 0) {
            const double t = temperature.value(0);
            plain = t == 1 ? ~0u : 0;
            special = ordinary(t) ? 0 : ~0u;
            set(temperature_constants<T>(special ? 1 : t));
            return;
        }
        Temperature<T> each[S::lanes];
        for (int lane = 0; lane < S::lanes; ++lane) {
            double t = lane < rows ? temperature.value(first + lane) : 1;
            plain |= unsigned(t == 1) << lane;
            if (!ordinary(t)) {
                special |= 1u << lane;
                t = 1;
            }
            each[lane] = temperature_constants<T>(t);
        }
        gather(log2e_t, each, &Temperature<T>::log2e_t);
        gather(ln2t_high, each, &Temperature<T>::ln2t_high);
        gather(ln2t_low, each, &Temperature<T>::ln2t_low);
        gather(inverse_high, each, &Temperature<T>::inverse_high);
        gather(inverse_low, each, &Temperature<T>::inverse_low);
    }

    // The lanes that the reduction is not for: by their temperature, or their maximum beside it, which may be infinite.
    unsigned out_of_range(const V& maximum) const {
        return special | beyond<S>(V(maximum * inverse_high), T(largest_unshifted));
    }
    Reduction<S> reduction(const V& maximum) const {
        return {maximum, log2e_t, ln2t_high, ln2t_low, inverse_high, inverse_low};
    }

private:
    void set(const Temperature<T>& t) {
        log2e_t = splat<S>(t.log2e_t);
        ln2t_high = splat<S>(t.ln2t_high);
        ln2t_low = splat<S>(t.ln2t_low);
        inverse_high = splat<S>(t.inverse_high);
        inverse_low = splat<S>(t.inverse_low);
    }
    static void gather(V& to, const Temperature<T> (&each)[S::lanes], T Temperature<T>::* member) {
        T values[S::lanes];
        for (int lane = 0; lane < S::lanes; ++lane) values[lane] = each[lane].*member;
        to = load<S>(values);
    }
};

inline double one = 1;  // the temperature of what has none
inline const Batch<double> no_temperature = {reinterpret_cast<char*>(&one), 0, 0};

// The rows of special lanes, done by `general(row, lane, out)` before the tile is overwritten, put back at the end.
template <class T>
class Rescued {
public:
    template <class General>
    Rescued(Tile<T>& tile, unsigned special, const General& general) : tile(tile), special(special) {
        if (special == 0) return;
        rows.reset(new T[Tile<T>::S::lanes * lanes_limit]);
        for_each([&](int lane, T* row) {
            for (ptrdiff_t j = 0; j < tile.n; ++j) row[j] = tile.entry(lane, j);
            general(Row<T>{reinterpret_cast<char*>(row), sizeof(T), nullptr, 0, tile.n}, tile.first + lane,
                    OutRow<T>{reinterpret_cast<char*>(row), sizeof(T)});
        });
    }
    void restore() {
        if (special == 0) return;
        for_each([&](int lane, T* row) {
            for (ptrdiff_t j = 0; j < tile.n; ++j) tile.entry(lane, j) = row[j];
        });
    }

private:
    Tile<T>& tile;
    unsigned special;
    std::unique_ptr<T[]> rows;

    template <class Body>
    void for_each(const Body& body) {
        for (int lane = 0; lane < tile.rows; ++lane) {
            if (special >> lane & 1) body(lane, rows.get() + lane * lanes_limit);
        }
    }
};

// Calls body(tile) for the tiles of a batch of rows, read and masked.
template <class T, class Body>
void for_tiles(const Batch<T>& x, const Batch<char>* mask, ptrdiff_t rows, ptrdiff_t n, const Body& body) {
    constexpr int lanes = Simd<T>::lanes;
    for_rows((rows + lanes - 1) / lanes, n * lanes, [&](ptrdiff_t index, int) {
        Tile<T> tile;
        tile.place(index, rows, n);
        tile.take(x, mask);
        body(tile);
    });
}

// Calls begin(tile, state) for the tiles of a batch of rows, read and masked, and end(tile, state) one tile later: while the
// steps of one wait for each other, the processor has those of the other at hand.
template <class State, class T, class Begin, class End>
void for_tiles(const Batch<T>& x, const Batch<char>* mask, ptrdiff_t rows, ptrdiff_t n, const Begin& begin,
               const End& end) {
    constexpr int lanes = Simd<T>::lanes;
    const ptrdiff_t tiles = (rows + lanes - 1) / lanes;
    for_row_pieces(tiles, n * lanes, rows_of_piece(n * lanes), [&](ptrdiff_t first, ptrdiff_t count) {
        struct {
            Tile<T> tile;
            State state;
        } two[2];
        for (ptrdiff_t i = 0; i <= count; ++i) {
            auto& [tile, state] = two[i % 2];
            if (i < count) {
                tile.place(first + i, rows, n);
                tile.take(x, mask);
            }
            if (i < count) begin(tile, state);
            if (i > 0) end(two[(i - 1) % 2].tile, two[(i - 1) % 2].state);
        }
    });
}

// The sum of the columns' exponentials, which with Keep take the columns' place; with Others, of all but the maxima.
template <class T, bool Others, bool Tempered, bool Keep>
struct ColumnSum {
    using S = Simd<T>;
    using V = typename S::V;
    static constexpr Summed what = Others ? Summed::others : Summed::shares;
    V maxima = splat<S>(T(0));
    Accumulator<S, what> accumulator;

    template <int Width>
    SOFTMAX_INLINE void take(V* column, const Reduction<S>& row, const V& maximum) {
        V v[Width];
        Exponential<S> e[Width];
        for (int a = 0; a < Width; ++a) v[a] = column[a];
        exponentials<Tempered, fine<what, Tempered>, S>(v, row, e);
        for (int a = 0; a < Width; ++a) {
            if constexpr (Keep) column[a] = e[a].value();
            if constexpr (Others) {
                const auto top = v[a] == maximum;
                e[a].clear_where(top);
                maxima = maxima + (top ? splat<S>(T(1)) : splat<S>(T(0)));
            }
            accumulator.add(e[a]);
        }
    }
    // n of them.
    SOFTMAX_INLINE void take_all(V* column, ptrdiff_t n, const Reduction<S>& row, const V& maximum) {
        constexpr int wide = interleaved<S>;
        ptrdiff_t j = 0;
        for (; j + wide <= n; j += wide) take<wide>(column + j, row, maximum);
        for (; j < n; ++j) take<1>(column + j, row, maximum);
    }
    SOFTMAX_INLINE Pair<V> sum() const {
        Pair<V> sum = {splat<S>(T(0)), splat<S>(T(0))};
        accumulator.add_to(sum);
        return two_sum(sum.high, sum.low);
    }
    // Of all beside the maximum, as in `others`.
    SOFTMAX_INLINE Pair<V> others(const Reduction<S>& row, const V& maximum) const {
        return add(divide(sum(), as_pair(exponential<Tempered, true, S>(maximum, row))), V(maxima - T(1)));
    }
};

// The weight of a lane's row beside its maximum.
template <bool Tempered, bool Keep, class T>
SOFTMAX_OUTLINE Pair<typename Simd<T>::V> others_columns(Tile<T>& tile, const Reduction<Simd<T>>& row,
                                                         const typename Simd<T>::V& maximum) {
    ColumnSum<T, true, Tempered, Keep> sum;
    sum.take_all(tile.column, tile.n, row, maximum);
    return sum.others(row, maximum);
}

// logsumexp (others_out == nullptr) and partition, whose others go to a pair of operands.
template <class T>
void partition_lanes(const Batch<T>& x, const Batch<char>* mask, const Batch<T>& out, const Batch<double>* others_out,
                     ptrdiff_t rows, ptrdiff_t n) {
    using S = Simd<T>;
    using V = typename S::V;
    struct State {
        V maximum;
        unsigned special;
        Pair<V> others;
    };
    const Temperatures<T> t(no_temperature, 0, 1);
    const auto begin = [&](Tile<T>& tile, State& state) {
        state.maximum = maxima_of(tile);
        state.special = t.out_of_range(state.maximum);
        Rescued<T> rescued(tile, state.special, [&](const Row<T>& row, ptrdiff_t i, const OutRow<T>&) {
            T value;
            if (others_out == nullptr) {
                logsumexp_row<S>(row, &value, 1);
            } else {
                partition_row<S>(row, &value, &others_out[0].value(i), &others_out[1].value(i), 1);
            }
            out.set(i, value);
        });
        state.others = others_columns<false, false>(tile, t.reduction(state.maximum), state.maximum);
    };
    const auto end_logsumexp = [&](const Tile<T>& tile, const State& state) {
        const V result = add(log1p<T, S>(state.others), state.maximum).high;
        if (state.special == 0 && tile.rows == S::lanes && out.outer == ptrdiff_t(sizeof(T)) &&
            out.storage == Storage::own) {
            return store(out.entry(tile.first, 0), result);
        }
        T each[S::lanes];
        store(each, result);
        for (int lane = 0; lane < tile.rows; ++lane) {
            if (!(state.special >> lane & 1)) out.set(tile.first + lane, each[lane]);
        }
    };
    const auto end_partition = [&](const Tile<T>& tile, const State& state) {
        T maximum[S::lanes], high[S::lanes], low[S::lanes];
        store(maximum, state.maximum);
        store(high, state.others.high);
        store(low, state.others.low);
        for (int lane = 0; lane < tile.rows; ++lane) {
            if (state.special >> lane & 1) continue;
            out.set(tile.first + lane, std::isnan(high[lane]) ? T(NAN) : maximum[lane]);
            const DD pair = fast_two_sum(double(high[lane]), double(low[lane]));
            others_out[0].value(tile.first + lane) = pair.high;
            others_out[1].value(tile.first + lane) = pair.low;
        }
    };
    for_tiles<State>(x, mask, rows, n, begin, [&](Tile<T>& tile, State& state) {
        others_out == nullptr ? end_logsumexp(tile, state) : end_partition(tile, state);
    });
}

}  // namespace softmax::SOFTMAX_ISA
