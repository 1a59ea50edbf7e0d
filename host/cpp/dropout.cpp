// Dropout as a node of autograd, and the bits of its masks.
//
// Elements are dealt in blocks. A block's bits come from eight xoshiro256+ generators seeded by splitmix64 from the key
// and the block's number, 16 bits an element; an element is dropped where its bits lie below p * 65536. The generators'
// arithmetic is 64-bit integers only, so vector width changes the speed and not the mask.

#include "dropout.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "lorahost.h"
#include "vectorised.h"

namespace {

constexpr int64_t kGenerators = 8;
constexpr int64_t kBlock = 4096;

uint64_t splitmix64(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

// The 16 bits of each of the first `words * 4` elements of one block; `words` is a multiple of the lanes.
LORAHOST_VECTORISED
void fill_bits(uint64_t key, uint64_t block, int64_t words, uint64_t* bits) {
  uint64_t seed = key;
  seed = splitmix64(seed) ^ block;
  uint64_t s0[kGenerators], s1[kGenerators], s2[kGenerators], s3[kGenerators];
  for (int64_t lane = 0; lane < kGenerators; ++lane) {
    s0[lane] = splitmix64(seed);
    s1[lane] = splitmix64(seed);
    s2[lane] = splitmix64(seed);
    s3[lane] = splitmix64(seed);
  }
  for (int64_t word = 0; word < words; word += kGenerators) {
    for (int64_t lane = 0; lane < kGenerators; ++lane) {
      bits[word + lane] = s0[lane] + s3[lane];
      const uint64_t shifted = s1[lane] << 17;
      s2[lane] ^= s0[lane];
      s3[lane] ^= s1[lane];
      s1[lane] ^= s2[lane];
      s0[lane] ^= s3[lane];
      s2[lane] ^= shifted;
      s3[lane] = (s3[lane] << 45) | (s3[lane] >> 19);
    }
  }
}

LORAHOST_VECTORISED
void mask_block(const uint16_t* bits, uint32_t threshold, int64_t count, uint8_t* keep) {
  for (int64_t i = 0; i < count; ++i) keep[i] = bits[i] >= threshold;
}

LORAHOST_VECTORISED
void scale_block(const uint16_t* bits, uint32_t threshold, float scale, int64_t count, const float* in, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = bits[i] >= threshold ? in[i] * scale : 0.0f;
}

// Calls use(bits, offset, length) for the elements `start + offset` on, block by block.
template <typename Use>
void each_block(uint64_t key, int64_t start, int64_t count, Use use) {
  std::array<uint64_t, kBlock / 4> words;
  std::array<uint16_t, kBlock> bits;
  for (int64_t at = start; at < start + count;) {
    const int64_t block = at / kBlock, first = at % kBlock;
    const int64_t length = std::min(kBlock - first, start + count - at);
    const int64_t needed = (first + length + 4 * kGenerators - 1) / (4 * kGenerators) * kGenerators;
    fill_bits(key, static_cast<uint64_t>(block), needed, words.data());
    std::memcpy(bits.data(), words.data(), needed * sizeof(uint64_t));
    use(bits.data() + first, at - start, length);
    at += length;
  }
}

// x times its mask, of the rows with these numbers or of all. One pass for float32 on the CPU; elsewhere the mask is drawn
// on the CPU and sent over.
at::Tensor masked(const at::Tensor& x, const lorahost::Mask& mask, const std::vector<int64_t>& numbers) {
  const int64_t count = x.numel();
  // Calls use(number, place, length) for elements whose numbers in the mask begin there, and that lie there.
  const auto in_parallel = [&](auto use) {
    const int64_t rows = static_cast<int64_t>(numbers.size());
    if (rows > 0) {
      const int64_t width = count / rows;
      for (int64_t row = 0; row < rows; ++row) use(numbers[row] * width, row * width, width);
      return;
    }
    // Threads get whole blocks.
    at::parallel_for(0, (count + kBlock - 1) / kBlock, 8, [&](int64_t begin, int64_t end) {
      const int64_t start = begin * kBlock;
      use(start, start, std::min(end * kBlock, count) - start);
    });
  };
  if (x.is_cpu() && x.scalar_type() == at::kFloat) {
    const at::Tensor in = x.contiguous();
    at::Tensor out = at::empty_like(in);
    const float* from = in.const_data_ptr<float>();
    float* to = out.mutable_data_ptr<float>();
    in_parallel([&](int64_t number, int64_t place, int64_t length) {
      mask.apply(number, length, from + place, to + place);
    });
    return out;
  }
  at::Tensor keep = at::empty(x.sizes(), at::TensorOptions().dtype(at::kByte));
  uint8_t* to = keep.mutable_data_ptr<uint8_t>();
  in_parallel([&](int64_t number, int64_t place, int64_t length) { mask.keep(number, length, to + place); });
  return x.mul(keep.to(x.device(), x.scalar_type())).mul_(mask.scale());
}

struct Dropout : torch::autograd::Function<Dropout> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, double p, int64_t key,
                            const std::vector<int64_t>& numbers) {
    context->saved_data["p"] = p;
    context->saved_data["key"] = key;
    context->saved_data["numbers"] = numbers;
    return masked(x, {p, static_cast<uint64_t>(key)}, numbers);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const lorahost::Mask mask(context->saved_data["p"].toDouble(),
                              static_cast<uint64_t>(context->saved_data["key"].toInt()));
    return {masked(gradients[0], mask, context->saved_data["numbers"].toIntVector()), {}, {}, {}};
  }
};

}  // namespace

namespace lorahost {

Mask::Mask(double p, uint64_t key) : threshold_(0), key_(key) {
  const int64_t threshold = std::lround(p * 65536.0);
  TORCH_CHECK(threshold >= 0 && threshold < 65536, "dropout probability ", p, " is outside 0 <= p < 1");
  threshold_ = static_cast<uint32_t>(threshold);
}

void Mask::apply(int64_t start, int64_t count, const float* in, float* out) const {
  const auto factor = static_cast<float>(scale());
  each_block(key_, start, count, [&](const uint16_t* bits, int64_t offset, int64_t length) {
    scale_block(bits, threshold_, factor, length, in + offset, out + offset);
  });
}

void Mask::apply_rows(const std::vector<int64_t>& numbers, int64_t first, int64_t count, int64_t width, const float* in,
                      float* out) const {
  if (numbers.empty()) return apply(first * width, count * width, in, out);
  for (int64_t row = 0; row < count; ++row)
    apply(numbers[first + row] * width, width, in + row * width, out + row * width);
}

void Mask::draw(int64_t start, int64_t count, uint16_t* bits) const {
  each_block(key_, start, count, [&](const uint16_t* of_block, int64_t offset, int64_t length) {
    std::memcpy(bits + offset, of_block, length * sizeof(uint16_t));
  });
}

void Mask::apply(const uint16_t* bits, int64_t count, const float* in, float* out) const {
  scale_block(bits, threshold_, static_cast<float>(scale()), count, in, out);
}

void Mask::keep(int64_t start, int64_t count, uint8_t* keep) const {
  each_block(key_, start, count, [&](const uint16_t* bits, int64_t offset, int64_t length) {
    mask_block(bits, threshold_, length, keep + offset);
  });
}

}  // namespace lorahost

// Writes a new tensor to *out and returns null, or returns a message that the caller frees.
extern "C" char* lh_dropout(const at::Tensor* x, const lorahost::RawMask* mask, at::Tensor** out) {
  return lorahost::guarded([&] {
    TORCH_CHECK(mask->count == 0 || (x->dim() > 0 && x->size(0) == static_cast<int64_t>(mask->count)), "numbers of ",
                mask->count, " rows for ", x->sizes());
    const bool drops = lorahost::Mask(mask->p, mask->key).drops();
    *out = new at::Tensor(drops ? Dropout::apply(*x, mask->p, static_cast<int64_t>(mask->key), mask->numbers()) : *x);
  });
}
