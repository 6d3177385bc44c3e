// The grammar of expressions, from the loosest binding to the tightest.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/parser.h"

namespace nibble::jinja {

// Bounds the recursion of the parser itself.
class Parser::Nesting {
 public:
  explicit Nesting(Parser& parser) : parser_(parser) {
    if (++parser_.expr_depth_ > kMaxExprDepth) {
      parser_.fail(parser_.current().line, "the expression nests too deeply");
    }
  }
  ~Nesting() { --parser_.expr_depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  Parser& parser_;
};

ExprPtr Parser::make(ExprKind kind, int line, std::vector<ExprPtr> operands) {
  auto expr = std::make_unique<Expr>(kind, line);
  for (const auto& operand : operands) {
    if (operand) expr->depth = std::max(expr->depth, operand->depth + 1);
  }
  if (expr->depth > kMaxExprDepth) fail(line, "the expression nests too deeply");
  expr->operands = std::move(operands);
  return expr;
}

ExprPtr Parser::make_pair(ExprKind kind, int line, ExprPtr left, ExprPtr right) {
  std::vector<ExprPtr> operands;
  operands.push_back(std::move(left));
  operands.push_back(std::move(right));
  return make(kind, line, std::move(operands));
}

ExprPtr Parser::parse_tuple(TupleMode mode, bool parenthesized) {
  const int line = current().line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  for (;;) {
    if (!items.empty()) expect_op(",");
    if (current().is(TokenKind::variable_end) || current().is(TokenKind::block_end) ||
        current().is_op(")")) {
      break;
    }
    items.push_back(mode == TupleMode::target ? parse_primary()
                    : mode == TupleMode::name_space_target
                        ? parse_primary(true)
                        : parse_expression(mode == TupleMode::expression));
    if (!current().is_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!items.empty()) return std::move(items[0]);
    if (!parenthesized) {
      fail(current().line, fmt::format("Expected an expression, got '{}'", current().describe()));
    }
  }
  return make(ExprKind::tuple, line, std::move(items));
}

ExprPtr Parser::parse_expression(bool with_conditional) {
  const Nesting nesting(*this);
  const int line = current().line;
  ExprPtr value = parse_or();
  if (!with_conditional) return value;
  while (skip_name("if")) {
    std::vector<ExprPtr> operands;
    operands.push_back(parse_or());
    operands.push_back(std::move(value));
    operands.push_back(skip_name("else") ? parse_expression() : nullptr);
    value = make(ExprKind::conditional, line, std::move(operands));
  }
  return value;
}

ExprPtr Parser::parse_or() {
  const int line = current().line;
  ExprPtr left = parse_and();
  while (skip_name("or")) {
    left = make_pair(ExprKind::logical_or, line, std::move(left), parse_and());
  }
  return left;
}

ExprPtr Parser::parse_and() {
  const int line = current().line;
  ExprPtr left = parse_not();
  while (skip_name("and")) {
    left = make_pair(ExprKind::logical_and, line, std::move(left), parse_not());
  }
  return left;
}

ExprPtr Parser::parse_not() {
  if (!current().is_name("not")) return parse_comparison();
  const Nesting nesting(*this);
  const int line = next().line;
  std::vector<ExprPtr> operands;
  operands.push_back(parse_not());
  return make(ExprKind::logical_not, line, std::move(operands));
}

ExprPtr Parser::parse_comparison() {
  static constexpr std::pair<std::string_view, CompareOp> kSymbols[] = {
      {"==", CompareOp::equal},  {"!=", CompareOp::not_equal},
      {"<", CompareOp::less},    {"<=", CompareOp::less_equal},
      {">", CompareOp::greater}, {">=", CompareOp::greater_equal}};
  const int line = current().line;
  std::vector<ExprPtr> operands;
  std::vector<CompareOp> comparisons;
  operands.push_back(parse_sum());
  for (;;) {
    const auto symbol = std::find_if(std::begin(kSymbols), std::end(kSymbols),
                                     [&](const auto& each) { return current().is_op(each.first); });
    if (symbol != std::end(kSymbols)) {
      comparisons.push_back(symbol->second);
      next();
    } else if (skip_name("in")) {
      comparisons.push_back(CompareOp::in);
    } else if (current().is_name("not") && look().is_name("in")) {
      next();
      next();
      comparisons.push_back(CompareOp::not_in);
    } else {
      break;
    }
    operands.push_back(parse_sum());
  }
  if (comparisons.empty()) return std::move(operands[0]);
  ExprPtr expr = make(ExprKind::comparison, line, std::move(operands));
  expr->comparisons = std::move(comparisons);
  return expr;
}

ExprPtr Parser::parse_sum() {
  const int line = current().line;
  ExprPtr left = parse_concat();
  while (current().is_op("+") || current().is_op("-")) {
    const Operator op = next().text == "+" ? Operator::add : Operator::subtract;
    left = make_pair(ExprKind::arithmetic, line, std::move(left), parse_concat());
    left->op = op;
  }
  return left;
}

ExprPtr Parser::parse_concat() {
  const int line = current().line;
  std::vector<ExprPtr> operands;
  operands.push_back(parse_product());
  while (skip_op("~")) operands.push_back(parse_product());
  if (operands.size() == 1) return std::move(operands[0]);
  return make(ExprKind::concat, line, std::move(operands));
}

ExprPtr Parser::parse_product() {
  static constexpr std::pair<std::string_view, Operator> kSymbols[] = {
      {"*", Operator::multiply},
      {"/", Operator::divide},
      {"//", Operator::floor_divide},
      {"%", Operator::modulo}};
  const int line = current().line;
  ExprPtr left = parse_power();
  for (;;) {
    const auto symbol = std::find_if(std::begin(kSymbols), std::end(kSymbols),
                                     [&](const auto& each) { return current().is_op(each.first); });
    if (symbol == std::end(kSymbols)) return left;
    next();
    left = make_pair(ExprKind::arithmetic, line, std::move(left), parse_power());
    left->op = symbol->second;
  }
}

ExprPtr Parser::parse_power() {
  const int line = current().line;
  ExprPtr left = parse_unary();
  while (skip_op("**")) {
    left = make_pair(ExprKind::arithmetic, line, std::move(left), parse_unary());
    left->op = Operator::power;
  }
  return left;
}

ExprPtr Parser::parse_unary(bool with_filters) {
  const Nesting nesting(*this);
  const int line = current().line;
  ExprPtr value;
  if (current().is_op("-") || current().is_op("+")) {
    const ExprKind kind = next().text == "-" ? ExprKind::negative : ExprKind::positive;
    std::vector<ExprPtr> operands;
    operands.push_back(parse_unary(false));
    value = make(kind, line, std::move(operands));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filters ? parse_filters(std::move(value)) : std::move(value);
}

ExprPtr Parser::parse_primary(bool with_name_space) {
  const Token& token = current();
  if (token.is_op("[")) return parse_list();
  if (token.is_op("{")) return parse_dict();
  if (token.is_op("(")) {
    const Nesting nesting(*this);
    next();
    ExprPtr value = parse_tuple(TupleMode::expression, true);
    expect_op(")");
    return value;
  }
  auto expr = std::make_unique<Expr>(ExprKind::constant, token.line);
  if (token.is(TokenKind::name)) {
    next();
    const std::string& name = token.text;
    if (name == "true" || name == "True" || name == "false" || name == "False") {
      expr->constant = Value::boolean(name == "true" || name == "True");
    } else if (name == "none" || name == "None") {
      expr->constant = Value::none();
    } else {
      expr->kind = ExprKind::name;
      expr->name = name;
      if (with_name_space && skip_op(".")) {
        expr->kind = ExprKind::name_space;
        expr->constant = Value::string(expect(TokenKind::name, "name").text);
      }
    }
  } else if (token.is(TokenKind::string)) {
    std::string text;
    while (current().is(TokenKind::string)) text += next().text;
    expr->constant = Value::string(text);
  } else if (token.is(TokenKind::integer) || token.is(TokenKind::real)) {
    expr->constant = next().value;
  } else {
    fail(token.line, fmt::format("unexpected '{}'", token.describe()));
  }
  return expr;
}

ExprPtr Parser::parse_list() {
  const int line = next().line;
  std::vector<ExprPtr> items;
  while (!current().is_op("]")) {
    if (!items.empty()) expect_op(",");
    if (current().is_op("]")) break;
    items.push_back(parse_expression());
  }
  expect_op("]");
  return make(ExprKind::list, line, std::move(items));
}

ExprPtr Parser::parse_dict() {
  const int line = next().line;
  std::vector<ExprPtr> items;
  while (!current().is_op("}")) {
    if (!items.empty()) expect_op(",");
    if (current().is_op("}")) break;
    items.push_back(parse_expression());
    expect_op(":");
    items.push_back(parse_expression());
  }
  expect_op("}");
  return make(ExprKind::dict, line, std::move(items));
}

}  // namespace nibble::jinja
