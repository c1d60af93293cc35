// The step of the pipeline: exponentials of one row, the maximum of a later one and the last pass over an earlier one in one
// loop; and where rows lie meanwhile that cannot stay where they are.
#pragma once

#include "finisher.hpp"

namespace softmax::SOFTMAX_ISA {

// So many entries before their maximum is taken, they are asked for. Where results are written into the caches of a
// processor with vectors of whole lines, no further than its own prefetcher has come: what is asked for first waits in the
// same buffers as they do, and rows of 1000 take a tenth longer. Long rows of up to 8 MB in all gain a twentieth from a
// little more, larger ones nothing.
constexpr ptrdiff_t far_ahead = 2048;
template <class S>
constexpr ptrdiff_t asked_ahead(ptrdiff_t n, bool into_caches) {
    if (!into_caches || sizeof(typename S::V) < 64) return far_ahead;
    return n <= short_row<typename S::T> ? 256 : 1024;
}

// A later row, whose maximum is taken; numbers of 16 bits are widened first, to where its `entries` are.
template <class T>
struct Later {
    const T* entries = nullptr;  // nullptr: there is no later row
    const Bits16* halves = nullptr;
    T* to = nullptr;
    Storage storage = Storage::own;
    ptrdiff_t ahead = 0;

    bool direct() const { return entries != nullptr && halves == nullptr; }
    // `Width` vectors of the row from entry i on.
    template <bool Halves, class S, int Width>
    SOFTMAX_INLINE void read(ptrdiff_t i, typename S::V (&v)[Width]) const {
        if constexpr (Halves) {
            prefetch(halves + i, Width * S::lanes, ahead);
            widened(halves + i, storage, v);
            for (int a = 0; a < Width; ++a) store(to + i + a * S::lanes, v[a]);
        } else {
            prefetch(entries + i, Width * S::lanes, ahead);
            for (int a = 0; a < Width; ++a) v[a] = load<S>(entries + i + a * S::lanes);
        }
    }
    template <class S>
    SOFTMAX_OUTLINE void take(ptrdiff_t first, ptrdiff_t count, Maximum<S>& maximum) const {
        if (entries == nullptr) return;
        if constexpr (sizeof(T) == sizeof(float)) {
            if (halves != nullptr) {
                prefetch(halves + first, count, ahead);
                widen(halves + first, count, to + first, storage);
                return maximum.take(entries + first, count);
            }
        }
        prefetch(entries + first, count, ahead);
        maximum.take(entries + first, count);
    }
};

// In place of a Finisher where there is nothing to finish.
struct Nothing {
    static constexpr bool of_halves = true;
    struct Entry {
        static constexpr bool exact_top = false;
    } entry;
    bool has_plain(ptrdiff_t) const { return true; }
    bool has_halves(ptrdiff_t) const { return true; }
    bool has_streamed() const { return false; }
    template <Into Where, bool ExactTop>
    SOFTMAX_INLINE auto next(ptrdiff_t) const {
        return [](auto, ptrdiff_t) {};
    }
    void some(ptrdiff_t) const {}
    void rest() const {}
};

// Exponentials of n entries, summed and with Keep stored; beside them a later row's maximum is taken, and an earlier row
// finished.
template <class S, Summed What, bool Tempered, bool Keep, class T, class Earlier>
DD sum_beside(const T* x, ptrdiff_t n, const Reduction<S>& row, T* kept, const Later<T>& later_row, T& later_maximum,
              Earlier& earlier) {
    const Later<T> later = later_row;  // out of reach of the stores below
    Summing<S, What, Tempered, Keep> summing(row, T(0));
    Maximum<S> maximum;
    // All three in one loop, without a question in it.
    const auto together = [&](ptrdiff_t first, ptrdiff_t count, auto halves, const auto& finish) SOFTMAX_INLINED {
        Maximum<S> of_these;
        summing.take(x + first, count, kept + first, [&](auto width, ptrdiff_t i) SOFTMAX_INLINED {
            typename S::V v[width()];
            later.template read<halves(), S>(first + i, v);
            for (const auto& each : v) of_these.raise(each);
            finish(width, i);
        });
        maximum.raise(of_these);
        const ptrdiff_t whole = count / S::lanes * S::lanes;
        if (whole < count) later.take(first + whole, count - whole, maximum);
    };
    for_sums(n, [&](ptrdiff_t first, ptrdiff_t count) SOFTMAX_INLINED {
        const bool plain = later.direct() && earlier.has_plain(count), exact_top = earlier.entry.exact_top;
        if (plain && !exact_top) {
            together(first, count, std::false_type(), earlier.template next<Into::caches, false>(count));
        } else if (plain) {
            together(first, count, std::false_type(), earlier.template next<Into::caches, true>(count));
        } else if (Earlier::of_halves && later.halves != nullptr && earlier.has_halves(count)) {
            if constexpr (Earlier::of_halves && sizeof(T) == sizeof(float)) {
                exact_top ? together(first, count, std::true_type(), earlier.template next<Into::halves, true>(count))
                          : together(first, count, std::true_type(), earlier.template next<Into::halves, false>(count));
            }
        } else if (later.direct() && earlier.has_streamed()) {
            together(first, count, std::false_type(), earlier.template next<Into::memory, true>(count));
        } else {
            later.take(first, count, maximum);
            earlier.some(count);
            summing.take(x + first, count, kept + first, [](auto, ptrdiff_t) {});
        }
    });
    earlier.rest();
    later_maximum = maximum.value();
    return summing.sum().total;
}

// Slots of a buffer, for rows that are not contiguous or whose results are not to be read again. From one to the next it is
// so far from whole pages that six have places of their own: a load whose address ends in the same 12 bits as an earlier
// store's waits for it.
constexpr ptrdiff_t page = 4096, apart = 704, slots = 6;  // bytes
template <class T>
constexpr ptrdiff_t slot_length(ptrdiff_t n) {
    return ((n * ptrdiff_t(sizeof(T)) - apart + page - 1) / page * page + apart) / ptrdiff_t(sizeof(T));
}
template <class T>
constexpr ptrdiff_t longest_slot = slot_length<T>(32768 / sizeof(T));
template <class T>
struct Slots {
    alignas(64) T buffer[slots * longest_slot<T>];
    ptrdiff_t length;

    explicit Slots(ptrdiff_t n) : length(slot_length<T>(n)) {}
    T* operator[](ptrdiff_t number) { return buffer + number * length; }
    static bool fit(ptrdiff_t n) { return slot_length<T>(n) <= longest_slot<T>; }
};

}  // namespace softmax::SOFTMAX_ISA
