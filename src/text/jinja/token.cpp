// How messages call a token.
#include "text/jinja/lexer.h"

namespace nibble::jinja {

std::string Token::describe() const {
  switch (kind) {
    case TokenKind::data:
      return "template data / text";
    case TokenKind::variable_begin:
      return "begin of print statement";
    case TokenKind::variable_end:
      return "end of print statement";
    case TokenKind::block_begin:
      return "begin of statement block";
    case TokenKind::block_end:
      return "end of statement block";
    case TokenKind::end:
      return "end of template";
    case TokenKind::string:
      return "string";
    case TokenKind::integer:
      return "integer";
    case TokenKind::real:
      return "float";
    case TokenKind::name:
    case TokenKind::op:
      break;
  }
  return text;
}

}  // namespace nibble::jinja
