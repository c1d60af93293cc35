#include "parallel.hpp"

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace softmax {
namespace {

bool in_forked_child = false;

#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });
#endif

}  // namespace

int num_threads() {
#if defined(_OPENMP)
    return in_forked_child ? 1 : omp_get_max_threads();
#else
    return 1;
#endif
}

void parallel_for(std::ptrdiff_t count, int threads, void (*body)(void*, std::ptrdiff_t), void* context) {
    if (threads <= 1 || count <= 1) {
        for (std::ptrdiff_t i = 0; i < count; ++i) body(context, i);
        return;
    }
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
#endif
    for (std::ptrdiff_t i = 0; i < count; ++i) body(context, i);
}

}  // namespace softmax
