#include "text/jinja/markup.h"

#include "text/jinja/print.h"
#include "text/jinja/runtime.h"

namespace nibble::jinja {

Value escape_text(Runtime& runtime, const Value& value) {
  const Text& text = value.text();
  TextBuilder result(runtime);
  text.for_each_run(0, text.size(), [&](size_t begin, size_t end, Mark mark) {
    size_t copied = begin;
    for (size_t i = begin; i < end; ++i) {
      std::string_view name;
      switch (text.view()[i]) {
        case '&':
          name = "&amp;";
          break;
        case '<':
          name = "&lt;";
          break;
        case '>':
          name = "&gt;";
          break;
        case '\'':
          name = "&#39;";
          break;
        case '"':
          name = "&#34;";
          break;
        default:
          continue;
      }
      result.append(text.view().substr(copied, i - copied), mark);
      result.append(name, mark);
      copied = i + 1;
    }
    result.append(text.view().substr(copied, end - copied), mark);
  });
  return Value::string(std::move(result).build(), true);
}

Value escape(Runtime& runtime, const Value& value) {
  return value.is_markup() ? value : escape_text(runtime, to_string(runtime, value));
}

}  // namespace nibble::jinja
