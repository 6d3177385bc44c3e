// + - * / // % **, unary - and +, as Python computes them.
#include <algorithm>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/markup.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"

namespace nibble::jinja {
namespace {

const char* symbol(Operator op) {
  static constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSymbols[static_cast<size_t>(op)];
}

[[noreturn]] void fail_wide(Runtime& runtime) {
  runtime.fail("an integer would leave 128 bits, which are all that is supported");
}

[[noreturn]] void fail_zero(Runtime& runtime) { runtime.fail("division by zero"); }

WideInt floor_divide(WideInt a, WideInt b) {
  const WideInt quotient = a / b;
  return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

WideInt floor_modulo(WideInt a, WideInt b) {
  const WideInt rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double floor_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  if ((rest < 0) != (b < 0)) rest += b;
  return rest;
}

double floor_divide(double a, double b) {
  const double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

WideInt integer_power(Runtime& runtime, WideInt base, WideInt exponent) {
  WideInt result = 1;
  while (exponent > 0) {
    runtime.charge_step();
    if (exponent % 2 != 0 && __builtin_mul_overflow(result, base, &result)) fail_wide(runtime);
    exponent /= 2;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) fail_wide(runtime);
  }
  return result;
}

Value real_power(Runtime& runtime, double a, double b) {
  if (a == 0 && b < 0) runtime.fail("0.0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::trunc(b)) {
    runtime.fail("complex numbers are not supported: {} ** {}", a, b);
  }
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) {
    runtime.fail("the result of {} ** {} is too large", a, b);
  }
  return Value::real(result);
}

Value integers(Runtime& runtime, Operator op, WideInt a, WideInt b) {
  WideInt result = 0;
  // -2^127, whose negation overflows, is refused like all beyond.
  constexpr WideInt kLowest = WideInt{1} << 126;
  switch (op) {
    case Operator::add:
      if (__builtin_add_overflow(a, b, &result)) fail_wide(runtime);
      break;
    case Operator::subtract:
      if (__builtin_sub_overflow(a, b, &result)) fail_wide(runtime);
      break;
    case Operator::multiply:
      if (__builtin_mul_overflow(a, b, &result)) fail_wide(runtime);
      break;
    case Operator::divide:
      if (b == 0) fail_zero(runtime);
      return Value::real(
          static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Operator::floor_divide:
      if (b == 0) fail_zero(runtime);
      result = floor_divide(a, b);
      break;
    case Operator::modulo:
      if (b == 0) fail_zero(runtime);
      result = floor_modulo(a, b);
      break;
    case Operator::power:
      if (b < 0) return real_power(runtime, static_cast<double>(a), static_cast<double>(b));
      // Would only take long: |a| > 1 leaves 128 bits at once.
      result = integer_power(runtime, a, b);
      break;
  }
  if (result >= 2 * (kLowest - 1) || result <= -2 * (kLowest - 1)) fail_wide(runtime);
  return Value::integer(result);
}

Value reals(Runtime& runtime, Operator op, double a, double b) {
  switch (op) {
    case Operator::add:
      return Value::real(a + b);
    case Operator::subtract:
      return Value::real(a - b);
    case Operator::multiply:
      return Value::real(a * b);
    case Operator::power:
      return real_power(runtime, a, b);
    default:
      break;
  }
  if (b == 0) fail_zero(runtime);
  if (op == Operator::divide) return Value::real(a / b);
  return Value::real(op == Operator::modulo ? floor_modulo(a, b) : floor_divide(a, b));
}

Value concatenate(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_markup() != b.is_markup()) {
    return concatenate(runtime, escape(runtime, a), escape(runtime, b));
  }
  TextBuilder text(runtime);
  text.append(a.text());
  text.append(b.text());
  return Value::string(std::move(text).build(), a.is_markup());
}

Value join_sequences(Runtime& runtime, const Value& a, const Value& b) {
  std::vector<Value> items;
  runtime.charge_values(a.items().size() + b.items().size());
  items.reserve(a.items().size() + b.items().size());
  items.insert(items.end(), a.items().begin(), a.items().end());
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is_list() ? Value::list(runtime, std::move(items))
                     : Value::tuple(runtime, std::move(items));
}

Value repeat_sequence(Runtime& runtime, const Value& value, WideInt count) {
  const auto& items = value.items();
  if (count < 0 || items.empty()) count = 0;
  if (count > static_cast<WideInt>(runtime.limits().max_output))
    count = runtime.limits().max_output;
  const auto size = static_cast<size_t>(count) * items.size();
  runtime.charge_values(size);
  std::vector<Value> result;
  result.reserve(size);
  for (WideInt i = 0; i < count; ++i) result.insert(result.end(), items.begin(), items.end());
  return value.is_list() ? Value::list(runtime, std::move(result))
                         : Value::tuple(runtime, std::move(result));
}

}  // namespace

double to_double(const Value& number) {
  return number.is_integral() ? static_cast<double>(number.as_integer()) : number.as_real();
}

void check_defined(Runtime& runtime, const Value& value) {
  if (value.is_undefined()) runtime.fail_with(value.as_undefined().message());
}

Value repeat(Runtime& runtime, const Value& value, WideInt count) {
  TextBuilder text(runtime);
  const size_t size = value.text().size();
  if (size > 0 && count > 0) {
    const auto most = static_cast<WideInt>(runtime.limits().max_output);
    runtime.check_size(static_cast<size_t>(std::min(count, most + 1)) * size);
    for (WideInt i = 0; i < count; ++i) text.append(value.text());
  }
  return Value::string(std::move(text).build(), value.is_markup());
}

Value apply(Runtime& runtime, Operator op, const Value& a, const Value& b) {
  check_defined(runtime, a);
  if (op == Operator::modulo && a.is_string()) return format_percent(runtime, a, b);
  check_defined(runtime, b);
  if (a.is_integral() && b.is_integral()) {
    return integers(runtime, op, a.as_integer(), b.as_integer());
  }
  if (a.is_number() && b.is_number()) return reals(runtime, op, to_double(a), to_double(b));
  if (op == Operator::add) {
    if (a.is_string() && b.is_string()) return concatenate(runtime, a, b);
    if (a.is_sequence() && a.kind() == b.kind()) return join_sequences(runtime, a, b);
  }
  if (op == Operator::multiply && (a.is_integral() || b.is_integral())) {
    const Value& what = a.is_integral() ? b : a;
    const WideInt count = (a.is_integral() ? a : b).as_integer();
    if (what.is_string()) return repeat(runtime, what, count);
    if (what.is_sequence()) return repeat_sequence(runtime, what, count);
  }
  runtime.fail("unsupported operand type(s) for {}: '{}' and '{}'", symbol(op), type_name(a),
               type_name(b));
}

Value negate(Runtime& runtime, const Value& value) {
  check_defined(runtime, value);
  if (value.is_integral()) return Value::integer(-value.as_integer());
  if (value.is(Kind::real)) return Value::real(-value.as_real());
  runtime.fail("bad operand type for unary -: '{}'", type_name(value));
}

Value plus(Runtime& runtime, const Value& value) {
  check_defined(runtime, value);
  if (value.is_integral()) return Value::integer(value.as_integer());
  if (value.is(Kind::real)) return value;
  runtime.fail("bad operand type for unary +: '{}'", type_name(value));
}

}  // namespace nibble::jinja
