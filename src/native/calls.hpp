// What surrounds a call of a kernel on Python's side: Ctrl-C ends a long one, the GIL is released in every long one, and
// large results come from memory that is kept for them.
//
// A signal's Python handler runs only where somebody asks for it, with the GIL, on the main thread. So while NumPy is in a
// kernel that thread asks every 50 ms, between two pieces of work. If the handler raises, the pieces that are left are
// not computed, and the exception waits beside the call until NumPy is through with its own end, which knows of none.
#pragma once

#include <algorithm>
#include <chrono>

#include "kernels.hpp"
#include "parallel.hpp"
#include "results.hpp"

namespace softmax {

// NumPy's new arrays have their data from `Results` while this is in scope, where something large is at hand.
class LargeResults {
public:
    explicit LargeResults(bool large) {
        if (!large || handler == nullptr) return;
        before = PyDataMem_SetHandler(handler);
        if (before == nullptr) PyErr_Clear();
    }
    ~LargeResults() {
        if (before == nullptr) return;
        Py_XDECREF(PyDataMem_SetHandler(before));
        Py_DECREF(before);
    }
    LargeResults(const LargeResults&) = delete;

    static bool large(PyObject* object) {
        return PyArray_Check(object) &&
               std::size_t(PyArray_NBYTES(reinterpret_cast<PyArrayObject*>(object))) >= least_large_result;
    }
    // False with an exception set.
    static bool prepare() {
#if defined(SOFTMAX_KEEPS_RESULTS)
        static PyDataMem_Handler functions = {
            "softmax", 1, {nullptr, Results::malloc, Results::calloc, Results::realloc, Results::free}};
        handler = PyCapsule_New(&functions, "mem_handler", nullptr);
        return handler != nullptr;
#else
        return true;
#endif
    }

private:
    static inline PyObject* handler = nullptr;
    PyObject* before = nullptr;
};

// A call of a ufunc on Python's main thread. Calls nest: a signal's handler may make one.
class Call {
public:
    Call() : outer(current) { current = this; }
    ~Call() { current = outer; }
    Call(const Call&) = delete;

    // The result; or the exception that the call was interrupted with.
    PyObject* end(PyObject* result) {
        if (!raised) return result;
        Py_XDECREF(result);
#if PY_VERSION_HEX >= 0x030C0000
        PyErr_SetRaisedException(value);
#else
        PyErr_Restore(type, value, traceback);
#endif
        return nullptr;
    }

    // Whether the call of this thread should end now: between two pieces, and between two of NumPy's loop calls, which
    // can be many and short.
    static bool interrupted() { return current != nullptr && current->look(); }
    static bool interrupted_loops() {
        return current != nullptr && (current->raised || (++current->loops % 64 == 0 && current->look()));
    }

private:
    using Clock = std::chrono::steady_clock;
    static constexpr auto interval = std::chrono::milliseconds(50);
    static inline thread_local Call* current = nullptr;

    Call* const outer;
    Clock::time_point next{};  // when to ask again; not set before the first look, which most calls end without
    unsigned loops = 0;
    bool raised = false;
#if PY_VERSION_HEX < 0x030C0000
    PyObject *type = nullptr, *traceback = nullptr;
#endif
    PyObject* value = nullptr;

    bool look() {
        if (raised) return true;
        const auto now = Clock::now();
        if (next == Clock::time_point{}) next = now + interval;
        if (now < next) return false;
        const PyGILState_STATE gil = PyGILState_Ensure();
        raised = PyErr_CheckSignals() < 0;
        if (raised) {
#if PY_VERSION_HEX >= 0x030C0000
            value = PyErr_GetRaisedException();
#else
            PyErr_Fetch(&type, &value, &traceback);
#endif
        }
        PyGILState_Release(gil);
        next = Clock::now() + interval;
        return raised;
    }
};

inline unsigned long main_thread = 0;  // the one that Python runs signal handlers on

inline bool on_main_thread() {
    return PyThread_get_thread_ident() == main_thread && PyInterpreterState_Get() == PyInterpreterState_Main();
}

inline vectorcallfunc numpy_call = nullptr;

inline PyObject* interruptible_call(PyObject* ufunc, PyObject* const* args, size_t count, PyObject* names) {
    const LargeResults results(std::any_of(args, args + PyVectorcall_NARGS(count), LargeResults::large));
    if (!on_main_thread()) return numpy_call(ufunc, args, count, names);
    Call call;
    return call.end(numpy_call(ufunc, args, count, names));
}

// Releases the GIL where this thread holds it.
inline PyThreadState* release_gil() {
#if PY_VERSION_HEX >= 0x030D0000
    PyThreadState* const running = PyThreadState_GetUnchecked();
#else
    PyThreadState* const running = _PyThreadState_UncheckedGet();
#endif
    return running != nullptr && running == PyGILState_GetThisThreadState() ? PyEval_SaveThread() : nullptr;
}

// The loop that NumPy calls, with the kernel behind it as `data`. NumPy keeps the GIL where there are up to 500 results,
// however long the rows are that they come from. Elementwise functions have no rows, hence no second dimension.
template <bool Rows>
void interruptible_loop(char** args, const npy_intp* dimensions, const npy_intp* steps, void* kernel) {
    constexpr npy_intp long_work = 1 << 15;  // entries
    if (Call::interrupted_loops()) return;
    const bool is_long = Rows && dimensions[0] * dimensions[1] >= long_work;
    PyThreadState* const released = is_long ? release_gil() : nullptr;
    try {
        reinterpret_cast<Loop>(kernel)(args, dimensions, steps, nullptr);
    } catch (const Interrupted&) {
        // the call has its exception
    }
    if (released != nullptr) PyEval_RestoreThread(released);
}

// Finds the main thread, and has the pool ask it. False with an exception set.
inline bool watch_signals() {
    PyObject* const threading = PyImport_ImportModule("threading");
    PyObject* const thread = threading == nullptr ? nullptr : PyObject_CallMethod(threading, "main_thread", nullptr);
    PyObject* const ident = thread == nullptr ? nullptr : PyObject_GetAttrString(thread, "ident");
    main_thread = ident == nullptr ? 0 : PyLong_AsUnsignedLong(ident);
    Py_XDECREF(ident);
    Py_XDECREF(thread);
    Py_XDECREF(threading);
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { main_thread = PyThread_get_thread_ident(); });
#endif
    interrupted = Call::interrupted;
    return !PyErr_Occurred();
}

}  // namespace softmax
