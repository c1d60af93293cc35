// Memory of large new results. The system maps and clears each page of a fresh block when it is first written, which costs
// as much as a softmax; malloc asks for such blocks anew each time. So the last one that was freed is kept for the next
// result. More than 32 MB, beyond what malloc itself would keep, are given to the system to take whenever that runs short
// (MADV_FREE): until then their pages stay as they are. To say so takes as long as a softmax of a few megabytes.
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

namespace softmax {

// Bytes. They are given out by huge pages of 2 MB: of smaller results more than a third would be lost.
constexpr std::size_t least_large_result = std::size_t(3) << 20;

#if defined(MADV_FREE)
#define SOFTMAX_KEEPS_RESULTS 1
// NumPy's memory handler: what the data of an array come from and go to, on any thread.
class Results {
public:
    static void* malloc(void*, std::size_t size) {
        const std::size_t all = size + sizeof(Block);
        if (all < size) return nullptr;
        // Small ones come along with the large.
        if (size < least_large_result) return data_of(static_cast<Block*>(std::malloc(all)), 0, size);
        std::size_t mapped = (all + huge_page - 1) / huge_page * huge_page;
        Block* const kept = take(mapped);
        return data_of(kept != nullptr ? kept : map(mapped), mapped, size);
    }
    static void* calloc(void*, std::size_t count, std::size_t size) {
        void* const data = size != 0 && count > SIZE_MAX / size ? nullptr : malloc(nullptr, count * size);
        return data == nullptr ? nullptr : std::memset(data, 0, count * size);
    }
    static void* realloc(void*, void* data, std::size_t size) {
        void* const moved = malloc(nullptr, size);
        if (moved == nullptr || data == nullptr) return moved;
        const std::size_t before = block_of(data)->size;
        std::memcpy(moved, data, size < before ? size : before);
        free(nullptr, data, before);
        return moved;
    }
    static void free(void*, void* data, std::size_t) {
        if (data == nullptr) return;
        Block* const block = block_of(data);
        if (block->mapped == 0) return std::free(block);
        give(block, block->mapped);
    }

private:
    static constexpr std::size_t huge_page = std::size_t(1) << 21, largest_kept = std::size_t(1) << 30,
                                 least_lent = std::size_t(1) << 25;

    // In front of the data, which so begin half a page away from those of malloc's large blocks: a processor takes a store
    // and a load at the same place of two pages for a dependence, and rows are read just ahead of where they are written.
    struct Block {
        std::size_t mapped;  // 0: malloc's
        std::size_t size;
        char apart[2048 - 2 * sizeof(std::size_t)];
    };

    // What is kept, and whether a thread is at it: another does without, for nobody waits here, and a forked child may
    // find it so for ever.
    static inline std::atomic_flag busy;
    static inline Block* kept = nullptr;
    static inline std::size_t kept_size = 0;

    static Block* block_of(void* data) { return static_cast<Block*>(data) - 1; }
    static void* data_of(Block* block, std::size_t mapped, std::size_t size) {
        if (block == nullptr) return nullptr;
        block->mapped = mapped;
        block->size = size;
        return block + 1;
    }
    static Block* map(std::size_t size) {
        void* const block = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
        madvise(block, size, MADV_HUGEPAGE);
#endif
        return static_cast<Block*>(block);
    }
    // The kept block, if it is of that size or up to twice as large; `size` becomes its own.
    static Block* take(std::size_t& size) {
        if (busy.test_and_set(std::memory_order_acquire)) return nullptr;
        Block* found = nullptr;
        if (kept_size >= size && kept_size / 2 <= size) {
            found = std::exchange(kept, nullptr);
            size = std::exchange(kept_size, 0);
        }
        busy.clear(std::memory_order_release);
        return found;
    }
    static void give(Block* block, std::size_t size) {
        if (size <= largest_kept && !busy.test_and_set(std::memory_order_acquire)) {
            if (size > least_lent) madvise(block, size, MADV_FREE);
            std::swap(block, kept);
            std::swap(size, kept_size);
            busy.clear(std::memory_order_release);
        }
        if (block != nullptr) munmap(block, size);
    }
};
#endif

}  // namespace softmax
