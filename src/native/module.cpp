// The extension module: picks an instruction set once, at import, and makes a NumPy gufunc of every kernel in the list.
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
#include <numpy/ufuncobject.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "array_calls.hpp"
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
        {&softmax::avx2::table,
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")},
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

constexpr int max_operands = 9, types = 4;

// What NumPy keeps pointers to for as long as the ufunc lives: a loop for each type, narrow ones first. bfloat16 is no
// type of NumPy's own: such arrays are passed as the uint16 of their bits.
struct Registration {
    PyUFuncGenericFunction loops[types];
    void* data[types];
    char operands[types * max_operands];
};
Registration registrations[kernel_count];

char type_number(char letter, char own) {
    switch (letter) {
        case 'T':
        case 'W': return own;
        case 'q': return NPY_INT64;
        case 'i': return NPY_INT32;
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
    const int narrow = std::string(declared.types).find('W') == std::string::npos ? 0 : 2;  // types to leave out
    const char own[types] = {NPY_HALF, NPY_UINT16, NPY_FLOAT, NPY_DOUBLE};
    const softmax::Loop functions[types] = {active->float16[kernel], active->bfloat16[kernel], active->float32[kernel],
                                            active->float64[kernel]};
    const bool rows = signature.find('n') != std::string::npos;
    for (int type = 0; type < types; ++type) {
        r.loops[type] = rows ? softmax::interruptible_loop<true> : softmax::interruptible_loop<false>;
        r.data[type] = reinterpret_cast<void*>(functions[type]);
        for (int i = 0; i < operands; ++i) r.operands[type * operands + i] = type_number(declared.types[i], own[type]);
    }
    PyObject* ufunc = PyUFunc_FromFuncAndDataAndSignature(
        r.loops + narrow, r.data + narrow, r.operands + narrow * operands, types - narrow, operands - n_out, n_out,
        PyUFunc_None, declared.name, nullptr, 0, declared.signature);
    if (ufunc == nullptr) return nullptr;
    softmax::numpy_call =
        std::exchange(reinterpret_cast<PyUFuncObject*>(ufunc)->vectorcall, softmax::interruptible_call);
    return ufunc;
}

// bfloat16 is a type of another package's, with a number that it gets when that is imported; known by its name.
bool is_bfloat16(PyArrayObject* array) {
    if (PyArray_TYPE(array) < NPY_USERDEF || PyArray_ITEMSIZE(array) != 2) return false;
    const std::string name = PyArray_DESCR(array)->typeobj->tp_name;
    return name.substr(name.rfind('.') + 1) == "bfloat16";
}

// The loop of a kernel for arrays of that type, or nullptr.
softmax::Loop loop_for(PyArrayObject* array, softmax::Kernel kernel) {
    switch (PyArray_TYPE(array)) {
        case NPY_FLOAT: return active->float32[kernel];
        case NPY_DOUBLE: return active->float64[kernel];
        case NPY_HALF: return active->float16[kernel];
        default: return is_bfloat16(array) ? active->bfloat16[kernel] : nullptr;
    }
}

// The common call without what a gufunc costs: a contiguous array of a type that has a loop, one axis, one temperature.
// Returns None for any other, with no error set.
bool is_plain(PyObject* x) {
    if (!PyArray_CheckExact(x)) return false;
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(x);
    return loop_for(array, softmax::kernel_softmax) != nullptr && PyArray_IS_C_CONTIGUOUS(array) &&
           PyArray_ISALIGNED(array) && PyArray_ISNOTSWAPPED(array);
}

// `out` for x: the same type and shape, and either x itself or memory of its own.
bool fits(PyArrayObject* x, PyObject* object) {
    if (!is_plain(object)) return false;
    PyArrayObject* out = reinterpret_cast<PyArrayObject*>(object);
    if (PyArray_TYPE(out) != PyArray_TYPE(x) || !PyArray_ISWRITEABLE(out) || !PyArray_SAMESHAPE(x, out)) return false;
    const char *a = PyArray_BYTES(x), *b = PyArray_BYTES(out);
    return a == b || a + PyArray_NBYTES(x) <= b || b + PyArray_NBYTES(out) <= a;
}

// Slices of an array along one axis: `outer` blocks of `inner` slices of n entries.
struct Slices {
    PyArrayObject* array;
    npy_intp outer = 1, n = 0, inner = 1;
    int axis;

    // Whether it is the common call.
    bool of(PyObject* object, PyObject* axis_object) {
        if (!is_plain(object) || !PyLong_CheckExact(axis_object)) return false;
        array = reinterpret_cast<PyArrayObject*>(object);
        const int ndim = PyArray_NDIM(array);
        int overflow;
        const long asked = PyLong_AsLongAndOverflow(axis_object, &overflow), place = asked < 0 ? asked + ndim : asked;
        if (overflow != 0 || place < 0 || place >= ndim) return false;
        axis = int(place);
        for (int i = 0; i < axis; ++i) outer *= PyArray_DIM(array, i);
        for (int i = axis + 1; i < ndim; ++i) inner *= PyArray_DIM(array, i);
        n = PyArray_DIM(array, axis);
        return true;
    }

    // The kernel's loop over all of them; `temperature` is its operand behind x, if it has one. Of each slice it writes
    // `written` entries, n or 1.
    PyObject* run(softmax::Kernel kernel, double* temperature, PyObject* result, npy_intp written) const {
        const softmax::Loop loop = loop_for(array, kernel);
        const bool last = inner == 1;  // else one call for each of the outer blocks, whose rows lie across it
        const npy_intp calls = last ? (outer > 0) : outer, rows = last ? outer : inner;
        const npy_intp size = PyArray_ITEMSIZE(array), step = inner * size;
        const npy_intp dimensions[] = {rows, n}, row = last ? n * size : size, to = last ? written * size : size;
        const npy_intp with[] = {row, 0, to, step, step}, without[] = {row, to, step, step};
        const auto loops = [&] {
            NPY_BEGIN_THREADS_DEF;
            NPY_BEGIN_THREADS_THRESHOLDED(rows * n);
            try {
                for (npy_intp i = 0; i < calls && rows > 0 && !softmax::Call::interrupted_loops(); ++i) {
                    char* const from = PyArray_BYTES(array) + i * inner * n * size;
                    char* const out =
                        PyArray_BYTES(reinterpret_cast<PyArrayObject*>(result)) + i * inner * written * size;
                    char* operands[] = {from, temperature == nullptr ? out : reinterpret_cast<char*>(temperature), out};
                    loop(operands, dimensions, temperature == nullptr ? without : with, nullptr);
                }
            } catch (const softmax::Interrupted&) {
                // the call has its exception
            }
            NPY_END_THREADS;
            return result;
        };
        if (!softmax::on_main_thread()) return loops();
        softmax::Call call;
        return call.end(loops());
    }
};

PyObject* quick(softmax::Kernel kernel, PyObject* const* args, Py_ssize_t count) {
    if (count != 4) return PyErr_Format(PyExc_TypeError, "expected x, axis, temperature and out, got %zd", count);
    PyObject *x = args[0], *out = args[3];
    Slices slices;
    if (!PyFloat_CheckExact(args[2]) || !slices.of(x, args[1])) Py_RETURN_NONE;
    double temperature = PyFloat_AS_DOUBLE(args[2]);
    if (!(temperature >= 0) || (out != Py_None && !fits(slices.array, out))) Py_RETURN_NONE;
    const auto new_result = [&] {
        const softmax::LargeResults results(softmax::LargeResults::large(x));
        return PyArray_NewLikeArray(slices.array, NPY_CORDER, nullptr, 0);
    };
    PyObject* result = out == Py_None ? new_result() : Py_NewRef(out);
    return result == nullptr ? nullptr : slices.run(kernel, &temperature, result, slices.n);
}

PyObject* quick_softmax(PyObject*, PyObject* const* args, Py_ssize_t count) {
    return quick(softmax::kernel_softmax, args, count);
}
PyObject* quick_log_softmax(PyObject*, PyObject* const* args, Py_ssize_t count) {
    return quick(softmax::kernel_log_softmax, args, count);
}
PyObject* quick_logsumexp(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 2) return PyErr_Format(PyExc_TypeError, "expected x and axis, got %zd", count);
    Slices slices;
    if (!slices.of(args[0], args[1])) Py_RETURN_NONE;
    npy_intp shape[NPY_MAXDIMS];
    int ndim = 0;
    for (int i = 0; i < PyArray_NDIM(slices.array); ++i) {
        if (i != slices.axis) shape[ndim++] = PyArray_DIM(slices.array, i);
    }
    PyArray_Descr* type = PyArray_DESCR(slices.array);
    Py_INCREF(type);
    PyObject* result = PyArray_NewFromDescr(&PyArray_Type, type, ndim, shape, nullptr, nullptr, 0, nullptr);
    if (result == nullptr) return nullptr;
    result = slices.run(softmax::kernel_logsumexp, nullptr, result, 1);
    return PyArray_Return(reinterpret_cast<PyArrayObject*>(result));
}

PyObject* adam_epoch(PyObject*, PyObject* args) { return softmax::adam_epoch(*active, args); }
PyObject* multiply(PyObject*, PyObject* args) { return softmax::multiply(*active, args); }

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
    {"quick_softmax", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(quick_softmax)), METH_FASTCALL,
     "quick_softmax(x, axis, temperature, out, /)\n--\n\nsoftmax of a plain array; None where it takes the gufunc."},
    {"quick_log_softmax", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(quick_log_softmax)), METH_FASTCALL,
     "quick_log_softmax(x, axis, temperature, out, /)\n--\n\nlog_softmax of a plain array; None where it takes the "
     "gufunc."},
    {"quick_logsumexp", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(quick_logsumexp)), METH_FASTCALL,
     "quick_logsumexp(x, axis, /)\n--\n\nlogsumexp of a plain array; None where it takes the gufunc."},
    {"adam_epoch", adam_epoch, METH_VARARGS,
     "adam_epoch(X, targets, weight, order, sizes, tanh, options, batch_size, penalty, rate, betas_and_epsilon, "
     "params, "
     "mean, square, steps, /)\n--\n\nAn epoch over the rows in that order, which moves params, mean and square: the "
     "sum of "
     "the rows' losses, and the number of steps since the first epoch."},
    {"multiply", multiply, METH_VARARGS,
     "multiply(left, right, out, add, /)\n--\n\nout = left @ right or, to add, out += left @ right: True, or False "
     "where "
     "there is no native product for the instruction set or the dtype. Left (m, k), right (k, n), out (m, n), without "
     "gaps "
     "in its rows and apart from the others; all float32 or all float64. TypeError, ValueError."},
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
    if (active == nullptr || !softmax::watch_signals() || !softmax::LargeResults::prepare()) return nullptr;
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
