#include "text/jinja/print.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

void print_string_repr(const Value& value, TextBuilder& out) {
  const Text& text = value.text();
  const std::string_view view = text.view();
  const bool has_single = view.find('\'') != std::string_view::npos;
  const bool has_double = view.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  const std::string_view quotes(&quote, 1);
  if (value.is_markup()) out.append("Markup(", text.mark());
  out.append(quotes, text.mark());
  text.for_each_run(0, view.size(), [&](size_t begin, size_t end, Mark mark) {
    size_t copied = begin;
    for (size_t i = begin; i < end;) {
      const size_t length = utf8_length(view[i]);
      const char32_t c = decode_utf8(view, i);
      const bool quoted = c == static_cast<unsigned char>(quote) || c == '\\';
      if (quoted || !is_printable(c)) {
        out.append(view.substr(copied, i - copied), mark);
        copied = i + length;
        out.append(c == '\n'     ? "\\n"
                   : c == '\r'   ? "\\r"
                   : c == '\t'   ? "\\t"
                   : quoted      ? fmt::format("\\{}", static_cast<char>(c))
                   : c < 0x100   ? fmt::format("\\x{:02x}", static_cast<uint32_t>(c))
                   : c < 0x10000 ? fmt::format("\\u{:04x}", static_cast<uint32_t>(c))
                                 : fmt::format("\\U{:08x}", static_cast<uint32_t>(c)),
                   mark);
      }
      i += length;
    }
    out.append(view.substr(copied, end - copied), mark);
  });
  out.append(quotes, text.mark());
  if (value.is_markup()) out.append(")", text.mark());
}

void print_items(Runtime& runtime, const std::vector<Value>& items, Mark mark, TextBuilder& out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(", ", mark);
    print_repr(runtime, items[i], out);
  }
}

void print_dict(Runtime& runtime, const Dict& dict, Mark mark, TextBuilder& out) {
  out.append("{", mark);
  bool first = true;
  for (const Dict::Entry& entry : dict.entries()) {
    if (!first) out.append(", ", mark);
    first = false;
    print_repr(runtime, entry.key, out);
    out.append(": ", mark);
    print_repr(runtime, entry.value, out);
  }
  out.append("}", mark);
}

void print_view(Runtime& runtime, const View& view, TextBuilder& out) {
  static constexpr const char* kNames[] = {"dict_keys([", "dict_values([", "dict_items(["};
  const Mark mark = view.dict.mark();
  out.append(kNames[static_cast<size_t>(view.what)], mark);
  const size_t size = view.dict.as_dict().size();
  for (size_t i = 0; i < size; ++i) {
    if (i > 0) out.append(", ", mark);
    print_repr(runtime, view_item(runtime, view, i), out);
  }
  out.append("])", mark);
}

void print_range(const Range& range, TextBuilder& out) {
  out.append(range.step == 1
                 ? fmt::format("range({}, {})", range.start, range.stop)
                 : fmt::format("range({}, {}, {})", range.start, range.stop, range.step),
             kTemplateText);
}

}  // namespace

std::string format_integer(WideInt value) { return fmt::format("{}", value); }

std::string format_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // "d.ddde+XX", the shortest that reads back the same.
  std::array<char, 40> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                    std::chars_format::scientific);
  std::string_view text(buffer.data(), static_cast<size_t>(result.ptr - buffer.data()));
  const bool negative = text.front() == '-';
  if (negative) text.remove_prefix(1);
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits_of_exponent = text.data() + e + 1;
  if (*digits_of_exponent == '+') ++digits_of_exponent;
  std::from_chars(digits_of_exponent, text.data() + text.size(), exponent);
  std::string digits(text.substr(0, e));
  std::erase(digits, '.');

  const auto count = static_cast<int>(digits.size());
  std::string number;
  if (exponent < -4 || exponent >= 16) {
    number = digits.substr(0, 1);
    if (count > 1) number += "." + digits.substr(1);
    number += fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    number = "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  } else if (exponent >= count - 1) {
    number = digits + std::string(static_cast<size_t>(exponent - count + 1), '0') + ".0";
  } else {
    const auto whole = static_cast<size_t>(exponent + 1);
    number = digits.substr(0, whole) + "." + digits.substr(whole);
  }
  return negative ? "-" + number : number;
}

void print_repr(Runtime& runtime, const Value& value, TextBuilder& out) {
  runtime.charge_step();
  const DepthGuard guard(runtime, DepthGuard::What::evaluation);
  const Mark mark = value.mark();
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
      return out.append("Undefined", mark);
    case Kind::none:
      return out.append("None", mark);
    case Kind::boolean:
      return out.append(value.as_boolean() ? "True" : "False", mark);
    case Kind::integer:
      return out.append(format_integer(value.as_integer()), mark);
    case Kind::real:
      return out.append(format_real(value.as_real()), mark);
    case Kind::string:
      return print_string_repr(value, out);
    case Kind::list:
      out.append("[", mark);
      print_items(runtime, value.items(), mark, out);
      return out.append("]", mark);
    case Kind::tuple:
      out.append("(", mark);
      print_items(runtime, value.items(), mark, out);
      return out.append(value.items().size() == 1 ? ",)" : ")", mark);
    case Kind::dict:
      return print_dict(runtime, value.as_dict(), mark, out);
    case Kind::range:
      return print_range(value.as_range(), out);
    case Kind::view:
      return print_view(runtime, value.as_view(), out);
    case Kind::name_space:
      out.append("<Namespace ", mark);
      print_dict(runtime, value.as_namespace().attributes, mark, out);
      return out.append(">", mark);
    case Kind::iterator:
      runtime.fail("a generator is printed: Python prints its address; |list was probably meant");
    case Kind::opaque:
      return value.as_opaque().print(runtime, out);
  }
}

void print(Runtime& runtime, const Value& value, TextBuilder& out) {
  if (value.is_string()) return out.append(value.text());
  if (value.is_undefined() || value.is_missing()) return;
  print_repr(runtime, value, out);
}

Value to_string(Runtime& runtime, const Value& value) {
  if (value.is_string()) {
    return value.is_markup() ? Value::string(std::static_pointer_cast<const Text>(value.pointer()))
                             : value;
  }
  TextBuilder text(runtime);
  print(runtime, value, text);
  return Value::string(std::move(text).build());
}

Value to_soft_string(Runtime& runtime, const Value& value) {
  return value.is_string() ? value : to_string(runtime, value);
}

}  // namespace nibble::jinja
