// entmax of rows of few entries, by the closed forms of entmax.hpp: one row a lane.
#pragma once

#include "entmax.hpp"

namespace softmax::SOFTMAX_ISA::entmax {

// Few entries and closed forms: another row in each lane, so that no step goes across lanes. A lane stands still once it
// has come to its solution: its bits do not depend on what is beside it.
template <class T>
struct EntmaxRow {
    Row<T> x;
    double alpha;
    OutRow<T> out;
};

template <class Power, class T>
void entmax_columns(const Wide::V* column, const Wide::V& maximum, const EntmaxRow<T>* rows, unsigned lanes) {
    using V = Wide::V;
    const ptrdiff_t n = rows->x.n;
    V s = splat<Wide>(1.0), next = s;
    do {
        s = next;
        Sums<V> sums;
        for (ptrdiff_t j = 0; j < n; ++j) sums.template add<Power>(column[j], maximum, s);
        const V lower = s + sums.template step<Power>();
        next = lower < s * falling ? lower : s;
    } while (lane_bits<Wide>(next < s) != 0);
    FineSums<V> fine;
    for (ptrdiff_t j = 0; j < n; ++j) fine.template add<Power>(column[j], maximum, s);
    const Pair<V> at = fine.template refined<Power>(s);
    double p[lanes_limit][Wide::lanes];
    for (ptrdiff_t j = 0; j < n; ++j) store(p[j], Power::value(weight<Power>(column[j], maximum, at)).high);
    for (int lane = 0; lane < Wide::lanes; ++lane) {
        if (!(lanes >> lane & 1)) continue;
        T buffer[lanes_limit], *out = rows[lane].out.block(0, buffer);
        for (ptrdiff_t j = 0; j < n; ++j) out[j] = T(p[j][lane]);
        rows[lane].out.put(0, n, out);
    }
}

template <class S, class T>
void entmax_lanes(const EntmaxRow<T>* rows, int count) {
    if (count == 0) return;
    const ptrdiff_t n = rows->x.n;
    Wide::V column[lanes_limit], maximum = splat<Wide>(double(-INFINITY)), odd = Wide::V{};
    double entries[lanes_limit][Wide::lanes];
    for (int lane = 0; lane < Wide::lanes; ++lane) {  // idle lanes repeat the first
        T buffer[lanes_limit];
        const T* x = rows[lane < count ? lane : 0].x.block(0, n, buffer);
        for (ptrdiff_t j = 0; j < n; ++j) entries[j][lane] = double(x[j]);
    }
    for (ptrdiff_t j = 0; j < n; ++j) {
        column[j] = load<Wide>(entries[j]);
        maximum = max(column[j], maximum);
        odd = column[j] == column[j] ? odd : splat<Wide>(1.0);
    }
    double maxima[Wide::lanes], odds[Wide::lanes];
    store(maxima, maximum);
    store(odds, odd);
    unsigned linear = 0, square = 0;
    for (int lane = 0; lane < count; ++lane) {
        const bool ordinary = std::isfinite(maxima[lane]) && odds[lane] == 0;
        if (ordinary && rows[lane].alpha == 2) {
            linear |= 1u << lane;
        } else if (ordinary && rows[lane].alpha == 1.5) {
            square |= 1u << lane;
        } else {
            entmax_row<S>(rows[lane].x, rows[lane].alpha, rows[lane].out, 1);
        }
    }
    if (linear != 0) entmax_columns<Linear>(column, maximum, rows, linear);
    if (square != 0) entmax_columns<Square>(column, maximum, rows, square);
}

}  // namespace softmax::SOFTMAX_ISA::entmax
