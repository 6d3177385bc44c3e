// Attributes, subscripts and methods, as the immutable sandbox gives them: names with an underscore
// and methods that would change their object are undefined, and using them is an error.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace nibble::jinja {

// object.name: an attribute, else an element, else undefined.
Value get_attribute(Runtime& runtime, const Value& object, const Value& name);
// object[key]: an element, else an attribute, else undefined.
Value get_item(Runtime& runtime, const Value& object, const Value& key);
// |attr(name): only an attribute, else undefined.
Value get_attribute_only(Runtime& runtime, const Value& object, const Value& name);

// A path as filters take it, "author.name.0" or a number: each part subscripts what came before.
std::vector<Value> attribute_path(Runtime& runtime, const Value& path);
// `otherwise` stands for what is undefined on the way, unless missing.
Value follow_path(Runtime& runtime, Value value, const std::vector<Value>& path,
                  const Value& otherwise);

// A method of a builtin type. Null function: there is one in Python that is not supported here.
struct Method {
  std::string_view name;
  Value (*function)(Runtime& runtime, const Value& self, const CallArguments& arguments);
};
std::span<const Method> string_methods();
std::span<const Method> container_methods(Kind kind);  // list, tuple, dict, range

// dict.fromkeys(iterable, value).
Value dict_from_keys(Runtime& runtime, const CallArguments& arguments);

}  // namespace nibble::jinja
