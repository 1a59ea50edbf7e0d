// Attention of every token to the tokens of its own sequence, over sequences that lie one after another, as one node of
// autograd. Nothing of size length x length is kept: the backward pass makes the probabilities again from the queries,
// the keys and the logarithm of each row's sum (as FlashAttention, arXiv 2205.14135).
//
// Queries are `[total, heads * width]`, keys and values `[total, kv_heads * width]`; `heads / kv_heads` heads in a row
// share their keys and values (arXiv 2305.13245). The three come as three tensors or as one, side by side. Or queries are
// those of each sequence's first token alone, `[sequences, heads * width]`: where nothing else of the last layer is looked at.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "dropout.h"
#include "lorahost.h"
#include "tile.h"
#include "vectorised.h"

using lorahost::In;
using lorahost::kLanes;
using lorahost::Mask;
using lorahost::multiply;
using lorahost::Out;
using lorahost::padded;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Queries that are dealt with at a time: what bounds a thread's scratch for long sequences.
constexpr int64_t kQueries = 128;

// e^x for x <= 0 to 2 units in the last place; 0 for all below -87, which would add nothing to a sum of at least 1 and whose
// products would be subnormal numbers, which cost Intel's processors a hundred cycles each.
inline float exp_below(float x) {
  constexpr float kLog2E = 1.44269504f, kHigh = 0.693359375f, kLow = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the low bits.
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * kLog2E + kRound;
  const float whole = shifted - kRound;
  const float rest = clamped - whole * kHigh - whole * kLow;
  float p = 1.9875691500e-4f;
  p = p * rest + 1.3981999507e-3f;
  p = p * rest + 8.3334519073e-3f;
  p = p * rest + 4.1665795894e-2f;
  p = p * rest + 1.6666665459e-1f;
  p = p * rest + 5.0000001201e-1f;
  p = p * rest * rest + rest + 1.0f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  const int32_t power = (bits - 0x4b400000 + 127) << 23;
  float scale;
  std::memcpy(&scale, &power, sizeof scale);
  return x < -87.0f ? 0.0f : p * scale;
}

// Rows are padded to whole lanes: `count` is a multiple of kLanes, and the order of additions is always the same.
LORAHOST_VECTORISED
float largest(const float* x, int64_t count) {
  float lanes[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) lanes[l] = x[l];
  for (int64_t i = kLanes; i < count; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  return *std::max_element(lanes, lanes + kLanes);
}

float total(const float* lanes) {
  float sum = 0;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

// x = e^(x - shift); returns the sum.
LORAHOST_VECTORISED
float exponentials(float* x, int64_t count, float shift) {
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < count; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      x[i + l] = exp_below(x[i + l] - shift);
      lanes[l] += x[i + l];
    }
  return total(lanes);
}

// d = p (d - sum of p d): through the softmax.
LORAHOST_VECTORISED
void through_softmax(const float* p, float* d, int64_t count) {
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < count; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += p[i + l] * d[i + l];
  const float mean = total(lanes);
  for (int64_t i = 0; i < count; ++i) d[i] = p[i] * (d[i] - mean);
}

// x = x / divisor.
LORAHOST_VECTORISED
void divide(float* x, int64_t count, float divisor) {
  const float factor = 1.0f / divisor;
  for (int64_t i = 0; i < count; ++i) x[i] *= factor;
}

struct Shape {
  int64_t heads, kv_heads, width;
  bool causal, first;
  double p;

  float scale() const { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(width))); }
};

// Queries `first .. first + count` of one head of one sequence, and the keys that they may see.
struct Block {
  int64_t head, kv_head, first, count, keys, stride;

  // Keys that query `i` of the block sees.
  int64_t seen(const Shape& shape, int64_t i) const { return shape.causal ? first + i + 1 : keys; }
};

// Scratch of one thread. Rows of a block are padded to whole lanes.
struct Scratch {
  std::vector<float> scores, gradients, kept, turned, sums;
  std::vector<uint16_t> drawn, bits;

  // `count` rows of `of`, whose contents are whatever was there.
  static Out rows(std::vector<float>& of, int64_t count, int64_t stride) {
    of.resize(std::max<size_t>(of.size(), count * stride));
    return {of.data(), stride};
  }
};

// Calls use(block) for all queries of the heads that share keys and values `kv_head`, in one sequence.
template <typename Use>
void each_block(const Shape& shape, int64_t kv_head, int64_t length, Use use) {
  const int64_t group = shape.heads / shape.kv_heads;
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    const int64_t queries = shape.first ? 1 : length;
    for (int64_t first = 0; first < queries; first += kQueries) {
      const int64_t count = std::min(kQueries, queries - first);
      const int64_t keys = shape.causal ? first + count : length;
      use(Block{head, kv_head, first, count, keys, padded(keys)});
    }
  }
}

// a b' of a block for its keys' rows of b: `[count, keys]` of `[count, width]` and `[keys, width]`.
void against_keys(const Shape& shape, const Block& block, float factor, In a, In b, Scratch& scratch, Out to) {
  const Out turned = Scratch::rows(scratch.turned, shape.width, block.stride);
  lorahost::transpose(block.keys, shape.width, b, turned);
  multiply(false, block.count, block.stride, shape.width, factor, a, turned, false, to);
}

// scale q k' of a block, with minus infinity where a query may not look.
void scores(const Shape& shape, const Block& block, In q, In k, Scratch& scratch, Out s) {
  against_keys(shape, block, shape.scale(), q, k, scratch, s);
  for (int64_t i = 0; i < block.count; ++i)
    std::fill(s.row(i) + block.seen(shape, i), s.row(i + 1), -std::numeric_limits<float>::infinity());
}

// Draws the mask of a block of the probabilities, `[heads, length, length]` of one sequence.
void draw(const Mask& mask, const Block& block, int64_t length, Scratch& scratch) {
  scratch.drawn.resize(std::max<size_t>(scratch.drawn.size(), block.count * length));
  scratch.bits.resize(std::max<size_t>(scratch.bits.size(), block.count * block.stride));
  mask.draw((block.head * length + block.first) * length, block.count * length, scratch.drawn.data());
  for (int64_t i = 0; i < block.count; ++i) {
    const auto from = scratch.drawn.begin() + i * length;
    std::copy(from, from + block.keys, scratch.bits.begin() + i * block.stride);
  }
}

// Applies the mask that was drawn.
void drop(const Mask& mask, const Block& block, const Scratch& scratch, In from, Out to) {
  mask.apply(scratch.bits.data(), block.count * block.stride, from.data, to.data);
}

In rows_of(const at::Tensor& x) { return {x.const_data_ptr<float>(), x.stride(0)}; }
Out rows_of_new(at::Tensor& x) { return {x.mutable_data_ptr<float>(), x.stride(0)}; }

// What both passes go over: the sequences, and how they are looked at.
struct Sequences {
  std::vector<int64_t> offsets;
  // Keys of the masks, one a sequence; none where nothing is dropped.
  std::vector<int64_t> keys;
  Shape shape;

  // Calls use(mask, block, row, start, scratch) for every block of every sequence, in threads: its first row among the
  // queries, and that of its sequence among the keys. Neighbours in the division of work are sequences, whose lengths even
  // out; all heads of a group are one thread's.
  template <typename Use>
  void each(Use use) const {
    const int64_t count = static_cast<int64_t>(offsets.size()) - 1;
    at::parallel_for(0, shape.kv_heads * count, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch;
      for (int64_t item = begin; item < end; ++item) {
        const int64_t sequence = item % count, kv_head = item / count;
        const int64_t start = offsets[sequence], length = offsets[sequence + 1] - start;
        const Mask mask(shape.p, keys.empty() ? 0 : static_cast<uint64_t>(keys[sequence]));
        each_block(shape, kv_head, length, [&](const Block& block) {
          if (mask.drops()) draw(mask, block, length, scratch);
          use(mask, block, shape.first ? sequence : start + block.first, start, scratch);
        });
      }
    });
  }
};

struct Attention : torch::autograd::Function<Attention> {
  // Queries, keys and values of one tensor, or of three.
  static variable_list parts(at::TensorList x, const Shape& shape) {
    if (x.size() == 3) return x.vec();
    const int64_t q = shape.heads * shape.width, kv = shape.kv_heads * shape.width;
    return {x[0].narrow(1, 0, q), x[0].narrow(1, q, kv), x[0].narrow(1, q + kv, kv)};
  }

  static at::Tensor forward(AutogradContext* context, at::TensorList x, const Sequences& sequences) {
    const Shape& shape = sequences.shape;
    const variable_list qkv = parts(x, shape);
    const int64_t queries = qkv[0].size(0);
    at::Tensor y = at::empty({queries, shape.heads * shape.width}, x[0].options());
    at::Tensor log_sums = at::empty({queries, shape.heads}, x[0].options());
    const In q = rows_of(qkv[0]), k = rows_of(qkv[1]), v = rows_of(qkv[2]);
    const Out out = rows_of_new(y), logs = rows_of_new(log_sums);
    sequences.each([&](const Mask& mask, const Block& block, int64_t row, int64_t start, Scratch& scratch) {
      const int64_t column = block.head * shape.width, kv_column = block.kv_head * shape.width;
      const Out s = Scratch::rows(scratch.scores, block.count, block.stride);
      scratch.sums.resize(kQueries);
      scores(shape, block, q.at(row, column), k.at(start, kv_column), scratch, s);
      for (int64_t i = 0; i < block.count; ++i) {
        float* of_query = s.row(i);
        const float top = largest(of_query, block.stride);
        scratch.sums[i] = exponentials(of_query, block.stride, top);
        logs.row(row + i)[block.head] = top + std::log(scratch.sums[i]);
      }
      if (mask.drops()) drop(mask, block, scratch, s, s);
      multiply(false, block.count, shape.width, block.keys, 1.0f, s, v.at(start, kv_column), false, out.at(row, column));
      // There is less to divide here than there were probabilities.
      for (int64_t i = 0; i < block.count; ++i)
        divide(out.row(row + i) + column, shape.width, scratch.sums[i]);
    });
    variable_list saved = x.vec();
    saved.push_back(log_sums);
    context->save_for_backward(std::move(saved));
    context->saved_data["offsets"] = sequences.offsets;
    context->saved_data["keys"] = sequences.keys;
    context->saved_data["shape"] =
        std::vector<int64_t>{shape.heads, shape.kv_heads, shape.width, shape.causal, shape.first};
    context->saved_data["p"] = shape.p;
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    variable_list x = context->get_saved_variables();
    const at::Tensor log_sums = x.back();
    x.pop_back();
    const auto sizes = context->saved_data["shape"].toIntVector();
    const Shape shape{sizes[0],      sizes[1],      sizes[2],
                      sizes[3] != 0, sizes[4] != 0, context->saved_data["p"].toDouble()};
    const Sequences sequences{context->saved_data["offsets"].toIntVector(), context->saved_data["keys"].toIntVector(),
                              shape};
    const at::Tensor gradient = gradients[0].contiguous();
    variable_list of_x;
    for (const at::Tensor& part : x) of_x.push_back(at::empty(part.sizes(), part.options()));
    const variable_list qkv = parts(x, shape);
    variable_list of_qkv = parts(of_x, shape);
    of_qkv[1].zero_();
    of_qkv[2].zero_();
    const In q = rows_of(qkv[0]), k = rows_of(qkv[1]), v = rows_of(qkv[2]);
    const In of_y = rows_of(gradient), logs = rows_of(log_sums);
    const Out of_q = rows_of_new(of_qkv[0]), of_k = rows_of_new(of_qkv[1]), of_v = rows_of_new(of_qkv[2]);
    sequences.each([&](const Mask& mask, const Block& block, int64_t row, int64_t start, Scratch& scratch) {
      const int64_t column = block.head * shape.width, kv_column = block.kv_head * shape.width;
      const Out p = Scratch::rows(scratch.scores, block.count, block.stride);
      const Out d = Scratch::rows(scratch.gradients, block.count, block.stride);
      scores(shape, block, q.at(row, column), k.at(start, kv_column), scratch, p);
      for (int64_t i = 0; i < block.count; ++i) exponentials(p.row(i), block.stride, logs.row(row + i)[block.head]);
      Out kept = p;
      if (mask.drops()) {
        kept = Scratch::rows(scratch.kept, block.count, block.stride);
        drop(mask, block, scratch, p, kept);
      }
      const In of_rows = of_y.at(row, column);
      multiply(true, block.keys, shape.width, block.count, 1.0f, kept, of_rows, true, of_v.at(start, kv_column));
      against_keys(shape, block, 1.0f, of_rows, v.at(start, kv_column), scratch, d);
      if (mask.drops()) drop(mask, block, scratch, d, d);
      for (int64_t i = 0; i < block.count; ++i) through_softmax(p.row(i), d.row(i), block.stride);
      multiply(false, block.count, shape.width, block.keys, shape.scale(), d, k.at(start, kv_column), false,
               of_q.at(row, column));
      multiply(true, block.keys, shape.width, block.count, shape.scale(), d, q.at(row, column), true,
               of_k.at(start, kv_column));
    });
    of_x.emplace_back();
    return of_x;
  }
};

}  // namespace

// Attention over the sequences that `offsets`, `[sequences + 1]`, cut: `parts` are one tensor or three, float32 on the
// CPU, `keys` one a sequence or null; with `first` the queries, one of three parts, are those of the first tokens. Writes a
// new tensor, a row for each query, `heads * width` columns, to *out and returns null, or returns a message that the caller
// frees.
extern "C" char* lh_attention(const at::Tensor* const* parts, size_t count, int64_t heads, int64_t kv_heads, bool causal,
                              bool first, const int64_t* offsets, size_t sequences, double p, const uint64_t* keys,
                              at::Tensor** out) {
  return lorahost::guarded([&] {
    variable_list x;
    int64_t columns = 0;
    for (size_t i = 0; i < count; ++i) {
      TORCH_CHECK(parts[i]->dim() == 2 && parts[i]->is_cpu() && parts[i]->scalar_type() == at::kFloat,
                  "attention takes float32 matrices on the CPU");
      x.push_back(parts[i]->stride(1) == 1 ? *parts[i] : parts[i]->contiguous());
      columns += parts[i]->size(1);
    }
    TORCH_CHECK(heads > 0 && kv_heads > 0, heads, " heads of queries and ", kv_heads, " of keys and values");
    const int64_t width = columns / (heads + 2 * kv_heads);
    TORCH_CHECK((count == 1 || count == 3) && width * (heads + 2 * kv_heads) == columns && heads % kv_heads == 0,
                columns, " columns are not ", heads, " queries and ", kv_heads, " keys and values");
    TORCH_CHECK(count == 1 || (parts[0]->size(1) == heads * width && parts[1]->size(1) == kv_heads * width),
                "queries, keys and values of ", columns, " columns do not divide into heads of ", width);
    Sequences all{{offsets, offsets + sequences + 1}, {}, {heads, kv_heads, width, causal, first, p}};
    const int64_t tokens = x.back().size(0), queries = first ? static_cast<int64_t>(sequences) : tokens;
    TORCH_CHECK(!first || count == 3, "queries of first tokens come beside keys and values, not in one tensor with them");
    TORCH_CHECK(x[0].size(0) == queries, x[0].size(0), " queries, not ", queries);
    for (size_t i = 1; i < count; ++i)
      TORCH_CHECK(x[i].size(0) == tokens, "parts of ", tokens, " and of ", x[i].size(0), " tokens");
    TORCH_CHECK(all.offsets.front() == 0 && all.offsets.back() == tokens &&
                    std::is_sorted(all.offsets.begin(), all.offsets.end()),
                "the offsets do not cut ", tokens, " tokens into sequences");
    if (keys != nullptr) all.keys.assign(keys, keys + sequences);
    *out = new at::Tensor(Attention::apply(at::TensorList(x), all));
  });
}
