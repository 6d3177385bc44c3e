// The methods of dict, list, tuple and range that change nothing.
#include <algorithm>

#include "text/jinja/attributes.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"

namespace nibble::jinja {
namespace {

using Args = const CallArguments&;

Value get(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "get", arguments, {"key", "default"}, 1, true);
  const Value* value = self.as_dict().find(runtime, given[0]);
  if (value) return *value;
  return given.given(1) ? given[1] : Value::none();
}

template <View::What what>
Value view(Runtime& runtime, const Value& self, Args arguments) {
  Parameters(runtime, "dict view", arguments, {});
  auto result = std::make_shared<View>(self, what);
  runtime.check_nesting(result->depth);
  return Value::object(Kind::view, std::move(result));
}

Value copy(Runtime& runtime, const Value& self, Args arguments) {
  Parameters(runtime, "copy", arguments, {});
  return self;  // nothing can change either
}

Value count(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "count", arguments, {"value"}, 1, true);
  const auto iterator = iterate(runtime, self);
  int64_t found = 0;
  for (Value item; iterator->next(runtime, item);) {
    if (same(item, given[0]) || equals(runtime, item, given[0])) ++found;
  }
  return Value::integer(found);
}

Value index(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "index", arguments, {"value", "start", "stop"}, 1, true);
  const int64_t size = *length_of(runtime, self);
  const auto bound = [&](size_t i, int64_t otherwise) {
    const int64_t at = given.index(i, otherwise);
    return std::clamp<int64_t>(at < 0 ? at < -size ? 0 : at + size : at, 0, size);
  };
  const int64_t stop = bound(2, size);
  for (int64_t at = bound(1, 0); at < stop; ++at) {
    const Value item = *element(runtime, self, at);
    if (same(item, given[0]) || equals(runtime, item, given[0])) return Value::integer(at);
  }
  runtime.fail("the value is not in the {}", type_name(self));
}

}  // namespace

Value dict_from_keys(Runtime& runtime, Args arguments) {
  const Parameters given(runtime, "fromkeys", arguments, {"iterable", "value"}, 1, true);
  auto dict = std::make_shared<Dict>();
  const auto iterator = iterate(runtime, given[0]);
  for (Value key; iterator->next(runtime, key);) {
    dict->set(runtime, key, given.given(1) ? given[1] : Value::none());
  }
  return Value::dict(std::move(dict));
}

namespace {

Value fromkeys(Runtime& runtime, const Value&, Args arguments) {
  return dict_from_keys(runtime, arguments);
}

// Those without a function change their object: the sandbox hides them (attributes.cpp).
constexpr Method kDict[] = {
    {"get", get},
    {"items", view<View::What::items>},
    {"keys", view<View::What::keys>},
    {"values", view<View::What::values>},
    {"copy", copy},
    {"fromkeys", fromkeys},
    {"clear", nullptr},
    {"pop", nullptr},
    {"popitem", nullptr},
    {"setdefault", nullptr},
    {"update", nullptr},
};
constexpr Method kList[] = {
    {"count", count},    {"index", index},     {"copy", copy},      {"append", nullptr},
    {"clear", nullptr},  {"extend", nullptr},  {"insert", nullptr}, {"pop", nullptr},
    {"remove", nullptr}, {"reverse", nullptr}, {"sort", nullptr},
};
constexpr Method kTuple[] = {{"count", count}, {"index", index}};
constexpr Method kRange[] = {{"count", count},
                             {"index", index},
                             {"start", nullptr},  // these three are no methods (attributes.cpp)
                             {"stop", nullptr},
                             {"step", nullptr}};

}  // namespace

std::span<const Method> container_methods(Kind kind) {
  switch (kind) {
    case Kind::dict:
      return kDict;
    case Kind::list:
      return kList;
    case Kind::tuple:
      return kTuple;
    default:
      return kRange;
  }
}

}  // namespace nibble::jinja
