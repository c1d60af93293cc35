// The last pass over a row: each of its entries, or of what is stored in their place, turned into a result.
#pragma once

#include "rows.hpp"

namespace softmax::SOFTMAX_ISA {

// Finishes the entries of a row: whole vectors of `to`, past the caches where that is asked for. `to` is what they are read
// from or lies elsewhere, or is of 16-bit numbers. An Entry has finish<ExactTop>(vectors), and `exact_top` says which of the
// two is meant.
template <class S, class Entry>
class Finisher {
    using T = typename S::T;
    using V = typename S::V;

public:
    Entry entry;

    Finisher() = default;
    explicit Finisher(const Entry& entry) : entry(entry) {}

    // Without this there is nothing to finish.
    void begin(const T* first, T* result, ptrdiff_t length, bool past_caches) {
        from = first;
        to = result;
        n = length;
        streaming = past_caches;
        half = nullptr;
        const ptrdiff_t behind = ptrdiff_t(reinterpret_cast<std::uintptr_t>(to) % sizeof(V) / sizeof(T));
        head = behind == 0 ? 0 : std::min(S::lanes - behind, n);
        if (head > 0) part(0, int(head));
    }
    void begin(const T* first, Bits16* result, ptrdiff_t length, Storage stored) {
        from = first;
        half = result;
        n = length;
        head = 0;
        storage = stored;
    }
    void end() { n = head = 0; }
    bool begun() const { return n > 0; }

    // The vectors behind the first i entries from the first whole vector on, if there are so many.
    template <class Width>
    SOFTMAX_INLINE void operator()(Width width, ptrdiff_t i) const {
        const ptrdiff_t at = head + i;
        if (at + width() * S::lanes > n) return;
        entry.exact_top ? whole<true>(width, at) : whole<false>(width, at);
    }

    // All that is left when that has been called for the first i entries, `interleaved` vectors at a time.
    void rest(ptrdiff_t i) const {
        constexpr ptrdiff_t step = interleaved<S> * S::lanes;
        ptrdiff_t at = head + std::min(i, (n - head) / step * step);
        for (; at + S::lanes <= n; at += S::lanes) {
            entry.exact_top ? whole<true>(Width<1>(), at) : whole<false>(Width<1>(), at);
        }
        if (at < n) part(at, int(n - at));
    }

private:
    const T* from = nullptr;
    T* to = nullptr;
    Bits16* half = nullptr;
    ptrdiff_t n = 0, head = 0;
    Storage storage = Storage::own;
    bool streaming = false;

    template <bool ExactTop, class Width>
    SOFTMAX_INLINE void whole(Width width, ptrdiff_t at) const {
        V v[width()];
        for (int a = 0; a < width(); ++a) v[a] = load<S>(from + at + a * S::lanes);
        entry.template finish<ExactTop>(v);
        for (int a = 0; a < width(); ++a) put(at + a * S::lanes, v[a]);
    }
    SOFTMAX_INLINE void put(ptrdiff_t at, const V& v) const {
        if constexpr (sizeof(T) == sizeof(float)) {
            if (half != nullptr)
                return narrow<false>(v, half + at, storage);  // NaN fills a row and comes from elsewhere
        }
        streaming ? stream<S>(to + at, v) : store(to + at, v);
    }
    void part(ptrdiff_t at, int count) const {
        V v[1] = {load_first<S>(from + at, count, T(0))};
        entry.exact_top ? entry.template finish<true>(v) : entry.template finish<false>(v);
        if constexpr (sizeof(T) == sizeof(float)) {
            float each[S::lanes];
            store(each, v[0]);
            if (half != nullptr) return narrow(each, count, half + at, storage);
        }
        store_first<S>(to + at, v[0], count);
    }
};

// The same for a block by itself, while what lies `ahead` entries from it is asked for.
template <class S, class Entry, class T>
void finish_block(const T* from, T* to, ptrdiff_t n, const Entry& entry, bool streaming, ptrdiff_t ahead) {
    constexpr Width<interleaved<S>> wide = {};
    Finisher<S, Entry> finisher(entry);
    finisher.begin(from, to, n, streaming);
    ptrdiff_t i = 0;
    for (; i + wide() * S::lanes <= n; i += wide() * S::lanes) {
        prefetch<S>(wide, from + i, ahead);
        finisher(wide, i);
    }
    if constexpr (S::lanes > 1) finisher.rest(i);  // of single lanes nothing is left
}

}  // namespace softmax::SOFTMAX_ISA
