// The one way to run on several threads.
#pragma once

#include <cstddef>

namespace softmax {

// Threads that a call may use: what was set, else SOFTMAX_NUM_THREADS or OMP_NUM_THREADS, else the processors that this
// process may run on.
int num_threads();
void set_num_threads(int threads);

// Calls body(context, i) for every i in [0, count), on up to `threads` threads, in any order. The division into pieces is
// the caller's and must not depend on the number of threads. `body` must not throw.
void parallel_for(std::ptrdiff_t count, int threads, void (*body)(void*, std::ptrdiff_t), void* context);

}  // namespace softmax
