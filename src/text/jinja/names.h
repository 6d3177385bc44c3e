// Walks over the names of a tree: what a scope loads and stores, and what it does not declare.
#pragma once

#include <set>
#include <string>

#include "text/jinja/ast.h"
#include "text/jinja/symbols.h"

namespace nibble::jinja {

// Calls f for the operands and arguments of an expression, in order.
template <typename F>
void for_each_child(Expr& expr, F&& f) {
  for (auto& operand : expr.operands) {
    if (operand) f(*operand);
  }
  if (!expr.arguments) return;
  for (auto& argument : expr.arguments->positional) f(*argument);
  for (auto& keyword : expr.arguments->keywords) f(*keyword.value);
  if (expr.arguments->star) f(*expr.arguments->star);
  if (expr.arguments->double_star) f(*expr.arguments->double_star);
}

// Records what the statements of a scope load and store; stops where inner scopes begin.
void analyze(Symbols& symbols, Body& body);
void analyze(Symbols& symbols, Expr& expr);
void declare_parameters(Symbols& symbols, Expr& target);

// Which of the names the body uses without having declared them before, inner scopes included.
std::set<std::string> undeclared_names(Body& body, std::set<std::string> names);

}  // namespace nibble::jinja
