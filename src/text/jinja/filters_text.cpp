// Filters that make text.
#include <algorithm>

#include "text/jinja/attributes.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/markup.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/runtime.h"
#include "text/jinja/strings.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace nibble::jinja::filters {
namespace {

Value change_case(Runtime& runtime, const Value& value, Args arguments, Case which) {
  Parameters(runtime, "filter", arguments, {});
  return with_case(runtime, to_soft_string(runtime, value), which);
}

}  // namespace

Value capitalize(Runtime& runtime, const Value& value, Args arguments) {
  return change_case(runtime, value, arguments, Case::capitalize);
}

Value lower(Runtime& runtime, const Value& value, Args arguments) {
  return change_case(runtime, value, arguments, Case::lower);
}

Value upper(Runtime& runtime, const Value& value, Args arguments) {
  return change_case(runtime, value, arguments, Case::upper);
}

// Words begin after white space and "-({[<"; unlike str.title.
Value title(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "title", arguments, {});
  const Value text = to_soft_string(runtime, value);
  const std::string_view view = text.view();
  TextBuilder result(runtime);
  const auto separates = [&](size_t i) {
    const char32_t c = decode_utf8(view, i);
    return is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  };
  for (size_t begin = 0; begin < view.size();) {
    size_t end = begin;
    const bool separator = separates(begin);
    while (end < view.size() && separates(end) == separator) end += utf8_length(view[end]);
    const size_t second = begin + utf8_length(view[begin]);
    result.append(with_case(runtime, substring(runtime, text, begin, second), Case::upper).text());
    result.append(with_case(runtime, substring(runtime, text, second, end), Case::lower).text());
    begin = end;
  }
  return Value::string(std::move(result).build());
}

Value center(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "center", arguments, {"width"});
  return pad(runtime, to_soft_string(runtime, value), given.index(0, 80), Value::string(" "),
             Side::both);
}

Value escape(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "escape", arguments, {});
  return jinja::escape(runtime, value);
}

Value force_escape(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "forceescape", arguments, {});
  return escape_text(runtime, to_string(runtime, value));
}

Value safe(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "safe", arguments, {});
  const Value text = to_string(runtime, value);
  return Value::string(std::static_pointer_cast<const Text>(text.pointer()), true);
}

Value string(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "string", arguments, {});
  return to_soft_string(runtime, value);
}

Value format(Runtime& runtime, const Value& value, Args arguments) {
  const Value text = to_soft_string(runtime, value);
  if (arguments.keywords.empty()) {
    return format_percent(runtime, text, Value::tuple(runtime, arguments.positional));
  }
  if (!arguments.positional.empty()) {
    runtime.fail("can't handle positional and keyword arguments at the same time");
  }
  auto values = std::make_shared<Dict>();
  for (const auto& [name, argument] : arguments.keywords) {
    values->set(runtime, Value::string(name), argument);
  }
  return format_percent(runtime, text, Value::dict(std::move(values)));
}

Value indent(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "indent", arguments, {"width", "first", "blank"});
  const Value width = given.given(0) ? given[0] : Value::integer(4);
  check_defined(runtime, value);
  if (!value.is_string()) runtime.fail("indent() wants a str, not {}", type_name(value));
  const Value space = width.is_string()
                          ? width
                          : repeat(runtime, Value::string(" "), to_index(runtime, width, true));
  const Value newline = Value::string("\n");
  // With the line break that jinja2 adds, a break at the end makes one more, empty, line.
  const std::vector<Value> lines =
      split_lines(runtime, apply(runtime, Operator::add, value, newline), false);
  const bool blank = given.is_true(2);
  TextBuilder result(runtime);
  if (given.is_true(1)) result.append(space.text());
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      result.append(newline.text());
      if (blank || !lines[i].text().empty()) result.append(space.text());
    }
    result.append(lines[i].text());
  }
  return Value::string(std::move(result).build(), value.is_markup());
}

Value join(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "join", arguments, {"d", "attribute"});
  const Value separator = given.given(0) ? to_string(runtime, given[0]) : Value::string("");
  const std::vector<Value> path = attribute_path(runtime, given[1]);
  const auto iterator = iterate(runtime, value);
  TextBuilder result(runtime);
  bool first = true;
  for (Value item; iterator->next(runtime, item); first = false) {
    if (!first) result.append(separator.text());
    print(runtime, follow_path(runtime, item, path, {}), result);
  }
  return Value::string(std::move(result).build());
}

Value replace(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "replace", arguments, {"old", "new", "count"}, 2);
  return jinja::replace(runtime, to_string(runtime, value), to_string(runtime, given[0]),
                        to_string(runtime, given[1]),
                        given.present(2) ? to_index(runtime, given[2], true) : -1);
}

Value tojson(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "tojson", arguments,
                         {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = given.is_true(0);
  style.sort_keys = given.is_true(3);
  if (given.present(1) && !value.is_string()) {
    style.indented = true;
    style.item_separator = ",";
    style.indent =
        given[1].is_string()
            ? std::string(given[1].view())
            : std::string(
                  repeat(runtime, Value::string(" "), to_index(runtime, given[1], true)).view());
  }
  if (given.present(2)) {
    const std::vector<Value> separators = to_vector(runtime, given[2]);
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      runtime.fail("tojson() separators must be two strings");
    }
    style.item_separator = separators[0].view();
    style.key_separator = separators[1].view();
  }
  TextBuilder result(runtime);
  print_json(runtime, value, style, result);
  return Value::string(std::move(result).build());
}

Value trim(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "trim", arguments, {"chars"});
  return strip(runtime, to_soft_string(runtime, value),
               given.present(0) ? &given.string(0) : nullptr, Side::both);
}

Value truncate(Runtime& runtime, const Value& value, Args arguments) {
  const Parameters given(runtime, "truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Value length = given.given(0) ? given[0] : Value::integer(255);
  const Value end = given.given(2) ? given[2] : Value::string("...");
  const Value leeway = given.present(3) ? given[3] : Value::integer(5);
  const auto measure = [&](const Value& of) {
    const auto count = length_of(runtime, of);
    if (!count) runtime.fail("object of type '{}' has no len()", type_name(of));
    return Value::integer(*count);
  };
  const Value end_length = measure(end);
  if (less(runtime, length, end_length) || less(runtime, leeway, Value::integer(0))) {
    runtime.fail("truncate() wants length >= {} and leeway >= 0", end_length.as_integer());
  }
  // What is short enough may be of any type.
  if (!less(runtime, apply(runtime, Operator::add, length, leeway), measure(value))) return value;
  if (!value.is_string()) runtime.fail("truncate() wants a str, not {}", type_name(value));
  const Value kept = apply(runtime, Operator::subtract, length, end_length);
  Value result = slice_of(runtime, value, {}, kept, {});
  if (!given.is_true(1)) {
    const size_t space = result.view().rfind(' ');
    if (space != std::string_view::npos) result = substring(runtime, result, 0, space);
  }
  return apply(runtime, Operator::add, result, end);
}

Value wordcount(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "wordcount", arguments, {});
  const Value text = to_soft_string(runtime, value);
  const std::string_view view = text.view();
  runtime.charge_bytes(view.size());
  int64_t words = 0;
  bool in_word = false;
  for (size_t i = 0; i < view.size(); i += utf8_length(view[i])) {
    const char32_t c = decode_utf8(view, i);
    const bool is_word = c == '_' || is_alphanumeric(c);
    if (is_word && !in_word) ++words;
    in_word = is_word;
  }
  return Value::integer(words);
}

namespace {

// urllib.parse.quote; in a query also "/", and a space becomes "+".
void quote(Runtime& runtime, const Value& value, bool in_query, TextBuilder& out) {
  const Value text = to_string(runtime, value);
  const std::string_view view = text.view();
  for (size_t i = 0; i < view.size(); ++i) {
    const auto byte = static_cast<unsigned char>(view[i]);
    const Mark mark = text.text().mark_at(i);
    const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                       (byte >= 'A' && byte <= 'Z') || byte == '_' || byte == '.' || byte == '-' ||
                       byte == '~' || (byte == '/' && !in_query);
    if (plain) {
      out.append(view.substr(i, 1), mark);
    } else if (byte == ' ' && in_query) {
      out.append("+", mark);
    } else {
      out.append(fmt::format("%{:02X}", byte), mark);
    }
  }
}

}  // namespace

Value urlencode(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "urlencode", arguments, {});
  TextBuilder result(runtime);
  if (value.is_string() || !try_iterate(runtime, value)) {
    quote(runtime, value, false, result);
    return Value::string(std::move(result).build());
  }
  const Value pairs =
      value.is_dict() ? Value::object(Kind::view, std::make_shared<View>(value, View::What::items))
                      : value;
  const auto iterator = iterate(runtime, pairs);
  bool first = true;
  for (Value pair; iterator->next(runtime, pair); first = false) {
    const std::vector<Value> parts = to_vector(runtime, pair);
    if (parts.size() != 2) runtime.fail("urlencode() wants pairs");
    if (!first) result.append("&", kTemplateText);
    quote(runtime, parts[0], true, result);
    result.append("=", kTemplateText);
    quote(runtime, parts[1], true, result);
  }
  return Value::string(std::move(result).build());
}

}  // namespace nibble::jinja::filters
