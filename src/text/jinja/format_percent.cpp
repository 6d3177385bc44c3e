// "%s and %5.2f" % values.
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/format_spec.h"
#include "text/jinja/markup.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/runtime.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Value& format, const Value& values)
      : runtime_(runtime), format_(format), view_(format.view()), values_(values), out_(runtime) {}

  Value run() {
    size_t copied = 0;
    while (position_ < view_.size()) {
      if (view_[position_] != '%') {
        ++position_;
        continue;
      }
      out_.append(format_.text(), copied, position_);
      mark_ = format_.text().mark_at(position_);
      ++position_;
      conversion();
      copied = position_;
    }
    out_.append(format_.text(), copied, view_.size());
    if (values_.is(Kind::tuple) ? used_ < values_.items().size() : !is_mapping() && used_ == 0) {
      runtime_.fail("not all arguments converted during string formatting");
    }
    return Value::string(std::move(out_).build(), format_.is_markup());
  }

 private:
  // What Python takes for a mapping here, which may stay unused.
  bool is_mapping() const {
    return values_.is_dict() || values_.is_list() || values_.is_undefined() ||
           values_.is(Kind::range);
  }

  char next() {
    if (position_ >= view_.size()) runtime_.fail("incomplete format");
    return view_[position_++];
  }

  Value next_value() {
    if (keyed_) return key_value_;
    if (values_.is(Kind::tuple)) {
      if (used_ >= values_.items().size()) {
        runtime_.fail("not enough arguments for format string");
      }
      return values_.items()[used_++];
    }
    if (used_++ > 0) runtime_.fail("not enough arguments for format string");
    return values_;
  }

  int64_t number(char& c, int64_t limit, const char* what) {
    if (c == '*') {
      const Value value = next_value();
      if (!value.is_integral()) runtime_.fail("* wants int");
      c = next();
      const WideInt wide = value.as_integer();
      if (wide > limit || wide < -limit) runtime_.fail("{} too large", what);
      return static_cast<int64_t>(wide);
    }
    int64_t result = 0;
    for (; c >= '0' && c <= '9'; c = next()) {
      result = 10 * result + (c - '0');
      if (result > limit) runtime_.fail("{} too large", what);
    }
    return result;
  }

  void read_key() {
    if (!values_.is_dict()) runtime_.fail("format requires a mapping");
    const size_t begin = position_;
    for (int open = 1; open > 0;) {
      const char c = next();
      open += c == '(' ? 1 : c == ')' ? -1 : 0;
    }
    const auto key = view_.substr(begin, position_ - 1 - begin);
    const Value* value = values_.as_dict().find(runtime_, Value::string(key));
    if (!value) runtime_.fail("KeyError: '{}'", key);
    key_value_ = *value;
    keyed_ = true;
  }

  void conversion() {
    FormatSpec spec;
    keyed_ = false;
    bool zero = false;
    char c = next();
    if (c == '(') {
      read_key();
      c = next();
    }
    for (;; c = next()) {
      if (c == '-') {
        spec.align = '<';
      } else if (c == '+') {
        spec.sign = '+';
      } else if (c == ' ') {
        if (spec.sign != '+') spec.sign = ' ';
      } else if (c == '#') {
        spec.alternate = true;
      } else if (c == '0') {
        zero = true;
      } else {
        break;
      }
    }
    spec.width = number(c, kMaxFormatWidth, "width");
    if (spec.width < 0) {
      spec.width = -spec.width;
      spec.align = '<';
    }
    if (c == '.') {
      c = next();
      spec.precision = std::max<int64_t>(0, number(c, kMaxFormatPrecision, "precision"));
    }
    if (c == 'h' || c == 'l' || c == 'L') c = next();
    spec.type = c;
    if (c == '%') return out_.append("%", mark_);
    const bool left = spec.align == '<';
    if (!left) spec.align = '>';
    const bool numeric = std::string_view("diuoxXeEfFgG").find(c) != std::string_view::npos;
    if (numeric && zero && !left) {
      spec.fill = '0';
      spec.align = '=';
    }
    convert(spec);
  }

  void convert(FormatSpec spec) {
    switch (spec.type) {
      case 's':
      case 'r':
      case 'a':
        return append_padded(runtime_, out_, text_of(spec.type).text(), spec);
      case 'c':
        return append_padded(runtime_, out_, character().text(), spec);
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X': {
        const Value value = next_value();
        const int64_t digits = spec.precision;
        return append_padded(out_, format_integer(integer(value, spec.type), spec, digits), spec,
                             value.mark());
      }
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G': {
        const Value value = next_value();
        if (!value.is_number()) {
          runtime_.fail("must be real number, not {}", type_name(value));
        }
        return append_padded(out_, format_real(to_double(value), spec), spec, value.mark());
      }
      default:
        runtime_.fail("unsupported format character '{}'", spec.type);
    }
  }

  Value text_of(char type) {
    const Value value = next_value();
    if (type == 's') {
      return format_.is_markup() ? escape(runtime_, value) : to_string(runtime_, value);
    }
    if (type == 'a') runtime_.fail("the format %a is not supported");
    TextBuilder text(runtime_);
    print_repr(runtime_, value, text);
    const Value repr = Value::string(std::move(text).build());
    return format_.is_markup() ? escape(runtime_, repr) : repr;
  }

  Value character() {
    const Value value = next_value();
    if (value.is_string() && value.text().length() == 1) return value;
    if (!value.is(Kind::integer)) runtime_.fail("%c requires int or char");
    const WideInt code = value.as_integer();
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      runtime_.fail("%c arg not in range(0x110000), or a surrogate");
    }
    TextBuilder text(runtime_);
    text.append(static_cast<char32_t>(code), value.mark());
    return Value::string(std::move(text).build());
  }

  WideInt integer(const Value& value, char type) {
    if (value.is_integral()) return value.as_integer();
    const bool decimal = type == 'd' || type == 'i' || type == 'u';
    if (!decimal || !value.is(Kind::real)) {
      runtime_.fail("%{} format: a{} number is required, not {}", type,
                    decimal ? " real" : "n integer", type_name(value));
    }
    const double real = value.as_real();
    if (!(std::abs(real) < 0x1p126)) runtime_.fail("cannot convert {} to an integer", real);
    return static_cast<WideInt>(real);
  }

  Runtime& runtime_;
  const Value& format_;
  std::string_view view_;
  const Value& values_;
  TextBuilder out_;
  size_t position_ = 0;
  size_t used_ = 0;
  Mark mark_ = kTemplateText;
  bool keyed_ = false;
  Value key_value_;
};

}  // namespace

Value format_percent(Runtime& runtime, const Value& format, const Value& values) {
  return PercentFormatter(runtime, format, values).run();
}

}  // namespace nibble::jinja
