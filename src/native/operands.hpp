// What NumPy hands to a loop, as batches of rows.
#pragma once

#include "tile.hpp"

namespace softmax::SOFTMAX_ISA {

// The operands of one loop call. Operands with a core dimension are numbered in order by `core`.
struct Operands {
    char** args;
    const ptrdiff_t* dimensions;
    const ptrdiff_t* steps;
    int count;

    Storage storage;

    ptrdiff_t rows() const { return dimensions[0]; }
    ptrdiff_t n() const { return dimensions[1]; }
    bool few() const { return n() <= lanes_limit && n() > 0; }

    template <class T>
    Batch<T> batch(int operand, int core = -1) const {
        const ptrdiff_t inner = core < 0 ? 0 : steps[count + core];
        return {args[operand], steps[operand], inner, std::is_same_v<T, float> ? storage : Storage::own};
    }
};

}  // namespace softmax::SOFTMAX_ISA
