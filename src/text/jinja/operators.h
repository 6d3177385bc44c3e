// Python's operators on values: truth, equality and order, arithmetic, membership, subscripts,
// slices and iteration. All throw Error(bad_input) where Python raises.
#pragma once

#include <optional>

#include "text/jinja/value.h"

namespace nibble::jinja {

enum class Operator : uint8_t { add, subtract, multiply, divide, floor_divide, modulo, power };
enum class Comparison : uint8_t { equal, not_equal, less, less_equal, greater, greater_equal };

bool is_true(Runtime& runtime, const Value& value);

bool equals(Runtime& runtime, const Value& a, const Value& b);
bool compare(Runtime& runtime, Comparison comparison, const Value& a, const Value& b);
inline bool less(Runtime& runtime, const Value& a, const Value& b) {
  return compare(runtime, Comparison::less, a, b);
}
// a is b.
bool same(const Value& a, const Value& b);
// item in container.
bool contains(Runtime& runtime, const Value& container, const Value& item);

Value apply(Runtime& runtime, Operator op, const Value& a, const Value& b);
Value negate(Runtime& runtime, const Value& value);
Value plus(Runtime& runtime, const Value& value);
// str * count.
Value repeat(Runtime& runtime, const Value& text, WideInt count);
// A real or integral number as double.
double to_double(const Value& number);
// Throws for undefined values, saying which: to be called where using one is an error.
void check_defined(Runtime& runtime, const Value& value);

// len(); nothing for what has none.
std::optional<int64_t> length_of(Runtime& runtime, const Value& value);
// An argument that Python takes by __index__; throws for others, and beyond 64 bits (clamped where
// `clamp` is set, as in slices).
int64_t to_index(Runtime& runtime, const Value& value, bool clamp = false);
// value[start:stop:step]; missing or none: left out.
Value slice_of(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
               const Value& step);
// value[index] of a sequence; nothing if it is out of range.
std::optional<Value> element(Runtime& runtime, const Value& value, int64_t index);

// iter(); nothing for what cannot be iterated.
std::shared_ptr<Iterator> try_iterate(Runtime& runtime, const Value& value);
std::shared_ptr<Iterator> iterate(Runtime& runtime, const Value& value);
// reversed(); nothing for what cannot be.
std::shared_ptr<Iterator> try_iterate_backwards(Runtime& runtime, const Value& value);
std::vector<Value> to_vector(Runtime& runtime, const Value& value);
// The items of a view or the entries of a dict, as values.
Value view_item(Runtime& runtime, const View& view, size_t index);

}  // namespace nibble::jinja
