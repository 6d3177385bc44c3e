#include "text/jinja/parser.h"

#include <algorithm>

#include "core/error.h"
#include "text/jinja/scopes.h"

namespace nibble::jinja {
namespace {

bool is_reserved(std::string_view name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" ||
         name == "None";
}

}  // namespace

Program Parser::parse(std::string_view source, const std::string& who) {
  Parser parser(tokenize(source, who), who);
  Program program;
  program.body = parser.parse_body({});
  resolve_scopes(program, who);
  return program;
}

const Token& Parser::next() {
  const Token& token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::skip_op(std::string_view symbol) {
  if (!current().is_op(symbol)) return false;
  next();
  return true;
}

bool Parser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  next();
  return true;
}

const Token& Parser::expect(TokenKind kind, const char* what) {
  if (!current().is(kind)) fail_expected(what);
  return next();
}

void Parser::expect_op(std::string_view symbol) {
  if (!skip_op(symbol)) fail_expected(std::string(symbol));
}

void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) fail_expected(std::string(name));
}

void Parser::fail(int line, const std::string& problem) const {
  nibble::fail(ErrorKind::bad_input, "{}: line {}: {}", who_, line, problem);
}

void Parser::fail_expected(const std::string& what) const {
  fail(current().line,
       current().is(TokenKind::end)
           ? fmt::format("unexpected end of template, expected '{}'", what)
           : fmt::format("expected token '{}', got '{}'", what, current().describe()));
}

void Parser::fail_unknown_tag(const Token& tag) const {
  static constexpr std::string_view kRefused[] = {"include", "import", "from",      "extends",
                                                  "block",   "do",     "autoescape"};
  if (std::find(std::begin(kRefused), std::end(kRefused), tag.text) != std::end(kRefused)) {
    fail(tag.line, fmt::format("the tag {{% {} %}} is not supported in chat templates", tag.text));
  }
  std::string message = tag.is(TokenKind::end)
                            ? "Unexpected end of template."
                            : fmt::format("Encountered unknown tag '{}'.", tag.text);
  if (!ends_.empty()) {
    message += " Looked for: ";
    for (size_t i = 0; i < ends_.back().size(); ++i) {
      message += fmt::format("{}'{}'", i > 0 ? " or " : "", ends_.back()[i]);
    }
  }
  fail(tag.line, message);
}

Body Parser::parse_body(const Names& ends) {
  if (++stmt_depth_ > kMaxStmtDepth) {
    fail(current().line, fmt::format("statements nest deeper than {} levels", kMaxStmtDepth));
  }
  if (!ends.empty()) ends_.push_back(ends);
  Body body;
  // Text and {{ }} in a row are one statement.
  const auto output = [&]() -> OutputStmt& {
    if (body.empty() || body.back()->kind != StmtKind::output) {
      body.push_back(std::make_unique<OutputStmt>(current().line));
    }
    return static_cast<OutputStmt&>(*body.back());
  };
  for (;;) {
    const Token& token = current();
    if (token.is(TokenKind::end)) {
      if (!ends.empty()) fail_unknown_tag(token);
      break;
    }
    if (token.is(TokenKind::data)) {
      auto text = std::make_unique<Expr>(ExprKind::constant, token.line);
      text->constant = Value::string(token.text);
      output().values.push_back(std::move(text));
      next();
    } else if (token.is(TokenKind::variable_begin)) {
      OutputStmt& statement = output();
      next();
      statement.values.push_back(parse_tuple(TupleMode::expression));
      expect(TokenKind::variable_end, "end of print statement");
    } else {
      next();  // block_begin
      if (current().is(TokenKind::name) &&
          std::find(ends.begin(), ends.end(), current().text) != ends.end()) {
        break;
      }
      parse_statement(body);
      expect(TokenKind::block_end, "end of statement block");
    }
  }
  if (!ends.empty()) ends_.pop_back();
  --stmt_depth_;
  return body;
}

Body Parser::parse_block(const Names& ends) {
  skip_op(":");  // as Python writes it
  expect(TokenKind::block_end, "end of statement block");
  return parse_body(ends);
}

void Parser::check_target(const Expr& target) const {
  switch (target.kind) {
    case ExprKind::name:
      if (is_reserved(target.name)) break;
      if (target.name == "loop" && for_depth_ > 0) {
        fail(target.line, "Can't assign to special loop variable in for-loop target");
      }
      return;
    case ExprKind::name_space:
      return;
    case ExprKind::tuple:
      for (const auto& item : target.operands) check_target(*item);
      return;
    default:
      break;
  }
  fail(target.line, "can't assign to this");
}

ExprPtr Parser::parse_target(bool with_name_space) {
  ExprPtr target = parse_tuple(with_name_space ? TupleMode::name_space_target : TupleMode::target);
  check_target(*target);
  return target;
}

ExprPtr Parser::parse_name_target() {
  const Token& token = expect(TokenKind::name, "name");
  if (is_reserved(token.text)) fail(token.line, fmt::format("can't assign to '{}'", token.text));
  auto name = std::make_unique<Expr>(ExprKind::name, token.line);
  name->name = token.text;
  return name;
}

ExprPtr Parser::clone_target(const Expr& target) {
  auto copy = std::make_unique<Expr>(target.kind, target.line);
  copy->depth = target.depth;
  copy->name = target.name;
  copy->constant = target.constant;
  for (const auto& item : target.operands) copy->operands.push_back(clone_target(*item));
  return copy;
}

}  // namespace nibble::jinja
