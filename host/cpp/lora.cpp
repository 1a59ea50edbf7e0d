// Linear layers that share their input, with or without LoRA, as one node of autograd.
//
// Of T rows of x, `[T, fan_in]`, layer k makes y_k = x W_k' + b_k + s_k x A_k' B_k', `[T, fan_out_k]`; the node gives
// them side by side, `[T, sum of fan_out]`. x may be an activation of the node's input, which then is made again in the
// backward pass: of what follows from its inputs the node keeps W + s B A alone, once a step.

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "lorahost.h"

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// One layer as Rust passes it; bias, A and B may be null.
struct RawLayer {
  const at::Tensor* weight;
  const at::Tensor* bias;
  const at::Tensor* a;
  const at::Tensor* b;
  double scale;
};

// One layer of a node. Numbers are places among the node's inputs, 0 where there is none (there is x).
struct Layer {
  at::Tensor weight, bias, a, b;
  int64_t weight_place = 0, bias_place = 0, a_place = 0, b_place = 0;
  double scale = 1.0;

  bool has_factors() const { return a.defined(); }
  int64_t fan_out() const { return weight.size(0); }
  int64_t rank() const { return has_factors() ? a.size(0) : 0; }
};

// What is applied to the input first.
enum class Activation : int64_t { kNone, kGelu, kGeluTanh };

const char* approximation(Activation activation) { return activation == Activation::kGelu ? "none" : "tanh"; }

at::Tensor activated(const at::Tensor& input, Activation activation) {
  return activation == Activation::kNone ? input : at::gelu(input, approximation(activation));
}

// Multiply-adds from which a product is oneDNN's.
constexpr int64_t kLargeProduct = 1 << 24;

// Which products give the same y and gradients.
enum class Order : int64_t {
  // (x A') B' beside x W'.
  kFactored,
  // x (W + s B A)', gradients of A and B through products of width r.
  kMerged,
  // x (W + s B A)', gradients of A and B from that of W.
  kProductRule,
};

// x w' + bias. oneDNN's product is 5 to 10% faster than the one behind at::linear where that is MKL's on AMD, and takes a
// transposed `w` as it is; of a `w` whose rows lie apart it makes a hundred times the work. It compiles code for each
// number of rows, 0.4 ms that a small product does not bring back.
at::Tensor product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias = {}) {
  using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                               std::string_view, c10::List<std::optional<at::Scalar>>,
                               std::optional<std::string_view>);
  static const auto onednn = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  const auto optional = bias.defined() ? std::make_optional(bias) : std::nullopt;
  const auto plain = [](const at::Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat; };
  const bool large = x.numel() * w.size(0) >= kLargeProduct;
  if (onednn && large && plain(x) && plain(w) && x.is_contiguous() && (w.is_contiguous() || w.t().is_contiguous()))
    return onednn->typed<Pointwise>().call(x, w, optional, "none", c10::List<std::optional<at::Scalar>>(), "");
  return at::linear(x, w, optional);
}

// left' right of a narrow `[T, r]` and a wide `[T, n]`: `[r, n]`.
at::Tensor sum_over_rows(const at::Tensor& left, const at::Tensor& right) {
  return product(left.t().contiguous(), right.t());
}

// The cheapest order by multiply-adds beyond those of x W' and its gradient for x.
Order cheapest(const std::vector<Layer>& layers, int64_t rows, bool backward) {
  int64_t factored = 0, merged = 0, product_rule = 0;
  for (const Layer& layer : layers) {
    const int64_t fans = layer.weight.size(1) + layer.fan_out();
    const int64_t area = layer.weight.numel(), rank = layer.rank();
    factored += rows * rank * fans * (backward ? 3 : 1);
    merged += area * rank * (backward ? 2 : 1) + (backward ? 2 * rows * rank * fans : 0);
    product_rule += 4 * area * rank + rows * area;
  }
  if (backward && product_rule < std::min(factored, merged)) return Order::kProductRule;
  return merged < factored ? Order::kMerged : Order::kFactored;
}

bool have_factors(const std::vector<Layer>& layers) {
  return std::any_of(layers.begin(), layers.end(), [](const Layer& layer) { return layer.has_factors(); });
}

// The weights one under another, `[sum of fan_out, fan_in]`, with s B A added where `merge`.
at::Tensor stacked(const std::vector<Layer>& layers, bool merge) {
  const auto wants = [&](const Layer& layer) { return merge && layer.has_factors(); };
  const Layer& first = layers.front();
  if (layers.size() == 1)
    return wants(first) ? at::addmm(first.weight, first.b * first.scale, first.a) : first.weight;
  int64_t fan_out = 0;
  for (const Layer& layer : layers) fan_out += layer.fan_out();
  at::Tensor all = at::empty({fan_out, first.weight.size(1)}, first.weight.options());
  int64_t row = 0;
  for (const Layer& layer : layers) {
    at::Tensor part = all.narrow(0, row, layer.fan_out());
    if (wants(layer)) {
      at::addmm_out(part, layer.weight, layer.b * layer.scale, layer.a);
    } else {
      part.copy_(layer.weight);
    }
    row += layer.fan_out();
  }
  return all;
}

// The biases one after another, undefined where no layer has one.
at::Tensor biases(const std::vector<Layer>& layers) {
  if (layers.size() == 1) return layers.front().bias;
  std::vector<at::Tensor> parts;
  bool any = false;
  for (const Layer& layer : layers) {
    any |= layer.bias.defined();
    parts.push_back(layer.bias.defined() ? layer.bias
                                         : at::zeros({layer.fan_out()}, layer.weight.options()));
  }
  return any ? at::cat(parts) : at::Tensor();
}

// A, or s A where `scaled`, of all layers one under another, `[sum of ranks, fan_in]`; at least one has factors.
at::Tensor stacked_a(const std::vector<Layer>& layers, bool scaled) {
  std::vector<at::Tensor> parts;
  for (const Layer& layer : layers)
    if (layer.has_factors()) parts.push_back(scaled ? layer.a * layer.scale : layer.a);
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

// Calls use(layer, its columns of y, its columns of x A') for each layer.
template <typename Use>
void each(const std::vector<Layer>& layers, const at::Tensor& y, const at::Tensor& narrow, Use use) {
  int64_t column = 0, rank = 0;
  for (const Layer& layer : layers) {
    use(layer, y.narrow(1, column, layer.fan_out()), narrow.defined() ? narrow.narrow(1, rank, layer.rank()) : narrow);
    column += layer.fan_out();
    rank += layer.rank();
  }
}

struct Linear : torch::autograd::Function<Linear> {
  static std::vector<Layer> layers(at::TensorList inputs, at::IntArrayRef places, at::ArrayRef<double> scales) {
    std::vector<Layer> layers(scales.size());
    const auto at = [&](int64_t place) { return place > 0 ? inputs[place] : at::Tensor(); };
    for (size_t i = 0; i < layers.size(); ++i) {
      Layer& layer = layers[i];
      layer.weight_place = places[4 * i];
      layer.bias_place = places[4 * i + 1];
      layer.a_place = places[4 * i + 2];
      layer.b_place = places[4 * i + 3];
      layer.weight = at(layer.weight_place);
      layer.bias = at(layer.bias_place);
      layer.a = at(layer.a_place);
      layer.b = at(layer.b_place);
      layer.scale = scales[i];
    }
    return layers;
  }

  static at::Tensor forward(AutogradContext* context, at::TensorList inputs, const std::vector<int64_t>& places,
                            const std::vector<double>& scales, Activation activation, bool learns) {
    const at::Tensor x = activated(inputs[0], activation);
    const auto all = layers(inputs, places, scales);
    const Order order = cheapest(all, x.size(0), learns);
    const bool merge = order != Order::kFactored;
    const at::Tensor weight = stacked(all, merge);
    variable_list saved = inputs.vec();
    if (learns && merge && inputs[0].requires_grad()) saved.push_back(weight);
    context->save_for_backward(std::move(saved));
    context->saved_data["places"] = places;
    context->saved_data["scales"] = scales;
    context->saved_data["order"] = static_cast<int64_t>(order);
    context->saved_data["activation"] = static_cast<int64_t>(activation);
    at::Tensor y = product(x, weight, biases(all));
    if (merge || !have_factors(all)) return y;
    each(all, y, product(x, stacked_a(all, true)), [](const Layer& layer, at::Tensor part, const at::Tensor& narrow) {
      if (layer.has_factors()) part.addmm_(narrow, layer.b.t());
    });
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    // Behind the inputs lies W + s B A where the forward pass made it and the gradient for x needs it.
    const variable_list inputs = context->get_saved_variables();
    const auto places = context->saved_data["places"].toIntVector();
    const auto scales = context->saved_data["scales"].toDoubleVector();
    const auto order = static_cast<Order>(context->saved_data["order"].toInt());
    const auto all = layers(inputs, places, scales);
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    const at::Tensor x = activated(inputs[0], activation);
    const at::Tensor g = gradients[0].contiguous();
    const auto needed = [&](int64_t place) { return place > 0 && context->needs_input_grad(place); };

    variable_list found(inputs.size() + 4);
    bool of_weights = false, of_factors = false;
    for (const Layer& layer : all) {
      of_weights |= needed(layer.weight_place);
      of_factors |= needed(layer.a_place) || needed(layer.b_place);
    }
    at::Tensor h;
    if (of_weights || (of_factors && order == Order::kProductRule)) {
      through_weights(all, x, g, needed, found);
    } else if (of_factors) {
      h = through_factors(all, x, g, needed, found);
    }
    each(all, g, {}, [&](const Layer& layer, const at::Tensor& part, const at::Tensor&) {
      if (needed(layer.bias_place)) found[layer.bias_place] = part.sum(0);
    });
    if (context->needs_input_grad(0)) {
      const at::Tensor weight = order == Order::kFactored ? stacked(all, false) : inputs.back();
      found[0] = product(g, weight.t());
      if (order == Order::kFactored && have_factors(all)) {
        if (!h.defined()) h = narrow_gradient(all, g);
        found[0].addmm_(h, stacked_a(all, false));
      }
      if (activation != Activation::kNone)
        found[0] = at::gelu_backward(found[0], inputs[0], approximation(activation));
    }
    return found;
  }

 private:
  // Gradients of W, A and B from G' x, `[sum of fan_out, fan_in]`: that of A is s B' (G' x), of B s (G' x) A'.
  template <typename Needed>
  static void through_weights(const std::vector<Layer>& all, const at::Tensor& x, const at::Tensor& g, Needed needed,
                              variable_list& found) {
    const at::Tensor of_stack = g.t().mm(x);
    int64_t row = 0;
    for (const Layer& layer : all) {
      const at::Tensor of_weight = of_stack.narrow(0, row, layer.fan_out());
      row += layer.fan_out();
      if (needed(layer.weight_place)) found[layer.weight_place] = of_weight;
      if (needed(layer.a_place)) found[layer.a_place] = (layer.b * layer.scale).t().mm(of_weight);
      if (needed(layer.b_place)) found[layer.b_place] = of_weight.mm((layer.a * layer.scale).t());
    }
  }

  // Gradients of A and B by products of width r; returns s G B, `[T, sum of ranks]`.
  template <typename Needed>
  static at::Tensor through_factors(const std::vector<Layer>& all, const at::Tensor& x, const at::Tensor& g,
                                    Needed needed, variable_list& found) {
    const at::Tensor h = narrow_gradient(all, g);
    const at::Tensor of_a = sum_over_rows(h, x);
    const at::Tensor z = product(x, stacked_a(all, true));
    int64_t row = 0;
    each(all, g, z, [&](const Layer& layer, const at::Tensor& part, const at::Tensor& narrow) {
      if (needed(layer.a_place)) found[layer.a_place] = of_a.narrow(0, row, layer.rank());
      if (needed(layer.b_place)) found[layer.b_place] = sum_over_rows(narrow, part).t().contiguous();
      row += layer.rank();
    });
    return h;
  }

  // s G B of all layers side by side, `[T, sum of ranks]`.
  static at::Tensor narrow_gradient(const std::vector<Layer>& all, const at::Tensor& g) {
    if (all.size() == 1) return product(g, (all.front().b * all.front().scale).t());
    int64_t ranks = 0;
    for (const Layer& layer : all) ranks += layer.rank();
    at::Tensor h = at::empty({g.size(0), ranks}, g.options());
    each(all, g, h, [](const Layer& layer, const at::Tensor& part, at::Tensor narrow) {
      if (layer.has_factors()) at::mm_out(narrow, part, layer.b * layer.scale);
    });
    return h;
  }
};

}  // namespace

// y of `count` layers on the activation (0 none, 1 GELU, 2 its tanh form) of x, `[rows, fan_in]`: writes a new tensor to *out and returns null, or returns a message that the
// caller frees.
extern "C" char* lh_linear(const at::Tensor* x, const RawLayer* layers, size_t count, int64_t activation,
                           at::Tensor** out) {
  return lorahost::guarded([&] {
    TORCH_CHECK(0 <= activation && activation <= 2, "there is no activation ", activation);
    TORCH_CHECK(x->dim() == 2, "a linear layer takes [rows, fan_in], not ", x->sizes());
    variable_list inputs{*x};
    std::vector<int64_t> places;
    std::vector<double> scales;
    const auto add = [&](const at::Tensor* tensor) {
      places.push_back(tensor == nullptr ? 0 : static_cast<int64_t>(inputs.size()));
      if (tensor != nullptr) inputs.push_back(*tensor);
    };
    for (size_t i = 0; i < count; ++i) {
      const RawLayer& layer = layers[i];
      TORCH_CHECK(layer.weight->size(1) == x->size(1), "a linear layer takes rows of ", layer.weight->size(1),
                  " numbers, not of ", x->size(1));
      for (const at::Tensor* tensor : {layer.weight, layer.bias, layer.a, layer.b}) add(tensor);
      scales.push_back(layer.scale);
    }
    bool learns = false;
    for (const at::Tensor& input : inputs) learns |= input.requires_grad();
    learns &= at::GradMode::is_enabled();
    *out = new at::Tensor(Linear::apply(at::TensorList(inputs), places, scales, static_cast<Activation>(activation), learns));
  });
}
