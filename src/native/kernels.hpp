// The list of kernels: the module's gufuncs, the tables per instruction set and the tests are generated from it.
//
// KERNEL(name, core signature, operand types), the types one letter an operand, inputs first: T the kernel's own float
// (float32 or float64), d float64, q int64, ? bool.
#pragma once

#include <cstddef>

#define SOFTMAX_KERNELS(KERNEL)                             \
    KERNEL(softmax, "(n),()->(n)", "TdT")                   \
    KERNEL(softmax_where, "(n),(),(n)->(n)", "Td?T")        \
    KERNEL(log_softmax, "(n),()->(n)", "TdT")               \
    KERNEL(log_softmax_where, "(n),(),(n)->(n)", "Td?T")    \
    KERNEL(entmax, "(n),()->(n)", "TdT")                    \
    KERNEL(entmax_where, "(n),(),(n)->(n)", "Td?T")         \
    KERNEL(logsumexp, "(n)->()", "TT")                      \
    KERNEL(logsumexp_where, "(n),(n)->()", "T?T")           \
    KERNEL(partition, "(n)->(),()", "TTd")                  \
    KERNEL(partition_where, "(n),(n)->(),()", "T?Td")       \
    KERNEL(partition_softmax, "(n),(),()->(n)", "TTdT")     \
    KERNEL(partition_log_softmax, "(n),(),()->(n)", "TTdT") \
    KERNEL(cross_entropy, "(n),(),()->()", "Tqdd")          \
    KERNEL(cross_entropy_gradient, "(n),(),()->(),(n)", "TqddT")

namespace softmax {

// NumPy's inner loop: args, the outer length and then n, outer strides and then the operands' strides along n.
using Loop = void (*)(char** args, const std::ptrdiff_t* dimensions, const std::ptrdiff_t* steps, void*);

enum Kernel {
#define SOFTMAX_ENUM(name, signature, types) kernel_##name,
    SOFTMAX_KERNELS(SOFTMAX_ENUM)
#undef SOFTMAX_ENUM
        kernel_count
};

struct KernelTable {
    const char* isa;
    Loop float32[kernel_count], float64[kernel_count];
};

#define SOFTMAX_TABLE(isa)          \
    namespace isa {                 \
    extern const KernelTable table; \
    }
SOFTMAX_TABLE(baseline)
#if defined(SOFTMAX_X86)
SOFTMAX_TABLE(avx2)
SOFTMAX_TABLE(avx512)
#endif
#undef SOFTMAX_TABLE

}  // namespace softmax
