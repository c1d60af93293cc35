// Softmax and log_softmax of many rows on one thread, and what else exponentials are finished to (see `Family`), three rows
// at a time: beside the exponentials of one, the maximum of a later one is taken and an earlier one is finished.
// Exponentials keep the arithmetic busy and the other two wait for memory: together they take little longer than the
// exponentials alone, and memory is read and written evenly. The three are two rows apart, so that what turns a maximum or
// a sum into numbers for a row, one step after the other, is done while the row between is worked on.
//
// Long rows are taken by the blocks of `sum_blocks`. Bits as from `softmax_row`, `log_softmax_row` and `logsumexp_row`, which
// also take the rows that are not ordinary.
#pragma once

#include "beside.hpp"
#include "logs.hpp"
#include "packed.hpp"

namespace softmax::SOFTMAX_ISA {

// What finishes a row, from the pair of its maximum and its sum; nothing, where that is no ordinary one and has been seen
// to here. Rows are also shown before they are summed, which may say that they are not ordinary, and when they are finished.
template <class S, bool Log, bool Tempered, class T>
struct Family {
    using Lanes = S;
    using Entry = std::conditional_t<Log, Logarithm<S, Tempered>, Scaling<S>>;
    static constexpr bool tempered = Tempered,
                          stores = !Log;  // goes on with exponentials, or with the entries themselves
    static constexpr Summed what = Log ? logs<S> : Summed::shares;
    const double temperature;
    const Temperature<T> constants = temperature_constants<T>(temperature);

    Reduction<S> reduction(const typename S::V& maxima) const { return Reduction<S>(maxima, constants); }

    bool begin(ptrdiff_t, const T*, T) const { return true; }
    void end(ptrdiff_t, const OutRow<T>&) const {}
    // Whether there is an entry; `row` is the reduction of the maximum.
    bool finish(ptrdiff_t, const Row<T>& x, const BlockPair<T>& all, const Reduction<S>& row, bool ordinary, const T*,
                const OutRow<T>& out, Entry& entry) const {
        if (std::isnan(all.total.high)) {
            fill(x, not_a_number<T>, T(0), T(0), out);
            return false;
        }
        if (!ordinary) {
            (Log ? log_softmax_row<S, T> : softmax_row<S, T>)(x, temperature, out, 1);
            return false;
        }
        if constexpr (Log) {
            const DD others = others_beside<S, Tempered>(x, all.total, all.maximum, row, true, 1);
            ::new (&entry) Entry(splat<S>(all.maximum), splat<S>(T(log_total<T>(others).high)), constants);
        } else {
            // In place: GCC would copy it by 16 bytes, and the next load of a vector wait for that.
            ::new (&entry) Entry(scaling_of<S, Tempered>(all.total, all.maximum, row, x.n));
        }
        return true;
    }
};

// Rows of up to `short_row` entries, two rows apart. x_at(i) and out_at(i) are the rows, of which all are alike.
template <class Of, class RowAt, class OutAt>
void short_rows(Of& family, ptrdiff_t rows, const RowAt& x_at, const OutAt& out_at, ptrdiff_t asked) {
    using S = typename Of::Lanes;
    using T = typename S::T;
    const ptrdiff_t n = x_at(0).n;
    const bool direct = x_at(0).direct(), out_direct = out_at(0).direct(), keeps = out_at(0).keeps(),
               streaming = out_at(0).streaming;
    Slots<T> slot(n);
    const auto x_slot = [&](ptrdiff_t i) { return slot[i % (Of::stores ? 3 : 5)]; };
    const auto read = [&](ptrdiff_t i) -> const T* {
        const Row<T> x = x_at(i);
        return direct ? reinterpret_cast<const T*>(x.data) : x.block(0, n, x_slot(i));
    };
    using Pending = Finisher<S, typename Of::Entry>;
    const bool halves_in = Pending::of_halves && x_at(0).halves(),
               halves_out = Pending::of_halves && out_at(0).halves();
    const auto kept = [&](ptrdiff_t i) -> T* {
        return !Of::stores ? x_slot(i) : keeps ? out_at(i).at(0) : slot[3 + i % 3];
    };

    struct {
        const T* x;
        T maximum;
        Pending finisher;
    } places[4];  // of the rows i, i + 1, i + 2 and what is left of i - 2
    for (ptrdiff_t i = 0; i < std::min<ptrdiff_t>(2, rows); ++i) {
        places[i].x = read(i);
        places[i].maximum = maximum_of<S>(places[i].x, n);
    }
    for (ptrdiff_t i = 0; i < rows + 2; ++i) {
        auto &here = places[i % 4], &ahead = places[(i + 2) % 4];
        auto& behind = ahead.finisher;
        if (i < rows) {
            Later<T> later;
            if (i + 2 < rows && halves_in) {
                T* const to = x_slot(i + 2);
                later = {to, reinterpret_cast<const Bits16*>(x_at(i + 2).data), to, x_at(i + 2).storage};
            } else if (i + 2 < rows) {
                later = {read(i + 2)};
            }
            later.ahead = asked;
            ahead.x = later.entries;
            T* const e = kept(i);
            const OutRow<T> out = out_at(i);
            const Reduction<S> row = family.reduction(splat<S>(here.maximum));
            BlockPair<T> pair = {here.maximum, T(0), {0.0, 0.0}};
            const bool ordinary =
                pair.in_range(family.constants) && !pair.empty() && family.begin(i, here.x, here.maximum);
            if (ordinary) {
                pair.total =
                    sum_beside<S, Of::what, Of::tempered, Of::stores>(here.x, n, row, e, later, ahead.maximum, behind);
            } else {
                behind.rest();
                if (ahead.x != nullptr) ahead.maximum = maximum_of<S>(read(i + 2), n);
            }
            here.finisher.end();
            if (family.finish(i, x_at(i), pair, row, ordinary, e, out, here.finisher.entry)) {
                const T* const from = Of::stores ? e : here.x;
                if (halves_out) {
                    here.finisher.begin(from, reinterpret_cast<Bits16*>(out.data), n, out.storage);
                } else {
                    here.finisher.begin(from, out_direct ? out.at(0) : e, n, streaming);
                }
            }
        } else {
            behind.rest();
        }
        if (!out_direct && !halves_out && behind.begun()) out_at(i - 2).put(0, n, kept(i - 2));
        if (i >= 2) family.end(i - 2, out_at(i - 2));
        if (i >= rows) ahead.finisher.end();
    }
}

// Longer rows by their blocks, one after the other, each beside the same of the row before.
template <class Of, class RowAt, class OutAt>
void long_rows(Of& family, ptrdiff_t rows, const RowAt& x_at, const OutAt& out_at, ptrdiff_t asked) {
    using S = typename Of::Lanes;
    using T = typename S::T;
    using Pending = Finisher<S, typename Of::Entry>;
    const ptrdiff_t n = x_at(0).n, in_row = (n + block_length - 1) / block_length, count = rows * in_row;
    const auto first = [&](ptrdiff_t unit) { return unit % in_row * block_length; };
    const auto length = [&](ptrdiff_t unit) { return std::min(block_length, n - first(unit)); };
    const auto entries = [&](ptrdiff_t unit) {
        return reinterpret_cast<const T*>(x_at(unit / in_row).data) + first(unit);
    };
    const auto result = [&](ptrdiff_t unit) { return out_at(unit / in_row).at(first(unit)); };
    struct {
        std::unique_ptr<PerBlock<KeptPair<S, T>>> pairs;
        typename Of::Entry entry;
        T octaves = 0;
        bool to_finish = false;
    } two[2];
    for (auto& row : two) row.pairs.reset(new PerBlock<KeptPair<S, T>>(n));
    const auto begin = [&](ptrdiff_t unit, Pending& finisher) {
        auto& row = two[unit / in_row % 2];
        if (!row.to_finish) return;
        T* const to = result(unit);
        finisher.entry = row.entry;
        if constexpr (Of::stores) {
            const T down = (*row.pairs)[unit % in_row].octaves(family.constants) - row.octaves;
            if (down < near_octaves<T>) return scale_block<S>(to, length(unit), row.entry, down);
            if (down != T(0)) finisher.entry = row.entry.times_power(T(std::ldexp(1.0, int(down))));
        }
        finisher.begin(Of::stores ? to : entries(unit), to, length(unit), out_at(unit / in_row).streaming);
    };

    T maximum = maximum_of<S>(entries(0), length(0));
    for (ptrdiff_t unit = 0; unit < count + in_row; ++unit) {
        Pending finisher;
        if (unit >= in_row) begin(unit - in_row, finisher);
        if (unit >= count) {
            finisher.rest();
            continue;
        }
        auto& row = two[unit / in_row % 2];
        const T* const next = unit + 1 < count ? entries(unit + 1) : nullptr;
        T* const e = Of::stores ? result(unit) : nullptr;
        BlockPair<T> pair = {maximum, T(0), {0.0, 0.0}};
        const bool alike = next == nullptr || length(unit + 1) == length(unit);
        Later<T> later = {next};
        later.ahead = asked;
        if (alike && pair.in_range(family.constants) && !pair.empty()) {
            pair.total = sum_beside<S, Of::what, Of::tempered, Of::stores>(
                entries(unit), length(unit), family.reduction(splat<S>(maximum)), e, later, maximum, finisher);
        } else {
            finisher.rest();
            if (next != nullptr) maximum = maximum_of<S>(next, length(unit + 1));
            sum_block<S, Of::what, Of::tempered>(entries(unit), length(unit), family.constants, e, pair);
        }
        (*row.pairs)[unit % in_row] = KeptPair<S, T>(pair);
        if (unit % in_row == in_row - 1) {
            const ptrdiff_t i = unit / in_row;
            bool in_range;
            const BlockPair<T> all = combine(*row.pairs, family.constants, in_range);
            row.octaves = all.octaves;
            row.to_finish = family.finish(i, x_at(i), all, family.reduction(splat<S>(all.maximum)),
                                          in_range && !all.empty(), nullptr, out_at(i), row.entry);
        }
    }
}

template <class S, bool Log, bool Tempered, class T, class RowAt, class OutAt>
void family_rows(ptrdiff_t rows, const RowAt& x_at, const OutAt& out_at, double temperature, ptrdiff_t asked) {
    const Family<S, Log, Tempered, T> family = {temperature};
    (x_at(0).n <= short_row<T>
         ? short_rows<const Family<S, Log, Tempered, T>, RowAt, OutAt>
         : long_rows<const Family<S, Log, Tempered, T>, RowAt, OutAt>)(family, rows, x_at, out_at, asked);
}

// logsumexp of rows, or of their blocks one after the other: each beside the maximum of the next but one. set(i, value).
template <class S, class T, class RowAt, class Set>
void logsumexp_rows(ptrdiff_t rows, const RowAt& x_at, const Set& set) {
    const Temperature<T> constants = temperature_constants<T>(1);
    const ptrdiff_t n = x_at(0).n, longest = n <= short_row<T> ? n : block_length;
    const ptrdiff_t in_row = (n + longest - 1) / longest, count = rows * in_row;
    const auto first = [&](ptrdiff_t unit) { return unit % in_row * longest; };
    const auto length = [&](ptrdiff_t unit) { return std::min(longest, n - first(unit)); };
    const bool direct = x_at(0).direct(), halves = x_at(0).halves();
    Slots<T> slot(n);
    const auto read = [&](ptrdiff_t unit) -> const T* {
        const Row<T> x = x_at(unit / in_row);
        return direct ? reinterpret_cast<const T*>(x.data) + first(unit) : x.block(0, n, slot[unit % 3]);
    };
    const auto later_of = [&](ptrdiff_t unit) -> Later<T> {
        if (!halves) return {read(unit)};
        const Row<T> x = x_at(unit);
        T* const to = slot[unit % 3];
        return {to, reinterpret_cast<const Bits16*>(x.data), to, x.storage};
    };
    struct {
        const T* x;
        T maximum;
    } places[3];  // of the blocks at hand, the next, and the next but one
    for (ptrdiff_t unit = 0; unit < std::min<ptrdiff_t>(2, count); ++unit) {
        places[unit].x = read(unit);
        places[unit].maximum = maximum_of<S>(places[unit].x, length(unit));
    }
    PerBlock<KeptPair<S, T>> pairs(n);
    Nothing nothing;
    for (ptrdiff_t unit = 0; unit < count; ++unit) {
        const auto& here = places[unit % 3];
        auto& ahead = places[(unit + 2) % 3];
        BlockPair<T> all = {here.maximum, T(0), {0.0, 0.0}};
        bool in_range = all.in_range(constants);
        const bool more = unit + 2 < count, alike = more && length(unit + 2) == length(unit);
        if (in_range && !all.empty() && (alike || !more)) {
            Later<T> later = more ? later_of(unit + 2) : Later<T>();
            later.ahead = far_ahead;
            const Reduction<S> row(splat<S>(here.maximum), constants);
            T* const none = nullptr;
            all.total =
                sum_beside<S, logs<S>, false, false>(here.x, length(unit), row, none, later, ahead.maximum, nothing);
            ahead.x = later.entries;
        } else {
            sum_block<S, logs<S>, false>(here.x, length(unit), constants, (T*)nullptr, all);
            if (more) ahead.x = read(unit + 2);
            if (more) ahead.maximum = maximum_of<S>(ahead.x, length(unit + 2));
        }
        if (in_row > 1) {
            pairs[unit % in_row] = KeptPair<S, T>(all);
            if (unit % in_row < in_row - 1) continue;
            all = combine(pairs, constants, in_range);
        }
        const ptrdiff_t i = unit / in_row;
        T value;
        if (in_range && !all.empty()) {
            const Reduction<S> row(splat<S>(all.maximum), constants);
            value = logsumexp_of_total(x_at(i), all.total, all.maximum, row, 1);
        } else {
            logsumexp_row<S>(x_at(i), &value, 1);
        }
        set(i, value);
    }
}

// Rows that one thread takes, one after the other.
template <class T>
bool fits_pipeline(const Batch<T>& x, ptrdiff_t rows, ptrdiff_t n) {
    return rows > 1 && n > 0 && !x.across() && !shared_rows(rows, n);
}
// Of those, so many at a time: the first and the last two have nothing beside them.
inline ptrdiff_t pipeline_piece(ptrdiff_t rows, ptrdiff_t n) {
    const ptrdiff_t least = std::max<ptrdiff_t>({rows_of_piece(n), std::min<ptrdiff_t>(8, rows / 4), 1});
    return std::max(least, std::min(4 * least, rows / 16));
}

// Calls body(first, count, x_at, out_at, asked) for pieces of rows; false where they are not taken this way. A family that
// `stores` exponentials keeps them where results go.
template <class S, bool stores, class T, class Body>
bool pipelined(const Batch<T>& x, const Batch<char>* mask, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n,
               const Body& body) {
    if constexpr (leaves_time) {
        if (!fits_pipeline(x, rows, n)) return false;
        // Where they do not fit, they and their results are contiguous, and a row whose exponentials are kept, which is read
        // once more where it turns out not to be ordinary, is not where they are.
        const bool streaming = worth_streaming(x, out, rows, n), in_place = x.data == out.data;
        const bool contiguous = x.contiguous() && mask == nullptr && out.contiguous();
        const bool beside = contiguous && (!stores || (!streaming && (n <= short_row<T> || !in_place)));
        if (!Slots<T>::fit(n) && !beside) return false;
        for_row_pieces(rows, n, pipeline_piece(rows, n), [&](ptrdiff_t first, ptrdiff_t count) {
            const auto x_at = [&](ptrdiff_t i) { return row_of(x, mask, first + i, n); };
            const auto out_at = [&](ptrdiff_t i) -> OutRow<T> {
                return {out.data + (first + i) * out.outer, out.inner, out.storage, streaming};
            };
            body(first, count, x_at, out_at, asked_ahead<S>(n, !beyond_caches<T>(rows, n)));
        });
        return true;
    }
    return false;
}

// softmax and log_softmax.
template <class S, bool Log, class T>
bool family_pipelined(const Batch<T>& x, const Batch<char>* mask, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n,
                      double temperature) {
    return pipelined<S, !Log>(
        x, mask, out, rows, n, [&](ptrdiff_t, ptrdiff_t count, const auto& x_at, const auto& out_at, ptrdiff_t asked) {
            (temperature == 1 ? family_rows<S, Log, false, T>(count, x_at, out_at, temperature, asked)
                              : family_rows<S, Log, true, T>(count, x_at, out_at, temperature, asked));
        });
}

// logsumexp, likewise.
template <class S, class T>
bool logsumexp_pipelined(const Batch<T>& x, const Batch<char>* mask, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n) {
    if constexpr (leaves_time) {
        if (!fits_pipeline(x, rows, n)) return false;
        if (!Slots<T>::fit(n) && !(x.contiguous() && mask == nullptr)) return false;
        for_row_pieces(rows, n, pipeline_piece(rows, n), [&](ptrdiff_t first, ptrdiff_t count) {
            logsumexp_rows<S, T>(
                count, [&](ptrdiff_t i) { return row_of(x, mask, first + i, n); },
                [&](ptrdiff_t i, T value) { out.set(first + i, value); });
        });
        return true;
    }
    return false;
}

}  // namespace softmax::SOFTMAX_ISA
