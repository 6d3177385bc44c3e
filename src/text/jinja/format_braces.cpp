// "{} and {name:>8}".format(value, name=value).
#include "text/jinja/attributes.h"
#include "text/jinja/format.h"
#include "text/jinja/format_spec.h"
#include "text/jinja/markup.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/runtime.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

bool is_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Value& format, const CallArguments& arguments)
      : runtime_(runtime), arguments_(arguments), is_markup_(format.is_markup()) {}

  // A specification may hold fields, and theirs may be empty.
  Value format(const Value& value, int depth) {
    if (depth > 3) runtime_.fail("Max string recursion exceeded");
    const Text& text = value.text();
    const std::string_view view = text.view();
    TextBuilder out(runtime_);
    for (size_t i = 0; i < view.size();) {
      const size_t brace = std::min(view.find_first_of("{}", i), view.size());
      out.append(text, i, brace);
      if (brace == view.size()) break;
      if (brace + 1 < view.size() && view[brace + 1] == view[brace]) {
        out.append(text, brace, brace + 1);
        i = brace + 2;
        continue;
      }
      if (view[brace] == '}') runtime_.fail("Single '}}' encountered in format string");
      i = field(value, brace + 1, depth, out);
    }
    return Value::string(std::move(out).build(), is_markup_);
  }

 private:
  // The field that begins at `begin`; returns where the text goes on.
  size_t field(const Value& format, size_t begin, int depth, TextBuilder& out) {
    const std::string_view view = format.view();
    size_t end = begin;
    for (int open = 1; open > 0; ++end) {
      if (end >= view.size()) runtime_.fail("expected '}}' before end of string");
      open += view[end] == '{' ? 1 : view[end] == '}' ? -1 : 0;
    }
    const std::string_view body = view.substr(begin, end - 1 - begin);
    size_t name_end = 0;
    for (bool in_brackets = false; name_end < body.size(); ++name_end) {
      const char c = body[name_end];
      in_brackets = c == '[' || (in_brackets && c != ']');
      if (!in_brackets && (c == '!' || c == ':')) break;
    }
    char conversion = 0;
    size_t spec_begin = name_end;
    if (spec_begin < body.size() && body[spec_begin] == '!') {
      if (spec_begin + 1 >= body.size()) runtime_.fail("unmatched '{{' in format spec");
      conversion = body[spec_begin + 1];
      spec_begin += 2;
      if (spec_begin < body.size() && body[spec_begin] != ':') {
        runtime_.fail("expected ':' after conversion specifier");
      }
    }
    Value value = look_up(body.substr(0, name_end));
    if (conversion == 's') {
      value = to_string(runtime_, value);
    } else if (conversion == 'r') {
      TextBuilder repr(runtime_);
      print_repr(runtime_, value, repr);
      value = Value::string(std::move(repr).build());
    } else if (conversion != 0) {
      runtime_.fail("the conversion !{} is not supported", conversion);
    }
    const std::string_view spec = spec_begin < body.size() ? body.substr(spec_begin + 1) : "";
    const Value expanded = this->format(Value::string(spec), depth + 1);
    append_formatted(value, expanded.view(), out);
    return end;
  }

  Value look_up(std::string_view name) {
    const size_t head_end = std::min(name.find_first_of(".["), name.size());
    const std::string_view head = name.substr(0, head_end);
    Value value;
    if (head.empty() || is_digits(head)) {
      const bool automatic = head.empty();
      if ((automatic && manual_) || (!automatic && next_ > 0)) {
        runtime_.fail("cannot switch between manual and automatic field numbering");
      }
      manual_ = !automatic;
      const size_t index = automatic         ? next_++
                           : head.size() > 6 ? SIZE_MAX
                                             : std::stoul(std::string(head));
      if (index >= arguments_.positional.size()) {
        runtime_.fail("Replacement index {} out of range for positional args tuple", index);
      }
      value = arguments_.positional[index];
    } else {
      for (const auto& [keyword, argument] : arguments_.keywords) {
        if (keyword == head) value = argument;
      }
      if (value.is_missing()) runtime_.fail("KeyError: '{}'", head);
    }
    for (size_t i = head_end; i < name.size();) {
      const bool is_item = name[i] == '[';
      const size_t end =
          is_item ? name.find(']', i) : std::min(name.find_first_of(".[", i + 1), name.size());
      if (end == std::string_view::npos) runtime_.fail("Missing ']' in format string");
      const std::string_view part = name.substr(i + 1, end - i - 1);
      if (part.empty()) runtime_.fail("Empty attribute in format string");
      if (is_item && is_digits(part) && part.size() < 10) {
        value = get_item(runtime_, value, Value::integer(std::stol(std::string(part))));
      } else {
        const Value key = Value::string(part);
        value = is_item ? get_item(runtime_, value, key) : get_attribute(runtime_, value, key);
      }
      i = is_item ? end + 1 : end;
      if (i < name.size() && name[i] != '.' && name[i] != '[') {
        runtime_.fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  // The specification and whether it gives a sign, which strings refuse.
  FormatSpec read_spec(std::string_view text) {
    FormatSpec spec;
    size_t i = 0;
    const auto is_align = [&](size_t at) {
      return at < text.size() && std::string_view("<>^=").find(text[at]) != std::string_view::npos;
    };
    if (!text.empty() && is_align(utf8_length(text[0]))) {
      spec.fill = decode_utf8(text, 0);
      i = utf8_length(text[0]);
      spec.align = text[i++];
    } else if (is_align(0)) {
      spec.align = text[i++];
    }
    has_sign_ = i < text.size() && (text[i] == '+' || text[i] == '-' || text[i] == ' ');
    if (has_sign_) spec.sign = text[i++];
    if (i < text.size() && text[i] == '#') {
      spec.alternate = true;
      ++i;
    }
    zero_ = i < text.size() && text[i] == '0';
    if (zero_) {
      if (spec.align == 0) spec.fill = '0';
      ++i;
    }
    const auto number = [&](int64_t limit) {
      int64_t value = 0;
      for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
        value = 10 * value + (text[i] - '0');
        if (value > limit) runtime_.fail("a width or precision of more than {}", limit);
      }
      return value;
    };
    spec.width = number(kMaxFormatWidth);
    if (i < text.size() && (text[i] == ',' || text[i] == '_')) spec.grouping = text[i++];
    if (i < text.size() && text[i] == '.') {
      const size_t digits = ++i;
      spec.precision = number(kMaxFormatPrecision);
      if (i == digits) runtime_.fail("Format specifier missing precision");
    }
    if (i < text.size()) spec.type = text[i++];
    if (i < text.size()) runtime_.fail("Invalid format specifier '{}'", text);
    return spec;
  }

  void append_formatted(const Value& value, std::string_view spec_text, TextBuilder& out) {
    if (is_markup_ || value.is_markup()) {
      if (!spec_text.empty()) runtime_.fail("format specifications of markup are not supported");
      const Value text = is_markup_ ? escape(runtime_, value) : to_string(runtime_, value);
      return out.append(text.text());
    }
    if (spec_text.empty()) return print(runtime_, value, out);
    FormatSpec spec = read_spec(spec_text);
    const bool integral_type = std::string_view("bdoxX").find(spec.type) != std::string_view::npos;
    if (value.is_string()) {
      if ((spec.type != 0 && spec.type != 's') || has_sign_ || spec.alternate || spec.grouping ||
          spec.align == '=') {
        runtime_.fail("Invalid format specifier '{}' for a str", spec_text);
      }
      return append_padded(runtime_, out, value.text(), spec);
    }
    if (!value.is_number()) {
      runtime_.fail("unsupported format string passed to {}.__format__", type_name(value));
    }
    if (zero_ && spec.align == 0) spec.align = '=';
    if (value.is_integral() && (spec.type == 0 || integral_type)) {
      if (spec.precision >= 0) {
        runtime_.fail("Precision not allowed in integer format specifier");
      }
      return append_padded(out, format_integer(value.as_integer(), spec, 0), spec, value.mark());
    }
    if (std::string_view("eEfFgG%").find(spec.type) == std::string_view::npos &&
        (spec.type != 0 || spec.precision >= 0)) {
      runtime_.fail("the format specifier '{}' is not supported for a {}", spec_text,
                    type_name(value));
    }
    append_padded(out, format_real(to_double(value), spec), spec, value.mark());
  }

  Runtime& runtime_;
  const CallArguments& arguments_;
  bool is_markup_;
  size_t next_ = 0;
  bool manual_ = false;
  bool has_sign_ = false;
  bool zero_ = false;
};

}  // namespace

Value format_braces(Runtime& runtime, const Value& format, const CallArguments& arguments) {
  return BraceFormatter(runtime, format, arguments).format(format, 1);
}

Value format_map(Runtime& runtime, const Value& format, const CallArguments& arguments) {
  const Parameters given(runtime, "format_map", arguments, {"mapping"}, 1, true);
  if (!given[0].is_dict()) runtime.fail("format_map() wants a dict, not {}", type_name(given[0]));
  CallArguments values;
  for (const Dict::Entry& entry : given[0].as_dict().entries()) {
    if (!entry.key.is_string()) continue;
    runtime.charge_values(2);
    values.keywords.emplace_back(std::string(entry.key.view()), entry.value);
  }
  return format_braces(runtime, format, values);
}

}  // namespace nibble::jinja
