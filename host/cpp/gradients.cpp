// What autograd offers to C++ alone.

#include <ATen/ATen.h>

#include "lorahost.h"

// Leaves the tensor without gradient, as `tensor.grad = None` does.
extern "C" char* lh_forget_gradient(const at::Tensor* tensor) {
  return lorahost::guarded([&] { tensor->mutable_grad().reset(); });
}
