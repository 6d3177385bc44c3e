// A pull reader of strict JSON: the one grammar that parse_json and the safetensors header share.
//
// Zero copy: a string without escapes is a view into the text, so a 100 MB header costs no second
// 100 MB. Numbers are exact: an integer is a 64-bit integer or an error, never a rounded double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

struct JsonLimits {
  uint64_t max_bytes = uint64_t{64} << 20;
  size_t max_depth = 128;
  size_t max_number_chars = 512;
  uint64_t max_values = uint64_t{4} << 20;  // keys are not counted
  // An integer beyond 64 bits becomes the nearest double instead of an error: transformers writes
  // model_max_length 1000000000000000019884624838656 where a tokenizer has none.
  bool wide_integers_as_reals = false;
};

class JsonScanner {
 public:
  enum class Event {
    begin_object,
    end_object,
    begin_array,
    end_array,
    key,       // text()
    string,    // text()
    natural,   // natural(): an integer without sign
    negative,  // negative(): an integer with a minus sign, so also -0
    real,      // real(): has a fraction or an exponent
    boolean,   // boolean()
    null,
    end,  // the document is complete and only whitespace followed
  };

  // `text` must outlive the scanner.
  JsonScanner(std::string_view text, std::string who, const JsonLimits& limits = {});

  // Throws Error(bad_input), naming who, byte and line, on anything RFC 8259 does not allow.
  Event next();

  // UTF-8, unescaped; valid until the next call of next().
  std::string_view text() const { return string_; }
  uint64_t natural() const { return natural_; }
  int64_t negative() const { return negative_; }
  double real() const { return real_; }
  bool boolean() const { return boolean_; }

  // For the consumer's own complaints about the event just read.
  [[noreturn]] void refuse(const std::string& problem) const;

 private:
  enum class Expect { value, value_or_end, key, key_or_end, comma_or_end };

  [[noreturn]] void refuse_at(size_t position, const std::string& problem) const;
  [[noreturn]] void refuse_unexpected(const char* expected) const;
  void skip_whitespace();
  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  Event open(bool object);
  Event close(bool object);
  Event read_value();
  Event read_number();
  Event read_literal(std::string_view word, Event event);
  void read_string();
  void read_escape();
  uint32_t read_hex4();
  size_t utf8_length(size_t at) const;

  std::string_view text_;
  std::string who_;
  JsonLimits limits_;
  size_t position_ = 0;
  size_t event_start_ = 0;
  uint64_t values_ = 0;
  Expect expect_ = Expect::value;
  std::vector<bool> in_object_;  // the open containers, outermost first

  std::string_view string_;
  std::string unescaped_;
  uint64_t natural_ = 0;
  int64_t negative_ = 0;
  double real_ = 0;
  bool boolean_ = false;
};

// `text` made safe to print: quoted, non-printable and non-ASCII bytes as \xNN, long text cut.
std::string printable(std::string_view text);

}  // namespace nibble
