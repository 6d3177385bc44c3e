#include "text/jinja/string_search.h"

#include <algorithm>

#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/strings.h"
#include "text/utf8.h"

namespace nibble::jinja::methods {
namespace {

using Args = const CallArguments&;

template <bool right>
Value partition_at(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "partition", arguments, {"sep"}, 1, true);
  const std::string_view by = given.string(0).view();
  if (by.empty()) runtime.fail("empty separator");
  const std::string_view view = self.view();
  runtime.charge_bytes(view.size());
  const size_t at = right ? find_last_text(runtime, view, by, view.size()) : find_text(view, by, 0);
  if (at == std::string_view::npos) {
    const Value empty = Value::string("");
    return right ? Value::tuple(runtime, {empty, empty, self})
                 : Value::tuple(runtime, {self, empty, empty});
  }
  return Value::tuple(
      runtime, {substring(runtime, self, 0, at), substring(runtime, self, at, at + by.size()),
                substring(runtime, self, at + by.size(), view.size())});
}

// The part of a string that [start, end) of find() and its kin means, in bytes; false if it is
// empty in a way that not even the empty string is found in.
struct Window {
  size_t begin = 0, end = 0;
  bool valid = false;
};
Window window_of(Runtime& runtime, const Value& self, const Parameters& given) {
  const Text& text = self.text();
  const auto length = static_cast<int64_t>(text.length());
  const auto bound = [&](size_t i, int64_t otherwise) {
    int64_t at = given.present(i) ? to_index(runtime, given[i], true) : otherwise;
    if (at < 0) at = at < -length ? 0 : at + length;
    return at;
  };
  const int64_t begin = bound(1, 0);
  const int64_t end = std::min(bound(2, length), length);
  runtime.charge_bytes(text.size());
  if (begin > end) return {};
  const size_t from = byte_offset(text, static_cast<size_t>(begin));
  return {from, byte_offset(text, from, static_cast<size_t>(end - begin)), true};
}

template <bool right, bool must>
Value find_method(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, must ? "index" : "find", arguments, {"sub", "start", "end"}, 1,
                         true);
  const std::string_view what = given.string(0).view();
  const Window window = window_of(runtime, self, given);
  const std::string_view view = self.view();
  size_t at = std::string_view::npos;
  if (window.valid) {
    at = right ? find_last_text(runtime, view, what, window.end)
               : find_text(view.substr(0, window.end), what, window.begin);
  }
  if (at == std::string_view::npos || at < window.begin) {
    if (must) runtime.fail("substring not found");
    return Value::integer(-1);
  }
  return Value::integer(self.text().is_ascii()
                            ? static_cast<WideInt>(at)
                            : static_cast<WideInt>(std::count_if(
                                  view.begin(), view.begin() + static_cast<ptrdiff_t>(at),
                                  [](char c) { return !is_utf8_continuation(c); })));
}

template <bool at_end>
Value has_affix(Runtime& runtime, const Value& self, Args arguments) {
  const std::string_view name = at_end ? "endswith" : "startswith";
  const Parameters given(runtime, name, arguments, {"prefix", "start", "end"}, 1, true);
  const Window window = window_of(runtime, self, given);
  const auto matches = [&](const Value& affix) {
    check_defined(runtime, affix);
    if (!affix.is_string()) {
      runtime.fail("{} first arg must be str or a tuple of str, not {}", name, type_name(affix));
    }
    const std::string_view part = self.view().substr(window.begin, window.end - window.begin);
    return window.valid && (at_end ? part.ends_with(affix.view()) : part.starts_with(affix.view()));
  };
  if (!given[0].is(Kind::tuple)) return Value::boolean(matches(given[0]));
  const auto& affixes = given[0].items();
  return Value::boolean(std::any_of(affixes.begin(), affixes.end(), matches));
}

}  // namespace

Value count(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "count", arguments, {"sub", "start", "end"}, 1, true);
  const std::string_view what = given.string(0).view();
  const Window window = window_of(runtime, self, given);
  if (!window.valid) return Value::integer(0);
  const std::string_view view = self.view().substr(0, window.end);
  if (what.empty()) {
    return Value::integer(1 + std::count_if(view.begin() + static_cast<ptrdiff_t>(window.begin),
                                            view.end(),
                                            [](char c) { return !is_utf8_continuation(c); }));
  }
  int64_t found = 0;
  for (size_t at = find_text(view, what, window.begin); at != std::string_view::npos;
       at = find_text(view, what, at + what.size())) {
    ++found;
  }
  return Value::integer(found);
}

Value endswith(Runtime& runtime, const Value& self, Args arguments) {
  return has_affix<true>(runtime, self, arguments);
}

Value find(Runtime& runtime, const Value& self, Args arguments) {
  return find_method<false, false>(runtime, self, arguments);
}

Value index(Runtime& runtime, const Value& self, Args arguments) {
  return find_method<false, true>(runtime, self, arguments);
}

Value partition(Runtime& runtime, const Value& self, Args arguments) {
  return partition_at<false>(runtime, self, arguments);
}

Value rfind(Runtime& runtime, const Value& self, Args arguments) {
  return find_method<true, false>(runtime, self, arguments);
}

Value rindex(Runtime& runtime, const Value& self, Args arguments) {
  return find_method<true, true>(runtime, self, arguments);
}

Value rpartition(Runtime& runtime, const Value& self, Args arguments) {
  return partition_at<true>(runtime, self, arguments);
}

Value startswith(Runtime& runtime, const Value& self, Args arguments) {
  return has_affix<false>(runtime, self, arguments);
}

}  // namespace nibble::jinja::methods
