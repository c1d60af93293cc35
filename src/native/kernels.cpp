// Compiled once for each instruction set, with SOFTMAX_ISA set to its name: NumPy's inner loops around the row kernels.
#include "kernels.hpp"

#include "entmax.hpp"

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

template <class T>
Batch<T> only(const Batch<T>& batch, ptrdiff_t i) {
    return {batch.data + i * batch.outer, batch.outer, batch.inner};
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

    // Rows of alpha 1 are softmax, to the bits: alpha is then also the temperature.
    static void entmax(const Operands& o, const Batch<char>* mask, const Batch<T>& out) {
        const auto x = o.batch<T>(0, 0);
        const auto alpha = o.batch<double>(1);
        if (alpha.outer == 0 && alpha.value(0) == 1) return family<false>(o, mask, out);
        if (o.few()) return few_entmax(x, alpha, mask, out, o.rows(), o.n());
        o.for_each([&](ptrdiff_t i, int threads) {
            entmax_row<S>(row_of(x, mask, i, o.n()), alpha.value(i), out_of(out, i), threads);
        });
    }
    static void few_entmax(const Batch<T>& x, const Batch<double>& alpha, const Batch<char>* mask, const Batch<T>& out,
                           ptrdiff_t count, ptrdiff_t n) {
        constexpr ptrdiff_t lanes = Wide::lanes;
        for_rows((count + lanes - 1) / lanes, n * lanes, [&](ptrdiff_t tile, int) {
            EntmaxRow<T> rows[lanes];
            int filled = 0;
            for (ptrdiff_t i = tile * lanes; i < std::min((tile + 1) * lanes, count); ++i) {
                if (alpha.value(i) == 1) {
                    const Batch<char> row_mask = mask == nullptr ? Batch<char>() : only(*mask, i);
                    family_lanes<false>(only(x, i), only(alpha, i), mask == nullptr ? mask : &row_mask, only(out, i), 1,
                                        n);
                } else {
                    rows[filled++] = {row_of(x, mask, i, n), alpha.value(i), out_of(out, i)};
                }
            }
            entmax_lanes<S>(rows, filled);
        });
    }
    static void entmax(const Operands& o) { entmax(o, nullptr, o.batch<T>(2, 1)); }
    static void entmax_where(const Operands& o) {
        const auto mask = o.batch<char>(2, 1);
        entmax(o, &mask, o.batch<T>(3, 2));
    }

    static void sums(const Operands& o, const Batch<char>* mask, const Batch<T>& out, const Batch<double>* others_out) {
        const auto x = o.batch<T>(0, 0);
        if (o.few()) return partition_lanes(x, mask, out, others_out, o.rows(), o.n());
        o.for_each([&](ptrdiff_t i, int threads) {
            const Row<T> row = row_of(x, mask, i, o.n());
            if (others_out == nullptr) return logsumexp_row<S>(row, &out.value(i), threads);
            partition_row<S>(row, &out.value(i), &others_out->value(i), threads);
        });
    }
    static void logsumexp(const Operands& o) { sums(o, nullptr, o.batch<T>(1), nullptr); }
    static void partition(const Operands& o) {
        const auto others_out = o.batch<double>(2);
        sums(o, nullptr, o.batch<T>(1), &others_out);
    }
    static void logsumexp_where(const Operands& o) {
        const auto mask = o.batch<char>(1, 1);
        sums(o, &mask, o.batch<T>(2), nullptr);
    }
    static void partition_where(const Operands& o) {
        const auto mask = o.batch<char>(1, 1);
        const auto others_out = o.batch<double>(3);
        sums(o, &mask, o.batch<T>(2), &others_out);
    }

    template <bool Log>
    static void under_partition(const Operands& o) {
        const auto x = o.batch<T>(0, 0), maximum = o.batch<T>(1), out = o.batch<T>(3, 1);
        const auto rest = o.batch<double>(2);
        o.for_each([&](ptrdiff_t i, int threads) {
            (Log ? partition_log_softmax_row<S, T>
                 : partition_softmax_row<S, T>)(row_of(x, (const Batch<char>*)nullptr, i, o.n()), maximum.value(i),
                                                rest.value(i), out_of(out, i), threads);
        });
    }
    static void partition_softmax(const Operands& o) { under_partition<false>(o); }
    static void partition_log_softmax(const Operands& o) { under_partition<true>(o); }

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
