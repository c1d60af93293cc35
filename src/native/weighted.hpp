// log|s| and the sign of s = sum of w e^x, for weights w of any sign.
//
// One term leads: that of the largest x + j ln 2, where w = f 2^j with 1 <= |f| < 2. Relative to 2^j e^x of the leader
// (marked *),
//
//     |s| / (2^j* e^x*) = |1 + a|      a = (|f*| - 1) + sign(f*) sum over the others of f 2^(j-j*) e^(x-x*)
//
// * x - x* is carried as high + low, so that equal scores weigh exactly 1 and cancel exactly, and close ones to the
//   precision of e^d - 1.
// * The exponent j - j* joins that of the exponential: no product overflows or underflows, whatever weights and scores.
// * log|1 + a| is log1p(a) for a >= 0: exact also where the leader has nearly all the weight. Else |1 + a| = 2^i (1 + z),
//   0 <= z < 1, and it is i ln 2 + log1p(z).
//
// All in double, sums in pairs of doubles. Error: 1 ulp of the largest of |x* + j* ln 2|, |log|1 + a|| and |result|. Where
// terms cancel, s has in addition a relative error of up to 2^-55 (sum of |w| e^x) / |s|; terms below 2^-1100 of the
// leader's count as 0.
#pragma once

#include "logs.hpp"

namespace softmax::SOFTMAX_ISA {

template <class T>
struct WeightedRow {
    Row<T> x;  // with a mask
    Row<double> weights;

    // A block of entries with their weights: -inf and 0 for those that take no part.
    void block(ptrdiff_t first, ptrdiff_t count, double* entries, double* weight) const {
        for (ptrdiff_t i = 0; i < count; ++i) {
            const ptrdiff_t at = first + i;
            weight[i] = x.mask[at * x.mask_stride] ? weights[at] : 0.0;
            entries[i] = weight[i] == 0 ? -INFINITY : double(x[at]);
        }
    }
};

// Combines body(entries, weights, first, count) of every block of the row, in their order.
template <class Result, class T, class Body, class Combine>
Result over_blocks(const WeightedRow<T>& row, int threads, const Body& body, const Combine& combine) {
    const ptrdiff_t blocks = (row.x.n + block_length - 1) / block_length;
    Result few[16];
    std::unique_ptr<Result[]> many(blocks > 16 ? new Result[blocks] : nullptr);
    Result* results = many ? many.get() : few;
    for_blocks(row.x.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) {
        double entries[block_length], weights[block_length];
        row.block(first, count, entries, weights);
        results[block] = body(entries, weights, first, count);
    });
    Result result = blocks > 0 ? results[0] : Result();
    for (ptrdiff_t block = 1; block < blocks; ++block) result = combine(result, results[block]);
    return result;
}

// w = fraction 2^exponent, 1 <= |fraction| < 2, for finite w other than 0.
template <class S>
struct Split {
    typename S::V fraction, exponent;

    SOFTMAX_INLINE explicit Split(const typename S::V& w) {
        using V = typename S::V;
        using I = typename S::I;
        using F = Float<double>;
        const V tiny = splat<S>(0x1p-1022), one = splat<S>(1.0), rounder = splat<S>(F::magic);
        const auto subnormal = V(w < splat<S>(0.0) ? -w : w) < tiny;
        const I bits = bit_cast<I>(V(subnormal ? w * 0x1p64 : w));
        const I field = (bits >> F::fraction_bits) & 0x7ff;
        fraction = bit_cast<V>(I((bits & ~(std::int64_t(0x7ff) << F::fraction_bits)) | bit_cast<I>(one)));
        exponent = (bit_cast<V>(I(bit_cast<I>(rounder) + field)) - rounder) -
                   V(subnormal ? splat<S>(F::exponent_bias + 64.0) : splat<S>(F::exponent_bias + 0.0));
    }
};

struct Leader {
    double score = -INFINITY;  // x + j ln 2
    ptrdiff_t index = 0;
    double limit = 0;  // sum of the terms that are infinite or NaN
};

// The first of the largest score.
template <class T>
Leader find_leader(const WeightedRow<T>& row, int threads) {
    const auto of_block = [](const double* entries, const double* weights, ptrdiff_t first, ptrdiff_t count) {
        Leader leader;
        for (ptrdiff_t i = 0; i < count; ++i) {
            const double x = entries[i], w = weights[i];
            if (!std::isfinite(x) || !std::isfinite(w)) {
                leader.limit += w * (std::isfinite(x) ? 1.0 : std::exp(x));
                continue;
            }
            const double score = x + Split<Scalar<double>>(w).exponent * ln_2.high;
            if (score > leader.score) {
                leader.score = score;
                leader.index = first + i;
            }
        }
        return leader;
    };
    return over_blocks<Leader>(row, threads, of_block, [](Leader a, const Leader& b) {
        const double limit = a.limit + b.limit;
        Leader leader = b.score > a.score ? b : a;
        leader.limit = limit;
        return leader;
    });
}

// Doubles without a table: equal scores cancel exactly only where e^0 is 1.
struct WithoutTable : Simd<double> {};

// Sum over a block of f 2^(j-j*) e^(x-x*), times 2^guard.
inline DD sum_terms(const double* entries, const double* weights, ptrdiff_t count, double x, double exponent) {
    using S = std::conditional_t<has_scale<Simd<double>>, WithoutTable, Simd<double>>;
    using V = S::V;
    const Reduction<S> zero(splat<S>(0.0), temperature_constants<double>(1));
    const V none = splat<S>(0.0);
    Pair<V> sum = {none, none};
    for_vectors<S>(count, [&](auto width, ptrdiff_t i, int in_use) {
        for (int a = 0; a < width(); ++a) {
            const ptrdiff_t at = i + a * S::lanes;
            const Split<S> weight(load_first<S>(weights + at, in_use, 0.0));
            const V octaves = weight.exponent - exponent;
            const Pair<V> d = two_sum(load_first<S>(entries + at, in_use, double(-INFINITY)), splat<S>(-x));
            Reduction<S> row = zero;
            row.magic = zero.magic + octaves * Reduction<S>::steps;
            row.floor = zero.floor - octaves * ln_2.high;
            const Pair<V> e = as_pair(exponential<false, true, S>(d.high, row));
            const V error = e.high > none ? mul_add(e.high, d.low, e.low) : none;
            const V term = weight.fraction * e.high;
            const Pair<V> next = two_sum(sum.high, term);
            const V product_error = fma(weight.fraction, e.high, V(-term)) + weight.fraction * error;
            sum = {next.high, sum.low + (next.low + product_error)};
        }
    });
    return across<S>(sum);
}

constexpr double unit = 0x1p128;  // what exponentials come times
static_assert(Float<double>::guard == 128);

inline DD scaled(DD a, int exponent) { return {std::ldexp(a.high, exponent), std::ldexp(a.low, exponent)}; }
inline DD negated(DD a) { return {-a.high, -a.low}; }

// log|1 + a|, a and 1 + a given times 2^guard.
inline DD log_magnitude(DD a, DD whole) {
    constexpr int guard = Float<double>::guard;
    if (a.high >= 0) return log_total<double>(scaled(a, -guard));
    const int octaves = std::ilogb(whole.high);
    const DD mantissa = scaled(whole.high < 0 ? negated(whole) : whole, -octaves);
    return add(multiply(ln_2, DD{double(octaves - guard), 0.0}), log_total<double>(add(mantissa, -1.0)));
}

template <class T>
void logsumexp_signed_row(const WeightedRow<T>& row, T* log, T* sign, int threads) {
    const Leader leader = find_leader(row, threads);
    if (leader.limit != 0 || leader.score == -INFINITY) {
        *log = T(std::log(std::fabs(leader.limit)));
        *sign = T(leader.limit > 0 ? 1 : leader.limit < 0 ? -1 : leader.limit);
        return;
    }
    const double x = double(row.x[leader.index]);
    const Split<Scalar<double>> weight(row.weights[leader.index]);
    const auto of_block = [&](double* entries, const double* weights, ptrdiff_t first, ptrdiff_t count) {
        if (leader.index >= first && leader.index < first + count) entries[leader.index - first] = -INFINITY;
        return sum_terms(entries, weights, count, x, weight.exponent);
    };
    const DD others = over_blocks<DD>(row, threads, of_block, [](DD a, DD b) { return add(a, b); });
    const bool negative = weight.fraction < 0;
    const DD a = add(negative ? negated(others) : others, (std::fabs(weight.fraction) - 1) * unit);
    const DD whole = add(a, unit), exponent = multiply(ln_2, DD{weight.exponent, 0.0});
    *log = T(whole.high == 0 ? -INFINITY : add(add(log_magnitude(a, whole), exponent), x).high);
    *sign = T(whole.high == 0 ? 0 : (whole.high < 0) == negative ? 1 : -1);
}

}  // namespace softmax::SOFTMAX_ISA
