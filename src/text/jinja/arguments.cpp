#include "text/jinja/arguments.h"

#include <algorithm>

#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"

namespace nibble::jinja {

Parameters::Parameters(Runtime& runtime, std::string_view function, const CallArguments& arguments,
                       std::initializer_list<std::string_view> names, size_t required,
                       bool positional_only)
    : runtime_(runtime), function_(function), values_(names.size()) {
  if (arguments.positional.size() > names.size()) {
    runtime.fail("{}() takes at most {} arguments, got {}", function, names.size(),
                 arguments.positional.size());
  }
  std::copy(arguments.positional.begin(), arguments.positional.end(), values_.begin());
  for (const auto& [name, value] : arguments.keywords) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (positional_only || found == names.end()) {
      runtime.fail("{}() got an unexpected keyword argument '{}'", function, name);
    }
    Value& place = values_[static_cast<size_t>(found - names.begin())];
    if (!place.is_missing()) {
      runtime.fail("{}() got multiple values for argument '{}'", function, name);
    }
    place = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!given(i)) runtime.fail("{}() misses its argument '{}'", function, names.begin()[i]);
  }
}

bool Parameters::is_true(size_t i) const {
  return given(i) && jinja::is_true(runtime_, values_[i]);
}

const Value& Parameters::string(size_t i) const {
  check_defined(runtime_, values_[i]);
  if (!values_[i].is_string()) {
    runtime_.fail("{}() argument {} must be str, not {}", function_, i + 1, type_name(values_[i]));
  }
  return values_[i];
}

int64_t Parameters::index(size_t i, int64_t otherwise) const {
  return given(i) ? to_index(runtime_, values_[i], true) : otherwise;
}

}  // namespace nibble::jinja
