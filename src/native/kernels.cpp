// Compiled once for each instruction set, with SOFTMAX_ISA set to its name: NumPy's inner loops around the row kernels.
#include "kernels.hpp"

#include "lanes.hpp"
#include "partition.hpp"
#include "vjp.hpp"
#include "weighted.hpp"

namespace softmax::SOFTMAX_ISA {
namespace {

// The operands of one loop call. Operands with a core dimension are numbered in order by `core`.
struct Operands {
    char** args;
    const ptrdiff_t* dimensions;
    const ptrdiff_t* steps;
    int count;

    ptrdiff_t rows() const { return dimensions[0]; }
    ptrdiff_t n() const { return dimensions[1]; }
    bool few() const { return n() <= lanes_limit && n() > 0; }

    template <class T>
    Batch<T> batch(int operand, int core = -1) const {
        return {args[operand], steps[operand], core < 0 ? 0 : steps[count + core]};
    }
    template <class Body>
    void for_each(const Body& body) const {
        for_rows(rows(), n(), body);
    }
};

template <class T>
Row<T> row_of(const Batch<T>& x, const Batch<char>* mask, ptrdiff_t i, ptrdiff_t n) {
    if (mask == nullptr) return {x.data + i * x.outer, x.inner, nullptr, 0, n};
    return {x.data + i * x.outer, x.inner, mask->data + i * mask->outer, mask->inner, n};
}

template <class T>
OutRow<T> out_of(const Batch<T>& out, ptrdiff_t i) {
    return {out.data + i * out.outer, out.inner};
}

// The loops, each named after its kernel. Masked ones differ in the operand behind x (and temperature).
template <class T>
struct Loops {
    using S = Simd<T>;

    template <bool Log>
    static void family(const Operands& o, const Batch<char>* mask, const Batch<T>& out) {
        const auto x = o.batch<T>(0, 0);
        const auto temperature = o.batch<double>(1);
        if (o.few()) {
            family_lanes<Log>(x, temperature, mask, out, o.rows(), o.n());
        } else {
            o.for_each([&](ptrdiff_t i, int threads) {
                (Log ? log_softmax_row<S, T> : softmax_row<S, T>)(row_of(x, mask, i, o.n()), temperature.value(i),
                                                                  out_of(out, i), threads);
            });
        }
    }
    static void softmax(const Operands& o) { family<false>(o, nullptr, o.batch<T>(2, 1)); }
    static void log_softmax(const Operands& o) { family<true>(o, nullptr, o.batch<T>(2, 1)); }
    static void softmax_where(const Operands& o) {
        const auto mask = o.batch<char>(2, 1);
        family<false>(o, &mask, o.batch<T>(3, 2));
    }
    static void log_softmax_where(const Operands& o) {
        const auto mask = o.batch<char>(2, 1);
        family<true>(o, &mask, o.batch<T>(3, 2));
    }

    static void sums(const Operands& o, const Batch<char>* mask, const Batch<T>& out, const Batch<double>* others_out) {
        const auto x = o.batch<T>(0, 0);
        if (o.few()) return partition_lanes(x, mask, out, others_out, o.rows(), o.n());
        o.for_each([&](ptrdiff_t i, int threads) {
            const Row<T> row = row_of(x, mask, i, o.n());
            if (others_out == nullptr) return logsumexp_row<S>(row, &out.value(i), threads);
            partition_row<S>(row, &out.value(i), &others_out[0].value(i), &others_out[1].value(i), threads);
        });
    }
    static void logsumexp(const Operands& o) { sums(o, nullptr, o.batch<T>(1), nullptr); }
    static void partition(const Operands& o) {
        const Batch<double> others_out[] = {o.batch<double>(2), o.batch<double>(3)};
        sums(o, nullptr, o.batch<T>(1), others_out);
    }
    static void logsumexp_where(const Operands& o) {
        const auto mask = o.batch<char>(1, 1);
        sums(o, &mask, o.batch<T>(2), nullptr);
    }
    static void partition_where(const Operands& o) {
        const auto mask = o.batch<char>(1, 1);
        const Batch<double> others_out[] = {o.batch<double>(3), o.batch<double>(4)};
        sums(o, &mask, o.batch<T>(2), others_out);
    }

    static void logsumexp_signed(const Operands& o) {
        const auto x = o.batch<T>(0, 0), log = o.batch<T>(3), sign = o.batch<T>(4);
        const auto weights = o.batch<double>(1, 1);
        const auto mask = o.batch<char>(2, 2);
        o.for_each([&](ptrdiff_t i, int threads) {
            const WeightedRow<T> row = {row_of(x, &mask, i, o.n()),
                                        row_of(weights, (const Batch<char>*)nullptr, i, o.n())};
            logsumexp_signed_row(row, &log.value(i), &sign.value(i), threads);
        });
    }

    static void sigmoid(const Operands& o) { elementwise<false>(o); }
    static void log_sigmoid(const Operands& o) { elementwise<true>(o); }
    template <bool Log>
    static void elementwise(const Operands& o) {  // no core dimension: the rows are the entries
        sigmoid_row<S, Log>(Row<T>{o.args[0], o.steps[0], nullptr, 0, o.rows()}, OutRow<T>{o.args[1], o.steps[1]});
    }

    template <bool Log>
    static void under_partition(const Operands& o) {
        const auto x = o.batch<T>(0, 0), maximum = o.batch<T>(1), out = o.batch<T>(4, 1);
        const auto high = o.batch<double>(2), low = o.batch<double>(3);
        o.for_each([&](ptrdiff_t i, int threads) {
            const Row<T> row = row_of(x, (const Batch<char>*)nullptr, i, o.n());
            const DD rest = {high.value(i), low.value(i)};
            (Log ? partition_log_softmax_row<S, T> : partition_softmax_row<S, T>)(row, maximum.value(i), rest,
                                                                                  out_of(out, i), threads);
            foreign_entries<S, Log>(row, maximum.value(i), rest, out_of(out, i), threads);
        });
    }
    static void partition_softmax(const Operands& o) { under_partition<false>(o); }
    static void partition_log_softmax(const Operands& o) { under_partition<true>(o); }

    static Element<T> element(const Operands& o, int operand, ptrdiff_t i) {
        return {o.batch<T>(operand).value(i),
                {o.batch<double>(operand + 1).value(i), o.batch<double>(operand + 2).value(i)}};
    }
    static void partition_merge(const Operands& o) {
        for_rows(o.rows(), merge_cost, [&](ptrdiff_t i, int) {
            const Element<T> merged = merge(element(o, 0, i), element(o, 3, i));
            o.batch<T>(6).value(i) = merged.maximum;
            o.batch<double>(7).value(i) = merged.others.high;
            o.batch<double>(8).value(i) = merged.others.low;
        });
    }
    static void partition_logsumexp(const Operands& o) {
        for_rows(o.rows(), merge_cost,
                 [&](ptrdiff_t i, int) { o.batch<T>(3).value(i) = logsumexp_of(element(o, 0, i)); });
    }

    static void softmax_vjp(const Operands& o) {
        const auto y = o.batch<T>(0, 0), dy = o.batch<T>(1, 1), dx = o.batch<T>(4, 2);
        const auto power = o.batch<double>(2), temperature = o.batch<double>(3);
        o.for_each([&](ptrdiff_t i, int threads) {
            softmax_vjp_row<S>(VjpRow<T>{plain(y, i, o.n()), plain(dy, i, o.n()), out_of(dx, i)}, power.value(i),
                               temperature.value(i), threads);
        });
    }
    static void log_softmax_vjp(const Operands& o) {
        const auto y = o.batch<T>(0, 0), dy = o.batch<T>(1, 1), dx = o.batch<T>(3, 2);
        const auto temperature = o.batch<double>(2);
        o.for_each([&](ptrdiff_t i, int threads) {
            log_softmax_vjp_row<S>(VjpRow<T>{plain(y, i, o.n()), plain(dy, i, o.n()), out_of(dx, i)},
                                   temperature.value(i), threads);
        });
    }
    static void sigmoid_vjp(const Operands& o) { elementwise_vjp<false>(o); }
    static void log_sigmoid_vjp(const Operands& o) { elementwise_vjp<true>(o); }
    template <bool Log>
    static void elementwise_vjp(const Operands& o) {
        const auto row = [&](int operand) { return Row<T>{o.args[operand], o.steps[operand], nullptr, 0, o.rows()}; };
        sigmoid_vjp_row<S, Log>(VjpRow<T>{row(0), row(1), {o.args[2], o.steps[2]}});
    }
    static Row<T> plain(const Batch<T>& x, ptrdiff_t i, ptrdiff_t n) {
        return row_of(x, (const Batch<char>*)nullptr, i, n);
    }

    static void cross_entropy(const Operands& o, const Batch<T>* gradient) {
        const auto x = o.batch<T>(0, 0);
        const auto targets = o.batch<std::int64_t>(1);
        const auto weights = o.batch<double>(2), losses = o.batch<double>(3);
        if (o.few()) return cross_entropy_lanes(x, targets, weights, losses, gradient, o.rows(), o.n());
        o.for_each([&](ptrdiff_t i, int threads) {
            const OutRow<T> out = gradient == nullptr ? OutRow<T>{nullptr, 0} : out_of(*gradient, i);
            cross_entropy_row<S>(row_of(x, (const Batch<char>*)nullptr, i, o.n()), ptrdiff_t(targets.value(i)),
                                 weights.value(i), &losses.value(i), gradient == nullptr ? nullptr : &out, threads);
        });
    }
    static void cross_entropy(const Operands& o) { cross_entropy(o, nullptr); }
    static void cross_entropy_gradient(const Operands& o) {
        const auto gradient = o.batch<T>(4, 1);
        cross_entropy(o, &gradient);
    }
};

template <void (*Body)(const Operands&), int Count>
void loop(char** args, const ptrdiff_t* dimensions, const ptrdiff_t* steps, void*) {
    Body({args, dimensions, steps, Count});
    clear_exceptions();
}

}  // namespace

#define SOFTMAX_STRING_(name) #name
#define SOFTMAX_STRING(name) SOFTMAX_STRING_(name)
#define SOFTMAX_FLOAT32(name, signature, types) loop<Loops<float>::name, sizeof(types) - 1>,
#define SOFTMAX_FLOAT64(name, signature, types) loop<Loops<double>::name, sizeof(types) - 1>,
extern const KernelTable table = {
    SOFTMAX_STRING(SOFTMAX_ISA), {SOFTMAX_KERNELS(SOFTMAX_FLOAT32)}, {SOFTMAX_KERNELS(SOFTMAX_FLOAT64)}};

}  // namespace softmax::SOFTMAX_ISA
