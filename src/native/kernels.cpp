// Compiled once for each instruction set, with SOFTMAX_ISA set to its name: NumPy's inner loops around the row kernels.
#include "kernels.hpp"

#include "binary.hpp"
#include "columns.hpp"
#include "divergence.hpp"
#include "entmax_lanes.hpp"
#include "few.hpp"
#include "halves.hpp"
#include "loss_lanes.hpp"
#include "loss_pipeline.hpp"
#include "network.hpp"
#include "operands.hpp"
#include "packed.hpp"
#include "pipeline.hpp"
#include "partition.hpp"
#include "sigmoid.hpp"
#include "sparse.hpp"
#include "tempered.hpp"
#include "vjp.hpp"
#include "weighted.hpp"

namespace softmax::SOFTMAX_ISA {
namespace {

// The loops, each named after its kernel. Masked ones differ in the operand behind x (and temperature).
template <class T>
struct Loops {
    using S = Simd<T>;

    template <bool Log>
    static void family(const Operands& o, const Batch<char>* mask, const Batch<T>& out) {
        const auto x = o.batch<T>(0, 0);
        const auto temperature = o.batch<double>(1);
        if (o.few()) return family_lanes<Log>(x, temperature, mask, out, o.rows(), o.n());
        if (!Log && softmax_of_halves(x, mask, out, o.rows(), o.n(), temperature)) return;
#if !defined(SOFTMAX_EMULATED_FMA)  // whose arithmetic leaves nothing to be done beside it
        if (temperature.outer == 0 && Temperatures<T>::ordinary(temperature.value(0))) {
            const double t = temperature.value(0);
            if (family_pipelined<S, Log>(x, mask, out, o.rows(), o.n(), t)) return;
            if (family_columns<S, Log>(x, mask, out, o.rows(), o.n(), t)) return;
        }
#endif
        for_each_row(x, mask, &out, o.rows(), o.n(),
                     [&](const Row<T>& row, const OutRow<T>* y, ptrdiff_t i, int threads) {
                         (Log ? log_softmax_row<S, T> : softmax_row<S, T>)(row, temperature.value(i), *y, threads);
                     });
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
        for_rows(o.rows(), o.n(), [&](ptrdiff_t i, int threads) {
            entmax::entmax_row<S>(row_of(x, mask, i, o.n()), alpha.value(i), out_of(out, i), threads);
        });
    }
    static void few_entmax(const Batch<T>& x, const Batch<double>& alpha, const Batch<char>* mask, const Batch<T>& out,
                           ptrdiff_t count, ptrdiff_t n) {
        constexpr ptrdiff_t lanes = entmax::Wide::lanes;
        for_rows((count + lanes - 1) / lanes, n * lanes, [&](ptrdiff_t tile, int) {
            entmax::EntmaxRow<T> rows[lanes];
            int filled = 0;
            for (ptrdiff_t i = tile * lanes; i < std::min((tile + 1) * lanes, count); ++i) {
                if (alpha.value(i) == 1) {
                    const Batch<char> row_mask = mask == nullptr ? Batch<char>() : rows_from(*mask, i);
                    family_lanes<false>(rows_from(x, i), rows_from(alpha, i), mask == nullptr ? mask : &row_mask,
                                        rows_from(out, i), 1, n);
                } else {
                    rows[filled++] = {row_of(x, mask, i, n), alpha.value(i), out_of(out, i)};
                }
            }
            entmax::entmax_lanes<S>(rows, filled);
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
#if !defined(SOFTMAX_EMULATED_FMA)
        if (others_out == nullptr && logsumexp_pipelined<S>(x, mask, out, o.rows(), o.n())) return;
#endif
        const Batch<T>* none = nullptr;
        for_each_row(x, mask, none, o.rows(), o.n(),
                     [&](const Row<T>& row, const OutRow<T>*, ptrdiff_t i, int threads) {
                         T value;
                         if (others_out == nullptr) {
                             logsumexp_row<S>(row, &value, threads);
                         } else {
                             partition_row<S>(row, &value, &others_out[0].value(i), &others_out[1].value(i), threads);
                         }
                         out.set(i, value);
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
        for_rows(o.rows(), o.n(), [&](ptrdiff_t i, int threads) {
            const WeightedRow<T> row = {row_of(x, &mask, i, o.n()), row_of(weights, nullptr, i, o.n())};
            T value, sign_of_sum;
            logsumexp_signed_row(row, &value, &sign_of_sum, threads);
            log.set(i, value);
            sign.set(i, sign_of_sum);
        });
    }

    static void sigmoid(const Operands& o) { elementwise<false>(o); }
    static void log_sigmoid(const Operands& o) { elementwise<true>(o); }
    template <bool Log>
    static void elementwise(const Operands& o) {  // no core dimension: the rows are the entries
        sigmoid_row<S, Log>(Row<T>{o.args[0], o.steps[0], nullptr, 0, o.rows(), o.storage},
                            OutRow<T>{o.args[1], o.steps[1], o.storage});
    }

    template <bool Log>
    static void under_partition(const Operands& o) {
        const auto x = o.batch<T>(0, 0), maximum = o.batch<T>(1), out = o.batch<T>(4, 1);
        const auto high = o.batch<double>(2), low = o.batch<double>(3);
        const Batch<char>* none = nullptr;
        for_each_row(x, none, &out, o.rows(), o.n(),
                     [&](const Row<T>& row, const OutRow<T>* y, ptrdiff_t i, int threads) {
                         const DD rest = {high.value(i), low.value(i)};
                         const ForeignEntries<S, T> foreign(row, maximum.get(i), threads);
                         (Log ? partition_log_softmax_row<S, T> : partition_softmax_row<S, T>)(row, maximum.get(i),
                                                                                               rest, *y, threads);
                         foreign.template write<Log>(rest, *y);
                     });
    }
    static void partition_softmax(const Operands& o) { under_partition<false>(o); }
    static void partition_log_softmax(const Operands& o) { under_partition<true>(o); }

    static Element<T> element(const Operands& o, int operand, ptrdiff_t i) {
        return {o.batch<T>(operand).get(i),
                {o.batch<double>(operand + 1).value(i), o.batch<double>(operand + 2).value(i)}};
    }
    static void partition_merge(const Operands& o) {
        for_rows(o.rows(), merge_cost, [&](ptrdiff_t i, int) {
            const Element<T> merged = merge(element(o, 0, i), element(o, 3, i));
            o.batch<T>(6).set(i, merged.maximum);
            o.batch<double>(7).value(i) = merged.others.high;
            o.batch<double>(8).value(i) = merged.others.low;
        });
    }
    static void partition_logsumexp(const Operands& o) {
        for_rows(o.rows(), merge_cost, [&](ptrdiff_t i, int) { o.batch<T>(3).set(i, logsumexp_of(element(o, 0, i))); });
    }

    static void softmax_vjp(const Operands& o) {
        const auto y = o.batch<T>(0, 0), dy = o.batch<T>(1, 1), dx = o.batch<T>(4, 2);
        const auto power = o.batch<double>(2), temperature = o.batch<double>(3);
        for_rows(o.rows(), o.n(), [&](ptrdiff_t i, int threads) {
            softmax_vjp_row<S>(VjpRow<T>{row_of(y, nullptr, i, o.n()), row_of(dy, nullptr, i, o.n()), out_of(dx, i)},
                               power.value(i), temperature.value(i), threads);
        });
    }
    static void log_softmax_vjp(const Operands& o) {
        const auto y = o.batch<T>(0, 0), dy = o.batch<T>(1, 1), dx = o.batch<T>(3, 2);
        const auto temperature = o.batch<double>(2);
        for_rows(o.rows(), o.n(), [&](ptrdiff_t i, int threads) {
            log_softmax_vjp_row<S>(
                VjpRow<T>{row_of(y, nullptr, i, o.n()), row_of(dy, nullptr, i, o.n()), out_of(dx, i)},
                temperature.value(i), threads);
        });
    }
    static void sigmoid_vjp(const Operands& o) { elementwise_vjp<false>(o); }
    static void log_sigmoid_vjp(const Operands& o) { elementwise_vjp<true>(o); }
    template <bool Log>
    static void elementwise_vjp(const Operands& o) {
        const auto row = [&](int operand) {
            return Row<T>{o.args[operand], o.steps[operand], nullptr, 0, o.rows(), o.storage};
        };
        sigmoid_vjp_row<S, Log>(VjpRow<T>{row(0), row(1), {o.args[2], o.steps[2], o.storage}});
    }

    // Operands: logits, targets or probabilities, row weights, options, mask, losses, gradient.
    template <bool Soft, bool Gradient>
    static void loss(const Operands& o) {
        constexpr int core = Soft ? 2 : 1;  // of the options
        const auto slope = o.batch<T>(Gradient ? 6 : 0, Gradient ? core + 2 : 0);
        loss<Soft>(o, o.batch<double>(3, core), o.batch<char>(4, core + 1), Gradient ? &slope : nullptr);
    }
    template <bool Soft>
    static void loss(const Operands& o, const Batch<double>& numbers, const Batch<char>& where,
                     const Batch<T>* gradient) {
        const auto x = o.batch<T>(0, 0);
        const auto weights = o.batch<double>(2), losses = o.batch<double>(5);
        const bool everywhere = where.outer == 0 && where.inner == 0 && (o.rows() == 0 || *where.data);
        const Batch<char>* mask = everywhere ? nullptr : &where;
        const auto option = [&](ptrdiff_t i) { return o.rows() == 0 ? 0 : *numbers.entry(0, i); };
        const LossOptions options = {option(0), option(1), option(2), option(3)};
        if (options.softcap != 0) return loss_capped<Soft>(o, x, weights, losses, options, mask, gradient);
        if (o.few() && options.for_lanes(Soft) && everywhere) {
            using Targets = std::conditional_t<Soft, ProbabilityTargets<T>, ClassTargets<T>>;
            const auto targets = o.batch<std::conditional_t<Soft, T, std::int64_t>>(1, Soft ? 1 : -1);
            return cross_entropy_lanes<Targets>(
                x, targets, weights, losses, options, gradient, o.rows(), o.n(),
                [&](ptrdiff_t i, const auto& body) { with_target<Soft, T>(o, i, body); });
        }
        if constexpr (!Soft && std::is_same_v<T, float>) {  // double waits for its arithmetic
            if (gradient != nullptr && everywhere &&
                cross_entropy_pipelined<S>(x, o.batch<std::int64_t>(1), weights, losses, options, *gradient, o.rows(),
                                           o.n())) {
                return;
            }
        }
        for_each_row(x, mask, gradient, o.rows(), o.n(),
                     [&](const Row<T>& row, const OutRow<T>* y, ptrdiff_t i, int threads) {
                         with_target<Soft, T>(o, i, [&](const Target<T>& target) {
                             loss_row<S>(row, target, weights.value(i), options, &losses.value(i), y, threads);
                         });
                     });
    }
    // In double: a float32 c tanh(x / c) would be off by half an ulp of c, which shows in p.
    template <bool Soft>
    static void loss_capped(const Operands& o, const Batch<T>& x, const Batch<double>& weights,
                            const Batch<double>& losses, const LossOptions& options, const Batch<char>* mask,
                            const Batch<T>* gradient) {
        const Storage storage = in_double(o);
        for_rows(o.rows(), o.n(), [&](ptrdiff_t i, int threads) {
            Row<double> row = {x.data + i * x.outer, x.inner, nullptr, 0, o.n(), storage};
            row.softcap = options.softcap;
            if (mask != nullptr) {
                row.mask = mask->data + i * mask->outer;
                row.mask_stride = mask->inner;
            }
            OutRow<double> out = {};
            if (gradient != nullptr) out = {gradient->data + i * gradient->outer, gradient->inner, storage};
            with_target<Soft, double>(o, i, [&](const Target<double>& target) {
                loss_row<Simd<double>>(row, target, weights.value(i), options, &losses.value(i),
                                       gradient == nullptr ? nullptr : &out, threads);
            });
        });
    }
    static Storage in_double(const Operands& o) {  // how T is stored, for rows of double
        return std::is_same_v<T, float> && o.storage == Storage::own ? Storage::single : o.storage;
    }
    template <bool Soft, class Wide, class Body>
    static void with_target(const Operands& o, ptrdiff_t i, const Body& body) {
        if constexpr (Soft) {
            const auto q = o.batch<T>(1, 1);
            const Storage storage = std::is_same_v<T, Wide> ? q.storage : in_double(o);
            const Row<Wide> probs = {q.data + i * q.outer, q.inner, nullptr, 0, o.n(), storage};
            body(Target<Wide>{-1, &probs});
        } else {
            body(Target<Wide>{ptrdiff_t(o.batch<std::int64_t>(1).value(i))});
        }
    }
    static void cross_entropy(const Operands& o) { loss<false, false>(o); }
    static void cross_entropy_gradient(const Operands& o) { loss<false, true>(o); }
    static void soft_cross_entropy(const Operands& o) { loss<true, false>(o); }
    static void soft_cross_entropy_gradient(const Operands& o) { loss<true, true>(o); }
    static void probability_mass(const Operands& o) {
        const auto q = o.batch<T>(0, 0);
        const auto mass = o.batch<double>(1);
        if (o.few()) return mass_lanes(q, mass, o.rows(), o.n());
        for_rows(o.rows(), o.n(),
                 [&](ptrdiff_t i, int threads) { mass.value(i) = mass_row<S>(row_of(q, nullptr, i, o.n()), threads); });
    }

    // Operands: logits, targets, weights, mask, options; the sum of the losses or each of them, gradient.
    template <bool Each, bool Gradient>
    static void binary(const Operands& o) {
        const auto x = o.batch<T>(0, 0), y = o.batch<T>(1, 1);
        const auto weights = o.batch<double>(2, 2), numbers = o.batch<double>(4, 4), sums = o.batch<double>(5);
        const auto mask = o.batch<char>(3, 3);
        const auto losses = o.batch<T>(5, Each ? 5 : -1), slopes = Gradient ? o.batch<T>(6, Each ? 6 : 5) : losses;
        if (o.rows() == 0) return;
        const bool everywhere = mask.outer == 0 && mask.inner == 0 && *mask.data;
        const BinaryOptions options = {*numbers.entry(0, 0), *numbers.entry(0, 1), *numbers.entry(0, 2)};
        for_rows(o.rows(), o.n(), [&](ptrdiff_t i, int threads) {
            const BinaryRow<T> row = {row_of(x, nullptr, i, o.n()), row_of(y, nullptr, i, o.n()),
                                      row_of(weights, nullptr, i, o.n()),
                                      everywhere ? nullptr : mask.data + i * mask.outer, mask.inner};
            const OutRow<T> loss = out_of(losses, i), slope = out_of(slopes, i);
            const double sum = binary_row<S, Gradient>(row, options, Each ? &loss : nullptr, &slope, threads);
            if constexpr (!Each) sums.value(i) = sum;
        });
    }
    static void binary_cross_entropy(const Operands& o) { binary<false, false>(o); }
    static void binary_cross_entropy_gradient(const Operands& o) { binary<false, true>(o); }
    static void binary_cross_entropies(const Operands& o) { binary<true, false>(o); }
    static void binary_cross_entropies_gradient(const Operands& o) { binary<true, true>(o); }

    // Operands: two rows of logits, temperature, weight of the gradient; divergence, both gradients.
    template <bool Gradient>
    static void divergence(const Operands& o) {
        const auto a = o.batch<T>(0, 0), b = o.batch<T>(1, 1);
        const auto temperature = o.batch<double>(2), factor = o.batch<double>(3), losses = o.batch<double>(4);
        const Storage storage = in_double(o);
        const auto in = [&](const Batch<T>& x, ptrdiff_t i) {
            return Row<double>{x.data + i * x.outer, x.inner, nullptr, 0, o.n(), storage};
        };
        for_rows(o.rows(), o.n(), [&](ptrdiff_t i, int threads) {
            const DivergenceRow row = {in(a, i), in(b, i), temperature.value(i), factor.value(i)};
            DivergenceSlopes slopes = {};
            if constexpr (Gradient) {
                const auto by_p = o.batch<T>(5, 2), by_q = o.batch<T>(6, 3);
                slopes = {{by_p.data + i * by_p.outer, by_p.inner, storage},
                          {by_q.data + i * by_q.outer, by_q.inner, storage}};
            }
            divergence_row(row, &losses.value(i), Gradient ? &slopes : nullptr, threads);
        });
    }
    static void kl_divergence(const Operands& o) { divergence<false>(o); }
    static void kl_divergence_gradient(const Operands& o) { divergence<true>(o); }

    // Operands: logits, target, temperature; loss, mean and variance.
    static void tempered(const Operands& o) {
        const Batch<double> results[] = {o.batch<double>(3), o.batch<double>(4), o.batch<double>(5)};
        tempered_rows<S>(o.batch<T>(0, 0), o.batch<std::int64_t>(1), o.batch<double>(2), results, o.rows(), o.n());
    }

    // Operands: start and stop of each row, indices, values, dense matrix, base; the sum.
    static void sparse_product(const Operands& o) {
        const SparseProduct<T> product = {
            o.batch<std::int64_t>(0),
            o.batch<std::int64_t>(1),
            {o.args[2], 0, o.steps[o.count]},
            {o.args[3], 0, o.steps[o.count + 1]},
            {o.args[4], o.steps[o.count + 2], o.steps[o.count + 3]},
            o.batch<T>(5, 4),
            o.batch<T>(6, 5),
            o.dimensions[3],
        };
        softmax::SOFTMAX_ISA::sparse_product(product, o.rows(), o.n());
    }
};

template <void (*Body)(const Operands&), int Count, Storage storage>
void loop(char** args, const ptrdiff_t* dimensions, const ptrdiff_t* steps, void*) {
    Body({args, dimensions, steps, Count, storage});
    clear_exceptions();
}

template <class T>
void epoch(Epoch& e, bool (*interrupted)()) {
    EpochRunner<T>(e, loop<Loops<T>::cross_entropy_gradient, 7, Storage::own>).run(interrupted);
    clear_exceptions();
}

}  // namespace

#define SOFTMAX_STRING_(name) #name
#define SOFTMAX_STRING(name) SOFTMAX_STRING_(name)
#define SOFTMAX_LOOP(type, name, types, storage) loop<Loops<type>::name, sizeof(types) - 1, Storage::storage>,
#define SOFTMAX_FLOAT32(name, signature, types) SOFTMAX_LOOP(float, name, types, own)
#define SOFTMAX_FLOAT64(name, signature, types) SOFTMAX_LOOP(double, name, types, own)
#define SOFTMAX_FLOAT16(name, signature, types) SOFTMAX_LOOP(float, name, types, float16)
#define SOFTMAX_BFLOAT16(name, signature, types) SOFTMAX_LOOP(float, name, types, bfloat16)
extern const KernelTable table = {SOFTMAX_STRING(SOFTMAX_ISA),
                                  {SOFTMAX_KERNELS(SOFTMAX_FLOAT32)},
                                  {SOFTMAX_KERNELS(SOFTMAX_FLOAT64)},
                                  {SOFTMAX_KERNELS(SOFTMAX_FLOAT16)},
                                  {SOFTMAX_KERNELS(SOFTMAX_BFLOAT16)},
                                  epoch<float>,
                                  epoch<double>,
#if SOFTMAX_VECTOR_BYTES >= 32
                                  multiply_float32,
                                  multiply_float64
#else
                                  nullptr,
                                  nullptr
#endif
};

}  // namespace softmax::SOFTMAX_ISA
