// The arguments of a call, and how Python binds them to a function's parameters.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace nibble::jinja {

struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;
};

// Arguments by parameter. Throws Error(bad_input) as Python's TypeError would: too many, an unknown
// or doubled keyword, a required one left out.
class Parameters {
 public:
  // The first `required` of the names must be given. With positional_only no keyword is taken.
  Parameters(Runtime& runtime, std::string_view function, const CallArguments& arguments,
             std::initializer_list<std::string_view> names, size_t required = 0,
             bool positional_only = false);

  // Missing when not given.
  const Value& operator[](size_t i) const { return values_[i]; }
  bool given(size_t i) const { return !values_[i].is_missing(); }
  // Given and not None.
  bool present(size_t i) const { return given(i) && !values_[i].is_none(); }
  bool is_true(size_t i) const;
  // A string; throws for others.
  const Value& string(size_t i) const;
  int64_t index(size_t i, int64_t otherwise) const;

 private:
  Runtime& runtime_;
  std::string_view function_;
  std::vector<Value> values_;
};

}  // namespace nibble::jinja
