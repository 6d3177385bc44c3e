// Filters on sequences that look at all of it: ends, order, groups.
#include <algorithm>

#include "text/jinja/attributes.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/strings.h"

namespace nibble::jinja::filters {
namespace {

Value ignore_case(Runtime& runtime, const Value& value) {
  return value.is_string() ? with_case(runtime, value, Case::lower) : value;
}

// Sorts items by keys; those of equal keys stay in order, also when reversed.
std::vector<Value> sort_by(Runtime& runtime, std::vector<Value> items,
                           const std::vector<Value>& keys, bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return reverse ? less(runtime, keys[b], keys[a]) : less(runtime, keys[a], keys[b]);
  });
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const size_t i : order) sorted.push_back(items[i]);
  return sorted;
}

Value least(Runtime& runtime, const Value& value, Args arguments, bool greatest) {
  const Parameters given(runtime, greatest ? "max" : "min", arguments,
                         {"case_sensitive", "attribute"});
  const std::vector<Value> path = attribute_path(runtime, given[1]);
  const auto iterator = iterate(runtime, value);
  Value best, best_key;
  for (Value item; iterator->next(runtime, item);) {
    Value key = follow_path(runtime, item, path, {});
    if (!given.is_true(0)) key = ignore_case(runtime, key);
    const bool better = best.is_missing() ||
                        (greatest ? less(runtime, best_key, key) : less(runtime, key, best_key));
    if (!better) continue;
    best = item;
    best_key = std::move(key);
  }
  return best.is_missing() ? Value::undefined_hint("No aggregated item, sequence was empty.")
                           : best;
}

}  // namespace

Value first(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "first", arguments, {});
  Value item;
  if (iterate(runtime, value)->next(runtime, item)) return item;
  return Value::undefined_hint("No first item, sequence was empty.");
}

Value last(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "last", arguments, {});
  const auto iterator = try_iterate_backwards(runtime, value);
  if (!iterator) runtime.fail("'{}' object is not reversible", type_name(value));
  Value item;
  if (iterator->next(runtime, item)) return item;
  return Value::undefined_hint("No last item, sequence was empty.");
}

Value list(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "list", arguments, {});
  return Value::list(runtime, to_vector(runtime, value),
                     value.is_string() ? kTemplateText : value.mark());
}

Value reverse(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "reverse", arguments, {});
  if (value.is_string()) {
    return slice_of(runtime, value, {}, {}, Value::integer(-1));
  }
  if (auto iterator = try_iterate_backwards(runtime, value)) {
    runtime.check_nesting(iterator->depth);
    return Value::object(Kind::iterator, std::move(iterator));
  }
  std::vector<Value> items = to_vector(runtime, value);
  std::reverse(items.begin(), items.end());
  return Value::list(runtime, std::move(items));
}

Value sum(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "sum", arguments, {"attribute", "start"});
  const std::vector<Value> path = attribute_path(runtime, given[0]);
  Value total = given.given(1) ? given[1] : Value::integer(0);
  if (total.is_string()) runtime.fail("sum() can't sum strings [use ''.join(seq) instead]");
  const auto iterator = iterate(runtime, value);
  for (Value item; iterator->next(runtime, item);) {
    total = apply(runtime, Operator::add, total, follow_path(runtime, item, path, {}));
  }
  return total;
}

Value max(Runtime& runtime, const Value& value, Args arguments) {
  return least(runtime, value, arguments, true);
}

Value min(Runtime& runtime, const Value& value, Args arguments) {
  return least(runtime, value, arguments, false);
}

Value sort(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  // "a,b.c": by a, then by b.c.
  std::vector<std::vector<Value>> paths;
  if (given[2].is_string()) {
    const Value comma = Value::string(",");
    for (const Value& part : split(runtime, given[2], &comma, -1)) {
      paths.push_back(attribute_path(runtime, part));
    }
  } else {
    paths.push_back(attribute_path(runtime, given[2]));
  }
  std::vector<Value> items = to_vector(runtime, value);
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> key;
    for (const auto& path : paths) {
      key.push_back(follow_path(runtime, item, path, {}));
      if (!given.is_true(1)) key.back() = ignore_case(runtime, key.back());
    }
    keys.push_back(Value::list(runtime, std::move(key)));
  }
  return Value::list(runtime, sort_by(runtime, std::move(items), keys, given.index(0, 0) != 0),
                     value.mark());
}

Value dictsort(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string_view by = given.given(1) ? given.string(1).view() : "key";
  if (by != "key" && by != "value") {
    runtime.fail("You can only sort by either \"key\" or \"value\"");
  }
  check_defined(runtime, value);
  if (!value.is_dict()) {
    runtime.fail("'{}' object has no attribute 'items'", type_name(value));
  }
  std::vector<Value> items, keys;
  for (const Dict::Entry& entry : value.as_dict().entries()) {
    items.push_back(Value::tuple(runtime, {entry.key, entry.value}));
    keys.push_back(by == "key" ? entry.key : entry.value);
    if (!given.is_true(0)) keys.back() = ignore_case(runtime, keys.back());
  }
  return Value::list(runtime, sort_by(runtime, std::move(items), keys, given.index(2, 0) != 0),
                     value.mark());
}

Value groupby(Runtime& runtime, const Value& value, Args arguments) {
  static constexpr std::array<std::string_view, 2> kNames = {"grouper", "list"};
  const Parameters given(runtime, "groupby", arguments, {"attribute", "default", "case_sensitive"},
                         1);
  const std::vector<Value> path = attribute_path(runtime, given[0]);
  const bool case_sensitive = given.is_true(2);
  const auto key_of = [&](const Value& item) { return follow_path(runtime, item, path, given[1]); };
  const auto sort_key = [&](const Value& item) {
    return case_sensitive ? key_of(item) : ignore_case(runtime, key_of(item));
  };
  std::vector<Value> items = to_vector(runtime, value);
  std::vector<Value> keys;
  for (const Value& item : items) keys.push_back(sort_key(item));
  items = sort_by(runtime, std::move(items), keys, false);

  std::vector<Value> groups;
  for (size_t begin = 0; begin < items.size();) {
    const Value key = sort_key(items[begin]);
    std::vector<Value> group;
    size_t end = begin;
    while (end < items.size() && equals(runtime, sort_key(items[end]), key)) {
      group.push_back(items[end++]);
    }
    if (end == begin) ++end;  // a key that does not equal itself
    const Value tuple =
        Value::tuple(runtime, {key_of(items[begin]), Value::list(runtime, std::move(group))});
    static_cast<List&>(*tuple.pointer()).names = &kNames;
    groups.push_back(tuple);
    begin = end;
  }
  return Value::list(runtime, std::move(groups));
}

}  // namespace nibble::jinja::filters
