// Tensors on memory that is not libtorch's.

#include <ATen/ATen.h>

#include "lorahost.h"

// A float32 tensor of this shape on `data`, which `release(owner)` frees when the last tensor on it is gone. Writes it to
// *out and returns null, or returns a message that the caller frees; the owner is then released.
extern "C" char* lh_from_blob(void* data, const int64_t* shape, size_t dimensions, void* owner, void (*release)(void*),
                              at::Tensor** out) {
  return lorahost::guarded([&] {
    *out = new at::Tensor(at::from_blob(
        data, at::IntArrayRef(shape, dimensions), [owner, release](void*) { release(owner); }, at::kFloat));
  });
}
