// Tiles of rows by 16 columns stay in registers while the depth runs: 6 rows in 12 of AVX2's 16 registers, 12 rows in 12
// of AVX-512's 32. The sums are the same: each is one number's, over the depth in order.

#include "tile.h"

#include <algorithm>
#include <cstdint>

#include "vectorised.h"

namespace {

constexpr int64_t kEight = 8;

using lorahost::kLanes;
using lorahost::In;
using lorahost::Out;

// What one register of AVX2 holds, and what one of AVX-512. GCC keeps an array of wider vectors in memory where the machine
// has no such registers, which makes the products ten times slower.
using Eight = float __attribute__((vector_size(kEight * sizeof(float)), aligned(sizeof(float))));
using Sixteen = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float))));
static_assert(kLanes == 2 * kEight);

// The numbers of x and then y, in this order.
#if defined(__clang__)
#define LORAHOST_SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
using Order = int32_t __attribute__((vector_size(kEight * sizeof(int32_t))));
#define LORAHOST_SHUFFLE(x, y, ...) __builtin_shuffle(x, y, Order{__VA_ARGS__})
#endif

inline const Eight* eights(In of) { return reinterpret_cast<const Eight*>(of.data); }
inline Eight* eights(Out of) { return reinterpret_cast<Eight*>(of.data); }

// One tile of `rows` rows, in registers of type V; element (i, k) of a is a[i * a_row + k * a_step].
template <typename V, int64_t rows>
inline __attribute__((always_inline)) void tile(int64_t depth, float factor, const float* a, int64_t a_row,
                                                int64_t a_step, In b, bool add, Out c) {
  constexpr int64_t kParts = kLanes * sizeof(float) / sizeof(V);
  V sums[rows][kParts] = {};
  for (int64_t k = 0; k < depth; ++k) {
    const V* of_b = reinterpret_cast<const V*>(b.row(k));
#pragma GCC unroll 12
    for (int64_t i = 0; i < rows; ++i) {
      const float of_a = a[i * a_row + k * a_step];
#pragma GCC unroll 2
      for (int64_t part = 0; part < kParts; ++part) sums[i][part] += of_a * of_b[part];
    }
  }
#pragma GCC unroll 12
  for (int64_t i = 0; i < rows; ++i) {
    V* to = reinterpret_cast<V*>(c.row(i));
#pragma GCC unroll 2
    for (int64_t part = 0; part < kParts; ++part)
      to[part] = add ? to[part] + sums[i][part] * factor : sums[i][part] * factor;
  }
}

// What is left of the columns, for widths that are no multiple of the lanes.
inline __attribute__((always_inline)) void rest(int64_t m, int64_t n, int64_t depth, float factor, const float* a,
                                                int64_t a_row, int64_t a_step, In b, bool add, Out c) {
  for (int64_t i = 0; i < m; ++i) {
    float sums[kLanes] = {};
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t j = 0; j < n; ++j) sums[j] += a[i * a_row + k * a_step] * b.row(k)[j];
    for (int64_t j = 0; j < n; ++j) c.row(i)[j] = (add ? c.row(i)[j] : 0.0f) + sums[j] * factor;
  }
}

// All of it, in tiles of `rows` rows and what is left of them.
template <typename V, int64_t rows>
inline __attribute__((always_inline)) void tiles(int64_t m, int64_t n, int64_t depth, float factor, const float* a,
                                                 int64_t a_row, int64_t a_step, In b, bool add, Out c) {
  int64_t column = 0;
  for (; column + kLanes <= n; column += kLanes) {
    const In of_b = b.at(0, column);
    int64_t i = 0;
    for (; i + rows <= m; i += rows)
      tile<V, rows>(depth, factor, a + i * a_row, a_row, a_step, of_b, add, c.at(i, column));
    if (rows > 6 && m - i >= 6) {
      tile<V, 6>(depth, factor, a + i * a_row, a_row, a_step, of_b, add, c.at(i, column));
      i += 6;
    }
    const float* from = a + i * a_row;
    const Out to = c.at(i, column);
    switch (m - i) {
      case 5: tile<V, 5>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      case 4: tile<V, 4>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      case 3: tile<V, 3>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      case 2: tile<V, 2>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      case 1: tile<V, 1>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      default: break;
    }
  }
  if (column < n) rest(m, n - column, depth, factor, a, a_row, a_step, b.at(0, column), add, c.at(0, column));
}

LORAHOST_VECTORISED
void narrow_tiles(int64_t m, int64_t n, int64_t depth, float factor, const float* a, int64_t a_row, int64_t a_step, In b,
                  bool add, Out c) {
  tiles<Eight, 6>(m, n, depth, factor, a, a_row, a_step, b, add, c);
}

#ifdef LORAHOST_AVX512
LORAHOST_AVX512
void wide_tiles(int64_t m, int64_t n, int64_t depth, float factor, const float* a, int64_t a_row, int64_t a_step, In b,
                bool add, Out c) {
  tiles<Sixteen, 12>(m, n, depth, factor, a, a_row, a_step, b, add, c);
}

const auto chosen_tiles = __builtin_cpu_supports("x86-64-v4") ? wide_tiles : narrow_tiles;
#else
const auto chosen_tiles = narrow_tiles;
#endif

// to = from' of an 8 x 8 block of which the first `count` rows are there; the others count as zeros. Pairs of rows, then of
// pairs, then of fours exchange their halves.
inline __attribute__((always_inline)) void turn(int64_t count, In from, Out to) {
  Eight x[kEight], y[kEight];
#pragma GCC unroll 8
  for (int64_t i = 0; i < kEight; ++i) x[i] = i < count ? *eights(from.at(i, 0)) : Eight{};
#pragma GCC unroll 8
  for (int64_t i = 0; i < kEight; i += 2) {
    y[i] = LORAHOST_SHUFFLE(x[i], x[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    y[i + 1] = LORAHOST_SHUFFLE(x[i], x[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
#pragma GCC unroll 8
  for (int64_t i = 0; i < kEight; ++i) {
    if (i % 4 >= 2) continue;
    x[i] = LORAHOST_SHUFFLE(y[i], y[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    x[i + 2] = LORAHOST_SHUFFLE(y[i], y[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 4
  for (int64_t i = 0; i < kEight / 2; ++i) {
    *eights(to.at(i, 0)) = LORAHOST_SHUFFLE(x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    *eights(to.at(i + 4, 0)) = LORAHOST_SHUFFLE(x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

LORAHOST_VECTORISED
void turns(int64_t m, int64_t n, In from, Out to) {
  const int64_t whole = n / kEight * kEight;
  for (int64_t i = 0; i < lorahost::padded(m); i += kEight)
    for (int64_t j = 0; j < whole; j += kEight)
      turn(std::clamp<int64_t>(m - i, 0, kEight), from.at(i, j), to.at(j, i));
  for (int64_t j = whole; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) to.row(j)[i] = from.row(i)[j];
    std::fill(to.row(j) + m, to.row(j) + lorahost::padded(m), 0.0f);
  }
}

}  // namespace

namespace lorahost {

void multiply(bool transposed, int64_t m, int64_t n, int64_t depth, float factor, In a, In b, bool add, Out c) {
  chosen_tiles(m, n, depth, factor, a.data, transposed ? 1 : a.stride, transposed ? a.stride : 1, b, add, c);
}

void transpose(int64_t m, int64_t n, In from, Out to) { turns(m, n, from, to); }

}  // namespace lorahost
