// The last pass over a row: each of its entries, or of what is stored in their place, turned into a result.
#pragma once

#include "rows.hpp"

namespace softmax::SOFTMAX_ISA {

// Where results go: to the caches, past them, or to 16-bit numbers.
enum class Into { caches, memory, halves };

// Finishes the entries of a row, some at a time. `to` is what they are read from or lies elsewhere, or
// is of 16-bit numbers. An Entry has finish<ExactTop>(vectors), `exact_top` says which of the two is meant, and `of_halves`
// whether it is for 16-bit numbers too.
template <class S, class Entry>
class Finisher {
    using T = typename S::T;
    using V = typename S::V;

public:
    static constexpr bool of_halves = Entry::of_halves && sizeof(T) == sizeof(float);
    Entry entry;

    Finisher() = default;
    explicit Finisher(const Entry& entry) : entry(entry) {}

    // Without this there is nothing to finish.
    void begin(const T* first, T* result, ptrdiff_t length, bool past_caches) {
        from = first;
        to = result;
        n = length;
        into = past_caches ? Into::memory : Into::caches;
        at = 0;
        if (into == Into::caches) return;
        const ptrdiff_t behind = ptrdiff_t(reinterpret_cast<std::uintptr_t>(to) % sizeof(V) / sizeof(T));
        if (behind > 0) at = std::min(S::lanes - behind, n);  // `stream` wants whole vectors of memory
        if (at > 0) part(0, int(at));
    }
    void begin(const T* first, Bits16* result, ptrdiff_t length, Storage stored) {
        from = first;
        half = result;
        n = length;
        at = 0;
        into = Into::halves;
        storage = stored;
    }
    void end() { n = at = 0; }
    bool begun() const { return n > 0; }

    // As many entries more, or as many as there are, but for what fills no vector.
    void some(ptrdiff_t count) { vectors(std::min(at + count, n)); }
    // The same one vector at a time, for a loop that does other work as well: `next` gives finish(width, i) for the vectors i
    // entries on, and counts them as finished. So many have to be left, but for results that go past the caches, where those
    // before a whole vector of memory are finished already.
    bool has_plain(ptrdiff_t count) const { return at + count <= n && into == Into::caches; }
    bool has_halves(ptrdiff_t count) const { return at + count <= n && into == Into::halves; }
    bool has_streamed() const { return at < n && into == Into::memory; }
    template <Into Where, bool ExactTop>
    SOFTMAX_INLINE auto next(ptrdiff_t count) {
        Finisher self = *this;
        self.from += at;
        if constexpr (Where == Into::halves) self.half += at;
        if constexpr (Where != Into::halves) self.to += at;
        constexpr ptrdiff_t wide = interleaved<S> * S::lanes;
        const ptrdiff_t left = n - at, enough = left >= count / wide * wide ? S::lanes : wide;
        at += std::min(count, left) / enough * enough;
        return [self, left](auto width, ptrdiff_t i) SOFTMAX_INLINED {
            if (Where == Into::memory && i + width() * S::lanes > left) return;
            V v[width()];
            for (int a = 0; a < width(); ++a) v[a] = load_once<S>(self.from + i + a * S::lanes);
            self.entry.template finish<ExactTop>(v);
            self.template put<Where>(i, v);
        };
    }
    // All that is left.
    void rest() {
        vectors(n);
        tail();
    }
    // The same, in place of a call; beside(width, i) is called for the vectors at hand.
    template <class Beside>
    SOFTMAX_INLINE void rest(const Beside& beside) {
        up_to(n, beside);
        tail();
    }

private:
    const T* from = nullptr;
    T* to = nullptr;
    Bits16* half = nullptr;
    ptrdiff_t n = 0, at = 0;  // finished up to `at`
    Storage storage = Storage::own;
    Into into = Into::caches;

    SOFTMAX_OUTLINE void vectors(ptrdiff_t end) {
        up_to(end, [](auto, ptrdiff_t) {});
    }
    template <class Beside>
    SOFTMAX_INLINE void up_to(ptrdiff_t end, const Beside& beside) {
        entry.exact_top ? whole<true>(end, beside) : whole<false>(end, beside);
    }
    template <bool ExactTop, class Beside>
    SOFTMAX_INLINE void whole(ptrdiff_t end, const Beside& beside) {
        if (into == Into::caches) return whole<ExactTop, Into::caches>(end, beside);
        if (into == Into::memory) return whole<ExactTop, Into::memory>(end, beside);
        if constexpr (of_halves) whole<ExactTop, Into::halves>(end, beside);
    }
    void tail() {
        if (at < n) part(at, int(n - at));
        at = n;
    }
    template <bool ExactTop, Into Where, class Beside>
    SOFTMAX_INLINE void whole(ptrdiff_t end, const Beside& beside) {
        const Finisher self = *this;  // out of reach of the stores below
        ptrdiff_t i = at;
        const auto finish = [&](auto width) SOFTMAX_INLINED {
            V v[width()];
            beside(width, i);
            for (int a = 0; a < width(); ++a) v[a] = load_once<S>(self.from + i + a * S::lanes);
            self.entry.template finish<ExactTop>(v);
            self.template put<Where>(i, v);
            i += width() * S::lanes;
        };
        while (i + interleaved<S> * S::lanes <= end) finish(Width<interleaved<S>>());
        while (i + S::lanes <= end) finish(Width<1>());
        at = i;
    }
    template <Into Where, std::size_t Count>
    SOFTMAX_INLINE void put(ptrdiff_t i, const V (&v)[Count]) const {
        if constexpr (Where == Into::halves) {
            narrow<false>(v, half + i, storage);  // NaN fills a row and comes from elsewhere
        } else {
            for (std::size_t a = 0; a < Count; ++a) {
                T* const place = to + i + a * S::lanes;
                Where == Into::memory ? stream<S>(place, v[a]) : store(place, v[a]);
            }
        }
    }
    void part(ptrdiff_t i, int count) const {
        V v[1] = {load_first<S>(from + i, count, T(0))};
        entry.exact_top ? entry.template finish<true>(v) : entry.template finish<false>(v);
        if constexpr (of_halves) {
            if (into == Into::halves) return narrow_first<false>(v[0], count, half + i, storage);
        }
        store_first<S>(to + i, v[0], count);
    }
};

// The same for a block by itself, while what lies `ahead` entries from it is asked for.
template <class S, class Entry, class T>
void finish_block(const T* from, T* to, ptrdiff_t n, const Entry& entry, bool streaming, ptrdiff_t ahead) {
    Finisher<S, Entry> finisher(entry);
    finisher.begin(from, to, n, streaming);
    finisher.rest([&](auto width, ptrdiff_t i) SOFTMAX_INLINED { prefetch(from + i, width() * S::lanes, ahead); });
}

}  // namespace softmax::SOFTMAX_ISA
