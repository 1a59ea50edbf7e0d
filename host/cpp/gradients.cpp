// What autograd offers to C++ alone.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>
#include <vector>

#include "lorahost.h"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Behind a type that autograd does not look into: gradients are no inputs of the function.
struct Given {
  variable_list gradients;
};

// A scalar whose gradients are known already.
struct WithGradients : torch::autograd::Function<WithGradients> {
  // A TensorList, since autograd looks into no other list.
  static at::Tensor forward(AutogradContext* context, at::TensorList /*inputs*/, const at::Tensor* loss, Given given) {
    context->save_for_backward(std::move(given.gradients));
    return loss->detach().clone();
  }

  static variable_list backward(AutogradContext* context, variable_list arrived) {
    variable_list gradients = context->get_saved_variables();
    for (size_t i = 0; i < gradients.size(); ++i)
      gradients[i] = gradients[i].defined() && context->needs_input_grad(i) ? gradients[i].mul(arrived[0]) : at::Tensor();
    // The two arguments that are no tensors.
    gradients.resize(gradients.size() + 2);
    return gradients;
  }
};

variable_list list(const at::Tensor* const* tensors, size_t count) {
  variable_list list;
  for (size_t i = 0; i < count; ++i) list.push_back(tensors[i] == nullptr ? at::Tensor() : *tensors[i]);
  return list;
}

void check_scalar(const at::Tensor& tensor, const char* what) {
  TORCH_CHECK(tensor.numel() == 1, what, " has shape ", tensor.sizes(), ", expected a scalar");
}

}  // namespace

extern "C" {

// Leaves the tensor without gradient, as `tensor.grad = None` does.
char* lh_forget_gradient(const at::Tensor* tensor) {
  return lorahost::guarded([&] { tensor->mutable_grad().reset(); });
}

// Gradients of the sum of the outputs, each a new tensor in `out`, or null where the input needs none or no output
// depends on it.
char* lh_grad(const at::Tensor* const* outputs, size_t outputs_count, const at::Tensor* const* inputs, size_t count,
              at::Tensor** out) {
  return lorahost::guarded([&] {
    variable_list from, to;
    std::vector<size_t> places;
    for (size_t i = 0; i < outputs_count; ++i) {
      check_scalar(*outputs[i], "an output");
      if (outputs[i]->requires_grad()) from.push_back(*outputs[i]);
    }
    for (size_t i = 0; i < count; ++i) {
      out[i] = nullptr;
      if (!inputs[i]->requires_grad()) continue;
      to.push_back(*inputs[i]);
      places.push_back(i);
    }
    if (from.empty() || to.empty()) return;
    const variable_list found = torch::autograd::grad(from, to, {}, std::nullopt, false, /*allow_unused=*/true);
    for (size_t i = 0; i < found.size(); ++i)
      if (found[i].defined()) out[places[i]] = new at::Tensor(found[i]);
  });
}

// A scalar of the value of `loss` whose backward pass hands the gradients, null for none, to the inputs.
char* lh_with_gradients(const at::Tensor* loss, const at::Tensor* const* inputs, const at::Tensor* const* gradients,
                        size_t count, at::Tensor** out) {
  return lorahost::guarded([&] {
    check_scalar(*loss, "the loss");
    for (size_t i = 0; i < count; ++i) {
      if (gradients[i] == nullptr) continue;
      TORCH_CHECK(gradients[i]->sizes() == inputs[i]->sizes(), "gradient ", i, " has shape ", gradients[i]->sizes(),
                  ", its input ", inputs[i]->sizes());
      TORCH_CHECK(!gradients[i]->requires_grad(), "gradient ", i, " carries gradients itself: detach it");
    }
    const variable_list leads_to = list(inputs, count);
    *out = new at::Tensor(WithGradients::apply(at::TensorList(leads_to), loss, Given{list(gradients, count)}));
  });
}

}  // extern "C"
