#include "text/jinja/tests.h"

#include <algorithm>
#include <iterator>

#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/runtime.h"
#include "text/jinja/strings.h"

namespace nibble::jinja {
namespace {

using Args = const CallArguments&;

template <bool (*predicate)(const Value&)>
bool plain(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "test", arguments, {});
  return predicate(value);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.is(Kind::boolean); }
bool is_false(const Value& value) { return value.is(Kind::boolean) && !value.as_boolean(); }
bool is_true_itself(const Value& value) { return value.is(Kind::boolean) && value.as_boolean(); }
bool is_integer(const Value& value) { return value.is(Kind::integer); }
bool is_float(const Value& value) { return value.is(Kind::real); }
bool is_string(const Value& value) { return value.is_string(); }
bool is_mapping(const Value& value) { return value.is_dict(); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_escaped(const Value& value) { return value.is_markup(); }
// Has a length and can be subscripted.
bool is_sequence(const Value& value) {
  return value.is_string() || value.is_sequence() || value.is_dict() || value.is(Kind::range) ||
         value.is_undefined();
}

bool is_iterable(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "iterable", arguments, {});
  return try_iterate(runtime, value) != nullptr ||
         (value.is(Kind::opaque) && value.as_opaque().length(runtime));
}

bool is_remainder(Runtime& runtime, const Value& value, const Value& divisor, int rest) {
  return equals(runtime, apply(runtime, Operator::modulo, value, divisor), Value::integer(rest));
}

template <int rest>
bool parity(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "test", arguments, {});
  return is_remainder(runtime, value, Value::integer(2), rest);
}

bool is_divisible(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "divisibleby", arguments, {"num"}, 1);
  return is_remainder(runtime, value, given[0], 0);
}

template <bool upper>
bool has_case(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "test", arguments, {});
  return has_case(runtime, to_string(runtime, value), upper);
}

template <Comparison comparison>
bool compared(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "comparison", arguments, {"other"}, 1, true);
  return compare(runtime, comparison, value, given[0]);
}

bool is_same(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "sameas", arguments, {"other"}, 1);
  return same(value, given[0]);
}

bool is_in(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "in", arguments, {"seq"}, 1);
  return contains(runtime, given[0], value);
}

bool is_filter(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "filter", arguments, {});
  hash_value(runtime, value);  // looked up in a dict: some values cannot be
  return value.is_string() && find_filter(value.view());
}

bool is_test(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "test", arguments, {});
  hash_value(runtime, value);  // looked up in a dict: some values cannot be
  return value.is_string() && find_test(value.view());
}

constexpr Test kTests[] = {
    {"!=", compared<Comparison::not_equal>},
    {"<", compared<Comparison::less>},
    {"<=", compared<Comparison::less_equal>},
    {"==", compared<Comparison::equal>},
    {">", compared<Comparison::greater>},
    {">=", compared<Comparison::greater_equal>},
    {"boolean", plain<is_boolean>},
    {"callable", plain<is_callable>},
    {"defined", plain<is_defined>},
    {"divisibleby", is_divisible},
    {"eq", compared<Comparison::equal>},
    {"equalto", compared<Comparison::equal>},
    {"escaped", plain<is_escaped>},
    {"even", parity<0>},
    {"false", plain<is_false>},
    {"filter", is_filter},
    {"float", plain<is_float>},
    {"ge", compared<Comparison::greater_equal>},
    {"greaterthan", compared<Comparison::greater>},
    {"gt", compared<Comparison::greater>},
    {"in", is_in},
    {"integer", plain<is_integer>},
    {"iterable", is_iterable},
    {"le", compared<Comparison::less_equal>},
    {"lessthan", compared<Comparison::less>},
    {"lower", has_case<false>},
    {"lt", compared<Comparison::less>},
    {"mapping", plain<is_mapping>},
    {"ne", compared<Comparison::not_equal>},
    {"none", plain<is_none>},
    {"number", plain<is_number>},
    {"odd", parity<1>},
    {"sameas", is_same},
    {"sequence", plain<is_sequence>},
    {"string", plain<is_string>},
    {"test", is_test},
    {"true", plain<is_true_itself>},
    {"undefined", plain<is_undefined>},
    {"upper", has_case<true>},
};

}  // namespace

bool is_callable(const Value& value) {
  return value.is_undefined() || (value.is(Kind::opaque) && value.as_opaque().is_callable());
}

const Test* find_test(std::string_view name) {
  const auto found = std::lower_bound(std::begin(kTests), std::end(kTests), name,
                                      [](const Test& t, std::string_view n) { return t.name < n; });
  return found != std::end(kTests) && found->name == name ? found : nullptr;
}

}  // namespace nibble::jinja
