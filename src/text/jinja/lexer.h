// Template source to tokens: text between tags, and inside tags names, literals and operators.
// White space control (trim_blocks, lstrip_blocks, "-" and "+"), comments and raw blocks end here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace nibble::jinja {

enum class TokenKind : uint8_t {
  data,
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  real,
  op,  // one of + - * / // % ** ~ [ ] ( ) { } == != < <= > >= = . : | , ;
  end,
};

struct Token {
  TokenKind kind = TokenKind::end;
  int line = 1;
  std::string text;  // decoded, of data and strings
  Value value;       // of numbers

  bool is(TokenKind k) const { return kind == k; }
  bool is_op(std::string_view symbol) const { return kind == TokenKind::op && text == symbol; }
  bool is_name(std::string_view name) const { return kind == TokenKind::name && text == name; }
  // As messages call it.
  std::string describe() const;
};

// The template's text is bounded; those of models stay far below.
inline constexpr size_t kMaxTemplateBytes = size_t{2} << 20;

// Ends with a token of kind `end`. Throws Error(bad_input) naming `who` and the line.
std::vector<Token> tokenize(std::string_view source, const std::string& who);

}  // namespace nibble::jinja
