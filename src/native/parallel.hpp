// The one way to run on several threads, and the one place where a long call looks whether it should stop.
#pragma once

#include <cstddef>
#include <cstdint>

namespace softmax {

// Threads that a call may use: what was set, else SOFTMAX_NUM_THREADS or OMP_NUM_THREADS, else the processors that this
// process may run on.
int num_threads();
void set_num_threads(int threads);

// Calls body(context, i) for every i in [0, count), on up to `threads` threads, in any order. The division into pieces is
// the caller's and must not depend on the number of threads. `body` must throw nothing but what this throws.
//
// `bytes` says how large the work is: for a small one no thread is woken, unless it follows another at once, but one that
// is still awake may join.
//
// A thread takes its pieces in order or, `backwards`, from the last to the first: what it did last in the same division is
// what its caches still hold.
//
// Interrupted: the whole call is to end, and pieces are missing. No thread is at any of them any more.
struct Interrupted {};
void parallel_for(std::ptrdiff_t count, int threads, void (*body)(void*, std::ptrdiff_t), void* context,
                  std::ptrdiff_t bytes = PTRDIFF_MAX, bool backwards = false);

// What a thread that has called `parallel_for` asks between pieces: should its call end now? It is asked again and again,
// also after it has said yes, and also by threads that it knows nothing of. nullptr: nobody is asked.
extern bool (*interrupted)();

}  // namespace softmax
