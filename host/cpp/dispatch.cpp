// Any ATen operator by the name of its schema, and named generators for those that draw.
//
// Arguments come as the tagged union of the plugin ABI, with handles already turned into pointers to at::Tensor.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <iterator>

#include "lorahost.h"

namespace {

enum Tag : uint32_t {
  kNone = 0,
  kTensor = 1,
  kTensors = 2,
  kOptionalTensors = 3,
  kInt = 4,
  kFloat = 5,
  kBool = 6,
  kString = 7,
  kInts = 8,
  kFloats = 9,
  kBools = 10,
  kDtype = 11,
  kDevice = 12,
  kMemoryFormat = 13,
  kStream = 14,
};

struct Argument {
  uint32_t tag;
  uint64_t word;
  const void* data;
  size_t len;
};

struct Named {
  const char* name;
  size_t name_len;
  Argument value;
};

// Takes one result: a tensor in `word` or `list` is a pointer that the receiver owns.
using Sink = void (*)(void* context, uint32_t tag, uint64_t word, const uint64_t* list, size_t len);

double as_double(uint64_t word) {
  double value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

uint64_t as_word(double value) {
  uint64_t word;
  std::memcpy(&word, &value, sizeof word);
  return word;
}

const at::Tensor& tensor(const void* pointer) { return *static_cast<const at::Tensor*>(pointer); }

template <typename T>
c10::List<T> list(const Argument& argument) {
  c10::List<T> values;
  const T* data = static_cast<const T*>(argument.data);
  for (size_t i = 0; i < argument.len; ++i) values.push_back(data[i]);
  return values;
}

// The element types that tensors of plugins may have: `KINDS` of src/plugins/bridge.rs.
bool is_served(int64_t code) {
  constexpr at::ScalarType kServed[] = {at::kByte, at::kChar, at::kShort,  at::kInt,  at::kLong,
                                        at::kHalf, at::kFloat, at::kDouble, at::kBool, at::kBFloat16};
  return std::any_of(std::begin(kServed), std::end(kServed),
                     [&](at::ScalarType served) { return static_cast<int64_t>(served) == code; });
}

// Behind an integer of a schema may lie an enumeration, and a number that is none of its values is undefined
// behaviour in libtorch. `real` is the type that tells.
void check_code(const c10::TypePtr& real, const c10::IValue& value) {
  if (auto optional = real->cast<c10::OptionalType>()) return check_code(optional->getElementType(), value);
  if (auto list = real->cast<c10::ListType>()) {
    if (value.isIntList())
      for (int64_t code : value.toIntVector()) check_code(list->getElementType(), code);
    return;
  }
  if (!value.isInt()) return;
  const int64_t code = value.toInt();
  const auto below = [&](auto end) { return 0 <= code && code < static_cast<int64_t>(end); };
  switch (real->kind()) {
    case c10::TypeKind::ScalarTypeType:
      TORCH_CHECK(is_served(code), "there is no dtype ", code);
      break;
    case c10::TypeKind::LayoutType:
      TORCH_CHECK(below(c10::Layout::NumOptions), "there is no layout ", code);
      break;
    case c10::TypeKind::MemoryFormatType:
      TORCH_CHECK(below(c10::MemoryFormat::NumOptions), "there is no memory format ", code);
      break;
    default:
      break;
  }
}

// The value as an argument of this type takes it: an integer serves where a float is wanted, as in Python.
c10::IValue value_of(const Argument& argument, c10::TypePtr type) {
  if (auto optional = type->cast<c10::OptionalType>()) type = optional->getElementType();
  switch (argument.tag) {
    case kNone:
      return c10::IValue();
    case kTensor:
      return tensor(reinterpret_cast<const void*>(argument.word));
    case kTensors: {
      const auto* pointers = static_cast<const at::Tensor* const*>(argument.data);
      c10::List<at::Tensor> tensors;
      for (size_t i = 0; i < argument.len; ++i) tensors.push_back(*pointers[i]);
      return tensors;
    }
    case kOptionalTensors: {
      const auto* pointers = static_cast<const at::Tensor* const*>(argument.data);
      c10::List<std::optional<at::Tensor>> tensors;
      for (size_t i = 0; i < argument.len; ++i)
        tensors.push_back(pointers[i] ? std::make_optional(*pointers[i]) : std::nullopt);
      return tensors;
    }
    case kInt: {
      const auto number = static_cast<int64_t>(argument.word);
      if (type->kind() == c10::TypeKind::FloatType) return static_cast<double>(number);
      if (type->kind() == c10::TypeKind::ListType) {
        // `dim=[int]` takes a single number, as in Python.
        c10::List<int64_t> numbers;
        numbers.push_back(number);
        return numbers;
      }
      return number;
    }
    case kFloat:
      return as_double(argument.word);
    case kBool:
      return argument.word != 0;
    case kString:
      return std::string(static_cast<const char*>(argument.data), argument.len);
    case kInts:
      return list<int64_t>(argument);
    case kFloats:
      return list<double>(argument);
    case kBools: {
      c10::List<bool> flags;
      const auto* data = static_cast<const uint8_t*>(argument.data);
      for (size_t i = 0; i < argument.len; ++i) flags.push_back(data[i] != 0);
      return flags;
    }
    case kDtype:
      TORCH_CHECK(is_served(static_cast<int64_t>(argument.word)), "there is no dtype ",
                  static_cast<int32_t>(argument.word));
      return static_cast<int64_t>(argument.word);
    case kMemoryFormat:
      return static_cast<int64_t>(argument.word);
    case kDevice:
      return c10::Device(static_cast<c10::DeviceType>(argument.word >> 32),
                         static_cast<c10::DeviceIndex>(static_cast<int32_t>(argument.word)));
    case kStream:
      return *static_cast<const at::Generator*>(argument.data);
    default:
      TORCH_CHECK(false, "unknown argument tag ", argument.tag);
  }
}

c10::IValue value_for(const Argument& argument, const c10::Argument& formal) {
  c10::IValue value = value_of(argument, formal.type());
  check_code(formal.real_type(), value);
  return value;
}

void give(const c10::IValue& value, void* context, Sink sink) {
  const auto own = [](const at::Tensor& tensor) {
    return reinterpret_cast<uint64_t>(tensor.defined() ? new at::Tensor(tensor) : nullptr);
  };
  if (value.isTensor()) {
    const auto& tensor = value.toTensor();
    sink(context, tensor.defined() ? kTensor : kNone, own(tensor), nullptr, 0);
  } else if (value.isTensorList()) {
    std::vector<uint64_t> words;
    for (const at::Tensor& tensor : value.toTensorVector()) words.push_back(own(tensor));
    sink(context, kTensors, 0, words.data(), words.size());
  } else if (value.isInt()) {
    sink(context, kInt, static_cast<uint64_t>(value.toInt()), nullptr, 0);
  } else if (value.isDouble()) {
    sink(context, kFloat, as_word(value.toDouble()), nullptr, 0);
  } else if (value.isBool()) {
    sink(context, kBool, value.toBool() ? 1 : 0, nullptr, 0);
  } else if (value.isIntList()) {
    std::vector<uint64_t> words;
    for (int64_t number : value.toIntVector()) words.push_back(static_cast<uint64_t>(number));
    sink(context, kInts, 0, words.data(), words.size());
  } else if (value.isDoubleList()) {
    std::vector<uint64_t> words;
    for (double number : value.toDoubleVector()) words.push_back(as_word(number));
    sink(context, kFloats, 0, words.data(), words.size());
  } else if (value.isNone()) {
    sink(context, kNone, 0, nullptr, 0);
  } else {
    TORCH_CHECK(false, "a result of type ", value.tagKind(), " cannot be handed to a plugin");
  }
}

}  // namespace

extern "C" {

void lh_free(char* message) { std::free(message); }

// A handle to an operator lives as long as the process.
char* lh_resolve(const char* name, const char* overload, void** operator_out) {
  return lorahost::guarded([&] {
    auto found = c10::Dispatcher::singleton().findSchema({name, overload});
    TORCH_CHECK(found.has_value(), "unknown operator ", name, *overload ? "." : "", overload);
    *operator_out = new c10::OperatorHandle(*found);
  });
}

char* lh_call(const void* operator_handle, const Argument* arguments, size_t count, const Named* named,
              size_t named_count, void* context, Sink sink) {
  return lorahost::guarded([&] {
    const auto& op = *static_cast<const c10::OperatorHandle*>(operator_handle);
    const auto& schema = op.schema();
    const auto& formal = schema.arguments();
    TORCH_CHECK(count <= formal.size(), schema.operator_name(), " takes at most ", formal.size(), " arguments, not ",
                count);
    bool drawn_by_name = false;
    std::vector<c10::IValue> stack;
    for (size_t i = 0; i < count; ++i) {
      drawn_by_name |= arguments[i].tag == kStream;
      stack.push_back(value_for(arguments[i], formal[i]));
    }
    std::unordered_map<std::string, c10::IValue> by_name;
    for (size_t i = 0; i < named_count; ++i) {
      const std::string name(named[i].name, named[i].name_len);
      const auto index = schema.argumentIndexWithName(name);
      TORCH_CHECK(index.has_value(), schema.operator_name(), " has no argument `", name, "`");
      TORCH_CHECK(static_cast<size_t>(*index) >= count, schema.operator_name(), ": argument `", name,
                  "` is given twice");
      drawn_by_name |= named[i].value.tag == kStream;
      by_name[name] = value_for(named[i].value, formal[*index]);
    }
    TORCH_CHECK(drawn_by_name || !op.hasTag(at::Tag::nondeterministic_seeded), schema.operator_name(),
                " draws random numbers: give it a named stream as its `generator`");
    schema.checkAndNormalizeInputs(stack, by_name);
    op.callBoxed(stack);
    for (const auto& value : stack) give(value, context, sink);
  });
}

// Refuses a tensor of which Rust's side could not even ask shape, element type and device.
char* lh_check_plain(const at::Tensor* tensor) {
  return lorahost::guarded([&] {
    TORCH_CHECK(tensor->defined(), "an undefined tensor");
    TORCH_CHECK(tensor->layout() == at::kStrided && !tensor->is_nested(), "a tensor of layout ",
                tensor->is_nested() ? "Nested" : c10::str(tensor->layout()));
    TORCH_CHECK(is_served(static_cast<int64_t>(tensor->scalar_type())), "a tensor of dtype ", tensor->scalar_type());
    TORCH_CHECK(tensor->is_cpu() || tensor->is_cuda(), "a tensor on device ", tensor->device());
  });
}

// Whether two tensors have the same shape, element type and device; false where the first is undefined or not strided.
bool lh_same_form(const at::Tensor* one, const at::Tensor* other) {
  return one->defined() && !one->is_nested() && one->layout() == at::kStrided &&
         one->scalar_type() == other->scalar_type() && one->device() == other->device() &&
         one->sizes() == other->sizes();
}

char* lh_generator_new(uint64_t seed, at::Generator** out) {
  return lorahost::guarded(
      [&] { *out = new at::Generator(at::make_generator<at::CPUGeneratorImpl>(seed)); });
}

void lh_generator_delete(at::Generator* generator) { delete generator; }

}  // extern "C"
