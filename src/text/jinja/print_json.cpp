// json.dumps.
#include <algorithm>
#include <cmath>

#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/runtime.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

std::string escape_character(char32_t c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\f':
      return "\\f";
    case '\b':
      return "\\b";
    default:
      break;
  }
  if (c < 0x10000) return fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  const uint32_t rest = static_cast<uint32_t>(c) - 0x10000;
  return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
}

class JsonPrinter {
 public:
  JsonPrinter(Runtime& runtime, const JsonStyle& style, TextBuilder& out)
      : runtime_(runtime), style_(style), out_(out) {}

  void print(const Value& value) {
    runtime_.charge_step();
    const DepthGuard guard(runtime_, DepthGuard::What::evaluation);
    switch (value.kind()) {
      case Kind::none:
        return out_.append("null", value.mark());
      case Kind::boolean:
        return out_.append(value.as_boolean() ? "true" : "false", value.mark());
      case Kind::integer:
        return out_.append(format_integer(value.as_integer()), value.mark());
      case Kind::real:
        return out_.append(real(value.as_real()), value.mark());
      case Kind::string:
        return print_string(value.text());
      case Kind::list:
      case Kind::tuple:
        return print_list(value);
      case Kind::dict:
        return print_dict(value);
      default:
        runtime_.fail("Object of type {} is not JSON serializable", type_name(value));
    }
  }

 private:
  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return format_real(value);
  }

  void print_string(const Text& text) {
    const std::string_view view = text.view();
    out_.append("\"", text.mark());
    text.for_each_run(0, view.size(), [&](size_t begin, size_t end, Mark mark) {
      size_t copied = begin;
      for (size_t i = begin; i < end;) {
        const char32_t c = decode_utf8(view, i);
        const size_t length = utf8_length(view[i]);
        if (c < 0x20 || c == '"' || c == '\\' || (style_.ensure_ascii && c > 0x7E)) {
          out_.append(view.substr(copied, i - copied), mark);
          out_.append(escape_character(c), mark);
          copied = i + length;
        }
        i += length;
      }
      out_.append(view.substr(copied, end - copied), mark);
    });
    out_.append("\"", text.mark());
  }

  void break_line(Mark mark) {
    if (!style_.indented) return;
    out_.append("\n", mark);
    for (size_t i = 0; i < level_; ++i) out_.append(style_.indent, mark);
  }

  void print_list(const Value& value) {
    const Mark mark = value.mark();
    if (value.items().empty()) return out_.append("[]", mark);
    out_.append("[", mark);
    ++level_;
    for (size_t i = 0; i < value.items().size(); ++i) {
      if (i > 0) out_.append(style_.item_separator, mark);
      break_line(mark);
      print(value.items()[i]);
    }
    --level_;
    break_line(mark);
    out_.append("]", mark);
  }

  void print_dict(const Value& value) {
    const Mark mark = value.mark();
    const Dict& dict = value.as_dict();
    if (dict.size() == 0) return out_.append("{}", mark);
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      runtime_.charge_values(entries.size());
      std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
        return less(runtime_, a->key, b->key);
      });
    }
    out_.append("{", mark);
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_.append(style_.item_separator, mark);
      break_line(mark);
      print_key(entries[i]->key);
      out_.append(style_.key_separator, mark);
      print(entries[i]->value);
    }
    --level_;
    break_line(mark);
    out_.append("}", mark);
  }

  void print_key(const Value& key) {
    if (key.is_string()) return print_string(key.text());
    if (!key.is_number() && !key.is_none()) {
      runtime_.fail("keys must be str, int, float, bool or None, not {}", type_name(key));
    }
    out_.append("\"", key.mark());
    print(key);
    out_.append("\"", key.mark());
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  TextBuilder& out_;
  size_t level_ = 0;
};

}  // namespace

void print_json(Runtime& runtime, const Value& value, const JsonStyle& style, TextBuilder& out) {
  JsonPrinter(runtime, style, out).print(value);
}

}  // namespace nibble::jinja
