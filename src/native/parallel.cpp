// A pool in which nobody waits for a thread that has not begun. The caller starts on the pieces at once; a worker that
// wakes in time takes some of them; the caller waits only for pieces that are being worked on. An OpenMP team waits at its
// barrier for every member instead: with a busy neighbour (another library's spinning threads, a second process) that
// costs a scheduler's time slice a call, measured at 8 to 20 ms for calls of 1 ms.
//
// Each thread begins with a run of pieces of its own, the same in call after call, and then takes what is left of the
// others': of data that is worked on again it finds its part in its own cache.
//
// Workers stay awake for a moment after a job, which makes calls in quick succession cheap; then they sleep, and waking
// one costs the caller some 8 µs, and 20 to 60 µs pass until it is there. A worker that a neighbour has pushed aside with
// a piece in its hands makes the caller wait after all: then the pool is left alone for a few calls, and for more of them
// each time that happens again. A forked child begins with a pool of its own.
#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace softmax {

bool (*interrupted)() = nullptr;

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto linger = std::chrono::microseconds(60);    // a worker's wait for more, awake
constexpr auto patience = std::chrono::microseconds(50);  // the caller's wait for the last pieces, awake
constexpr auto look_around = std::chrono::milliseconds(20);
constexpr std::ptrdiff_t worth_waking = 1 << 19;  // bytes
constexpr int longest_rest = 64;                  // calls
constexpr int most_runs = 64;

// Gives way to whoever wants this processor until `ready()`, or until the time is over.
template <class Ready>
void wait_awake(Clock::duration limit, const Ready& ready) {
    for (const auto until = Clock::now() + limit; !ready() && Clock::now() < until;) std::this_thread::yield();
}

// A worker on the caller's processor would take turns with it instead of helping: Linux puts a thread that wakes where
// it last ran, or where its waker runs, also when another processor is idle.
int processor() {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}
void leave_processor([[maybe_unused]] int number) {
#if defined(__linux__)
    cpu_set_t allowed, others;
    if (number < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    others = allowed;
    CPU_CLR(number, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0) {
        sched_setaffinity(0, sizeof allowed, &allowed);
    }
#endif
}

// Whether the outermost call that this thread works for has been interrupted: pieces inside pieces end with it.
thread_local std::atomic<bool>* outermost = nullptr;

struct Job {
    const std::ptrdiff_t count;
    void (*const body)(void*, std::ptrdiff_t);
    void* const context;
    int places;  // workers that may still join; guarded by the pool's mutex
    const bool backwards;
    const int runs = std::min(places + 1, most_runs);
    const int home = processor();
    std::atomic<bool> own_stop{false};
    std::atomic<bool>& stop = outermost == nullptr ? own_stop : *outermost;
    std::atomic<int> active{0};  // workers at it

    Job(std::ptrdiff_t count, void (*body)(void*, std::ptrdiff_t), void* context, int places, bool backwards)
        : count(count), body(body), context(context), places(places), backwards(backwards) {
        for (int k = 0; k < runs; ++k) next[k].piece.store(begin_of(k), std::memory_order_relaxed);
    }

    // Works until no piece is left; returns how many it did. The caller has number 0; it, not a worker, asks whether to
    // stop.
    std::ptrdiff_t work(int number) {
        std::atomic<bool>* const outer = outermost;
        outermost = &stop;
        std::ptrdiff_t done = 0;
        try {
            for (int k = 0; k < runs; ++k) done += work_run((number + k) % runs, number == 0);
        } catch (const Interrupted&) {
            // a piece of pieces; `stop` is set
        }
        outermost = outer;
        return done;
    }
    // A signal's handler may make a call of its own meanwhile, which does not end with this one or end this one.
    bool ask() {
        if (interrupted == nullptr) return false;
        std::atomic<bool>* const outer = std::exchange(outermost, nullptr);
        const bool ends = interrupted();
        outermost = outer;
        if (ends) stop.store(true, std::memory_order_relaxed);
        return ends;
    }

private:
    struct alignas(64) Next {  // a cache line each: threads count their own without a word to the others
        std::atomic<std::ptrdiff_t> piece;
    } next[most_runs];

    std::ptrdiff_t begin_of(int run) const { return count / runs * run + std::min<std::ptrdiff_t>(run, count % runs); }
    std::ptrdiff_t work_run(int run, bool asks) {
        const std::ptrdiff_t begin = begin_of(run), end = begin_of(run + 1);
        std::ptrdiff_t done = 0;
        for (; !stop.load(std::memory_order_relaxed) && !(asks && ask()); ++done) {
            const std::ptrdiff_t i = next[run].piece.fetch_add(1, std::memory_order_relaxed);
            if (i >= end) break;
            body(context, backwards ? begin + end - 1 - i : i);
        }
        return done;
    }
};

class Pool {
public:
    void run(Job& job, bool wakes) {
        if (resting()) {
            job.work(0);
            return;
        }
        const auto start = Clock::now();
        const bool in_succession = start.time_since_epoch() - ended.load(std::memory_order_relaxed) < linger / 2;
        publish(job, wakes || in_succession);
        const std::ptrdiff_t mine = job.work(0);
        const auto worked = Clock::now();
        wait(job);
        const auto end = Clock::now();
        ended.store(end.time_since_epoch(), std::memory_order_relaxed);
        const auto alone = (worked - start) * (job.count - mine) / std::max<std::ptrdiff_t>(mine, 1);
        judge(end - worked > alone + patience);
    }

private:
    std::mutex mutex;
    std::condition_variable wake, done;
    std::vector<Job*> jobs;                                 // that workers may join
    std::atomic<int> open{0};                               // jobs.size(), to look at without the mutex
    std::atomic<Clock::duration> ended{Clock::duration{}};  // when the last job did
    std::atomic<int> rest{0};                               // calls for which nobody is asked to help
    std::atomic<int> tired{0};                              // how many those were, the last time
    int workers = 0, begun = 0, asleep = 0;

    bool resting() {
        return rest.load(std::memory_order_relaxed) > 0 && rest.fetch_sub(1, std::memory_order_relaxed) > 0;
    }

    // What the helpers did would have taken the caller less time than it waited for them: worse than no help.
    void judge(bool harmed) {
        const int before = tired.load(std::memory_order_relaxed);
        if (!harmed && before == 0) return;
        const int next = harmed ? std::clamp(2 * before, 4, longest_rest) : before / 2;
        tired.store(next, std::memory_order_relaxed);
        if (harmed) rest.store(next, std::memory_order_relaxed);
    }

    void publish(Job& job, bool wakes) {
        int sleepers = 0;
        {
            std::lock_guard<std::mutex> lock(mutex);
            while (wakes && workers < job.places && hire()) ++workers;
            if (wakes) sleepers = std::min(asleep, job.places);
            jobs.push_back(&job);
            open.fetch_add(1, std::memory_order_release);
        }
        for (; sleepers > 0; --sleepers) wake.notify_one();
    }

    void remove(const Job& job) {
        const auto found = std::find(jobs.begin(), jobs.end(), &job);
        if (found == jobs.end()) return;
        jobs.erase(found);
        open.fetch_sub(1, std::memory_order_relaxed);
    }

    // Until every piece that a worker has taken is done.
    void wait(Job& job) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            remove(job);
        }
        const auto finished = [&] { return job.active.load(std::memory_order_acquire) == 0; };
        wait_awake(patience, finished);
        while (!finished()) {
            std::unique_lock<std::mutex> lock(mutex);
            if (done.wait_for(lock, look_around, finished)) return;
            lock.unlock();
            job.ask();
        }
    }

    // Starts a worker, with a stack for the kernels' buffers, which take up to half a megabyte: musl's threads have 128 KB
    // else, macOS' 512. False where the system has no more threads.
    bool hire() {
#if defined(__unix__) || defined(__APPLE__)
        pthread_t thread;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 2 << 20);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        const auto life = [](void* pool) -> void* {
            static_cast<Pool*>(pool)->serve();
            return nullptr;
        };
        const bool started = pthread_create(&thread, &attributes, life, this) == 0;
        pthread_attr_destroy(&attributes);
        return started;
#else
        std::thread(&Pool::serve, this).detach();
        return true;
#endif
    }

    // A worker's life; workers are numbered from 1 on.
    void serve() {
        std::unique_lock<std::mutex> lock(mutex);
        const int number = ++begun;
        for (;;) {
            if (jobs.empty()) {
                lock.unlock();
                wait_awake(linger, [&] { return open.load(std::memory_order_acquire) > 0; });
                lock.lock();
                ++asleep;
                wake.wait(lock, [&] { return !jobs.empty(); });
                --asleep;
            }
            Job& job = *jobs.front();
            job.active.fetch_add(1, std::memory_order_relaxed);
            if (--job.places == 0) remove(job);
            lock.unlock();
            if (processor() == job.home) leave_processor(job.home);
            job.work(number);
            lock.lock();
            remove(job);                                         // nothing is left to take
            job.active.fetch_sub(1, std::memory_order_release);  // the last that is seen of it
            done.notify_all();
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

void parallel_for(std::ptrdiff_t count, int threads, void (*body)(void*, std::ptrdiff_t), void* context,
                  std::ptrdiff_t bytes, bool backwards) {
    if (count == 1) return body(context, 0);
    Job job{count, body, context, int(std::min<std::ptrdiff_t>(count, threads)) - 1, backwards};
    if (job.places < 1) {
        job.work(0);
    } else {
        pool->run(job, bytes >= worth_waking);
    }
    if (job.stop.load(std::memory_order_relaxed)) throw Interrupted();
}

}  // namespace softmax
