// jinja2's tests: value is name(arguments).
#pragma once

#include <string_view>

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace nibble::jinja {

struct Test {
  std::string_view name;
  bool (*function)(Runtime& runtime, const Value& subject, const CallArguments& arguments);
};

// Null if jinja2 has none of that name.
const Test* find_test(std::string_view name);

// callable(value).
bool is_callable(const Value& value);

}  // namespace nibble::jinja
