// What follows a value: subscripts, calls, filters and tests.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/filters.h"
#include "text/jinja/parser.h"
#include "text/jinja/tests.h"

namespace nibble::jinja {

ExprPtr Parser::parse_postfix(ExprPtr value) {
  for (;;) {
    if (current().is_op(".") || current().is_op("[")) {
      value = parse_subscript(std::move(value));
    } else if (current().is_op("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr Parser::parse_filters(ExprPtr value) {
  for (;;) {
    if (current().is_op("|")) {
      value = parse_filter(std::move(value));
    } else if (current().is_name("is")) {
      value = parse_test(std::move(value));
    } else if (current().is_op("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr Parser::parse_subscript(ExprPtr value) {
  const int line = current().line;
  if (next().text == ".") {
    const Token& token = next();
    if (token.is(TokenKind::name)) {
      std::vector<ExprPtr> operands;
      operands.push_back(std::move(value));
      ExprPtr expr = make(ExprKind::attribute, line, std::move(operands));
      expr->constant = Value::string(token.text);
      return expr;
    }
    if (!token.is(TokenKind::integer)) fail(token.line, "expected name or number");
    auto index = std::make_unique<Expr>(ExprKind::constant, token.line);
    index->constant = token.value;
    return make_pair(ExprKind::item, line, std::move(value), std::move(index));
  }
  std::vector<ExprPtr> keys;
  const auto at_bound_end = [&] {
    return current().is_op(":") || current().is_op("]") || current().is_op(",");
  };
  while (!current().is_op("]")) {
    if (!keys.empty()) expect_op(",");
    ExprPtr start = current().is_op(":") ? nullptr : parse_expression();
    if (!skip_op(":")) {
      keys.push_back(std::move(start));
      continue;
    }
    std::vector<ExprPtr> operands;
    operands.push_back(std::move(value));
    operands.push_back(std::move(start));
    operands.push_back(at_bound_end() ? nullptr : parse_expression());
    operands.push_back(skip_op(":") && !at_bound_end() ? parse_expression() : nullptr);
    if (!keys.empty() || !current().is_op("]")) {
      fail(line, "a slice among several subscripts is not supported");
    }
    next();
    return make(ExprKind::slice, line, std::move(operands));
  }
  expect_op("]");
  ExprPtr key =
      keys.size() == 1 ? std::move(keys[0]) : make(ExprKind::tuple, line, std::move(keys));
  return make_pair(ExprKind::item, line, std::move(value), std::move(key));
}

std::unique_ptr<Arguments> Parser::parse_arguments(int& depth) {
  auto arguments = std::make_unique<Arguments>();
  const int line = current().line;
  const auto ensure = [&](bool valid) {
    if (!valid) fail(line, "invalid syntax for function call expression");
  };
  const auto argument = [&] {
    ExprPtr value = parse_expression();
    depth = std::max(depth, value->depth + 1);
    return value;
  };
  expect_op("(");
  for (bool first = true; !current().is_op(")"); first = false) {
    if (!first) {
      expect_op(",");
      if (current().is_op(")")) break;
    }
    if (skip_op("*")) {
      ensure(!arguments->star && !arguments->double_star);
      arguments->star = argument();
    } else if (skip_op("**")) {
      ensure(!arguments->double_star);
      arguments->double_star = argument();
    } else if (current().is(TokenKind::name) && look().is_op("=")) {
      ensure(!arguments->double_star);
      std::string name = next().text;
      next();
      for (const auto& keyword : arguments->keywords) {
        if (keyword.name == name) fail(line, fmt::format("keyword argument repeated: {}", name));
      }
      arguments->keywords.push_back({std::move(name), argument()});
    } else {
      ensure(!arguments->star && !arguments->double_star && arguments->keywords.empty());
      arguments->positional.push_back(argument());
    }
  }
  expect_op(")");
  if (depth > kMaxExprDepth) fail(line, "the expression nests too deeply");
  return arguments;
}

ExprPtr Parser::parse_call(ExprPtr callee) {
  std::vector<ExprPtr> operands;
  operands.push_back(std::move(callee));
  ExprPtr call = make(ExprKind::call, current().line, std::move(operands));
  call->arguments = parse_arguments(call->depth);
  return call;
}

std::string Parser::parse_dotted_name() {
  std::string name = expect(TokenKind::name, "name").text;
  while (skip_op(".")) name += "." + expect(TokenKind::name, "name").text;
  return name;
}

ExprPtr Parser::parse_filter(ExprPtr subject, bool at_name) {
  while (at_name || current().is_op("|")) {
    if (!at_name) next();
    at_name = false;
    const int line = current().line;
    std::vector<ExprPtr> operands;
    operands.push_back(std::move(subject));
    ExprPtr filter = make(ExprKind::filter, line, std::move(operands));
    filter->name = parse_dotted_name();
    filter->filter = find_filter(filter->name);
    filter->arguments =
        current().is_op("(") ? parse_arguments(filter->depth) : std::make_unique<Arguments>();
    subject = std::move(filter);
  }
  return subject;
}

ExprPtr Parser::parse_test(ExprPtr subject) {
  const int line = next().line;
  const bool negated = skip_name("not");
  std::vector<ExprPtr> operands;
  operands.push_back(std::move(subject));
  ExprPtr test = make(ExprKind::test, line, std::move(operands));
  test->name = parse_dotted_name();
  test->test = find_test(test->name);
  const Token& token = current();
  const bool has_operand = token.is(TokenKind::string) || token.is(TokenKind::integer) ||
                           token.is(TokenKind::real) || token.is_op("[") || token.is_op("{") ||
                           (token.is(TokenKind::name) && !token.is_name("else") &&
                            !token.is_name("or") && !token.is_name("and"));
  if (token.is_op("(")) {
    test->arguments = parse_arguments(test->depth);
  } else {
    test->arguments = std::make_unique<Arguments>();
    if (has_operand) {
      if (token.is_name("is")) fail(token.line, "You cannot chain multiple tests with is");
      ExprPtr operand = parse_postfix(parse_primary());
      test->depth = std::max(test->depth, operand->depth + 1);
      test->arguments->positional.push_back(std::move(operand));
    }
  }
  if (!negated) return test;
  operands.clear();
  operands.push_back(std::move(test));
  return make(ExprKind::logical_not, line, std::move(operands));
}

}  // namespace nibble::jinja
