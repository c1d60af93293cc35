// Runs kernels of one body without Python: `check_kernels.py` builds this for a body that the module of this machine does
// not hold, and runs it, under an emulator where need be.
//
//     kernels list                   a line for each kernel: name, signature, types
//     kernels run < INPUT > OUTPUT   for each call in INPUT: kernel, dtype (see `loops_of`), rows, n (int64) and the
//                                    inputs' memory, contiguous; to OUTPUT the outputs' memory
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace {

struct Declaration {
    const char *name, *signature, *types;
};
constexpr Declaration declarations[] = {
#define DECLARE(name, signature, types) {#name, signature, types},
    SOFTMAX_KERNELS(DECLARE)
#undef DECLARE
};

// One letter an operand: n for a row, o for four options, 1 for a number.
std::string shapes_of(const std::string& signature, std::size_t& inputs) {
    std::string shapes;
    const std::size_t arrow = signature.find("->");
    for (std::size_t i = 0; i < signature.size(); ++i) {
        if (i == arrow) inputs = shapes.size();
        if (signature[i] == '(') shapes += signature[i + 1] == ')' ? '1' : signature[i + 1];
    }
    return shapes;
}

std::vector<char> everywhere(std::ptrdiff_t count) {
    std::vector<char> mask(std::size_t(count) + 64);
    std::fill_n(mask.begin(), count, char(1));
    return mask;
}

std::ptrdiff_t size_of(char type, std::ptrdiff_t own) { return type == 'T' ? own : type == '?' ? 1 : 8; }

struct Loops {
    std::ptrdiff_t size;  // of a number
    const softmax::Loop* kernels;
};
Loops loops_of(std::int64_t dtype) {
    const softmax::KernelTable& table = softmax::baseline::table;
    const Loops all[] = {{4, table.float32}, {8, table.float64}, {2, table.float16}, {2, table.bfloat16}};
    return all[dtype];
}

void run(std::int64_t kernel, std::int64_t dtype, std::ptrdiff_t rows, std::ptrdiff_t n) {
    const Declaration& declared = declarations[kernel];
    const auto [own, kernels] = loops_of(dtype);
    std::size_t inputs = 0;
    const std::string shapes = shapes_of(declared.signature, inputs);
    std::vector<std::vector<char>> memory;
    std::vector<char*> args;
    std::vector<std::ptrdiff_t> steps, inner;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        const std::ptrdiff_t size = size_of(declared.types[i], own), length = shapes[i] == 'n'   ? n
                                                                              : shapes[i] == 'o' ? 4
                                                                                                 : 1;
        memory.emplace_back(std::size_t(rows * length * size) + 64);
        args.push_back(memory.back().data());
        steps.push_back(length * size);
        if (shapes[i] != '1') inner.push_back(size);
        if (i < inputs && std::fread(args[i], 1, std::size_t(rows * steps[i]), stdin) != std::size_t(rows * steps[i])) {
            std::exit(3);
        }
        if (declared.types[i] == '?' && memory[i] == everywhere(rows * length)) {  // as NumPy broadcasts True
            steps[i] = 0;
            inner.back() = 0;
        }
    }
    std::vector<std::ptrdiff_t> all = steps;
    all.insert(all.end(), inner.begin(), inner.end());
    const std::ptrdiff_t dimensions[] = {rows, n};
    std::vector<char*> moving = args;  // a loop may change what it is given
    kernels[kernel](moving.data(), dimensions, all.data(), nullptr);
    for (std::size_t i = inputs; i < shapes.size(); ++i) {
        std::fwrite(args[i], 1, std::size_t(rows * steps[i]), stdout);
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count > 1 && std::string(arguments[1]) == "list") {
        for (const Declaration& d : declarations) std::printf("%s %s %s\n", d.name, d.signature, d.types);
        return 0;
    }
    std::int64_t header[4];
    while (std::fread(header, sizeof header, 1, stdin) == 1) run(header[0], header[1], header[2], header[3]);
    return 0;
}
