// softmax of rows of 16-bit numbers. They are computed in float32, but no further than rounding to 16 bits lets be seen: an
// exponential is 2^(n-k) 2^f with one polynomial of degree 4, to 2^-18, and sums are plain ones. Error <= 0.51 ulp.
//
// The maximum is not asked for first. A row is the same element of the monoid whatever its sum is relative to: m may be
// any entry, as long as no exponential leaves the range. Each is then another power of two apart, the sum as well, and the
// bits of a result do not tell which m it was. Here m is of the first vector; where that does not do, the maximum.
//
//     n = round(x log2(e) / T)     f = x log2(e) / T - n     k = round(m log2(e) / T)
//
// log2(e) / T is rounded to float: that scales a row as a whole and, for what shows in a result, 2^-18 between entries.
#pragma once

#include "packed.hpp"

namespace softmax::SOFTMAX_ISA::halves {

using S = Simd<float>;
using V = S::V;
using I = S::I;

// Not where the steps above are many more.
template <class T>
constexpr bool taken = leaves_time && std::is_same_v<T, float>;

// The exponent's field of e^(m/T): below are all octaves that show in a bfloat16; above, room for sums of what is up to e^68
// times as large. The inverse of a sum is to be a normal number.
constexpr float field = 135, highest_field = 254;
constexpr double largest_sum = 0x1p125;
constexpr float largest_reference = 0x1p18f;  // of |m / T|: k is exact up to 2^22, and the bounds of x to 2^-24 of it

// 2^f for |f| <= 1/2, minimax. That it is not 1 at 0 cancels.
constexpr float power_of_two[] = {0x1.ffffe8p-1f, 0x1.62e0dcp-1f, 0x1.ec06dap-3f, 0x1.ca144p-5f, 0x1.3997d6p-7f};

template <Storage stored>
constexpr Bits16 minus_infinity = stored == Storage::float16 ? 0xfc00 : 0xff80;

// `Count` vectors of a row's entries; where only `count` are left, the others are -inf.
template <Storage stored, std::size_t Count>
SOFTMAX_INLINE void read(const void* entries, ptrdiff_t i, int count, V (&v)[Count]) {
    if constexpr (stored == Storage::own) {
        load_all<S>(v, static_cast<const float*>(entries) + i, count, -INFINITY);
    } else {
        const Bits16* const from = static_cast<const Bits16*>(entries) + i;
        prefetch(from, int(Count) * S::lanes, far_ahead);
        if (count == S::lanes) return widened<stored>(from, v);
        v[0] = widened_first(from, count, stored, minus_infinity<stored>);
    }
}

class Exponentials {
    V log2e_t, magic, floor, ceiling;

public:
    Exponentials() = default;
    Exponentials(float m, const Temperature<float>& t) {
        const float rounder = Float<float>::magic;
        const float octaves = std::fma(m, t.log2e_t, rounder) - rounder;
        log2e_t = splat<S>(t.log2e_t);
        magic = splat<S>(rounder + (field - octaves));
        floor = splat<S>((octaves - field) * t.ln2t_high);  // where the field is 0, and the power with it
        ceiling = splat<S>((octaves + (highest_field - field)) * t.ln2t_high);
    }
    // In place of the entries x.
    template <std::size_t Count>
    SOFTMAX_INLINE void take(V (&x)[Count]) const {
#define SOFTMAX_EACH for (std::size_t a = 0; a < Count; ++a)
        V rounded[Count], f[Count], e[Count];
        SOFTMAX_EACH x[a] = min(ceiling, max(floor, x[a]));  // NaN stays NaN
        SOFTMAX_EACH rounded[a] = fma(x[a], log2e_t, magic);
        SOFTMAX_EACH f[a] = fma(x[a], log2e_t, V(magic - rounded[a]));
        SOFTMAX_EACH e[a] = fma(f[a], splat<S>(power_of_two[4]), splat<S>(power_of_two[3]));
        for (int i = 2; i >= 0; --i) SOFTMAX_EACH e[a] = fma(f[a], e[a], splat<S>(power_of_two[i]));
        SOFTMAX_EACH x[a] = e[a] * bit_cast<V>(I(bit_cast<I>(rounded[a]) << Float<float>::fraction_bits));
#undef SOFTMAX_EACH
    }
    // Of n entries, to whole vectors from e on; their sum.
    template <Storage stored>
    SOFTMAX_OUTLINE double take(const void* entries, ptrdiff_t n, float* e) const {
        const Exponentials self = *this;  // out of reach of what is stored
        V sums[interleaved<S>] = {};
        for_vectors<S>(n, [&](auto width, ptrdiff_t i, auto count) SOFTMAX_INLINED {
            V v[width()];
            read<stored>(entries, i, count, v);
            self.take(v);
            for (int a = 0; a < width(); ++a) {
                store(e + i + a * S::lanes, v[a]);
                sums[a] = sums[a] + v[a];
            }
        });
        for (int half = interleaved<S> / 2; half > 0; half /= 2) {
            for (int a = 0; a < half; ++a) sums[a] = sums[a] + sums[a + half];
        }
        return fold(as_doubles<S>(sums[0]), [](const auto& a, const auto& b) { return a + b; });
    }
};

// n exponentials times `factor`, to numbers of 16 bits.
template <Storage stored>
SOFTMAX_OUTLINE void scale(const float* e, ptrdiff_t n, float factor, Bits16* out) {
    const V by = splat<S>(factor);
    for_vectors<S>(n, [&](auto width, ptrdiff_t i, auto count) SOFTMAX_INLINED {
        V v[width()];
        for (int a = 0; a < width(); ++a) v[a] = load<S>(e + i + a * S::lanes) * by;
        prefetch<true>(out + i, width() * S::lanes, far_ahead);
        count == S::lanes ? narrow<stored, false>(v, out + i) : narrow_first<false>(v[0], count, out + i, stored);
    });
}

// As for_blocks, without its calls where there is one.
template <class Body>
void for_each_block(ptrdiff_t n, int threads, const Body& body) {
    n <= block_length ? body(0, n, 0) : for_blocks(n, threads, body);
}

// One row: `begin`, which is false where it is not an ordinary one, and `end`. Exponentials are kept from the one to the
// other, in whole vectors, or with nullptr as `kept` taken twice.
class SoftmaxRow {
    Exponentials exponentials;
    float factor;

public:
    bool begin(const Row<float>& x, double temperature, float* kept, int threads) {
        if (!Temperatures<float>::ordinary(temperature)) return false;
        const Temperature<float> t = temperature_constants<float>(temperature);
        return relative_to(one_of_the_first(x), x, t, kept, threads) ||
               relative_to(maximum_of_row<S>(x, threads), x, t, kept, threads);
    }
    void end(const Row<float>& x, const OutRow<float>& out, const float* kept, int threads) const {
        for_each_block(x.n, threads, [&](ptrdiff_t first, ptrdiff_t n, ptrdiff_t) {
            float buffer[block_length];
            if (kept == nullptr) take(x, first, n, buffer);
            const float* const e = kept == nullptr ? buffer : kept + first;
            Bits16 packed[block_length];
            char* const place = out.data + first * out.stride;
            Bits16* const to = out.halves() ? reinterpret_cast<Bits16*>(place) : packed;
            (out.storage == Storage::float16 ? scale<Storage::float16> : scale<Storage::bfloat16>)(e, n, factor, to);
            if (to == packed) copy_apart<Bits16>(reinterpret_cast<const char*>(packed), 2, n, place, out.stride);
        });
    }

private:
    bool relative_to(float m, const Row<float>& x, const Temperature<float>& t, float* kept, int threads) {
        if (!(std::fabs(m * t.inverse_high) <= largest_reference)) return false;
        ::new (&exponentials) Exponentials(m, t);
        PerBlock<double> sums(x.n);
        for_each_block(x.n, threads, [&](ptrdiff_t first, ptrdiff_t n, ptrdiff_t block) {
            float buffer[block_length];
            sums[block] = take(x, first, n, kept == nullptr ? buffer : kept + first);
        });
        double total = 0;
        for (ptrdiff_t block = 0; block < sums.blocks; ++block) total += sums[block];
        factor = float(1 / total);
        return total <= largest_sum;
    }
    double take(const Row<float>& x, ptrdiff_t first, ptrdiff_t n, float* e) const {
        if (!x.halves()) return exponentials.take<Storage::own>(x.block(first, n, e), n, e);
        const Bits16* const entries = reinterpret_cast<const Bits16*>(x.data) + first;
        return x.storage == Storage::float16 ? exponentials.take<Storage::float16>(entries, n, e)
                                             : exponentials.take<Storage::bfloat16>(entries, n, e);
    }
    // The greatest of the first vector that is not of -inf only.
    static float one_of_the_first(const Row<float>& x) {
        float greatest = -INFINITY;
        for (ptrdiff_t i = 0; i < x.n && greatest == -INFINITY; i += S::lanes) {
            const int count = int(std::min<ptrdiff_t>(S::lanes, x.n - i));
            float buffer[S::lanes];
            V v = splat<S>(-INFINITY);
            v = max(x.halves() ? first_of(x, i, count) : load_first<S>(x.block(i, count, buffer), count, -INFINITY), v);
            greatest = fold(v, [](const auto& a, const auto& b) { return max(a, b); });
        }
        return greatest;
    }
    static V first_of(const Row<float>& x, ptrdiff_t i, int count) {
        const Bits16 filler =
            x.storage == Storage::float16 ? minus_infinity<Storage::float16> : minus_infinity<Storage::bfloat16>;
        return widened_first(reinterpret_cast<const Bits16*>(x.data) + i, count, x.storage, filler);
    }
};

// Rows that one thread takes: the exponentials of one, then those of the next, while the first waits for its sum. The
// buffer has room for those of a row, or of two up to `block_length`.
inline void softmax_rows(const Batch<float>& x, const Batch<char>* mask, const Batch<float>& out, ptrdiff_t rows,
                         ptrdiff_t n, const Batch<double>& temperature, float* buffer, ptrdiff_t length) {
    const ptrdiff_t behind = n <= block_length ? 1 : 0;
    const auto kept = [&](ptrdiff_t i) { return n <= length ? buffer + i % 2 * behind * block_length : nullptr; };
    SoftmaxRow two[2];
    bool ordinary[2] = {false, false};
    for (ptrdiff_t i = 0; i < rows + behind; ++i) {
        if (i < rows) {
            const Row<float> row = row_of(x, mask, i, n);
            const double t = temperature.value(i);
            ordinary[i % 2] = two[i % 2].begin(row, t, kept(i), 1);
            if (!ordinary[i % 2]) softmax_row<S>(row, t, out_of(out, i), 1);
        }
        const ptrdiff_t ending = i - behind;
        if (ending >= 0 && ordinary[ending % 2]) {
            two[ending % 2].end(row_of(x, mask, ending, n), out_of(out, ending), kept(ending), 1);
        }
    }
}

// Rows that lie across memory, side by side, as many as a cache line has entries: turned into a buffer, and back.
constexpr ptrdiff_t together = cache_line<Bits16>, longest_turned = block_length;

inline bool across(const Batch<float>& batch) { return batch.outer == 2 && batch.inner != 2; }

inline void softmax_turned(const Batch<float>& x, const Batch<float>& out, ptrdiff_t rows, ptrdiff_t n,
                           const Batch<double>& temperature) {
    constexpr ptrdiff_t ahead = 16;
    alignas(64) Bits16 buffer[together * turned_stride<Bits16>(longest_turned)];
    const ptrdiff_t stride = turned_stride<Bits16>(n);
    const auto line = [&](const Batch<float>& of, ptrdiff_t j) {
        return reinterpret_cast<Bits16*>(of.data + j * of.inner);
    };
    for (ptrdiff_t j = 0; j < n; ++j) {
        const Bits16* const from = line(x, j);
        prefetch(line(x, std::min(j + ahead, n - 1)), together, 0);
        for (ptrdiff_t i = 0; i < rows; ++i) buffer[i * stride + j] = from[i];
    }
    const Batch<float> turned = {reinterpret_cast<char*>(buffer), 2 * stride, 2, x.storage};
    const bool back = across(out);
    alignas(64) float kept[2 * block_length];
    softmax_rows(turned, nullptr, back ? turned : out, rows, n, temperature, kept, 2 * block_length);
    for (ptrdiff_t j = 0; back && j < n; ++j) {
        Bits16* const to = line(out, j);
        prefetch<true>(line(out, std::min(j + ahead, n - 1)), together, 0);
        for (ptrdiff_t i = 0; i < rows; ++i) to[i] = buffer[i * stride + j];
    }
}

}  // namespace softmax::SOFTMAX_ISA::halves

namespace softmax::SOFTMAX_ISA {

// softmax of a row, whatever it is of.
template <class S, class T>
void softmax_of(const Row<T>& x, double temperature, const OutRow<T>& out, int threads) {
    if constexpr (halves::taken<T>) {
        halves::SoftmaxRow row;
        if (of_16_bits(x.storage) && row.begin(x, temperature, nullptr, threads)) {
            return row.end(x, out, nullptr, threads);
        }
    }
    softmax_row<S>(x, temperature, out, threads);
}

// softmax of a batch of rows of 16-bit numbers; false where they are none, or not taken this way.
template <class T>
bool softmax_of_halves(const Batch<T>& x, const Batch<char>* mask, const Batch<T>& out, ptrdiff_t rows, ptrdiff_t n,
                       const Batch<double>& temperature) {
    using namespace halves;
    if constexpr (taken<T>) {
        if (!of_16_bits(x.storage)) return false;
        if (shared_rows(rows, n)) {
            for (ptrdiff_t i = 0; i < rows; ++i) {
                softmax_of<S>(row_of(x, mask, i, n), temperature.value(i), out_of(out, i), num_threads());
            }
        } else if (rows > 1 && halves::across(x) && mask == nullptr && n <= longest_turned) {
            for_row_pieces((rows + together - 1) / together, n * together, 1, [&](ptrdiff_t tile, ptrdiff_t) {
                const ptrdiff_t first = tile * together;
                softmax_turned(rows_from(x, first), rows_from(out, first), std::min(together, rows - first), n,
                               rows_from(temperature, first));
            });
        } else {
            for_row_pieces(rows, n, rows_of_piece(n), [&](ptrdiff_t first, ptrdiff_t count) {
                const Batch<char> kept = mask == nullptr ? Batch<char>{} : rows_from(*mask, first);
                constexpr ptrdiff_t longest_kept = 1 << 17;
                alignas(64) float buffer[longest_kept];
                softmax_rows(rows_from(x, first), mask == nullptr ? nullptr : &kept, rows_from(out, first), count, n,
                             rows_from(temperature, first), buffer, longest_kept);
            });
        }
        return true;
    }
    return false;
}

}  // namespace softmax::SOFTMAX_ISA
