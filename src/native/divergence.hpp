// KL(p || q) of a row, p = softmax(a / T), q = softmax(b / T), and its gradient, all in double. With d = log p - log q:
//
//     KL = sum of f,   f = q - p + p d = p (e^-d - 1 + d) >= 0      as sum of q - p is 0: no term cancels another
//     by a: p (d - KL) / T          by b: (q - p) / T = p (e^-d - 1) / T
//
// e^r - 1 - r = r^2 q(r) (see exp.hpp) for small r, and is doubled from there: with e = e^r - 1, g = e - r,
//
//     e^2r - 1 - 2r = 2 g + e^2
//
// where all terms are >= 0. So f keeps its relative precision however close p and q are, if d does. Let t be the first
// maximum of a, and u = ((a - b) - (a_t - b_t)) / T, which is exact as a pair. Then d = u + d_t, and with logarithms of the
// sums d_t is good to 2^-54; where it is small,
//
//     d_t = -log(q_t / p_t) = -log1p(sum of q (e^u - 1))
//
// makes that relative. An error of d_t moves the sum by its square only, the sum of f's derivatives being that of p - q.
//
// Entries of -inf in a add q; those in b alone make the row's divergence infinite, and its gradient by a the limit: +inf
// there, -inf where q > 0.
#pragma once

#include "logs.hpp"

namespace softmax::SOFTMAX_ISA {

using WideLane = Simd<double>;

struct DivergenceRow {
    Row<double> a, b;
    double temperature, factor;  // of the gradient
};
struct DivergenceSlopes {
    OutRow<double> p, q;
};

// e^r - 1 and e^r - 1 - r for |r| <= 1.39.
template <class V>
struct Exponent {
    V expm1, beyond;
};
constexpr double doubled_limit = 1.39;

template <class S>
SOFTMAX_INLINE Exponent<typename S::V> doubled_twice(const typename S::V& r) {
    using V = typename S::V;
    const V s = r * splat<S>(0.25), s2 = s * s;
    V beyond = s2 * tail<S>(s, s2, Float<double>::q), expm1 = s + beyond;
    for (int scale = 2; scale <= 4; scale *= 2) {
        beyond = beyond + beyond + expm1 * expm1;
        expm1 = s * splat<S>(double(scale)) + beyond;
    }
    return {expm1, beyond};
}

// Of each entry: p, q, d, f and q - p.
template <class V>
struct DivergenceEntry {
    V p, q, d, term, difference;
};

template <class S>
SOFTMAX_INLINE DivergenceEntry<typename S::V> divergence_entry(const typename S::V& p, const typename S::V& q,
                                                               const typename S::V& d) {
    using V = typename S::V;
    const V limit = splat<S>(doubled_limit);
    const Exponent<V> e = doubled_twice<S>(V(-d));
    const V apart = q - p;
    const auto close = d <= limit, closer = d >= -limit;
    const V term = close ? V(closer ? p * e.beyond : apart + p * d) : V(apart + p * d);
    const V difference = close ? V(closer ? p * e.expm1 : apart) : apart;
    const auto out = p == splat<S>(0.0);
    return {p, q, d, V(out ? q : term), V(out ? q : difference)};
}

// A quarter of a number has a difference that is in range; x / T follows, times 4.
template <class V>
struct Quotient {
    V temperature;
    bool plain;  // T = 1

    SOFTMAX_INLINE Pair<V> operator()(const Pair<V>& quarter) const {
        Pair<V> result = plain ? quarter : divide(quarter, Pair<V>{temperature, temperature * 0.0});
        result.high = result.high * 4.0;
        result.low = result.low * 4.0;
        return result;
    }
};

// What is known of one of the two rows.
struct Scores {
    Row<double> shifted;
    Summary<double> summary;
    double maximum;      // of `shifted`
    double temperature;  // for `shifted`
    DD log_sum = {0, 0};
    Scaling<WideLane> scaling;

    static Scores of(const Row<double>& x, double temperature, int threads) {
        using S = WideLane;
        const auto [summary, rest] = weigh<S>(x, temperature, threads);
        Scores result = {x, summary, 0, temperature, {0, 0}, {}};
        if (summary.kind != Kind::ordinary) return result;
        result.log_sum = log_total<double>(rest);
        if (std::isnan(rest.high)) {
            result.summary = not_a_number<double>;
            return result;
        }
        result.maximum = result.summary.maximum;
        result.temperature = normalize(result.shifted, result.maximum, temperature);
        const Top<S> top = exponential_of_maximum<S, true>(result.maximum, result.reduction());
        result.scaling = Scaling<S>(inverse(multiply(top.exact, add(rest, 1.0))), top.exact, top.value);
        return result;
    }
    Reduction<WideLane> reduction() const {
        return Reduction<WideLane>(splat<WideLane>(maximum), temperature_constants<double>(temperature));
    }
    // log of the probability, for rows of any kind.
    double log_probability(double x, double given_temperature) const {
        if (summary.kind == Kind::winners) return x >= summary.threshold ? -std::log(summary.winners) : -INFINITY;
        if (summary.kind == Kind::nothing) return -INFINITY;
        return 4 * ((x / 4 - summary.maximum / 4) / given_temperature) - log_sum.high;
    }
};

// Calls body(p, q, u, b, i, lanes) for the vectors of a block; i counts from the block's first entry.
template <class Body>
void for_divergence(const DivergenceRow& row, const Scores& p, const Scores& q, const Pair<double>& quarter_of_top,
                    ptrdiff_t first, ptrdiff_t count, const Body& body) {
    using S = WideLane;
    using V = S::V;
    double a_buffer[block_length], b_buffer[block_length], p_buffer[block_length], q_buffer[block_length];
    const double *a = row.a.block(first, count, a_buffer), *b = row.b.block(first, count, b_buffer);
    const double* p_scores = p.shifted.transformed() ? p.shifted.block(first, count, p_buffer) : a;
    const double* q_scores = q.shifted.transformed() ? q.shifted.block(first, count, q_buffer) : b;
    const Reduction<S> of_p = p.reduction(), of_q = q.reduction();
    const Scaling<S> p_scaling = p.scaling, q_scaling = q.scaling;
    const Quotient<V> quotient = {splat<S>(row.temperature), row.temperature == 1};
    const Pair<V> top = {splat<S>(-quarter_of_top.high), splat<S>(-quarter_of_top.low)};
    const V none = splat<S>(0.0), quarter = splat<S>(0.25), largest = splat<S>(std::numeric_limits<double>::max());
    for (ptrdiff_t i = 0; i < count; i += S::lanes) {
        const int lanes = int(count - i < S::lanes ? count - i : S::lanes);
        const auto at = [&](const double* x) { return load_first<S>(x + i, lanes, double(-INFINITY)); };
        const V x = at(a), y = at(b);
        const V e_p = exponential<true, true, S>(at(p_scores), of_p).value();
        const V e_q = exponential<true, true, S>(at(q_scores), of_q).value();
        Pair<V> u = quotient(add(two_sum(V(x * quarter), V(-y * quarter)), top));
        const auto in_range = u.high <= largest;
        u.low = in_range ? V(u.high >= -largest ? u.low : none) : none;
        body(p_scaling.template finish<true>(e_p), q_scaling.template finish<true>(e_q), u, x, y, i, lanes);
    }
}

template <class Body>
double sum_over_blocks(const Row<double>& x, int threads, const Body& body) {
    PerBlock<DD> sums(x.n);
    for_blocks(x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        Pair<WideLane::V> sum = {splat<WideLane>(0.0), splat<WideLane>(0.0)};
        double plain = 0;
        body(first, count, [&](const WideLane::V& term) {
            accumulate(sum, term);
            plain += fold(term, [](const auto& a, const auto& b) { return a + b; });
        });
        sums[block] = std::isfinite(plain) ? across<WideLane>(sum) : DD{plain, 0.0};
    });
    DD total = {0.0, 0.0};
    for (ptrdiff_t block = 0; block < sums.blocks; ++block) {
        const double plain = total.high + sums[block].high;  // an infinite sum has no error to carry
        total = std::isfinite(plain) ? add(total, sums[block]) : DD{plain, 0.0};
    }
    return total.high;
}

// The first entry that equals `value`, which there is.
inline ptrdiff_t first_of(const Row<double>& x, double value) {
    for (ptrdiff_t first = 0; first < x.n; first += block_length) {
        double buffer[block_length];
        const ptrdiff_t count = std::min(block_length, x.n - first);
        const double* entries = x.block(first, count, buffer);
        const double* found = std::find(entries, entries + count, value);
        if (found != entries + count) return first + (found - entries);
    }
    return 0;
}

// Entry by entry: for rows that are not ordinary, or whose divergence is infinite.
inline void divergence_by_entries(const DivergenceRow& row, const Scores& p, const Scores& q, double* loss,
                                  const DivergenceSlopes* slopes) {
    using S = Scalar<double>;
    const bool nan = p.summary.kind == Kind::not_a_number || q.summary.kind == Kind::not_a_number;
    const auto entry = [&](ptrdiff_t i) {
        const double log_p = p.log_probability(row.a[i], row.temperature);
        const double log_q = q.log_probability(row.b[i], row.temperature);
        auto e = divergence_entry<S>(std::exp(log_p), std::exp(log_q), log_q == -INFINITY ? INFINITY : log_p - log_q);
        if (log_p > -INFINITY && log_q == -INFINITY) e.term = INFINITY;
        return e;
    };
    double total = nan ? NAN : 0;
    if (!nan && p.summary.kind != Kind::nothing) {
        for (ptrdiff_t i = 0; i < row.a.n; ++i) total += entry(i).term;
    }
    *loss = total;
    if (slopes == nullptr) return;
    const double scale = row.factor;
    for (ptrdiff_t i = 0; i < row.a.n; ++i) {
        if (nan) {
            slopes->p.set(i, NAN);
            slopes->q.set(i, NAN);
            continue;
        }
        const auto e = entry(i);
        double by_p = total == INFINITY ? (e.d == INFINITY ? INFINITY : -INFINITY) : e.p * (e.d - total);
        if (e.p == 0) by_p = 0;
        slopes->p.set(i, by_p * scale / row.temperature);
        slopes->q.set(i, e.difference * scale / row.temperature);
    }
}

inline void divergence_of_packed(const DivergenceRow& row, double* loss, const DivergenceSlopes* slopes, int threads) {
    using S = WideLane;
    using V = S::V;
    const Scores p = Scores::of(row.a, row.temperature, threads), q = Scores::of(row.b, row.temperature, threads);
    const bool ordinary = p.summary.kind == Kind::ordinary && q.summary.kind == Kind::ordinary;
    if (!ordinary) return divergence_by_entries(row, p, q, loss, slopes);

    const ptrdiff_t t = first_of(row.a, p.summary.maximum);
    const double a_t = p.summary.maximum, b_t = row.b[t];
    const Quotient<double> quotient = {row.temperature, row.temperature == 1};
    const Pair<double> top = two_sum(a_t / 4, -b_t / 4);
    const Pair<double> distance = quotient(two_sum(q.summary.maximum / 4, -b_t / 4));
    DD d_t = {distance.high, 0.0};
    if (std::isfinite(distance.high)) d_t = add(distance, add(q.log_sum, DD{-p.log_sum.high, -p.log_sum.low}));
    if (!std::isfinite(d_t.high)) return divergence_by_entries(row, p, q, loss, slopes);
    if (std::fabs(d_t.high) < 0.5) {
        const V one = splat<S>(1.0), ratio = splat<S>(std::exp(-d_t.high));
        const double change =
            sum_over_blocks(row.a, threads, [&](ptrdiff_t first, ptrdiff_t count, const auto& add_term) {
                for_divergence(row, p, q, top, first, count,
                               [&](const V& p, const V& q, const Pair<V>& u, const V&, const V&, ptrdiff_t, int) {
                                   const V apart = ratio * p - q, close = q * doubled_twice<S>(u.high).expm1;
                                   add_term(u.high <= one ? V(u.high >= -one ? close : apart) : apart);
                               });
            });
        d_t = {-std::log1p(change), 0.0};
    }
    const Pair<V> shift = {splat<S>(d_t.high), splat<S>(d_t.low)};
    const auto entry = [shift](const V& p, const V& q, const Pair<V>& u) {
        const Pair<V> d = two_sum(u.high, shift.high);
        const V exact = d.high + (d.low + (u.low + shift.low));
        return divergence_entry<S>(p, q, V(exact == exact ? exact : d.high));
    };
    const V none = splat<S>(0.0), nothing = splat<S>(double(-INFINITY)), infinite = splat<S>(double(INFINITY));
    const double total = sum_over_blocks(row.a, threads, [&](ptrdiff_t first, ptrdiff_t count, const auto& add_term) {
        for_divergence(row, p, q, top, first, count,
                       [&](const V& p, const V& q, const Pair<V>& u, const V& a, const V& b, ptrdiff_t, int) {
                           const V term = entry(p, q, u).term;
                           add_term(b == nothing ? V(a == nothing ? none : infinite) : term);
                       });
    });
    if (!std::isfinite(total)) return divergence_by_entries(row, p, q, loss, slopes);
    *loss = total;
    if (slopes == nullptr) return;
    const V mean = splat<S>(total), factor = splat<S>(row.factor), temperature = splat<S>(row.temperature);
    for_blocks(row.a.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        double by_p[block_length], by_q[block_length];
        for_divergence(row, p, q, top, first, count,
                       [&](const V& p, const V& q, const Pair<V>& u, const V&, const V&, ptrdiff_t i, int lanes) {
                           const auto e = entry(p, q, u);
                           const V slope = p == none ? none : p * (e.d - mean);
                           store_first<S>(by_p + i, V(slope * factor / temperature), lanes);
                           store_first<S>(by_q + i, V(e.difference * factor / temperature), lanes);
                       });
        slopes->p.put(first, count, by_p);
        slopes->q.put(first, count, by_q);
    });
}

// A row has the same bits wherever it lies: short ones are packed, as the sums do not go by blocks there.
inline void divergence_row(const DivergenceRow& row, double* loss, const DivergenceSlopes* slopes, int threads) {
    const OutRow<double>* none = nullptr;
    with_packed(row.a, none, [&](const Row<double>& a, const OutRow<double>*) {
        with_packed(row.b, none, [&](const Row<double>& b, const OutRow<double>*) {
            divergence_of_packed({a, b, row.temperature, row.factor}, loss, slopes, threads);
        });
    });
}

}  // namespace softmax::SOFTMAX_ISA
