#include "text/jinja/attributes.h"

#include <algorithm>
#include <array>

#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/strings.h"

namespace nibble::jinja {
namespace {

class BoundMethod final : public Opaque {
 public:
  BoundMethod(Value self, const Method& method) : self_(std::move(self)), method_(method) {
    depth = self_.depth() + 1;
  }
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  bool is_callable() const override { return true; }
  Value call(Runtime& runtime, CallArguments& arguments) override {
    if (!method_.function) {
      runtime.fail("the method {}.{}() is not supported", jinja::type_name(self_), method_.name);
    }
    return method_.function(runtime, self_, arguments);
  }

 private:
  Value self_;
  const Method& method_;
};

// What Python refuses to call on a list or dict in the immutable sandbox.
bool is_mutating(const Value& object, std::string_view name) {
  static constexpr std::array<std::string_view, 8> kList = {"append", "clear", "pop",    "reverse",
                                                            "insert", "sort",  "extend", "remove"};
  static constexpr std::array<std::string_view, 5> kDict = {"clear", "pop", "popitem", "setdefault",
                                                            "update"};
  if (object.is_list()) return std::find(kList.begin(), kList.end(), name) != kList.end();
  return object.is_dict() && std::find(kDict.begin(), kDict.end(), name) != kDict.end();
}

// Attributes that every Python object has. The sandbox hides them all.
bool is_object_attribute(std::string_view name) {
  if (!name.starts_with("__")) return false;
  static constexpr std::array<std::string_view, 25> kNames = {
      "__class__",   "__delattr__", "__dir__",           "__doc__",          "__eq__",
      "__format__",  "__ge__",      "__getattribute__",  "__getstate__",     "__gt__",
      "__hash__",    "__init__",    "__init_subclass__", "__le__",           "__lt__",
      "__ne__",      "__new__",     "__reduce__",        "__reduce_ex__",    "__repr__",
      "__setattr__", "__sizeof__",  "__str__",           "__subclasshook__", "__len__"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Value unsafe(const Value& object, std::string_view name) {
  return Value::undefined_hint(
      fmt::format("access to attribute '{}' of '{}' object is unsafe", name, type_name(object)));
}

Value number_attribute(Runtime& runtime, const Value& number, std::string_view name) {
  static constexpr std::array<std::string_view, 13> kOthers = {
      "as_integer_ratio", "bit_count", "bit_length",  "conjugate", "from_bytes", "fromhex", "hex",
      "is_integer",       "to_bytes",  "denominator", "imag",      "numerator",  "real"};
  const bool is_integer = number.is_integral();
  if (name == "real") return is_integer ? Value::integer(number.as_integer()) : number;
  if (name == "imag") return is_integer ? Value::integer(0) : Value::real(0);
  if (is_integer && name == "numerator") return Value::integer(number.as_integer());
  if (is_integer && name == "denominator") return Value::integer(1);
  if (std::find(kOthers.begin(), kOthers.end(), name) == kOthers.end()) return {};
  runtime.fail("the attribute {}.{} is not supported", type_name(number), name);
}

// getattr(object, name) with the sandbox's checks; missing when there is none.
Value attribute_of(Runtime& runtime, const Value& object, std::string_view name) {
  if (object.is_undefined()) {
    if (is_object_attribute(name)) return unsafe(object, name);
    if (name.starts_with("__") && name.ends_with("__")) return {};
    runtime.fail_with(object.as_undefined().message());
  }
  if (is_object_attribute(name) && !object.is(Kind::name_space)) return unsafe(object, name);
  std::span<const Method> methods;
  switch (object.kind()) {
    case Kind::string:
      methods = string_methods();
      break;
    case Kind::list:
    case Kind::tuple:
    case Kind::dict:
    case Kind::range:
      methods = container_methods(object.kind());
      break;
    case Kind::boolean:
    case Kind::integer:
    case Kind::real:
      return number_attribute(runtime, object, name);
    case Kind::name_space: {
      const Dict& attributes = object.as_namespace().attributes;
      runtime.charge_values(attributes.size() / 2);  // searched one by one
      const Value* value = attributes.find(name);
      if (value) return *value;
      return name == "__class__" ? unsafe(object, name) : Value();
    }
    case Kind::opaque: {
      Value result;
      return object.as_opaque().attribute(runtime, name, result) ? result : Value();
    }
    default:
      return {};
  }
  if (object.is(Kind::tuple) && object.as_list().names) {
    const auto& names = *object.as_list().names;
    const auto named = std::find(names.begin(), names.end(), name);
    if (named != names.end()) return object.items()[static_cast<size_t>(named - names.begin())];
  }
  const auto found = std::find_if(methods.begin(), methods.end(),
                                  [&](const Method& method) { return method.name == name; });
  if (found == methods.end()) return {};
  if (is_mutating(object, name)) return unsafe(object, name);
  if (object.is(Kind::range) && !found->function) {
    const Range& range = object.as_range();
    if (name == "start") return Value::integer(range.start);
    if (name == "stop") return Value::integer(range.stop);
    if (name == "step") return Value::integer(range.step);
  }
  return Value::opaque(std::make_shared<BoundMethod>(object, *found));
}

// object[key]; missing when there is none, or nothing of the kind.
Value item_of(Runtime& runtime, const Value& object, const Value& key) {
  check_defined(runtime, object);
  switch (object.kind()) {
    case Kind::dict: {
      if (key.is_list() || key.is_dict()) return {};  // unhashable
      const Value* value = object.as_dict().find(runtime, key);
      return value ? *value : Value();
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::string: {
      if (!key.is_integral()) return {};
      const WideInt index = key.as_integer();
      if (index != static_cast<int64_t>(index)) return {};
      return element(runtime, object, static_cast<int64_t>(index)).value_or(Value());
    }
    default:
      return {};
  }
}

}  // namespace

Value Opaque::call(Runtime& runtime, CallArguments&) {
  runtime.fail("'{}' object is not callable", type_name());
}

bool Opaque::attribute(Runtime&, std::string_view, Value&) { return false; }

std::optional<int64_t> Opaque::length(Runtime&) { return std::nullopt; }

void Opaque::print(Runtime& runtime, TextBuilder&) {
  runtime.fail("a {} is printed: Python prints its address; was a call meant?", type_name());
}

Value get_attribute(Runtime& runtime, const Value& object, const Value& name) {
  Value value = attribute_of(runtime, object, name.view());
  if (value.is_missing()) value = item_of(runtime, object, name);
  if (value.is_missing()) return Value::undefined_attribute(object, std::string(name.view()));
  return value;
}

Value get_item(Runtime& runtime, const Value& object, const Value& key) {
  Value value = item_of(runtime, object, key);
  if (value.is_missing() && key.is_string()) value = attribute_of(runtime, object, key.view());
  if (!value.is_missing()) return value;
  if (key.is_string()) return Value::undefined_attribute(object, std::string(key.view()));
  return Value::undefined_hint(fmt::format("'{} object' has no such element", type_name(object)));
}

Value get_attribute_only(Runtime& runtime, const Value& object, const Value& name) {
  Value value = attribute_of(runtime, object, name.view());
  if (value.is_missing()) return Value::undefined_attribute(object, std::string(name.view()));
  return value;
}

std::vector<Value> attribute_path(Runtime& runtime, const Value& path) {
  if (path.is_missing() || path.is_none()) return {};
  if (!path.is_string()) return {path};
  std::vector<Value> parts;
  const Value dot = Value::string(".");
  for (Value& part : split(runtime, path, &dot, -1)) {
    const std::string_view view = part.view();
    const bool number =
        !view.empty() && view.size() <= 18 &&
        std::all_of(view.begin(), view.end(), [](char c) { return c >= '0' && c <= '9'; });
    parts.push_back(number ? Value::integer(std::stoll(std::string(view))) : std::move(part));
  }
  return parts;
}

Value follow_path(Runtime& runtime, Value value, const std::vector<Value>& path,
                  const Value& otherwise) {
  for (const Value& part : path) {
    value = get_item(runtime, value, part);
    if (value.is_undefined() && !otherwise.is_missing() && !otherwise.is_none()) value = otherwise;
  }
  return value;
}

}  // namespace nibble::jinja
