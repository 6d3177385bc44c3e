// The methods of str.
#include <algorithm>

#include "text/jinja/attributes.h"
#include "text/jinja/format.h"
#include "text/jinja/markup.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/string_search.h"
#include "text/jinja/strings.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

using Args = const CallArguments&;

// A string argument of a method that may have to be escaped to be joined to markup.
Value joined(Runtime& runtime, const Value& self, const Value& argument) {
  return self.is_markup() ? escape(runtime, argument) : argument;
}

template <Case which>
Value change_case(Runtime& runtime, const Value& self, Args arguments) {
  Parameters(runtime, "str", arguments, {});
  return with_case(runtime, self, which);
}

template <Side side>
Value strip_side(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "strip", arguments, {"chars"}, 0, true);
  return strip(runtime, self, given.present(0) ? &given.string(0) : nullptr, side);
}

template <bool right>
Value split_at(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "split", arguments, {"sep", "maxsplit"});
  const Value* separator = given.present(0) ? &given.string(0) : nullptr;
  const int64_t most = given.index(1, -1);
  return Value::list(runtime, right ? split_right(runtime, self, separator, most)
                                    : split(runtime, self, separator, most));
}

Value splitlines(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "splitlines", arguments, {"keepends"});
  return Value::list(runtime, split_lines(runtime, self, given.is_true(0)));
}

Value join(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "join", arguments, {"iterable"}, 1, true);
  TextBuilder result(runtime);
  const auto iterator = iterate(runtime, given[0]);
  bool first = true;
  for (Value item; iterator->next(runtime, item); first = false) {
    if (self.is_markup()) item = escape(runtime, item);
    if (!item.is_string()) {
      runtime.fail("sequence item: expected str instance, {} found", type_name(item));
    }
    if (!first) result.append(self.text());
    result.append(item.text());
  }
  return Value::string(std::move(result).build(), self.is_markup());
}

Value replace_method(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "replace", arguments, {"old", "new", "count"}, 2, true);
  return replace(runtime, self, given.string(0),
                 joined(runtime, self, self.is_markup() ? given[1] : given.string(1)),
                 given.index(2, -1));
}

template <bool at_end>
Value remove_affix(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "removeprefix", arguments, {"prefix"}, 1, true);
  const std::string_view affix = given.string(0).view();
  const size_t size = self.text().size();
  if (at_end) {
    return self.view().ends_with(affix) ? substring(runtime, self, 0, size - affix.size()) : self;
  }
  return self.view().starts_with(affix) ? substring(runtime, self, affix.size(), size) : self;
}

template <Side side>
Value justify(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "center", arguments, {"width", "fillchar"}, 1, true);
  const Value fill = given.given(1) ? joined(runtime, self, given.string(1)) : Value::string(" ");
  if (fill.text().length() != 1) {
    runtime.fail("the fill character must be exactly one character long");
  }
  return pad(runtime, self, to_index(runtime, given[0]), fill, side);
}

Value zfill(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "zfill", arguments, {"width"}, 1, true);
  const bool has_sign = self.view().starts_with('-') || self.view().starts_with('+');
  const int64_t width = to_index(runtime, given[0]);
  if (!has_sign) return pad(runtime, self, width, Value::string("0"), Side::left);
  const Value digits = substring(runtime, self, 1, self.text().size());
  const Value padded = pad(runtime, digits, width - 1, Value::string("0"), Side::left);
  return apply(runtime, Operator::add, substring(runtime, self, 0, 1), padded);
}

Value expandtabs(Runtime& runtime, const Value& self, Args arguments) {
  const Parameters given(runtime, "expandtabs", arguments, {"tabsize"});
  const int64_t tab = std::min<int64_t>(given.index(0, 8), 1 << 20);
  const Text& text = self.text();
  TextBuilder result(runtime);
  int64_t column = 0;
  for (size_t i = 0; i < text.size(); i += utf8_length(text.view()[i])) {
    const char c = text.view()[i];
    if (c == '\t') {
      const int64_t spaces = tab > 0 ? tab - column % tab : 0;
      result.append(std::string(static_cast<size_t>(spaces), ' '), text.mark_at(i));
      column += spaces;
      continue;
    }
    column = c == '\n' || c == '\r' ? 0 : column + 1;
    result.append(text, i, i + utf8_length(c));
  }
  return Value::string(std::move(result).build(), self.is_markup());
}

// All characters satisfy it, and there is one.
template <bool (*predicate)(char32_t)>
Value all_are(Runtime& runtime, const Value& self, Args arguments) {
  Parameters(runtime, "str", arguments, {});
  const std::string_view view = self.view();
  runtime.charge_bytes(view.size());
  for (size_t i = 0; i < view.size(); i += utf8_length(view[i])) {
    if (!predicate(decode_utf8(view, i))) return Value::boolean(false);
  }
  return Value::boolean(!view.empty());
}

Value isascii(Runtime& runtime, const Value& self, Args arguments) {
  Parameters(runtime, "isascii", arguments, {});
  return Value::boolean(self.text().is_ascii());
}

Value isprintable(Runtime& runtime, const Value& self, Args arguments) {
  return Value::boolean(self.text().empty() ||
                        all_are<is_printable>(runtime, self, arguments).as_boolean());
}

Value isidentifier(Runtime& runtime, const Value& self, Args arguments) {
  Parameters(runtime, "isidentifier", arguments, {});
  const std::string_view view = self.view();
  if (view.empty() || !is_identifier_start(decode_utf8(view, 0))) return Value::boolean(false);
  return all_are<is_identifier_part>(runtime, self, arguments);
}

Value istitle(Runtime& runtime, const Value& self, Args arguments) {
  Parameters(runtime, "istitle", arguments, {});
  const std::string_view view = self.view();
  bool any = false;
  bool in_word = false;
  for (size_t i = 0; i < view.size(); i += utf8_length(view[i])) {
    const char32_t c = decode_utf8(view, i);
    const bool starts = is_upper(c) || is_title(c);
    if ((starts && in_word) || (is_lower(c) && !in_word)) return Value::boolean(false);
    in_word = is_cased(c);
    any = any || in_word;
  }
  return Value::boolean(any);
}

template <bool upper>
Value is_case(Runtime& runtime, const Value& self, Args arguments) {
  Parameters(runtime, "str", arguments, {});
  return Value::boolean(has_case(runtime, self, upper));
}

constexpr Method kMethods[] = {
    {"capitalize", change_case<Case::capitalize>},
    {"casefold", change_case<Case::fold>},
    {"center", justify<Side::both>},
    {"count", methods::count},
    {"encode", nullptr},
    {"endswith", methods::endswith},
    {"expandtabs", expandtabs},
    {"find", methods::find},
    {"format", format_braces},
    {"format_map", format_map},
    {"index", methods::index},
    {"isalnum", all_are<is_alphanumeric>},
    {"isalpha", all_are<is_alphabetic>},
    {"isascii", isascii},
    {"isdecimal", all_are<is_decimal>},
    {"isdigit", all_are<is_digit>},
    {"isidentifier", isidentifier},
    {"islower", is_case<false>},
    {"isnumeric", nullptr},
    {"isprintable", isprintable},
    {"isspace", all_are<is_space>},
    {"istitle", istitle},
    {"isupper", is_case<true>},
    {"join", join},
    {"ljust", justify<Side::right>},
    {"lower", change_case<Case::lower>},
    {"lstrip", strip_side<Side::left>},
    {"maketrans", nullptr},
    {"partition", methods::partition},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"replace", replace_method},
    {"rfind", methods::rfind},
    {"rindex", methods::rindex},
    {"rjust", justify<Side::left>},
    {"rpartition", methods::rpartition},
    {"rsplit", split_at<true>},
    {"rstrip", strip_side<Side::right>},
    {"split", split_at<false>},
    {"splitlines", splitlines},
    {"startswith", methods::startswith},
    {"strip", strip_side<Side::both>},
    {"swapcase", change_case<Case::swap>},
    {"title", change_case<Case::title>},
    {"translate", nullptr},
    {"upper", change_case<Case::upper>},
    {"zfill", zfill},
};

}  // namespace

std::span<const Method> string_methods() { return kMethods; }

}  // namespace nibble::jinja
