// y = norm(x + dropout(a)), what follows each half of a post-norm block, as one node of autograd: one pass over memory
// where four operators take four, and one kept tensor.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "dropout.h"
#include "lorahost.h"
#include "tile.h"
#include "vectorised.h"

using lorahost::kLanes;
using lorahost::Mask;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Rows that a thread deals with at a time: masks are drawn for all of them at once.
constexpr int64_t kRows = 32;

// Sum of f(i) for i below `count`, always added in the same order.
template <typename F>
inline __attribute__((always_inline)) float sum(int64_t count, F f) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += f(i + l);
  float all = 0;
  for (int64_t l = 0; l < kLanes; ++l) all += lanes[l];
  for (; i < count; ++i) all += f(i);
  return all;
}

// u = (u + x - mean) / deviation, y = u * weight + bias; returns 1 / deviation.
LORAHOST_VECTORISED
float normalise(int64_t width, float eps, const float* x, const float* weight, const float* bias, float* u, float* y) {
  for (int64_t i = 0; i < width; ++i) u[i] += x[i];
  const float mean = sum(width, [&](int64_t i) { return u[i]; }) / static_cast<float>(width);
  const float variance = sum(width, [&](int64_t i) { return (u[i] - mean) * (u[i] - mean); }) / static_cast<float>(width);
  const float inverse = 1.0f / std::sqrt(variance + eps);
  for (int64_t i = 0; i < width; ++i) {
    u[i] = (u[i] - mean) * inverse;
    y[i] = u[i] * weight[i] + bias[i];
  }
  return inverse;
}

// The gradient of the sum from that of y, by the normalised u.
LORAHOST_VECTORISED
void through_norm(int64_t width, float inverse, const float* of_y, const float* weight, const float* u, float* of_sum) {
  const float n = static_cast<float>(width);
  const float mean = sum(width, [&](int64_t i) { return of_y[i] * weight[i]; }) / n;
  const float slope = sum(width, [&](int64_t i) { return of_y[i] * weight[i] * u[i]; }) / n;
  for (int64_t i = 0; i < width; ++i) of_sum[i] = inverse * (of_y[i] * weight[i] - mean - u[i] * slope);
}

// Calls use(first row, count) in threads.
template <typename Use>
void each_rows(int64_t rows, Use use) {
  at::parallel_for(0, (rows + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) use(chunk * kRows, std::min(kRows, rows - chunk * kRows));
  });
}

struct ResidualNorm : torch::autograd::Function<ResidualNorm> {
  // `a` and `x` are `[rows, width]`, `weight` and `bias` `[width]`.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& a, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, double eps, double p, int64_t key,
                            const std::vector<int64_t>& numbers) {
    const Mask mask(p, static_cast<uint64_t>(key));
    const int64_t rows = a.size(0), width = a.size(1);
    const at::Tensor from = a.contiguous(), besides = x.contiguous();
    at::Tensor y = at::empty_like(from), u = at::empty_like(from), inverse = at::empty({rows}, from.options());
    const float *in = from.const_data_ptr<float>(), *residual = besides.const_data_ptr<float>();
    const float *w = weight.const_data_ptr<float>(), *b = bias.const_data_ptr<float>();
    float *normalised = u.mutable_data_ptr<float>(), *out = y.mutable_data_ptr<float>();
    float* inverses = inverse.mutable_data_ptr<float>();
    each_rows(rows, [&](int64_t first, int64_t count) {
      const int64_t start = first * width;
      if (mask.drops()) {
        mask.apply_rows(numbers, first, count, width, in + start, normalised + start);
      } else {
        std::memcpy(normalised + start, in + start, count * width * sizeof(float));
      }
      for (int64_t row = first; row < first + count; ++row) {
        const int64_t at = row * width;
        inverses[row] =
            normalise(width, static_cast<float>(eps), residual + at, w, b, normalised + at, out + at);
      }
    });
    context->save_for_backward({u, inverse, weight});
    context->saved_data["p"] = p;
    context->saved_data["key"] = key;
    context->saved_data["numbers"] = numbers;
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &u = saved[0], &inverse = saved[1], &weight = saved[2];
    const Mask mask(context->saved_data["p"].toDouble(), static_cast<uint64_t>(context->saved_data["key"].toInt()));
    const std::vector<int64_t> numbers = context->saved_data["numbers"].toIntVector();
    const at::Tensor of_y = gradients[0].contiguous();
    const int64_t rows = u.size(0), width = u.size(1);
    at::Tensor of_x = at::empty_like(of_y);
    at::Tensor of_a = mask.drops() ? at::empty_like(of_y) : of_x;
    const float *from = of_y.const_data_ptr<float>(), *normalised = u.const_data_ptr<float>();
    const float *inverses = inverse.const_data_ptr<float>(), *w = weight.const_data_ptr<float>();
    float *to_x = of_x.mutable_data_ptr<float>(), *to_a = of_a.mutable_data_ptr<float>();
    each_rows(rows, [&](int64_t first, int64_t count) {
      const int64_t start = first * width;
      for (int64_t row = first; row < first + count; ++row) {
        const int64_t at = row * width;
        through_norm(width, inverses[row], from + at, w, normalised + at, to_x + at);
      }
      if (mask.drops()) mask.apply_rows(numbers, first, count, width, to_x + start, to_a + start);
    });
    at::Tensor of_weight, of_bias;
    if (context->needs_input_grad(2)) of_weight = of_y.mul(u).sum(0);
    if (context->needs_input_grad(3)) of_bias = of_y.sum(0);
    return {of_a, of_x, of_weight, of_bias, {}, {}, {}, {}};
  }
};

}  // namespace

// norm(x + dropout(a)) of float32 on the CPU: writes a new tensor to *out and returns null, or returns a message that
// the caller frees.
extern "C" char* lh_residual_norm(const at::Tensor* a, const at::Tensor* x, const at::Tensor* weight,
                                  const at::Tensor* bias, double eps, const lorahost::RawMask* mask, at::Tensor** out) {
  return lorahost::guarded([&] {
    TORCH_CHECK(a->dim() == 2 && a->sizes() == x->sizes() && weight->numel() == a->size(1) &&
                    bias->numel() == a->size(1),
                "a norm of ", weight->numel(), " numbers on ", a->sizes(), " and ", x->sizes());
    for (const at::Tensor* tensor : {a, x, weight, bias})
      TORCH_CHECK(tensor->is_cpu() && tensor->scalar_type() == at::kFloat, "this norm takes float32 on the CPU");
    TORCH_CHECK(mask->count == 0 || a->size(0) == static_cast<int64_t>(mask->count), "numbers of ", mask->count,
                " rows for ", a->sizes());
    *out = new at::Tensor(ResidualNorm::apply(*a, *x, *weight, *bias, eps, mask->p, static_cast<int64_t>(mask->key),
                                              mask->numbers()));
  });
}
