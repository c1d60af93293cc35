// Reductions over one contiguous block: its maximum, and the sum of its exponentials. Blocks combine by the monoid
//
//     (m1, s1) (m2, s2) = (m, s1 e^(m1-m) + s2 e^(m2-m)),   m = max(m1, m2)
//
// An entry's lane is its index modulo the lanes, lanes are summed in order and combined in a fixed one: the bits of a
// result depend on nothing but the row.
#pragma once

#include <type_traits>

#include "exp.hpp"
#include "memory.hpp"

namespace softmax::SOFTMAX_ISA {

constexpr std::ptrdiff_t block_length = 4096;  // entries; two blocks of doubles stay in the second-level cache

// Vectors that are worked on at once, as many as the registers hold.
template <class S>
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int interleaved = S::lanes == 1 ? 1 : 4;
#else
constexpr int interleaved = S::lanes == 1 ? 1 : 2;
#endif

// Whether exponentials are added while the next are computed: where few are under way at once, as the registers allow no
// more, the steps of a sum would hold the places in which a processor looks for work (Zen 3: a twentieth of the time in
// float, a seventh in double).
template <class S>
constexpr bool adds_behind = SOFTMAX_VECTOR_BYTES == 32 && S::lanes > 1;

template <int Count>
using Width = std::integral_constant<int, Count>;

// Calls body(Width, index, count) for the vectors of n entries, `Width` of them at a time; count, the entries of each, is
// below lanes only in the last call.
template <class S, class Body>
SOFTMAX_INLINE void for_vectors(std::ptrdiff_t n, const Body& body) {
    constexpr int wide = interleaved<S>;
    std::ptrdiff_t i = 0;
    for (; i + wide * S::lanes <= n; i += wide * S::lanes) body(Width<wide>(), i, Width<S::lanes>());
    for (; i < n; i += S::lanes) body(Width<1>(), i, int(n - i < S::lanes ? n - i : S::lanes));
}

// Whether exponentials leave time for other work beside them in one loop: not where every fused multiply-add is twenty steps.
#if defined(SOFTMAX_EMULATED_FMA)
constexpr bool leaves_time = false;
#else
constexpr bool leaves_time = true;
#endif

// Asks for n entries a block ahead (or behind), while the processor is busy with these: rows and blocks are taken in order,
// and the hardware, which looks at addresses, stops at their ends.
template <bool Write = false, class T>
SOFTMAX_INLINE void prefetch([[maybe_unused]] const T* x, std::ptrdiff_t n, [[maybe_unused]] std::ptrdiff_t entries) {
#if defined(__GNUC__) || defined(__clang__)
    constexpr std::ptrdiff_t line = 64 / sizeof(T);
    const auto address = reinterpret_cast<std::uintptr_t>(x) + std::uintptr_t(entries * std::ptrdiff_t(sizeof(T)));
    for (std::ptrdiff_t i = 0; i < n; i += line) {
        __builtin_prefetch(reinterpret_cast<const void*>(address + std::size_t(i) * sizeof(T)), Write, 2);
    }
#endif
}

// `Count` vectors from x on; the last of them may be partly filled.
template <class S, std::size_t Count, class T>
SOFTMAX_INLINE void load_all(typename S::V (&v)[Count], const T* x, int count, T filler) {
    for (std::size_t i = 0; i < Count; ++i) v[i] = load_first<S>(x + i * S::lanes, count, filler);
}

// The maximum of the entries so far that are not NaN; -inf where there are none.
template <class S>
class Maximum {
    using T = typename S::T;
    using V = typename S::V;

public:
    SOFTMAX_INLINE void take(const T* x, std::ptrdiff_t n) {
        V top[interleaved<S>];
        for (V& v : top) v = so_far;
        for_vectors<S>(n, [&](auto width, std::ptrdiff_t i, int count) {
            V v[width()];
            load_all<S>(v, x + i, count, T(-INFINITY));
            for (int a = 0; a < width(); ++a) top[a] = max(v[a], top[a]);
        });
        for (int a = 1; a < interleaved<S>; ++a) top[0] = max(top[a], top[0]);
        so_far = top[0];
    }
    SOFTMAX_INLINE void raise(const V& v) { so_far = max(v, so_far); }
    SOFTMAX_INLINE void raise(const Maximum& other) { raise(other.so_far); }
    T value() const {
        return fold(so_far, [](const auto& a, const auto& b) { return max(a, b); });
    }

private:
    V so_far = splat<S>(T(-INFINITY));
};

template <class S, class T>
T maximum_of(const T* x, std::ptrdiff_t n) {
    Maximum<S> maximum;
    maximum.take(x, n);
    return maximum.value();
}

// Whether an entry is above `limit` or NaN.
template <class S, class T>
bool any_above(const T* x, std::ptrdiff_t n, T limit) {
    using I = typename S::I;
    I above = {};
    for_vectors<S>(n, [&](auto width, std::ptrdiff_t i, int count) {
        typename S::V v[width()];
        load_all<S>(v, x + i, count, T(-INFINITY));
        for (int a = 0; a < width(); ++a) above = above | (v[a] <= splat<S>(limit) ? I{} : I{} + 1);
    });
    return fold(above, [](const auto& a, const auto& b) { return a | b; }) != 0;
}

// What is summed, and for what: all exponentials, to divide by; all of them, for a logarithm; or those below the maximum.
enum class Summed { shares, logs, others };

// Where an accumulator of exponentials begins. Above any of them, a sum takes three additions without error instead of
// six; what it drops is below 2^-40 of the row's maximum. Others may be so small that it begins at 0.
template <class T, Summed What>
constexpr T starting_sum() {
    return What == Summed::others ? T(0) : T(Float<T>::guard == 64 ? 0x1p65 : 0x1p129);
}

// Where sums need more than 0.4 ulp of each term: under a logarithm, and to stay within 2 ulp beside the roundings that a
// temperature or the lack of a fused multiply-add bring.
#if defined(SOFTMAX_EMULATED_FMA)
template <Summed What, bool Tempered>
constexpr bool fine = true;
#else
template <Summed What, bool Tempered>
constexpr bool fine = What != Summed::shares || Tempered;
#endif
// Where every exponential is that fine anyway, with a table or always.
template <class S>
constexpr Summed logs = table_bits<S> > 0 || fine<Summed::shares, false> ? Summed::shares : Summed::logs;

// Entries of one accumulator: few enough that what the sum of roundings rounds off, t^2 2^(-2p-1) of the sum for t terms in
// a lane, does not show; a multiple of the vectors at hand.
constexpr std::ptrdiff_t sum_length = 1024;

// sum + roundings = the exponentials that were added.
//
// The rounding of an addition is the term less what the sum has grown by. Of high (1 + low), high less the growth is exact
// (Sterbenz), and what is left of it with high low is as small as the rounding: no sum of the low parts is needed, which
// would round at each of them.
template <class S, Summed What>
struct Accumulator {
    using V = typename S::V;
    using T = typename S::T;
    V sum = splat<S>(starting_sum<T, What>()), roundings = splat<S>(T(0));

    SOFTMAX_INLINE void add(const Exponential<S>& e) {
        const V next = sum + e.value(), growth = next - sum;
        V rounding = e.add_low(V(e.high - growth));
        if constexpr (What == Summed::others)
            rounding = rounding + (sum - (next - growth));  // the term may be the larger
        sum = next;
        roundings = roundings + rounding;
    }
    // total = total + all that was added.
    SOFTMAX_INLINE void add_to(Pair<V>& total) const {
        const Pair<V> next = two_sum(total.high, V(sum - starting_sum<T, What>()));
        total = {next.high, total.low + (next.low + roundings)};
    }
};

// The sum over the lanes, by halves: in double for float, in pairs of doubles for double.
template <class S>
DD across(const Pair<typename S::V>& total) {
    if constexpr (std::is_same_v<typename S::T, float>) {
        const auto totals = as_doubles<S>(total.high) + as_doubles<S>(total.low);
        return {fold(totals, [](const auto& a, const auto& b) { return a + b; }), 0.0};
    } else {
        return fold(total);
    }
}

// Sum of exponentials, times 2^guard as they are, to far below an ulp of T.
struct Sum {
    DD total;               // of all entries, or of those below the maximum (Summed::others); NaN where one is NaN
    std::ptrdiff_t maxima;  // how many entries equal the maximum (counted with Summed::others only)
};

// counts + 1 in the lanes of a comparison.
template <class S, class Lanes>
SOFTMAX_INLINE typename S::I count_lanes(const typename S::I& counts, const Lanes& lanes) {
    if constexpr (S::lanes == 1) {
        return counts + (lanes ? 1 : 0);
    } else {
        return counts - bit_cast<typename S::I>(lanes);
    }
}

// Takes the exponentials of a block, some after the others: their sum and, with Keep, each of them, rounded, in `kept`.
// That may be x itself.
//
// Summed::others leaves the maxima themselves out and counts them. log(sum) is then log1p of what is left, exact also where
// the maximum holds all the weight but 1e-30.
template <class S, Summed What, bool Tempered, bool Keep>
class Summing {
    using T = typename S::T;
    using V = typename S::V;

public:
    Summing(const Reduction<S>& row, T maximum) : row(row), maximum(splat<S>(maximum)) {}

    // n entries, at most `sum_length`. beside(width, i) is called for the vectors at hand, if they are whole: for other
    // work, which waits for memory while exponentials keep the arithmetic busy.
    template <class Beside>
    SOFTMAX_INLINE void take(const T* x, std::ptrdiff_t n, T* kept, const Beside& beside) {
        Accumulator<S, What> accumulator;
        constexpr int wide = interleaved<S>;
        constexpr bool behind = adds_behind<S> && What != Summed::others;
        Exponential<S> before[wide];
        for (auto& each : before) each = {splat<S>(T(0)), splat<S>(T(0))};
        std::ptrdiff_t at = -1;  // where those begin, if there are any
        const auto add_before = [&]() SOFTMAX_INLINED {
            if (behind && at >= 0) add(before, kept + at, Width<S::lanes>(), accumulator);
            at = -1;
        };
        for_vectors<S>(n, [&](auto width, std::ptrdiff_t i, auto count) SOFTMAX_INLINED {
            V v[width()];
            Exponential<S> e[width()];
            load_all<S>(v, x + i, count, T(-INFINITY));
            exponentials<Tempered, fine<What, Tempered>, S>(v, row, e);
            if (count == S::lanes) beside(width, i);
            add_before();
            if constexpr (behind && width() == wide) {
                for (int a = 0; a < wide; ++a) before[a] = e[a];
                at = i;
            } else {
                add(e, kept + i, count, accumulator, v);
            }
        });
        add_before();
        accumulator.add_to(total);
    }
    Sum sum() const {
        const auto plus = [](const auto& a, const auto& b) { return a + b; };
        return {across<S>(total), std::ptrdiff_t(What == Summed::others ? fold(counts, plus) : 0)};
    }

private:
    // `entries` are what the maxima are told from.
    template <std::size_t Count, class InUse>
    SOFTMAX_INLINE void add(const Exponential<S> (&e)[Count], T* to, InUse count, Accumulator<S, What>& accumulator,
                            const V* entries = nullptr) {
        for (std::size_t a = 0; a < Count; ++a) {
            if constexpr (Keep) store_first<S>(to + a * S::lanes, e[a].value(), count);
            Exponential<S> term = e[a];
            if constexpr (What == Summed::others) {
                const auto top = entries[a] == maximum;
                term.clear_where(top);
                counts = count_lanes<S>(counts, top);
            }
            accumulator.add(term);
        }
    }

    const Reduction<S> row;
    const V maximum;
    Pair<V> total = {splat<S>(T(0)), splat<S>(T(0))};
    typename S::I counts = {};
};

// Calls body(first, count) for n entries, `sum_length` at a time.
template <class Body>
SOFTMAX_INLINE void for_sums(std::ptrdiff_t n, const Body& body) {
    for (std::ptrdiff_t first = 0; first < n; first += sum_length) {
        body(first, n - first < sum_length ? n - first : sum_length);
    }
}

template <class S, Summed What, bool Tempered, bool Keep, class T>
Sum sum_exponentials(const T* x, std::ptrdiff_t n, const Reduction<S>& row, T maximum, T* kept) {
    Summing<S, What, Tempered, Keep> summing(row, maximum);
    for_sums(n, [&](std::ptrdiff_t first, std::ptrdiff_t count) {
        // Not inlined at once, a function that only prefetches is one that GCC sees no need to call.
        summing.take(x + first, count, kept + first, [&](auto width, std::ptrdiff_t i) SOFTMAX_INLINED {
            prefetch(x + first + i, width() * S::lanes, block_length);
        });
    });
    return summing.sum();
}

template <class S, Summed What, bool Tempered, class T>
Sum sum_exponentials(const T* x, std::ptrdiff_t n, const Reduction<S>& row, T maximum, T* kept) {
    if (kept == nullptr) return sum_exponentials<S, What, Tempered, false>(x, n, row, maximum, kept);
    return sum_exponentials<S, What, Tempered, true>(x, n, row, maximum, kept);
}

}  // namespace softmax::SOFTMAX_ISA
