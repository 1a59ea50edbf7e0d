// Products of small matrices, where a BLAS spends as long on preparing as on multiplying.
#pragma once

#include <cstdint>

namespace lorahost {

// Numbers that are dealt with at a time; rows of scratch are padded to a multiple of it.
constexpr int64_t kLanes = 16;

constexpr int64_t padded(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// A matrix whose rows lie `stride` numbers apart.
template <typename T>
struct Rows {
  T* data;
  int64_t stride;

  T* row(int64_t i) const { return data + i * stride; }
  Rows at(int64_t row, int64_t column) const { return {data + row * stride + column, stride}; }
  operator Rows<const T>() const { return {data, stride}; }
};

using In = Rows<const float>;
using Out = Rows<float>;

// c = factor a b, or c + factor a b where `add`: `[m, n]` from `[m, depth]` and `[depth, n]`; with `transposed`, `a` is
// `[depth, m]`. Sums run over depth in order, so that they are the same for every number of threads.
void multiply(bool transposed, int64_t m, int64_t n, int64_t depth, float factor, In a, In b, bool add, Out c);

// to = from', `[n, m]` from `[m, n]`, with zeros to the end of each padded row.
void transpose(int64_t m, int64_t n, In from, Out to);

}  // namespace lorahost
