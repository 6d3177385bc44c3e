// Values as text: Python's str() and repr(), and json.dumps.
#pragma once

#include <string>

#include "text/jinja/value.h"

namespace nibble::jinja {

// float.__repr__: the shortest digits that read back the same, "1e-07", "1e+22", "0.1", "-0.0".
std::string format_real(double value);
std::string format_integer(WideInt value);

// str(value). Throws Error(bad_input) for what Python prints with an address.
void print(Runtime& runtime, const Value& value, TextBuilder& out);
// str(value) as a plain string: no longer markup.
Value to_string(Runtime& runtime, const Value& value);
// The same, but markup stays markup (soft_str).
Value to_soft_string(Runtime& runtime, const Value& value);

// repr(value).
void print_repr(Runtime& runtime, const Value& value, TextBuilder& out);

struct JsonStyle {
  bool ensure_ascii = false;
  bool indented = false;
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
// json.dumps(value). Throws Error(bad_input) for what JSON has no word for.
void print_json(Runtime& runtime, const Value& value, const JsonStyle& style, TextBuilder& out);

}  // namespace nibble::jinja
