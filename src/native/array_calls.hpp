// Calls of native functions that are no gufuncs: they work on whole arrays.
#pragma once

#include "calls.hpp"

namespace softmax {

// Calls work() without the GIL, interruptibly, and gives result().
template <class Work, class Result>
PyObject* without_gil(const Work& work, const Result& result) {
    const auto run = [&]() -> PyObject* {
        Py_BEGIN_ALLOW_THREADS;
        try {
            work();
        } catch (const Interrupted&) {
            // the call has its exception
        }
        Py_END_ALLOW_THREADS;
        return result();
    };
    if (!on_main_thread()) return run();
    Call call;
    return call.end(run());
}

// The data of an array of a type and at least `size` entries, contiguous; nullptr with TypeError set where it is not.
template <class T>
T* data_of(PyObject* object, const char* name, int type, npy_intp size) {
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(object);
    if (PyArray_Check(object) && PyArray_TYPE(array) == type && PyArray_IS_C_CONTIGUOUS(array) &&
        PyArray_ISALIGNED(array) && PyArray_SIZE(array) >= size) {
        return static_cast<T*>(PyArray_DATA(array));
    }
    PyErr_Format(PyExc_TypeError, "%s must be a contiguous array of at least %zd entries of its type", name, size);
    return nullptr;
}

// An epoch of Adam; see network.hpp.
inline PyObject* adam_epoch(const KernelTable& table, PyObject* args) {
    Epoch e = {};
    PyObject *X, *targets, *weight, *order, *sizes, *params, *mean, *square;
    int tanh;
    long long steps;
    if (!PyArg_ParseTuple(args, "OOOOOp(dddd)ndd(ddd)OOOL", &X, &targets, &weight, &order, &sizes, &tanh, &e.options[0],
                          &e.options[1], &e.options[2], &e.options[3], &e.batch, &e.penalty, &e.rate, &e.beta1,
                          &e.beta2, &e.epsilon, &params, &mean, &square, &steps)) {
        return nullptr;
    }
    e.tanh = tanh != 0;
    e.steps = steps;
    e.sizes = data_of<std::int64_t>(sizes, "sizes", NPY_INT64, 2);
    if (e.sizes == nullptr) return nullptr;
    e.layers = int(PyArray_SIZE(reinterpret_cast<PyArrayObject*>(sizes))) - 1;
    npy_intp parameters = 0;
    for (int l = 0; l < e.layers; ++l) {
        if (e.sizes[l] < 1 || e.sizes[l + 1] < 1) return PyErr_Format(PyExc_ValueError, "sizes must be at least 1");
        parameters += (e.sizes[l] + 1) * e.sizes[l + 1];
    }
    const int type = PyArray_Check(X) ? PyArray_TYPE(reinterpret_cast<PyArrayObject*>(X)) : NPY_NOTYPE;
    if (type != NPY_FLOAT && type != NPY_DOUBLE) return PyErr_Format(PyExc_TypeError, "X must be float32 or float64");
    e.order = data_of<std::int64_t>(order, "order", NPY_INT64, 0);
    if (e.order == nullptr) return nullptr;
    e.n = PyArray_SIZE(reinterpret_cast<PyArrayObject*>(order));
    if (e.batch < 1 || e.batch > e.n) return PyErr_Format(PyExc_ValueError, "batch_size must be in [1, %zd]", e.n);
    e.X = data_of<void>(X, "X", type, e.n * e.sizes[0]);
    e.targets = data_of<std::int64_t>(targets, "targets", NPY_INT64, e.n);
    if (weight != Py_None) e.weight = data_of<double>(weight, "weight", NPY_DOUBLE, e.n);
    e.params = data_of<void>(params, "params", type, parameters);
    e.mean = data_of<void>(mean, "mean", type, parameters);
    e.square = data_of<void>(square, "square", type, parameters);
    if (PyErr_Occurred()) return nullptr;
    const std::int64_t outputs = e.sizes[e.layers], classes = outputs > 1 ? outputs : 2;
    for (npy_intp i = 0; i < e.n; ++i) {
        if (e.order[i] < 0 || e.order[i] >= e.n || e.targets[i] < 0 || e.targets[i] >= classes) {
            return PyErr_Format(PyExc_ValueError, "order must lie in [0, %zd), and targets in [0, %lld)", e.n,
                                static_cast<long long>(classes));
        }
    }
    return without_gil(
        [&] { (type == NPY_FLOAT ? table.epoch_float32 : table.epoch_float64)(e, Call::interrupted_loops); },
        [&] { return Py_BuildValue("dL", e.total, static_cast<long long>(e.steps)); });
}

// A matrix as the kernels take it, in steps of entries; false with TypeError set where it is none of the type.
inline bool matrix_of(PyObject* object, const char* name, int type, const void** data, std::ptrdiff_t* steps) {
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(object);
    if (!PyArray_Check(object) || PyArray_TYPE(array) != type || PyArray_NDIM(array) != 2 ||
        !PyArray_ISBEHAVED_RO(array) || PyArray_STRIDE(array, 0) % PyArray_ITEMSIZE(array) != 0 ||
        PyArray_STRIDE(array, 1) % PyArray_ITEMSIZE(array) != 0) {
        PyErr_Format(PyExc_TypeError, "%s must be an aligned matrix of the dtype of left, got %R", name,
                     PyArray_Check(object) ? reinterpret_cast<PyObject*>(PyArray_DESCR(array))
                                           : reinterpret_cast<PyObject*>(Py_TYPE(object)));
        return false;
    }
    *data = PyArray_DATA(array);
    for (int i = 0; i < 2; ++i) steps[i] = PyArray_STRIDE(array, i) / PyArray_ITEMSIZE(array);
    return true;
}

// A matrix product, see product.cpp: True, or False where there is none for the instruction set or the dtype.
inline PyObject* multiply(const KernelTable& table, PyObject* args) {
    PyObject *left, *right, *out;
    Multiplication m = {};
    int add;
    if (!PyArg_ParseTuple(args, "OOOp", &left, &right, &out, &add)) return nullptr;
    m.add = add != 0;
    const int type = PyArray_Check(left) ? PyArray_TYPE(reinterpret_cast<PyArrayObject*>(left)) : NPY_NOTYPE;
    const MultiplyFunction function = type == NPY_FLOAT    ? table.multiply_float32
                                      : type == NPY_DOUBLE ? table.multiply_float64
                                                           : nullptr;
    if (function == nullptr) Py_RETURN_FALSE;
    const void* result;
    std::ptrdiff_t steps[2];
    if (!matrix_of(left, "left", type, &m.left, m.left_steps) ||
        !matrix_of(right, "right", type, &m.right, m.right_steps) || !matrix_of(out, "out", type, &result, steps)) {
        return nullptr;
    }
    const npy_intp *a = PyArray_DIMS(reinterpret_cast<PyArrayObject*>(left)),
                   *b = PyArray_DIMS(reinterpret_cast<PyArrayObject*>(right)),
                   *c = PyArray_DIMS(reinterpret_cast<PyArrayObject*>(out));
    if (a[0] != c[0] || b[1] != c[1] || a[1] != b[0]) {
        return PyErr_Format(PyExc_ValueError, "shapes must fit, got (%zd, %zd), (%zd, %zd) and (%zd, %zd)", a[0], a[1],
                            b[0], b[1], c[0], c[1]);
    }
    if (!PyArray_ISWRITEABLE(reinterpret_cast<PyArrayObject*>(out)) || (steps[1] != 1 && c[0] > 0 && c[1] > 1)) {
        return PyErr_Format(PyExc_ValueError,
                            "out must be writeable, its rows without gaps, got strides of %zd and %zd entries",
                            steps[0], steps[1]);
    }
    m.rows = a[0];
    m.depth = a[1];
    m.columns = b[1];
    m.result = const_cast<void*>(result);
    m.result_row = steps[0];
    return without_gil([&] { function(m); }, [] { return Py_NewRef(Py_True); });
}

}  // namespace softmax
