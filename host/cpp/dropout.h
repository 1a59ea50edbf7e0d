// Masks of dropout that are a function of a key alone: the same on every device and for every number of threads, and
// drawn again in the backward pass instead of being kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lorahost {

// A mask as Rust passes it. `rows` are the numbers that `count` rows have among all rows; there are none where all lie at
// hand.
struct RawMask {
  double p;
  uint64_t key;
  const int64_t* rows;
  size_t count;

  std::vector<int64_t> numbers() const { return {rows, rows + count}; }
};

// Which elements stay of a tensor whose elements are counted from 0 in memory order.
class Mask {
 public:
  // Drops with probability `p`, rounded to a multiple of 1/65536, in [0, 1).
  Mask(double p, uint64_t key);

  bool drops() const { return threshold_ > 0; }

  // out = in / (1 - p) where an element stays and 0 where not, for the elements from `start` on. `in` may be `out`.
  void apply(int64_t start, int64_t count, const float* in, float* out) const;

  // The same for `count` whole rows of `width` elements, from row `first` of those at hand on, where `in` and `out` begin;
  // `numbers` are the numbers of the rows at hand among all rows, empty where all lie at hand.
  void apply_rows(const std::vector<int64_t>& numbers, int64_t first, int64_t count, int64_t width, const float* in,
                  float* out) const;

  // The first in two halves, for elements that do not lie side by side: the bits of those from `start` on, and their use.
  void draw(int64_t start, int64_t count, uint16_t* bits) const;
  void apply(const uint16_t* bits, int64_t count, const float* in, float* out) const;

  // keep = 1 where an element stays, 0 where not.
  void keep(int64_t start, int64_t count, uint8_t* keep) const;

  double scale() const { return 65536.0 / (65536.0 - threshold_); }

 private:
  uint32_t threshold_;
  uint64_t key_;
};

}  // namespace lorahost
