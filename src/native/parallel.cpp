// A pool in which nobody waits for a thread that has not begun. The caller starts on the pieces at once; a worker that
// wakes in time takes some of them; the caller waits only for pieces that are being worked on. An OpenMP team waits at its
// barrier for every member instead: with a busy neighbour (another library's spinning threads, a second process) that
// costs a scheduler's time slice a call, measured at 8 to 20 ms for calls of 1 ms.
//
// Workers are asleep between calls, after a wait of `linger` that makes calls in quick succession cheap. A forked child
// begins with a pool of its own.
#include "parallel.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace softmax {
namespace {

constexpr auto linger = std::chrono::microseconds(30);

struct Job {
    std::ptrdiff_t count;
    void (*body)(void*, std::ptrdiff_t);
    void* context;
    std::atomic<std::ptrdiff_t> next{0};
    int places;      // workers that may still join; guarded by the pool's mutex
    int active = 0;  // workers at it; guarded by the pool's mutex

    void run() {
        for (std::ptrdiff_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(context, i);
    }
};

class Pool {
public:
    void run(Job& job) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            for (; workers < job.places; ++workers) std::thread(&Pool::work, this).detach();
            jobs.push_back(&job);
            waiting.fetch_add(1, std::memory_order_release);
        }
        wake.notify_all();
        job.run();
        std::unique_lock<std::mutex> lock(mutex);
        remove(job);
        done.wait(lock, [&] { return job.active == 0; });
    }

private:
    std::mutex mutex;
    std::condition_variable wake, done;
    std::vector<Job*> jobs;       // that workers may join
    std::atomic<int> waiting{0};  // jobs.size(), to look at without the mutex
    int workers = 0;

    void remove(const Job& job) {
        for (std::size_t i = 0; i < jobs.size(); ++i) {
            if (jobs[i] != &job) continue;
            jobs.erase(jobs.begin() + std::ptrdiff_t(i));
            waiting.fetch_sub(1, std::memory_order_relaxed);
            return;
        }
    }

    void work() {
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            if (jobs.empty()) {
                lock.unlock();
                const auto until = std::chrono::steady_clock::now() + linger;
                while (waiting.load(std::memory_order_acquire) == 0 && std::chrono::steady_clock::now() < until) {
                }
                lock.lock();
                wake.wait(lock, [&] { return !jobs.empty(); });
            }
            Job& job = *jobs.front();
            ++job.active;
            if (--job.places == 0) remove(job);
            lock.unlock();
            job.run();
            lock.lock();
            remove(job);  // nothing is left to take
            if (--job.active == 0) done.notify_all();
        }
    }
};

// Never destroyed: detached workers may outlive static objects. A forked child has none of the parent's threads, and
// perhaps its locked mutex: it starts anew.
alignas(Pool) unsigned char storage[sizeof(Pool)];
Pool* pool = new (storage) Pool;

int initial_threads() {
    for (const char* name : {"SOFTMAX_NUM_THREADS", "OMP_NUM_THREADS"}) {
        const char* value = std::getenv(name);
        const int threads = value == nullptr ? 0 : std::atoi(value);
        if (threads > 0) return threads;
    }
#if defined(__linux__)
    cpu_set_t processors;
    if (sched_getaffinity(0, sizeof processors, &processors) == 0) return CPU_COUNT(&processors);
#endif
    const int all = int(std::thread::hardware_concurrency());
    return all > 0 ? all : 1;
}

std::atomic<int> thread_limit{initial_threads()};

#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { pool = new (storage) Pool; });
#endif

}  // namespace

int num_threads() { return thread_limit.load(std::memory_order_relaxed); }

void set_num_threads(int threads) { thread_limit.store(threads < 1 ? 1 : threads, std::memory_order_relaxed); }

void parallel_for(std::ptrdiff_t count, int threads, void (*body)(void*, std::ptrdiff_t), void* context) {
    Job job;
    job.count = count;
    job.body = body;
    job.context = context;
    job.places = int(count < threads ? count : threads) - 1;
    if (job.places < 1) {
        job.run();
    } else {
        pool->run(job);
    }
}

}  // namespace softmax
