// The extension module: picks an instruction set once, at import, and makes a NumPy gufunc of every kernel in the list.
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
#include <numpy/ufuncobject.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "calls.hpp"
#include "kernels.hpp"
#include "parallel.hpp"

namespace {

using softmax::kernel_count;
using softmax::KernelTable;

struct Choice {
    const KernelTable* table;
    bool supported;
};

// Slowest first. A plain compiler has no way to ask, and builds the baseline alone.
const Choice* choices(int* count) {
    static const Choice list[] = {
        {&softmax::baseline::table, true},
#if defined(SOFTMAX_X86)
        {&softmax::avx2::table, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
        {&softmax::avx512::table, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")},
#endif
    };
    *count = int(sizeof list / sizeof *list);
    return list;
}

const KernelTable* active = nullptr;

// The fastest table that the processor runs, or the one that SOFTMAX_ISA names; nullptr with an exception set.
const KernelTable* choose() {
    int count;
    const Choice* list = choices(&count);
    const char* forced = std::getenv("SOFTMAX_ISA");
    const KernelTable* best = nullptr;
    std::string names;
    for (int i = 0; i < count; ++i) {
        if (!list[i].supported) continue;
        best = list[i].table;
        names += std::string(names.empty() ? "" : ", ") + best->isa;
        if (forced != nullptr && std::string(forced) == best->isa) return best;
    }
    if (forced == nullptr || *forced == '\0') return best;
    PyErr_Format(PyExc_ImportError, "SOFTMAX_ISA must name an instruction set of this processor (%s), got '%s'",
                 names.c_str(), forced);
    return nullptr;
}

struct Declaration {
    const char *name, *signature, *types;
};
constexpr Declaration declarations[] = {
#define SOFTMAX_DECLARE(name, signature, types) {#name, signature, types},
    SOFTMAX_KERNELS(SOFTMAX_DECLARE)
#undef SOFTMAX_DECLARE
};

constexpr int max_operands = 8;

// What NumPy keeps pointers to for as long as the ufunc lives: one loop for float32, one for float64.
struct Registration {
    PyUFuncGenericFunction loops[2];
    void* data[2];
    char types[2 * max_operands];
};
Registration registrations[kernel_count];

char type_number(char letter, char own) {
    switch (letter) {
        case 'T': return own;
        case 'q': return NPY_INT64;
        case '?': return NPY_BOOL;
        default: return NPY_DOUBLE;
    }
}

PyObject* make_ufunc(int kernel) {
    const Declaration& declared = declarations[kernel];
    Registration& r = registrations[kernel];
    const int operands = int(std::string(declared.types).size());
    const std::string signature = declared.signature, outputs = signature.substr(signature.find("->"));
    int n_out = 0;
    for (char c : outputs) n_out += c == '(';
    const char own[2] = {NPY_FLOAT, NPY_DOUBLE};
    for (int loop = 0; loop < 2; ++loop) {
        r.loops[loop] = softmax::interruptible_loop;
        r.data[loop] = reinterpret_cast<void*>(loop == 0 ? active->float32[kernel] : active->float64[kernel]);
        for (int i = 0; i < operands; ++i) r.types[loop * operands + i] = type_number(declared.types[i], own[loop]);
    }
    PyObject* ufunc = PyUFunc_FromFuncAndDataAndSignature(r.loops, r.data, r.types, 2, operands - n_out, n_out,
                                                          PyUFunc_None, declared.name, nullptr, 0, declared.signature);
    if (ufunc == nullptr) return nullptr;
    softmax::numpy_call =
        std::exchange(reinterpret_cast<PyUFuncObject*>(ufunc)->vectorcall, softmax::interruptible_call);
    return ufunc;
}

PyObject* isa(PyObject*, PyObject*) { return PyUnicode_FromString(active->isa); }

PyObject* supported_isas(PyObject*, PyObject*) {
    int count;
    const Choice* list = choices(&count);
    PyObject* names = PyList_New(0);
    for (int i = 0; names != nullptr && i < count; ++i) {
        if (!list[i].supported) continue;
        PyObject* name = PyUnicode_FromString(list[i].table->isa);
        if (name == nullptr || PyList_Append(names, name) < 0) Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

PyObject* num_threads(PyObject*, PyObject*) { return PyLong_FromLong(softmax::num_threads()); }

PyObject* set_num_threads(PyObject*, PyObject* threads) {
    const long value = PyLong_AsLong(threads);
    if (value == -1 && PyErr_Occurred()) return nullptr;
    if (value < 1) return PyErr_Format(PyExc_ValueError, "threads must be >= 1, got %ld", value);
    softmax::set_num_threads(int(value));
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"isa", isa, METH_NOARGS, "isa()\n--\n\nThe instruction set in use: 'baseline', 'avx2' or 'avx512'."},
    {"supported_isas", supported_isas, METH_NOARGS,
     "supported_isas()\n--\n\nWhat SOFTMAX_ISA may name on this processor, slowest first."},
    {"num_threads", num_threads, METH_NOARGS, "num_threads()\n--\n\nHow many threads a large call may use now."},
    {"set_num_threads", set_num_threads, METH_O,
     "set_num_threads(threads, /)\n--\n\nLimit the threads of every call from now on."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "softmax._native",
                          "The native kernels, as NumPy generalized ufuncs.",
                          -1,
                          methods,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__native() {
    import_array();
    import_umath();
    active = choose();
    if (active == nullptr || !softmax::watch_signals()) return nullptr;
    PyObject* module = PyModule_Create(&definition);
    if (module == nullptr) return nullptr;
    for (int kernel = 0; kernel < kernel_count; ++kernel) {
        PyObject* ufunc = make_ufunc(kernel);
        if (ufunc == nullptr || PyModule_AddObject(module, declarations[kernel].name, ufunc) < 0) {
            Py_XDECREF(ufunc);
            Py_DECREF(module);
            return nullptr;
        }
    }
    return module;
}
