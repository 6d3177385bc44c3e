// Filters on numbers and on single values.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja/attributes.h"
#include "text/jinja/filters.h"
#include "text/jinja/literals.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/runtime.h"

namespace nibble::jinja::filters {
namespace {

// int(real); throws for what no integer can hold, infinity first of all.
Value truncated(Runtime& runtime, double real, Mark mark) {
  if (!(std::abs(real) < 0x1p126)) runtime.fail("cannot convert float {} to integer", real);
  return Value::integer(static_cast<WideInt>(real), mark);
}

// Rounds the exact decimal digits of a real to so many places (negative: before the point), half to
// even, as Python does.
double round_real(double value, int64_t places) {
  if (!std::isfinite(value) || value == 0 || places > 323) return value;
  if (places >= 0) return std::strtod(fmt::format("{:.{}f}", value, places).c_str(), nullptr);
  if (places < -308) return std::copysign(0.0, value);
  const double unit = std::pow(10.0, static_cast<double>(-places));
  const double rest = std::fmod(std::abs(value), unit);
  double whole = std::abs(value) - rest;
  const bool odd = std::fmod(whole / unit, 2.0) != 0;
  if (rest * 2 > unit || (rest * 2 == unit && odd)) whole += unit;
  return std::copysign(whole, value);
}

Value round_integer(Runtime& runtime, const Value& value, int64_t places) {
  if (places >= 0) return Value::integer(value.as_integer());
  if (places < -37) return Value::integer(0);
  const Value unit = apply(runtime, Operator::power, Value::integer(10), Value::integer(-places));
  const WideInt by = unit.as_integer();
  const WideInt number = value.as_integer();
  const WideInt rest = ((number % by) + by) % by;
  const WideInt low = number - rest;
  const bool up = rest * 2 > by || (rest * 2 == by && (low / by) % 2 != 0);
  return Value::integer(up ? low + by : low);
}

}  // namespace

Value abs(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "abs", arguments, {});
  check_defined(runtime, value);
  if (value.is(Kind::real)) return Value::real(std::abs(value.as_real()));
  if (!value.is_integral()) runtime.fail("bad operand type for abs(): '{}'", type_name(value));
  const WideInt number = value.as_integer();
  return Value::integer(number < 0 ? -number : number);
}

Value attr(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "attr", arguments, {"name"}, 1);
  return get_attribute_only(runtime, value, given.string(0));
}

Value default_value(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "default", arguments, {"default_value", "boolean"});
  if (value.is_undefined() || (given.is_true(1) && !is_true(runtime, value))) {
    return given.given(0) ? given[0] : Value::string("");
  }
  return value;
}

Value filesizeformat(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "filesizeformat", arguments, {"binary"});
  check_defined(runtime, value);
  double bytes = 0;
  if (value.is_number()) {
    bytes = to_double(value);
  } else if (const auto parsed = value.is_string() ? parse_real(value.view()) : ParsedNumber{};
             parsed.ok) {
    bytes = parsed.value.as_real();
  } else {
    runtime.fail("filesizeformat() wants a number, not {}", type_name(value));
  }
  const bool binary = given.is_true(0);
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return Value::string("1 Byte");
  if (bytes < base) {
    const Value whole = truncated(runtime, bytes, kTemplateText);
    return Value::string(fmt::format("{} Bytes", whole.as_integer()));
  }
  if (std::isnan(bytes)) return Value::string(binary ? "nan YiB" : "nan YB");
  static constexpr const char* kPrefixes = "kMGTPEZY";
  double unit = base;
  size_t prefix = 0;
  for (; prefix < 8; ++prefix) {
    unit *= base;
    if (bytes < unit) break;
  }
  const char letter = kPrefixes[std::min<size_t>(prefix, 7)];
  return Value::string(fmt::format("{:.1f} {}{}", base * bytes / unit,
                                   binary && letter == 'k' ? 'K' : letter, binary ? "iB" : "B"));
}

Value to_float(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "float", arguments, {"default"});
  check_defined(runtime, value);
  if (value.is_number()) return Value::real(to_double(value), value.mark());
  if (value.is_string()) {
    const ParsedNumber parsed = parse_real(value.view());
    if (parsed.ok) return Value::real(parsed.value.as_real(), value.mark());
  }
  return given.given(0) ? given[0] : Value::real(0);
}

Value to_int(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "int", arguments, {"default", "base"});
  check_defined(runtime, value);
  const Value otherwise = given.given(0) ? given[0] : Value::integer(0);
  if (value.is_integral()) return Value::integer(value.as_integer(), value.mark());
  if (value.is(Kind::real)) {
    if (std::isnan(value.as_real())) return otherwise;
    return truncated(runtime, value.as_real(), value.mark());
  }
  if (!value.is_string()) return otherwise;
  // A base that is none fails like text that is no number.
  const int64_t base = !given.given(1)          ? 10
                       : given[1].is_integral() ? to_index(runtime, given[1], true)
                                                : -1;
  const bool valid_base = base == 0 || (base >= 2 && base <= 36);
  const ParsedNumber parsed =
      valid_base ? parse_integer(value.view(), static_cast<int>(base)) : ParsedNumber{};
  if (parsed.ok) return Value::integer(parsed.value.as_integer(), value.mark());
  const ParsedNumber real = parse_real(value.view());
  if (!real.ok || !std::isfinite(real.value.as_real())) return otherwise;
  return truncated(runtime, real.value.as_real(), value.mark());
}

Value length(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "length", arguments, {});
  const auto count = length_of(runtime, value);
  if (!count) runtime.fail("object of type '{}' has no len()", type_name(value));
  return Value::integer(*count);
}

Value round(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "round", arguments, {"precision", "method"});
  const std::string_view method = given.given(1) ? given.string(1).view() : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    runtime.fail("method must be common, ceil or floor");
  }
  check_defined(runtime, value);
  if (!value.is_number()) {
    runtime.fail("type {} doesn't define __round__ method", type_name(value));
  }
  if (method == "common") {
    const bool no_places = given[0].is_none();
    const int64_t places = no_places ? 0 : given.index(0, 0);
    if (value.is_integral()) return round_integer(runtime, value, places);
    const double rounded = round_real(value.as_real(), places);
    return no_places ? truncated(runtime, rounded, value.mark()) : Value::real(rounded);
  }
  const Value unit = apply(runtime, Operator::power, Value::integer(10),
                           given.given(0) ? given[0] : Value::integer(0));
  const Value scaled = apply(runtime, Operator::multiply, value, unit);
  Value whole = scaled;
  if (scaled.is(Kind::real)) {
    whole = truncated(runtime,
                      method == "ceil" ? std::ceil(scaled.as_real()) : std::floor(scaled.as_real()),
                      kTemplateText);
  }
  return apply(runtime, Operator::divide, whole, unit);
}

}  // namespace nibble::jinja::filters
