// entmax: p_i = [b (x_i - m) + s]_+^(1/b) with b = alpha - 1, m the maximum, and the one s in (0, 1] at which p sums to 1.
// b = 1 is sparsemax; b -> 0 is softmax, which is done as such. Source: Peters, Niculae & Martins, "Sparse
// sequence-to-sequence models", ACL 2019, doi:10.18653/v1/P19-1146.
//
// In z_i = b (x_i - m) <= 0 and w_i = z_i + s, entries with w_i <= 0 get 0 and the others are the support. As s <= 1, the
// support is among the entries with z > -1: only these are looked at again, from a buffer where they fit into one. So the
// cost of a row is that of three passes: maximum, candidates, output.
//
// b <= 1: with F(s) = sum p_i, G = F^b is the norm of index 1/b of the w_i, convex and increasing in s. Newton's method on
// G = 1 from s = 1, where G >= 1, therefore falls monotonically to the solution; what leaves the support stays outside:
//
//     step = (F^-b - 1) F / (sum w_i^(1/b - 1))
//
// For b = 1 this is Michelot's finite algorithm (J. Optim. Theory Appl. 50, 1986), and for equal entries of any b, as for
// b -> 0, the first step is exact.
//
// b = 1 and b = 1/2 (alpha 2 and 1.5) end with one step more, whose residual F - 1 is summed in pairs of doubles, and keep
// s and w_i as pairs. Error: <= 1 ulp of each entry, however close to the threshold.
//
// Other b < 1 compute p_i / p_max = (w_i / s)^(1/b) = exp(-log1p(-z_i / w_i) / b) and divide by their sum, so that an error
// of s does not come near the sum. Error: a few ulp of p_max.
//
// b > 1: p is concave in w with a vertical tangent at w = 0, so that no s would resolve what is close to the threshold.
// The support is found first, by bisection over the entries: x_i is in it iff sum_j [b (x_j - x_i)]_+^(1/b) < 1. From its
// smallest entry, x_min, with probability v,
//
//     p_i = (v^b + b (x_i - x_min))^(1/b)
//
// is convex in v with a slope between 0 and 1, and no cancellation is left; Newton's method from v = 1/k, k the size of the
// support, falls monotonically again. Error: a few ulp of 1.
#pragma once

#include "entmax_entries.hpp"
#include "halves.hpp"

namespace softmax::SOFTMAX_ISA::entmax {

template <class V>
SOFTMAX_INLINE V square_root(const V& v) {
    constexpr int lanes = sizeof(V) / sizeof(double);
    double roots[lanes];
    store(roots, v);
    for (double& root : roots) root = std::sqrt(root);
    return load<Simd<double, lanes == 1 ? 0 : int(sizeof(V))>>(roots);
}

// The powers with closed forms: w^(1/b), w^(1/b - 1), F^(1-b) - F, and w^(1/b) of a pair.
struct Linear {
    static constexpr double b = 1;
    template <class V>
    static SOFTMAX_INLINE V value(const V& w) {
        return w;
    }
    template <class V>
    static SOFTMAX_INLINE V slope(const V& w) {
        return w > 0.0 ? V{} + 1.0 : V{};
    }
    template <class V>
    static SOFTMAX_INLINE V missing(const V& value) {
        return 1.0 - value;
    }
    template <class V>
    static SOFTMAX_INLINE Pair<V> value(const Pair<V>& w) {
        return w;
    }
};
struct Square {
    static constexpr double b = 0.5;
    template <class V>
    static SOFTMAX_INLINE V value(const V& w) {
        return w * w;
    }
    template <class V>
    static SOFTMAX_INLINE V slope(const V& w) {
        return w;
    }
    template <class V>
    static SOFTMAX_INLINE V missing(const V& value) {
        return square_root(value) - value;
    }
    template <class V>
    static SOFTMAX_INLINE Pair<V> value(const Pair<V>& w) {
        return multiply(w, w);
    }
};

// F, and the sum below it in a step of Newton's method. V: one row a lane, or a double.
template <class V>
struct Sums {
    V value = V{}, slope = V{};

    template <class Power>
    SOFTMAX_INLINE void add(const V& x, const V& maximum, const V& s) {
        const V w = max(V((x - maximum) * Power::b + s), V{});
        value = value + Power::value(w);
        slope = slope + Power::slope(w);
    }
    template <class Power>
    SOFTMAX_INLINE V step() const {
        return Power::missing(value) / slope;
    }
    Sums& operator+=(const Sums& other) {
        value = value + other.value;
        slope = slope + other.slope;
        return *this;
    }
};

// w of an entry, exact but for roundings of its small part; 0 outside the support.
template <class Power, class V>
SOFTMAX_INLINE Pair<V> weight(const V& x, const V& maximum, const Pair<V>& s) {
    const Pair<V> distance = two_sum(x, V(-maximum));
    const Pair<V> w = two_sum(V(distance.high * Power::b), s.high);
    const Pair<V> sum = fast_two_sum(w.high, V(w.low + (distance.low * Power::b + s.low)));
    const auto inside = sum.high > V{};  // not where x is -inf, either
    return {inside ? sum.high : V{}, inside ? sum.low : V{}};
}

// F as sum and compensation, and its derivative times b, for the last step.
template <class V>
struct FineSums {
    Pair<V> value = {V{}, V{}};
    V slope = V{};

    SOFTMAX_INLINE void add(const Pair<V>& term) {
        const Pair<V> sum = two_sum(value.high, term.high);
        value = {sum.high, value.low + (sum.low + term.low)};
    }

    template <class Power>
    SOFTMAX_INLINE void add(const V& x, const V& maximum, const V& s) {
        const Pair<V> w = weight<Power>(x, maximum, Pair<V>{s, V{}});
        add(Power::value(w));
        slope = slope + Power::slope(w.high);
    }
    FineSums& operator+=(const FineSums& other) {
        add(other.value);
        slope = slope + other.slope;
        return *this;
    }
    // s with what the step from it adds.
    template <class Power>
    SOFTMAX_INLINE Pair<V> refined(const V& s) const {
        const V residual = (value.high - 1.0) + value.low;
        return two_sum(s, V(-residual * Power::b / slope));
    }
};

inline Sums<double> across(const Sums<Wide::V>& sums) { return {total(sums.value), total(sums.slope)}; }
inline FineSums<double> across(const FineSums<Wide::V>& sums) {
    double high[Wide::lanes], low[Wide::lanes];
    store(high, sums.value.high);
    store(low, sums.value.low);
    FineSums<double> result = {{0, 0}, total(sums.slope)};
    for (int lane = 0; lane < Wide::lanes; ++lane) result.add(DD{high[lane], low[lane]});
    return result;
}

// Of one row, with another entry in each lane.
template <class Power, template <class> class Of>
Of<double> sum_entries(const double* x, ptrdiff_t n, double maximum, double s) {
    Of<Wide::V> sums[accumulators];
    const Wide::V top = splat<Wide>(maximum), at = splat<Wide>(s);
    for (ptrdiff_t i = 0, a = 0; i < n; i += Wide::lanes, a = (a + 1) % accumulators) {
        const int count = int(n - i < Wide::lanes ? n - i : Wide::lanes);
        sums[a].template add<Power>(load_first<Wide>(x + i, count, double(-INFINITY)), top, at);
    }
    for (int a = 1; a < accumulators; ++a) sums[0] += sums[a];
    return across(sums[0]);
}

constexpr double falling = 1 - 0x1p-50;  // a step below is more than rounding

// Lets s fall from 1 to the solution by next(s). What is left of the entries falls with it.
template <class T, class Next>
double fall(Entries<T>& entries, double maximum, double b, const Next& next) {
    double s = 1;
    for (;;) {
        entries.keep(maximum - s / b);
        const double lower = next(s);
        if (!(lower < s * falling)) return s;
        s = lower;
    }
}

// Writes a row: p[i] of x[i] by fill(x, p, n) in the groups that reach `cut`, elsewhere 0. Behind x[n] there is -inf up to
// a whole number of vectors, and room in p.
template <class T, class Fill>
void write_row(const Row<T>& row, T cut, const Fill& fill, const OutRow<T>& out, int threads) {
    for_blocks(row.n, threads, [&](ptrdiff_t first, ptrdiff_t count, ptrdiff_t) {
        T copy[block_length], values[block_length];
        const T* x = row.block(first, count, copy);
        T* to = out.block(first, values);
        for_groups(x, count, cut, [&](ptrdiff_t start, int length, bool hit) {
            if (!hit) {  // a whole group
                for (int a = 0; a < accumulators; ++a) store(to + start + a * Simd<T>::lanes, splat<Simd<T>>(T(0)));
                return;
            }
            double wide[group_length<T>], p[group_length<T>];
            to_doubles(x + start, length, wide);
            std::fill(wide + length, std::end(wide), -INFINITY);
            fill(wide, p, length);
            from_doubles(p, length, to + start);
        });
        out.put(first, count, to);
    });
}

// b = 1 and b = 1/2.
template <class Power, class T>
void entmax_closed(const Row<T>& row, double maximum, const OutRow<T>& out, int threads) {
    Entries<T> entries(row, threads);
    const double s = fall(entries, maximum, Power::b, [&](double at) {
        return at + entries
                        .template sum<Sums<double>>(
                            [&](const double* x, ptrdiff_t n) { return sum_entries<Power, Sums>(x, n, maximum, at); })
                        .template step<Power>();
    });
    const DD fine = entries
                        .template sum<FineSums<double>>([&](const double* x, ptrdiff_t n) {
                            return sum_entries<Power, FineSums>(x, n, maximum, s);
                        })
                        .template refined<Power>(s);
    const Wide::V top = splat<Wide>(maximum);
    const Pair<Wide::V> at = {splat<Wide>(fine.high), splat<Wide>(fine.low)};
    write_row(
        row, below<T>(maximum - s / Power::b),
        [&](const double* x, double* p, int n) {
            for (int i = 0; i < n; i += Wide::lanes) {
                store(p + i, Power::value(weight<Power>(load<Wide>(x + i), top, at)).high);
            }
        },
        out, threads);
}

// Other b < 1: (p / p_max) of an entry above the threshold.
inline double relative(double z, double w, double b) { return w > 0 ? std::exp(-std::log1p(-z / w) / b) : 0; }

template <class T>
void entmax_below_two(const Row<T>& row, double maximum, double b, const OutRow<T>& out, int threads) {
    Entries<T> entries(row, threads);
    double sum = 1;
    const double s = fall(entries, maximum, b, [&](double at) {
        const auto sums = entries.template sum<FineSums<double>>([&](const double* x, ptrdiff_t n) {
            FineSums<double> f;
            for (ptrdiff_t i = 0; i < n; ++i) {
                const double z = b * (x[i] - maximum), w = z + at, r = relative(z, w, b);
                f.add(DD{r, 0});
                f.slope += r > 0 ? r / w : 0;
            }
            return f;
        });
        sum = sums.value.high + sums.value.low;
        return at + (std::pow(sum, -b) / at - 1) * sum / sums.slope;
    });
    write_row(
        row, below<T>(maximum - s / b),
        [&](const double* x, double* p, int n) {
            for (int i = 0; i < n; ++i) {
                const double z = b * (x[i] - maximum);
                p[i] = relative(z, z + s, b) / sum;
            }
        },
        out, threads);
}

// b > 1. What a pass over the entries says of those strictly between `outside`, which is not in the support, and `inside`,
// which is: the test of the entry or value c, and the entries on either side of it.
struct Side {
    double smallest = INFINITY, largest = -INFINITY;
    void add(double x) {
        smallest = std::min(smallest, x);
        largest = std::max(largest, x);
    }
    void add(const Side& other) {
        smallest = std::min(smallest, other.smallest);
        largest = std::max(largest, other.largest);
    }
};
struct Split {
    double value = 0;
    Side lower, higher;
    bool equal = false;
    Split& operator+=(const Split& other) {
        value += other.value;
        lower.add(other.lower);
        higher.add(other.higher);
        equal |= other.equal;
        return *this;
    }
};

template <class T>
double smallest_in_support(Entries<T>& entries, double maximum, double b) {
    double outside = maximum - 1 / b, inside = maximum;
    Side unknown = {outside, inside};
    do {
        const double c = unknown.smallest + (unknown.largest - unknown.smallest) / 2;
        const Split split = entries.template sum<Split>([&](const double* x, ptrdiff_t n) {
            Split part;
            for (ptrdiff_t i = 0; i < n; ++i) {
                if (x[i] > c) part.value += std::pow(b * (x[i] - c), 1 / b);
                if (x[i] <= outside || x[i] >= inside) continue;
                if (x[i] < c) part.lower.add(x[i]);
                if (x[i] > c) part.higher.add(x[i]);
                part.equal |= x[i] == c;
            }
            return part;
        });
        if (split.value < 1) {
            inside = split.equal ? c : std::min(inside, split.higher.smallest);
            unknown = split.lower;
        } else {
            outside = c;
            unknown = split.higher;
        }
    } while (unknown.smallest <= unknown.largest);
    return inside;
}

template <class T>
void entmax_above_two(const Row<T>& row, double maximum, double b, const OutRow<T>& out, int threads) {
    Entries<T> entries(row, threads);
    entries.keep(maximum - 1 / b);
    const double minimum = smallest_in_support(entries, maximum, b);
    entries.keep(minimum);
    double v = 1, lowest = 1;  // of the smallest entry: its probability, and v^b
    const auto probability = [&](double x) {
        return x > minimum ? std::pow(lowest + b * (x - minimum), 1 / b) : x == minimum ? v : 0;
    };
    const Sums<double> counts = entries.template sum<Sums<double>>([&](const double* x, ptrdiff_t n) {
        return Sums<double>{double(std::count_if(x, x + n, [&](double entry) { return entry >= minimum; })), 0};
    });
    double next = 1 / counts.value;
    while (next < v * falling) {
        v = next;
        lowest = std::pow(v, b);
        const auto f = entries.template sum<FineSums<double>>([&](const double* x, ptrdiff_t n) {
            FineSums<double> part;
            for (ptrdiff_t i = 0; i < n; ++i) {
                const double p = probability(x[i]);
                part.add(DD{p, 0});
                if (x[i] >= minimum)
                    part.slope += x[i] == minimum ? 1 : p * (lowest / v) / (lowest + b * (x[i] - minimum));
            }
            return part;
        });
        next = v + ((1 - f.value.high) - f.value.low) / f.slope;
    }
    write_row(
        row, T(minimum), [&](const double* x, double* p, int n) { std::transform(x, x + n, p, probability); }, out,
        threads);
}

template <class S, class T>
void entmax_row(const Row<T>& row, double alpha, const OutRow<T>& out, int threads) {
    if (alpha == 1) return softmax_of<S>(row, 1, out, threads);
    Summary<T> summary = summarize<S>(row, std::isinf(alpha) ? 0 : 1, threads);
    const double maximum = double(summary.maximum);
    if (summary.kind == Kind::ordinary && holds_nan<S>(row, summary.maximum, threads)) summary = not_a_number<T>;
    if (summary.kind != Kind::ordinary) return fill(row, summary, T(1 / summary.winners), T(0), out);
    if (alpha == 2) return entmax_closed<Linear>(row, maximum, out, threads);
    if (alpha == 1.5) return entmax_closed<Square>(row, maximum, out, threads);
    (alpha < 2 ? entmax_below_two<T> : entmax_above_two<T>)(row, maximum, alpha - 1, out, threads);
}

}  // namespace softmax::SOFTMAX_ISA::entmax
