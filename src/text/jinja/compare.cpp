// Truth, equality, order, identity and membership.
#include <algorithm>
#include <cmath>

#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/strings.h"

namespace nibble::jinja {
namespace {

enum class Order { less, equal, greater, none };

template <typename T>
Order order_of(const T& a, const T& b) {
  return a < b ? Order::less : b < a ? Order::greater : a == b ? Order::equal : Order::none;
}

// Exact, where converting to double would round.
Order order_of(WideInt a, double b) {
  if (std::isnan(b)) return Order::none;
  if (b >= 0x1p126) return Order::less;
  if (b <= -0x1p126) return Order::greater;
  const auto whole = static_cast<WideInt>(b);
  if (a != whole) return a < whole ? Order::less : Order::greater;
  return order_of(0.0, b - std::trunc(b));
}

Order reversed(Order order) {
  return order == Order::less ? Order::greater : order == Order::greater ? Order::less : order;
}

Order order_of_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return order_of(a.as_integer(), b.as_integer());
  if (a.is_integral()) return order_of(a.as_integer(), b.as_real());
  if (b.is_integral()) return reversed(order_of(b.as_integer(), a.as_real()));
  return order_of(a.as_real(), b.as_real());
}

bool satisfies(Comparison comparison, Order order) {
  switch (comparison) {
    case Comparison::less:
      return order == Order::less;
    case Comparison::less_equal:
      return order == Order::less || order == Order::equal;
    case Comparison::greater:
      return order == Order::greater;
    case Comparison::greater_equal:
      return order == Order::greater || order == Order::equal;
    default:
      return false;
  }
}

const char* symbol(Comparison comparison) {
  static constexpr const char* kSymbols[] = {"==", "!=", "<", "<=", ">", ">="};
  return kSymbols[static_cast<size_t>(comparison)];
}

bool equal_items(Runtime& runtime, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!same(a[i], b[i]) && !equals(runtime, a[i], b[i])) return false;
  }
  return true;
}

bool equal_dicts(Runtime& runtime, const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  for (const Dict::Entry& entry : a.entries()) {
    const Value* other = b.find(runtime, entry.key);
    if (!other || (!same(entry.value, *other) && !equals(runtime, entry.value, *other))) {
      return false;
    }
  }
  return true;
}

bool equal_ranges(const Range& a, const Range& b) {
  const int64_t size = a.size();
  if (size != b.size()) return false;
  return size == 0 || (a.start == b.start && (size == 1 || a.step == b.step));
}

// dict.keys() and dict.items() compare as sets.
bool equal_views(Runtime& runtime, const Value& a, const Value& b) {
  const View& left = a.as_view();
  const View& right = b.as_view();
  if (left.what == View::What::values || left.what != right.what) return same(a, b);
  const size_t size = left.dict.as_dict().size();
  if (size != right.dict.as_dict().size()) return false;
  for (size_t i = 0; i < size; ++i) {
    if (!contains(runtime, b, view_item(runtime, left, i))) return false;
  }
  return true;
}

bool contains_any(Runtime& runtime, const std::vector<Value>& items, const Value& item) {
  return std::any_of(items.begin(), items.end(), [&](const Value& each) {
    return same(each, item) || equals(runtime, each, item);
  });
}

}  // namespace

bool is_true(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.as_integer() != 0;
    case Kind::real:
      return value.as_real() != 0;
    case Kind::string:
      return !value.text().empty();
    case Kind::list:
    case Kind::tuple:
      return !value.items().empty();
    case Kind::dict:
      return value.as_dict().size() > 0;
    case Kind::range:
      return value.as_range().size() > 0;
    case Kind::view:
      return value.as_view().dict.as_dict().size() > 0;
    case Kind::iterator:
    case Kind::name_space:
      return true;
    case Kind::opaque:
      break;
  }
  return value.as_opaque().length(runtime).value_or(1) > 0;
}

bool same(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::missing:
    case Kind::none:
      return true;
    case Kind::boolean:
    case Kind::integer:
      return a.as_integer() == b.as_integer();
    case Kind::real:
      return false;
    default:
      return a.pointer() == b.pointer();
  }
}

bool equals(Runtime& runtime, const Value& a, const Value& b) {
  runtime.charge_step();
  if (a.is_number() && b.is_number()) return order_of_numbers(a, b) == Order::equal;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::missing:
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::string:
      if (a.text().size() != b.text().size()) return false;
      runtime.charge_bytes(a.text().size());
      return a.view() == b.view();
    case Kind::list:
    case Kind::tuple:
      return equal_items(runtime, a.items(), b.items());
    case Kind::dict:
      return equal_dicts(runtime, a.as_dict(), b.as_dict());
    case Kind::range:
      return equal_ranges(a.as_range(), b.as_range());
    case Kind::view:
      return equal_views(runtime, a, b);
    default:
      return a.pointer() == b.pointer();
  }
}

bool compare(Runtime& runtime, Comparison comparison, const Value& a, const Value& b) {
  if (comparison == Comparison::equal) return equals(runtime, a, b);
  if (comparison == Comparison::not_equal) return !equals(runtime, a, b);
  runtime.charge_step();
  check_defined(runtime, a);
  check_defined(runtime, b);
  if (a.is_number() && b.is_number()) return satisfies(comparison, order_of_numbers(a, b));
  if (a.is_string() && b.is_string()) {
    runtime.charge_bytes(std::min(a.text().size(), b.text().size()));
    return satisfies(comparison, order_of(a.view(), b.view()));  // UTF-8 sorts as code points do
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    const auto& left = a.items();
    const auto& right = b.items();
    const size_t common = std::min(left.size(), right.size());
    for (size_t i = 0; i < common; ++i) {
      if (same(left[i], right[i]) || equals(runtime, left[i], right[i])) continue;
      return compare(runtime, comparison, left[i], right[i]);
    }
    return satisfies(comparison, order_of(left.size(), right.size()));
  }
  runtime.fail("'{}' not supported between instances of '{}' and '{}'", symbol(comparison),
               type_name(a), type_name(b));
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::missing:
    case Kind::undefined:
      return false;
    case Kind::string:
      if (!item.is_string()) {
        runtime.fail("'in <string>' requires string as left operand, not {}", type_name(item));
      }
      runtime.charge_bytes(container.text().size());
      return find_text(container.view(), item.view(), 0) != std::string_view::npos;
    case Kind::list:
    case Kind::tuple:
      return contains_any(runtime, container.items(), item);
    case Kind::dict:
      return container.as_dict().find(runtime, item) != nullptr;
    case Kind::view: {
      const View& view = container.as_view();
      const Dict& dict = view.dict.as_dict();
      if (view.what == View::What::keys) return dict.find(runtime, item) != nullptr;
      for (size_t i = 0; i < dict.size(); ++i) {
        if (equals(runtime, view_item(runtime, view, i), item)) return true;
      }
      return false;
    }
    case Kind::range:
    case Kind::iterator: {
      const auto iterator = iterate(runtime, container);
      for (Value each; iterator->next(runtime, each);) {
        if (same(each, item) || equals(runtime, each, item)) return true;
      }
      return false;
    }
    default:
      runtime.fail("argument of type '{}' is not iterable", type_name(container));
  }
}

}  // namespace nibble::jinja
