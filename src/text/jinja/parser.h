// Tokens to tree, by jinja2's grammar.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace nibble::jinja {

class Parser {
 public:
  // Throws Error(bad_input) naming `who`, the line and what is not understood.
  static Program parse(std::string_view source, const std::string& who);

 private:
  Parser(std::vector<Token> tokens, const std::string& who)
      : tokens_(std::move(tokens)), who_(who) {}

  using Names = std::vector<std::string_view>;

  // The stream of tokens (parser.cpp).
  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next();
  bool skip_op(std::string_view symbol);
  bool skip_name(std::string_view name);
  const Token& expect(TokenKind kind, const char* what);
  void expect_op(std::string_view symbol);
  void expect_name(std::string_view name);
  [[noreturn]] void fail(int line, const std::string& problem) const;
  [[noreturn]] void fail_expected(const std::string& what) const;

  // Statements (parser.cpp, parse_statements.cpp).
  Body parse_body(const Names& ends);
  // Body and the end tag's name, which is read; `ends` are the tags that end it.
  Body parse_block(const Names& ends);
  void parse_statement(Body& body);
  std::unique_ptr<Stmt> parse_set();
  std::unique_ptr<Stmt> parse_for();
  std::unique_ptr<Stmt> parse_if();
  std::unique_ptr<Stmt> parse_with();
  std::unique_ptr<Stmt> parse_macro();
  std::unique_ptr<Stmt> parse_call_block();
  std::unique_ptr<Stmt> parse_filter_block();
  std::unique_ptr<Stmt> parse_generation();
  std::unique_ptr<Stmt> parse_print();
  void parse_signature(MacroStmt& macro);
  [[noreturn]] void fail_unknown_tag(const Token& tag) const;

  // Targets of assignments.
  ExprPtr parse_target(bool with_name_space);
  ExprPtr parse_name_target();
  ExprPtr clone_target(const Expr& target);
  void check_target(const Expr& target) const;

  // Expressions (parse_expressions.cpp).
  enum class TupleMode { expression, no_conditional, target, name_space_target };
  ExprPtr parse_tuple(TupleMode mode, bool parenthesized = false);
  ExprPtr parse_expression(bool with_conditional = true);
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_comparison();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filters = true);
  ExprPtr parse_primary(bool with_name_space = false);
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr value);
  ExprPtr parse_filters(ExprPtr value);
  ExprPtr parse_subscript(ExprPtr value);
  ExprPtr parse_call(ExprPtr callee);
  ExprPtr parse_filter(ExprPtr subject, bool at_name = false);
  ExprPtr parse_test(ExprPtr subject);
  std::unique_ptr<Arguments> parse_arguments(int& depth);
  std::string parse_dotted_name();
  ExprPtr make(ExprKind kind, int line, std::vector<ExprPtr> operands);
  ExprPtr make_pair(ExprKind kind, int line, ExprPtr left, ExprPtr right);

  class Nesting;

  std::vector<Token> tokens_;
  const std::string& who_;
  size_t at_ = 0;
  int expr_depth_ = 0;
  int stmt_depth_ = 0;
  int for_depth_ = 0;
  std::vector<Names> ends_;  // the end tags that are waited for
};

}  // namespace nibble::jinja
