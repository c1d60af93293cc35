// The one way to run on several threads.
#pragma once

#include <cstddef>

namespace softmax {

// Threads that a call may use now: OpenMP's setting (OMP_NUM_THREADS, threadpoolctl), 1 in a child after fork, where the
// parent's threads do not exist.
int num_threads();

// Calls body(context, i) for every i in [0, count), on up to `threads` threads, in any order. The division into pieces is
// the caller's and must not depend on the number of threads.
void parallel_for(std::ptrdiff_t count, int threads, void (*body)(void*, std::ptrdiff_t), void* context);

}  // namespace softmax
