// Compiled once for each instruction set, with SOFTMAX_ISA set to its name: NumPy's inner loops around the row kernels.
#include "kernels.hpp"

#include "cross_entropy.hpp"

namespace softmax::SOFTMAX_ISA {
namespace {

// The operands of one loop call.
struct Operands {
    char** args;
    const ptrdiff_t* dimensions;
    const ptrdiff_t* steps;
    int count;  // operands

    char* at(int operand, ptrdiff_t row) const { return args[operand] + row * steps[operand]; }
    template <class T>
    T& value(int operand, ptrdiff_t row) const {
        return *reinterpret_cast<T*>(at(operand, row));
    }
    // `core` counts the operands with a core dimension up to this one.
    template <class T>
    Row<T> row(int operand, ptrdiff_t row, int mask = -1) const {
        const char* mask_data = mask < 0 ? nullptr : at(mask, row);
        return {at(operand, row), steps[count], mask_data, mask < 0 ? 0 : steps[count + 1], dimensions[1]};
    }
    template <class T>
    OutRow<T> out(int operand, int core, ptrdiff_t row) const {
        return {at(operand, row), steps[count + core]};
    }
    template <class Body>
    void for_each(const Body& body) const {
        for_rows(dimensions[0], dimensions[1], body);
    }
};

template <class T>
struct Loops {
    using S = Simd<T>;

    static void softmax(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            softmax_row<S>(o.row<T>(0, i), o.value<double>(1, i), o.out<T>(2, 1, i), threads);
        });
    }
    static void softmax_where(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            softmax_row<S>(o.row<T>(0, i, 2), o.value<double>(1, i), o.out<T>(3, 2, i), threads);
        });
    }
    static void log_softmax(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            log_softmax_row<S>(o.row<T>(0, i), o.value<double>(1, i), o.out<T>(2, 1, i), threads);
        });
    }
    static void log_softmax_where(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            log_softmax_row<S>(o.row<T>(0, i, 2), o.value<double>(1, i), o.out<T>(3, 2, i), threads);
        });
    }
    static void logsumexp(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) { logsumexp_row<S>(o.row<T>(0, i), &o.value<T>(1, i), threads); });
    }
    static void logsumexp_where(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) { logsumexp_row<S>(o.row<T>(0, i, 1), &o.value<T>(2, i), threads); });
    }
    static void partition(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            partition_row<S>(o.row<T>(0, i), &o.value<T>(1, i), &o.value<double>(2, i), threads);
        });
    }
    static void partition_where(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            partition_row<S>(o.row<T>(0, i, 1), &o.value<T>(2, i), &o.value<double>(3, i), threads);
        });
    }
    static void partition_softmax(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            partition_softmax_row<S>(o.row<T>(0, i), o.value<T>(1, i), o.value<double>(2, i), o.out<T>(3, 1, i),
                                     threads);
        });
    }
    static void partition_log_softmax(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            partition_log_softmax_row<S>(o.row<T>(0, i), o.value<T>(1, i), o.value<double>(2, i), o.out<T>(3, 1, i),
                                         threads);
        });
    }
    static void cross_entropy(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            cross_entropy_row<S>(o.row<T>(0, i), ptrdiff_t(o.value<std::int64_t>(1, i)), o.value<double>(2, i),
                                 &o.value<double>(3, i), (const OutRow<T>*)nullptr, threads);
        });
    }
    static void cross_entropy_gradient(const Operands& o) {
        o.for_each([&](ptrdiff_t i, int threads) {
            const OutRow<T> gradient = o.out<T>(4, 1, i);
            cross_entropy_row<S>(o.row<T>(0, i), ptrdiff_t(o.value<std::int64_t>(1, i)), o.value<double>(2, i),
                                 &o.value<double>(3, i), &gradient, threads);
        });
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
