// Attention over packed sequences by libtorch's flash kernel, for CUDA and half precision.
#include <ATen/Functions.h>

#include "lorahost.h"

// softmax(q k' / sqrt(width)) v within each sequence, without dropout: writes a new tensor to *out and returns null, or
// returns a message that the caller frees. Autograd knows the operator's backward.
extern "C" char* lh_flash_attention(const at::Tensor* query, const at::Tensor* key, const at::Tensor* value,
                                    const at::Tensor* offsets, int64_t longest, bool causal, at::Tensor** out) {
  return lorahost::guarded([&] {
    auto results = at::_flash_attention_forward(*query, *key, *value, *offsets, *offsets, longest, longest,
                                                /*dropout_p=*/0.0, causal, /*return_debug_mask=*/false);
    *out = new at::Tensor(std::get<0>(results));
  });
}
