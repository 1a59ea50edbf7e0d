// Tiles of 6 rows by 16 columns stay in registers while the depth runs: 12 of AVX2's 16, 6 of AVX-512's 32.

#include "tile.h"

#include <algorithm>
#include <cstring>

#include "vectorised.h"

namespace {

constexpr int64_t kRows = 6;

using lorahost::kLanes;
using lorahost::In;
using lorahost::Out;

using Lanes = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float))));

// One tile of `rows` rows; element (i, k) of a is a[i * a_row + k * a_step].
template <int64_t rows>
inline __attribute__((always_inline)) void tile(int64_t depth, float factor, const float* a, int64_t a_row,
                                                int64_t a_step, In b, bool add, Out c) {
  Lanes sums[rows] = {};
  for (int64_t k = 0; k < depth; ++k) {
    const Lanes of_b = *reinterpret_cast<const Lanes*>(b.row(k));
    for (int64_t i = 0; i < rows; ++i) sums[i] += a[i * a_row + k * a_step] * of_b;
  }
  for (int64_t i = 0; i < rows; ++i) {
    auto* to = reinterpret_cast<Lanes*>(c.row(i));
    *to = add ? *to + sums[i] * factor : sums[i] * factor;
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

LORAHOST_VECTORISED
void tiles(int64_t m, int64_t n, int64_t depth, float factor, const float* a, int64_t a_row, int64_t a_step, In b,
           bool add, Out c) {
  int64_t column = 0;
  for (; column + kLanes <= n; column += kLanes) {
    const In of_b = b.at(0, column);
    int64_t i = 0;
    for (; i + kRows <= m; i += kRows)
      tile<kRows>(depth, factor, a + i * a_row, a_row, a_step, of_b, add, c.at(i, column));
    const float* from = a + i * a_row;
    const Out to = c.at(i, column);
    switch (m - i) {
      case 5: tile<5>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      case 4: tile<4>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      case 3: tile<3>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      case 2: tile<2>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      case 1: tile<1>(depth, factor, from, a_row, a_step, of_b, add, to); break;
      default: break;
    }
  }
  if (column < n) rest(m, n - column, depth, factor, a, a_row, a_step, b.at(0, column), add, c.at(0, column));
}

}  // namespace

namespace lorahost {

void multiply(bool transposed, int64_t m, int64_t n, int64_t depth, float factor, In a, In b, bool add, Out c) {
  tiles(m, n, depth, factor, a.data, transposed ? 1 : a.stride, transposed ? a.stride : 1, b, add, c);
}

void transpose(int64_t m, int64_t n, In from, Out to) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) to.row(j)[i] = from.row(i)[j];
    std::fill(to.row(j) + m, to.row(j) + padded(m), 0.0f);
  }
}

}  // namespace lorahost
