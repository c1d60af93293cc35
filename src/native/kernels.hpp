// The list of kernels: the module's gufuncs, the tables per instruction set and the tests are generated from it.
//
// KERNEL(name, core signature, operand types), the types one letter an operand, inputs first: T the kernel's own float
// (float32 or float64, or a 16-bit one that is computed in float32), W the same but never of 16 bits, d float64, q int64,
// i int32, ? bool.
#pragma once

#include <cstddef>
#include <cstdint>

#define SOFTMAX_KERNELS(KERNEL)                                                        \
    KERNEL(softmax, "(n),()->(n)", "TdT")                                              \
    KERNEL(softmax_where, "(n),(),(n)->(n)", "Td?T")                                   \
    KERNEL(log_softmax, "(n),()->(n)", "TdT")                                          \
    KERNEL(log_softmax_where, "(n),(),(n)->(n)", "Td?T")                               \
    KERNEL(logsumexp, "(n)->()", "TT")                                                 \
    KERNEL(logsumexp_where, "(n),(n)->()", "T?T")                                      \
    KERNEL(logsumexp_signed, "(n),(n),(n)->(),()", "Td?TT")                            \
    KERNEL(partition, "(n)->(),(),()", "TTdd")                                         \
    KERNEL(partition_where, "(n),(n)->(),(),()", "T?Tdd")                              \
    KERNEL(partition_softmax, "(n),(),(),()->(n)", "TTddT")                            \
    KERNEL(partition_log_softmax, "(n),(),(),()->(n)", "TTddT")                        \
    KERNEL(partition_logsumexp, "(),(),()->()", "TddT")                                \
    KERNEL(partition_merge, "(),(),(),(),(),()->(),(),()", "TddTddTdd")                \
    KERNEL(sigmoid, "()->()", "TT")                                                    \
    KERNEL(log_sigmoid, "()->()", "TT")                                                \
    KERNEL(softmax_vjp, "(n),(n),(),()->(n)", "TTddT")                                 \
    KERNEL(log_softmax_vjp, "(n),(n),()->(n)", "TTdT")                                 \
    KERNEL(sigmoid_vjp, "(),()->()", "TTT")                                            \
    KERNEL(log_sigmoid_vjp, "(),()->()", "TTT")                                        \
    KERNEL(cross_entropy, "(n),(),(),(o),(n)->()", "Tqdd?d")                           \
    KERNEL(soft_cross_entropy, "(n),(n),(),(o),(n)->()", "TTdd?d")                     \
    KERNEL(probability_mass, "(n)->()", "Td")                                          \
    KERNEL(entmax, "(n),()->(n)", "TdT")                                               \
    KERNEL(entmax_where, "(n),(),(n)->(n)", "Td?T")                                    \
    KERNEL(soft_cross_entropy_gradient, "(n),(n),(),(o),(n)->(),(n)", "TTdd?dT")       \
    KERNEL(cross_entropy_gradient, "(n),(),(),(o),(n)->(),(n)", "Tqdd?dT")             \
    KERNEL(binary_cross_entropy, "(n),(n),(n),(n),(o)->()", "TTd?dd")                  \
    KERNEL(binary_cross_entropy_gradient, "(n),(n),(n),(n),(o)->(),(n)", "TTd?ddT")    \
    KERNEL(binary_cross_entropies, "(n),(n),(n),(n),(o)->(n)", "TTd?dT")               \
    KERNEL(binary_cross_entropies_gradient, "(n),(n),(n),(n),(o)->(n),(n)", "TTd?dTT") \
    KERNEL(kl_divergence, "(n),(n),(),()->()", "TTddd")                                \
    KERNEL(kl_divergence_gradient, "(n),(n),(),()->(),(n),(n)", "TTdddTT")             \
    KERNEL(tempered, "(n),(),()->(),(),()", "Tqdddd")                                  \
    KERNEL(sparse_product, "(),(),(n),(n),(d,k),(k)->(k)", "qqiWWWW")

namespace softmax {

// NumPy's inner loop: args, the outer length and then n, outer strides and then the operands' strides along n.
using Loop = void (*)(char** args, const std::ptrdiff_t* dimensions, const std::ptrdiff_t* steps, void*);

enum Kernel {
#define SOFTMAX_ENUM(name, signature, types) kernel_##name,
    SOFTMAX_KERNELS(SOFTMAX_ENUM)
#undef SOFTMAX_ENUM
        kernel_count
};

// An epoch of Adam, see network.hpp: what it is given, in the float type of the function, and what it changes.
struct Epoch {
    std::ptrdiff_t n, batch;
    const void* X;  // (n, sizes[0])
    const std::int64_t* targets;
    const double* weight;  // of mean 1; nullptr: all 1
    const std::int64_t* order;
    const std::int64_t* sizes;  // features, hidden layers, outputs
    int layers;                 // sizes but one
    bool tanh;                  // else ReLU
    double options[4];          // of cross_entropy
    double penalty, rate, beta1, beta2, epsilon;
    void *params, *mean, *square;
    std::int64_t steps;
    double total;  // of the rows' losses, each at its batch's turn
};
using EpochFunction = void (*)(Epoch&, bool (*interrupted)());

// A matrix product, see product.cpp: of numbers of the function's float type, steps in entries.
struct Multiplication {
    std::ptrdiff_t rows, columns, depth;
    const void *left, *right;
    std::ptrdiff_t left_steps[2], right_steps[2];
    void* result;
    std::ptrdiff_t result_row;
    bool add;  // to what the result holds
};
using MultiplyFunction = void (*)(const Multiplication&);

struct KernelTable {
    const char* isa;
    Loop float32[kernel_count], float64[kernel_count];
    Loop float16[kernel_count], bfloat16[kernel_count];  // computed in float32
    EpochFunction epoch_float32, epoch_float64;
    MultiplyFunction multiply_float32, multiply_float64;  // nullptr in the baseline
};

#define SOFTMAX_TABLE(isa)                        \
    namespace isa {                               \
    extern const KernelTable table;               \
    void multiply_float32(const Multiplication&); \
    void multiply_float64(const Multiplication&); \
    }
SOFTMAX_TABLE(baseline)
#if defined(SOFTMAX_X86)
SOFTMAX_TABLE(avx2)
SOFTMAX_TABLE(avx512)
#endif
#undef SOFTMAX_TABLE

}  // namespace softmax
