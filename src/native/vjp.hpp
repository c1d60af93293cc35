// From the gradient dy by a function's result y to the gradient dx by its scores: float32 and float64, any temperature.
//
//     softmax, entmax    dx_i = w_i (dy_i - mean) / T      mean = sum_j w_j dy_j / sum_j w_j,   w = y^power where y > 0
//     log_softmax        dx_i = (dy_i - e^(y_i) sum_j dy_j) / T
//     sigmoid            dx = sigmoid(x) sigmoid(-x) dy    log_sigmoid    dx = sigmoid(-x) dy
//
// power is 1 for softmax, 2 - alpha for entmax (0 for sparsemax, whose weights are 1 on the support); y are the
// probabilities in both. Two steps keep the digits of a row in which one entry has nearly all the weight:
//
// * softmax: everything is taken relative to dy of the first largest y, in double, and in pairs of doubles for double. That
//   entry's own weight then meets an exact 0, however far the others are below it.
// * log_softmax: at the first largest y, dx = dy (1 - e^y) - e^y (sum of the other dy), with 1 - e^y from expm1.
//
// Error, beside that of dy: 8 ulp (3.5 measured) of |w_i| (|d_i| + sum_j w_j |d_j| / sum_j w_j) / T with d = dy - dy_top
// for softmax; of (|dy_i| (1 - p_i) + (1 + |y_i|) p_i |sum of the other dy|) / T for log_softmax, since an ulp of y_i is
// |y_i| ulp of p_i; 4 ulp of the result for the other two. An entry of weight 0 (y = 0, for log_softmax y = -inf) takes
// no part: its dx is exactly 0, whatever its dy. A temperature of 0 or infinity moves nothing: dx = 0, where y is not NaN.
#pragma once

#include "sigmoid.hpp"

namespace softmax::SOFTMAX_ISA {

using Wide = Simd<double>;

template <class T>
struct VjpRow {
    Row<T> y, dy;  // for sigmoid, x in the place of y
    OutRow<T> dx;
};

// Calls body(y, dy, dx, count, first) for each block of a row.
template <class T, class Body>
void for_vjp_blocks(const VjpRow<T>& row, int threads, const Body& body) {
    for_blocks(row.y.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T y[block_length], dy[block_length], values[block_length];
        T* dx = row.dx.block(first, values);
        body(row.y.block(first, count, y), row.dy.block(first, count, dy), dx, count);
        row.dx.put(first, count, dx);
    });
}

// What body(y, dy, count, first) says of the blocks of a row, combined in their order.
template <class Result, class T, class Body>
Result over_vjp_blocks(const VjpRow<T>& row, int threads, const Body& body) {
    const ptrdiff_t blocks = (row.y.n + block_length - 1) / block_length;
    const auto of_block = [&](ptrdiff_t first, ptrdiff_t count) {
        T y[block_length], dy[block_length];
        return body(row.y.block(first, count, y), row.dy.block(first, count, dy), count, first);
    };
    if (blocks == 1) return of_block(0, row.y.n);
    std::unique_ptr<Result[]> results(new Result[blocks]);
    for_blocks(row.y.n, threads,
               [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t block) { results[block] = of_block(first, count); });
    for (ptrdiff_t block = 1; block < blocks; ++block) results[0] = combine(results[0], results[block]);
    return results[0];
}

// The first largest y.
template <class T>
struct FirstTop {
    T y = T(-INFINITY);
    ptrdiff_t index = 0;
};
template <class T>
FirstTop<T> combine(const FirstTop<T>& a, const FirstTop<T>& b) {
    return b.y > a.y ? b : a;
}

template <class S, class T>
FirstTop<T> top_of(const VjpRow<T>& row, int threads) {
    return over_vjp_blocks<FirstTop<T>>(row, threads, [](const T* y, const T*, ptrdiff_t count, ptrdiff_t first) {
        const T largest = maximum_of<S>(y, count);
        ptrdiff_t at = 0;
        while (at < count - 1 && y[at] != largest) ++at;
        return FirstTop<T>{largest, first + at};
    });
}

// `count` numbers as doubles, one vector of them, and zeros behind; and the reverse.
template <class T>
SOFTMAX_INLINE Wide::V load_wide(const T* from, int count) {
    if constexpr (sizeof(T) == sizeof(double)) {
        return load_first<Wide>(from, count, 0.0);
    } else if (count < Wide::lanes || Wide::lanes == 1) {
        double part[Wide::lanes] = {};
        for (int lane = 0; lane < count; ++lane) part[lane] = from[lane];
        return load<Wide>(part);
    } else {
#if !defined(SOFTMAX_ONE_LANE)
        typedef T Narrow __attribute__((vector_size(Wide::lanes * sizeof(T))));
        Narrow v;
        std::memcpy(&v, from, sizeof v);
        return __builtin_convertvector(v, Wide::V);
#endif
    }
}

template <class T>
SOFTMAX_INLINE void store_wide(T* to, const Wide::V& v, int count) {
    if constexpr (sizeof(T) == sizeof(double)) {
        store_first<Wide>(to, v, count);
    } else if (count < Wide::lanes || Wide::lanes == 1) {
        double part[Wide::lanes];
        store(part, v);
        for (int lane = 0; lane < count; ++lane) to[lane] = T(part[lane]);
    } else {
#if !defined(SOFTMAX_ONE_LANE)
        typedef T Narrow __attribute__((vector_size(Wide::lanes * sizeof(T))));
        const Narrow narrow = __builtin_convertvector(v, Narrow);
        std::memcpy(to, &narrow, sizeof narrow);
#endif
    }
}

// y^power where y > 0, else y itself: 0, or the NaN.
struct Weight {
    double power;

    SOFTMAX_INLINE Wide::V operator()(const Wide::V& y) const {
        if (power == 1) return y;
        double values[Wide::lanes];
        store(values, y);
        for (double& value : values) {
            if (value > 0) value = power == 0 ? 1.0 : power == 0.5 ? std::sqrt(value) : std::pow(value, power);
        }
        return load<Wide>(values);
    }
};

// A sum of doubles in as many lanes: plain for float entries, with what the additions round off for double ones.
template <class T>
struct WideSum {
    Pair<Wide::V> sum = {splat<Wide>(0.0), splat<Wide>(0.0)};

    SOFTMAX_INLINE void add(const Pair<Wide::V>& term) {
        if constexpr (sizeof(T) == sizeof(float)) {
            sum.high = sum.high + term.high;
        } else {
            const Pair<Wide::V> next = two_sum(sum.high, term.high);
            sum = {next.high, sum.low + (next.low + term.low)};
        }
    }
    operator DD() const {
        double high[Wide::lanes], low[Wide::lanes];
        store(high, sum.high);
        store(low, sum.low);
        DD totals[Wide::lanes];
        for (int lane = 0; lane < Wide::lanes; ++lane) totals[lane] = fast_two_sum(high[lane], low[lane]);
        for (int half = Wide::lanes / 2; half > 0; half /= 2) {
            for (int lane = 0; lane < half; ++lane) {
                totals[lane] = sizeof(T) == sizeof(float)
                                   ? DD{totals[lane].high + totals[lane + half].high, 0.0}
                                   : softmax::SOFTMAX_ISA::add(totals[lane], totals[lane + half]);
            }
        }
        return totals[0];
    }
};

// Two sums of a row.
struct Sums {
    DD weight = {0.0, 0.0}, moment = {0.0, 0.0};
};
inline Sums combine(const Sums& a, const Sums& b) { return {add(a.weight, b.weight), add(a.moment, b.moment)}; }

// dy - center, exactly for double, and within 2^-53 for float.
template <class T>
SOFTMAX_INLINE Pair<Wide::V> difference(const Wide::V& dy, double center) {
    if constexpr (sizeof(T) == sizeof(float)) return {dy - center, splat<Wide>(0.0)};
    return two_sum(dy, splat<Wide>(-center));
}

template <class T>
SOFTMAX_INLINE Pair<Wide::V> product(const Wide::V& w, const Pair<Wide::V>& d) {
    const Wide::V high = w * d.high;
    if constexpr (sizeof(T) == sizeof(float)) return {high, splat<Wide>(0.0)};
    return {high, fma(w, d.high, Wide::V(-high)) + w * d.low};
}

// Calls body(i, lanes) for the wide vectors of n entries.
template <class Body>
SOFTMAX_INLINE void for_wide(ptrdiff_t n, const Body& body) {
    for (ptrdiff_t i = 0; i < n; i += Wide::lanes) body(i, int(n - i < Wide::lanes ? n - i : Wide::lanes));
}

// Sums of w and of w (dy - center).
template <class T>
Sums moments(const T* y, const T* dy, ptrdiff_t count, const Weight& weight, double center) {
    const Wide::V none = splat<Wide>(0.0);
    WideSum<T> weights, moments;
    for_wide(count, [&](ptrdiff_t i, int lanes) {
        const Wide::V w = weight(load_wide(y + i, lanes));
        const Pair<Wide::V> term = product<T>(w, difference<T>(load_wide(dy + i, lanes), center));
        weights.add({w, none});
        moments.add({w == none ? none : term.high, w == none ? none : term.low});
    });
    return {weights, moments};
}

// The end of a row that nothing moves.
template <class T>
void fill_still(const VjpRow<T>& row) {
    for (ptrdiff_t i = 0; i < row.y.n; ++i) row.dx.set(i, std::isnan(row.y[i]) ? T(NAN) : T(0));
}

inline bool still(double temperature) { return temperature == 0 || std::isinf(temperature); }

template <class S, class T>
void softmax_vjp_row(const VjpRow<T>& row, double power, double temperature, int threads) {
    if (row.y.n == 0 || still(temperature)) return fill_still(row);
    const Weight weight = {power};
    const double center = row.dy[top_of<S>(row, threads).index];
    const Sums sums = over_vjp_blocks<Sums>(row, threads, [&](const T* y, const T* dy, ptrdiff_t count, ptrdiff_t) {
        return moments(y, dy, count, weight, center);
    });
    const DD mean = divide(sums.moment, sums.weight);
    for_vjp_blocks(row, threads, [&](const T* y, const T* dy, T* dx, ptrdiff_t count) {
        const Wide::V none = splat<Wide>(0.0);
        for_wide(count, [&](ptrdiff_t i, int lanes) {
            const Wide::V w = weight(load_wide(y + i, lanes));
            const Pair<Wide::V> d = difference<T>(load_wide(dy + i, lanes), center);
            const Pair<Wide::V> centred = two_sum(d.high, splat<Wide>(-mean.high));
            Wide::V slope = centred.high + (centred.low + (d.low - mean.low));
            if (temperature != 1) slope = slope / temperature;
            store_wide(dx + i, Wide::V(w == none ? none : w * slope), lanes);
        });
    });
}

// Sum of the dy that take part.
template <class T>
DD sum_gradients(const T* y, const T* dy, ptrdiff_t count) {
    const Wide::V none = splat<Wide>(0.0), nothing = splat<Wide>(double(-INFINITY));
    WideSum<T> sum;
    for_wide(count, [&](ptrdiff_t i, int lanes) {
        const Wide::V v = load_wide(dy + i, lanes);
        sum.add({load_wide(y + i, lanes) == nothing ? none : v, none});
    });
    return sum;
}

inline DD combine(DD a, DD b) { return add(a, b); }

template <class S, class T>
void log_softmax_vjp_row(const VjpRow<T>& row, double temperature, int threads) {
    using V = typename S::V;
    if (row.y.n == 0 || still(temperature)) return fill_still(row);
    const FirstTop<T> top = top_of<S>(row, threads);
    const double at_top = row.dy[top.index];
    const DD others = over_vjp_blocks<DD>(row, threads, [&](const T* y, const T* dy, ptrdiff_t count, ptrdiff_t first) {
        const ptrdiff_t at = top.index - first;
        if (at < 0 || at >= count) return sum_gradients(y, dy, count);
        return add(sum_gradients(y, dy, at), sum_gradients(y + at + 1, dy + at + 1, count - at - 1));
    });
    const DD all = add(others, at_top);
    const T high = T(all.high), low = std::isfinite(high) ? T((all.high - double(high)) + all.low) : T(0);
    const Reduction<S> zero(splat<S>(T(0)), temperature_constants<T>(1));
    const V unguard = splat<S>(T(std::ldexp(1.0, -Float<T>::guard))), none = splat<S>(T(0)),
            nothing = splat<S>(T(-INFINITY));
    for_vjp_blocks(row, threads, [&](const T* y, const T* dy, T* dx, ptrdiff_t count) {
        for_vectors<S>(count, [&](auto width, ptrdiff_t i, int in_use) {
            V v[width()], gradient[width()];
            load_all<S>(v, y + i, in_use, T(0));
            load_all<S>(gradient, dy + i, in_use, T(0));
            for (int a = 0; a < width(); ++a) {
                const V p = absolute(exponential<false, false, S>(v[a], zero)).value() * unguard;
                const V slope = fma(V(-p), splat<S>(high), gradient[a]) - p * low;
                const V result = v[a] == v[a] ? slope : v[a];
                store_first<S>(dx + i + a * S::lanes, V(v[a] == nothing ? none : result), in_use);
            }
        });
        if (temperature != 1) {
            for (ptrdiff_t i = 0; i < count; ++i) dx[i] = T(double(dx[i]) / temperature);
        }
    });
    if (top.y == T(-INFINITY)) return;
    const double y = double(top.y), slope = -at_top * std::expm1(y) - std::exp(y) * others.high;
    row.dx.set(top.index, T(slope / temperature));
}

// x is in the place of y. Where sigmoid's slope is 0, so is dx.
template <class S, bool Log, class T>
void sigmoid_vjp_row(const VjpRow<T>& row) {
    using V = typename S::V;
    constexpr ptrdiff_t worth_a_thread = 1 << 15;  // entries
    const Reduction<S> zero(splat<S>(T(0)), temperature_constants<T>(1));
    for_vjp_blocks(
        row, row.y.n < worth_a_thread ? 1 : num_threads(), [&](const T* x, const T* dy, T* dx, ptrdiff_t count) {
            for_vectors<S>(count, [&](auto width, ptrdiff_t i, int in_use) {
                V v[width()], gradient[width()];
                load_all<S>(v, x + i, in_use, T(0));
                load_all<S>(gradient, dy + i, in_use, T(0));
                for (int a = 0; a < width(); ++a) {
                    const V none = splat<S>(T(0)), falling = sigmoid<T, S>(V(-v[a]), zero);
                    const V slope = Log ? falling : V(falling * sigmoid<T, S>(v[a], zero));
                    store_first<S>(dx + i + a * S::lanes, V(slope == none ? none : slope * gradient[a]), in_use);
                }
            });
        });
}

}  // namespace softmax::SOFTMAX_ISA
