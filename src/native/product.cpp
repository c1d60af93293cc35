// Matrix products C = A B and C += A B, the second of which NumPy has not, of matrices that no cache holds.
//
// The innermost loop adds to a tile of C in registers the products of a panel of A (`high` rows) and a panel of B (`wide`
// columns), both of which are copied so that it reads them from one end to the other. A panel of B stays in the first-level
// cache while all panels of a block of A pass, and that block, with the panels of B, in the second-level one. What will be
// copied next is asked for meanwhile, and so is the next tile of C. Every entry of C is a sum in the order of the depth: the
// same bits whatever the number of threads.
//
// Compiled for AVX2 and AVX-512.
#include <algorithm>

#include "kernels.hpp"
#include "parallel.hpp"
#include "reduce.hpp"
#include "transpose.hpp"

namespace softmax::SOFTMAX_ISA {
namespace {

using std::ptrdiff_t;

// Entry (i, j) is data[i * row + j * column].
template <class T>
struct Matrix {
    T* data;
    ptrdiff_t row, column;

    T* at(ptrdiff_t i, ptrdiff_t j) const { return data + i * row + j * column; }
    Matrix from(ptrdiff_t i, ptrdiff_t j) const { return {at(i, j), row, column}; }
};

// Lines of memory that are asked for one by one.
class Ahead {
    const char* line = nullptr;
    ptrdiff_t step = 0, each = 0, at = 0, left = 0;

public:
    Ahead() = default;
    template <class T>
    Ahead(const Matrix<const T>& of, ptrdiff_t rows, ptrdiff_t columns) : line(reinterpret_cast<const char*>(of.data)) {
        const bool turned = of.row == 1;
        step = (turned ? of.column : of.row) * ptrdiff_t(sizeof(T));
        each = ((turned ? rows : columns) * ptrdiff_t(sizeof(T)) + 63) / 64;
        left = each * (turned ? columns : rows);
    }
    SOFTMAX_INLINE void one() {
        if (left == 0) return;
        --left;
        prefetch(line + 64 * at, 1, 0);
        if (++at == each) {
            at = 0;
            line += step;
        }
    }
};

// The tile of C: its rows, and vectors in each; and the block of A.
#if defined(__AVX512F__)
constexpr int tile_rows = 12, tile_vectors = 2;  // of 32 registers
constexpr ptrdiff_t block_bytes = 320 << 10;     // of A; of a second-level cache of 1 MB or more
#else
constexpr int tile_rows = 4, tile_vectors = 3;  // of 16
constexpr ptrdiff_t block_bytes = 128 << 10;    // of 256 KB or more
#endif
template <class T>
constexpr int tile_columns = tile_vectors * Simd<T>::lanes;

// Steps of a panel of A or B: what a tile is summed over at a time, wherever it lies.
constexpr ptrdiff_t panel_depth = 256;

// The length of n's equal parts, which have at most that many and are multiples of `unit`.
inline ptrdiff_t equal_part(ptrdiff_t n, ptrdiff_t most, ptrdiff_t unit) {
    const ptrdiff_t parts = (n + most - 1) / most;
    return ((n + parts - 1) / parts + unit - 1) / unit * unit;
}

struct Part {
    ptrdiff_t begin, length;
};
// Calls body(i, p, next i, next p) for the parts of two lengths, one of the second after the other; behind the last pair the
// next i is empty.
template <class Body>
void for_pairs(ptrdiff_t n, ptrdiff_t n_step, ptrdiff_t depth, ptrdiff_t deep, const Body& body) {
    const auto rows = [&](ptrdiff_t begin) { return Part{begin, std::clamp<ptrdiff_t>(n - begin, 0, n_step)}; };
    const auto steps = [&](ptrdiff_t begin) { return Part{begin, std::min(deep, depth - begin)}; };
    for (ptrdiff_t i = 0; i < n; i += n_step) {
        for (ptrdiff_t p = 0; p < depth; p += deep) {
            const bool more = p + deep < depth;
            body(rows(i), steps(p), rows(more ? i : i + n_step), steps(more ? p + deep : 0));
        }
    }
}

// For what is at an edge: GCC would write out every step of a loop whose length it knows.
template <class Body>
void one_by_one(ptrdiff_t n, const Body& body) {
#pragma GCC unroll 1
    for (ptrdiff_t i = 0; i < n; ++i) body(i);
}

template <class T>
class Multiplier {
    using S = Simd<T>;
    using V = typename S::V;

    static constexpr int high = tile_rows, across = tile_vectors, wide = tile_columns<T>;
    static constexpr ptrdiff_t panels = 4;  // of B at a time
    static constexpr ptrdiff_t block_entries = block_bytes / sizeof(T),
                               most_rows = block_entries / panel_depth / high * high;
    static constexpr ptrdiff_t apart = 64 / sizeof(T);  // between panels of B, which would else share places in a cache

    alignas(64) T left[block_entries];
    alignas(64) T right[panels * (wide * panel_depth + apart)];
    alignas(64) T edge[high * wide];

public:
    // C = A B, or C += A B.
    void multiply(const Matrix<const T>& A, const Matrix<const T>& B, const Matrix<T>& C, ptrdiff_t rows,
                  ptrdiff_t columns, ptrdiff_t depth, bool add) {
        if (depth == 0 && !add) {
            for (ptrdiff_t i = 0; i < rows; ++i) std::fill_n(C.at(i, 0), columns, T(0));
        }
        if (depth == 0) return;
        const ptrdiff_t block = equal_part(rows, most_rows, high);
        const ptrdiff_t deep = panel_depth * (block_entries / block / panel_depth);
        for_pairs(rows, block, depth, deep, [&](Part i, Part p, Part next_i, Part next_p) {
            pack_left(A.from(i.begin, p.begin), i.length, p.length);
            next_left = {A.from(next_i.begin, next_p.begin), next_i.length, next_p.length};
            pass(B.from(p.begin, 0), C.from(i.begin, 0), i.length, columns, p.length, add || p.begin > 0);
        });
    }

private:
    Ahead next_left, next_right;

    // C, some rows of it, plus the block of A times B.
    void pass(const Matrix<const T>& B, const Matrix<T>& C, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
              bool add) {
        for_pairs(columns, panels * wide, depth, panel_depth, [&](Part j, Part p, Part next_j, Part next_p) {
            pack_right(B.from(p.begin, j.begin), p.length, j.length);
            next_right = {B.from(next_p.begin, next_j.begin), next_p.length, next_j.length};
            for (ptrdiff_t v = 0; v < j.length; v += wide) {
                panel(left + p.begin * high, depth * high, right + v / wide * (p.length * wide + apart), p.length,
                      C.from(0, j.begin + v), rows, std::min<ptrdiff_t>(wide, j.length - v), add || p.begin > 0);
            }
        });
    }

    // All panels of A with one of B.
    void panel(const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t depth, const Matrix<T>& C, ptrdiff_t rows,
               ptrdiff_t columns, bool add) {
        for (ptrdiff_t i = 0; i < rows; i += high, a += a_step) {
            T* const c = C.at(i, 0);
            const bool whole = rows - i >= high && columns == wide;
            tile(a, b, depth, whole ? c : edge, whole ? C.row : wide, whole && add);
            if (whole) continue;
            for (ptrdiff_t r = 0; r < std::min<ptrdiff_t>(high, rows - i); ++r) {
                one_by_one(columns, [&](ptrdiff_t k) {
                    c[r * C.row + k] = add ? c[r * C.row + k] + edge[r * wide + k] : edge[r * wide + k];
                });
            }
        }
    }

    SOFTMAX_OUTLINE void tile(const T* a, const T* b, ptrdiff_t depth, T* c, ptrdiff_t c_row, bool add) {
        V sum[high][across];
        for (auto& row : sum) {
            for (V& v : row) v = splat<S>(T(0));
        }
        Ahead from_left = next_left, from_right = next_right;  // in registers
        const T* below = c + high * c_row;
        int rows_below = high;
#pragma GCC unroll 1
        for (ptrdiff_t p = 0; p < depth; ++p, a += high, b += wide) {
            V factors[across];
            for (int v = 0; v < across; ++v) factors[v] = load_once<S>(b + v * S::lanes);
            for (int i = 0; i < high; ++i) {
                const V factor = keep<S>(splat<S>(a[i]));
                for (int v = 0; v < across; ++v) sum[i][v] = mul_add(factor, factors[v], sum[i][v]);
            }
            if (p % 8 != 0) continue;
            from_left.one();
            from_right.one();
            if (rows_below-- > 0) {
                prefetch<true>(below, wide, 0);
                below += c_row;
            }
        }
        next_left = from_left;
        next_right = from_right;
        for (int i = 0; i < high; ++i, c += c_row) {
            for (int v = 0; v < across; ++v) {
                T* const to = c + v * S::lanes;
                store(to, V(add ? load<S>(to) + sum[i][v] : sum[i][v]));
            }
        }
    }

    // Panels of `high` rows; what is missing from the last is 0.
    void pack_left(const Matrix<const T>& A, ptrdiff_t rows, ptrdiff_t depth) {
        using Q = Simd<T, 16>;
        constexpr int part = part_length<Q>;
        T* to = left;
        for (ptrdiff_t i = 0; i < rows; i += high, to += high * depth) {
            ptrdiff_t p = 0;
            if (rows - i >= high && A.row == 1) {
                for (; p < depth; ++p) std::copy_n(A.at(i, p), high, to + p * high);
            } else if (rows - i >= high && A.column == 1) {
                for (; p + part <= depth; p += part) {
                    for (int r = 0; r < high; r += part) {
                        typename Q::V v[part];
                        for (int k = 0; k < part; ++k) v[k] = load<Q>(A.at(i + r + k, p));
                        transpose_parts<Q>(v);
                        for (int k = 0; k < part; ++k) store(to + (p + k) * high + r, v[k]);
                    }
                }
            }
            for (; p < depth; ++p) {
                one_by_one(high, [&](ptrdiff_t r) { to[p * high + r] = i + r < rows ? *A.at(i + r, p) : T(0); });
            }
        }
    }

    // Panels of `wide` columns, the same way.
    void pack_right(const Matrix<const T>& B, ptrdiff_t depth, ptrdiff_t columns) {
        const ptrdiff_t step = depth * wide + apart, whole = columns / wide;
        if (B.column == 1) {
            for (ptrdiff_t p = 0; p < depth; ++p) {
                const T* from = B.at(p, 0);
                T* to = right + p * wide;
                for (ptrdiff_t k = 0; k < whole; ++k, from += wide, to += step) {
                    for (int v = 0; v < across; ++v) store(to + v * S::lanes, load<S>(from + v * S::lanes));
                }
            }
        } else {
            for (ptrdiff_t k = 0; k < whole * across; ++k) {
                turn(B.from(0, k * S::lanes), depth, right + k / across * step + k % across * S::lanes);
            }
        }
        if (columns == whole * wide) return;
        T* const to = right + whole * step;
        for (ptrdiff_t p = 0; p < depth; ++p) {
            one_by_one(wide, [&](ptrdiff_t k) {
                to[p * wide + k] = whole * wide + k < columns ? *B.at(p, whole * wide + k) : T(0);
            });
        }
    }

    // As many columns of B as a vector has lanes, to one vector of a panel for each step.
    static void turn(const Matrix<const T>& B, ptrdiff_t depth, T* to) {
        ptrdiff_t p = 0;
        if (B.row == 1) {
            const Lines<S> lines(reinterpret_cast<char*>(const_cast<T*>(B.data)), B.column * ptrdiff_t(sizeof(T)));
            for (; p + part_length<S> <= depth; p += part_length<S>) {
                V v[part_length<S>];
                read_columns<S>(lines, p, v);
                for (int k = 0; k < part_length<S>; ++k) store(to + (p + k) * wide, v[k]);
            }
        }
        for (; p < depth; ++p) {
            one_by_one(S::lanes, [&](ptrdiff_t k) { to[p * wide + k] = *B.at(p, k); });
        }
    }
};

// A product cut up: C into pieces, some for every thread where they are large and one for each where they are not small;
// and the depth into parts, one after the other, of a few hundredths of a second, since Ctrl-C ends a call between pieces.
template <class T>
struct Pieces {
    const Multiplication& m;
    ptrdiff_t high, wide, deep;

    Pieces(const Multiplication& m, ptrdiff_t threads) : m(m), high(m.rows), wide(m.columns) {
        constexpr ptrdiff_t not_small = 1 << 14, large = 1 << 19;  // entries
        while (count() < 8 * threads && high * wide >= (count() < threads ? not_small : large)) {
            if (high > wide) {
                high = equal_part(high, (high + 1) / 2, tile_rows);
            } else {
                wide = equal_part(wide, (wide + 1) / 2, tile_columns<T>);
            }
        }
        const std::int64_t most = (std::int64_t(1) << 29) / (high * wide);  // products in a piece
        deep = std::max<ptrdiff_t>(1, most / panel_depth) * panel_depth;
    }
    ptrdiff_t across() const { return (m.columns + wide - 1) / wide; }
    ptrdiff_t count() const { return (m.rows + high - 1) / high * across(); }
    void work(ptrdiff_t piece, ptrdiff_t p) const {
        const Matrix<const T> A{static_cast<const T*>(m.left), m.left_steps[0], m.left_steps[1]};
        const Matrix<const T> B{static_cast<const T*>(m.right), m.right_steps[0], m.right_steps[1]};
        const Matrix<T> C{static_cast<T*>(m.result), m.result_row, 1};
        const ptrdiff_t i = piece / across() * high, j = piece % across() * wide;
        Multiplier<T> multiplier;
        multiplier.multiply(A.from(i, p), B.from(p, j), C.from(i, j), std::min(high, m.rows - i),
                            std::min(wide, m.columns - j), std::min(deep, m.depth - p), m.add || p > 0);
    }
};

template <class T>
void multiply(const Multiplication& m) {
    if (m.rows == 0 || m.columns == 0) return;
    const int threads = num_threads();
    const Pieces<T> pieces(m, threads);
    const ptrdiff_t bytes =
        m.rows * m.columns * std::max<ptrdiff_t>(1, m.depth / 8);  // of a softmax that takes as long
    struct Context {
        const Pieces<T>& pieces;
        ptrdiff_t p;
    } context = {pieces, 0};
    do {
        parallel_for(
            pieces.count(), threads,
            [](void* data, ptrdiff_t piece) {
                const Context& c = *static_cast<const Context*>(data);
                c.pieces.work(piece, c.p);
            },
            &context, bytes);
        context.p += pieces.deep;
    } while (context.p < m.depth);
    clear_exceptions();
}

}  // namespace

void multiply_float32(const Multiplication& m) { multiply<float>(m); }
void multiply_float64(const Multiplication& m) { multiply<double>(m); }

}  // namespace softmax::SOFTMAX_ISA
