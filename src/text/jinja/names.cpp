#include "text/jinja/names.h"

namespace nibble::jinja {
namespace {

void store(Symbols& symbols, Expr& target) {
  if (target.kind == ExprKind::name) symbols.store(target.name);
  if (target.kind == ExprKind::name_space) symbols.load(target.name);
  for (auto& item : target.operands) store(symbols, *item);
}

void analyze(Symbols& symbols, Stmt& statement) {
  switch (statement.kind) {
    case StmtKind::output:
      for (auto& value : static_cast<OutputStmt&>(statement).values) analyze(symbols, *value);
      return;
    case StmtKind::assign: {
      auto& assign = static_cast<AssignStmt&>(statement);
      analyze(symbols, *assign.value);
      return store(symbols, *assign.target);
    }
    case StmtKind::assign_block:
      return store(symbols, *static_cast<AssignBlockStmt&>(statement).target);
    case StmtKind::for_loop:
      return analyze(symbols, *static_cast<ForStmt&>(statement).iterable);
    case StmtKind::if_chain: {
      auto& chain = static_cast<IfStmt&>(statement);
      // An elif counts as an if of its own within the branch.
      analyze(symbols, *chain.branches[0].test);
      std::vector<Symbols> branches(3, symbols);
      analyze(branches[0], chain.branches[0].body);
      for (size_t i = 1; i < chain.branches.size(); ++i) {
        analyze(branches[1], *chain.branches[i].test);
        std::vector<Symbols> inner(1, branches[1]);
        analyze(inner[0], chain.branches[i].body);
        branches[1].merge(inner);
      }
      analyze(branches[2], chain.otherwise);
      return symbols.merge(branches);
    }
    case StmtKind::macro:
      return symbols.store(static_cast<MacroStmt&>(statement).name);
    case StmtKind::call_block:
      return analyze(symbols, *static_cast<MacroStmt&>(statement).call);
    case StmtKind::filter_block:
      return analyze(symbols, *static_cast<FilterBlockStmt&>(statement).filter);
    case StmtKind::with:
      for (auto& value : static_cast<WithStmt&>(statement).values) analyze(symbols, *value);
      return;
    case StmtKind::generation:
    case StmtKind::break_loop:
    case StmtKind::continue_loop:
      return;
  }
}

class Undeclared {
 public:
  explicit Undeclared(std::set<std::string> names) : names_(std::move(names)) {}
  std::set<std::string> found;

  void body(Body& statements) {
    for (auto& statement : statements) visit(*statement);
  }

 private:
  void load(Expr& expr) {
    if (expr.kind == ExprKind::name && names_.count(expr.name)) found.insert(expr.name);
    for_each_child(expr, [&](Expr& child) { load(child); });
  }
  void load(ExprPtr& expr) {
    if (expr) load(*expr);
  }
  void declare(Expr& target) {
    if (target.kind == ExprKind::name) names_.erase(target.name);
    for (auto& item : target.operands) declare(*item);
  }

  void visit(Stmt& statement) {
    switch (statement.kind) {
      case StmtKind::output:
        for (auto& value : static_cast<OutputStmt&>(statement).values) load(value);
        return;
      case StmtKind::assign: {
        auto& assign = static_cast<AssignStmt&>(statement);
        declare(*assign.target);
        return load(assign.value);
      }
      case StmtKind::assign_block: {
        auto& block = static_cast<AssignBlockStmt&>(statement);
        declare(*block.target);
        load(block.filter);
        return body(block.body);
      }
      case StmtKind::for_loop: {
        auto& loop = static_cast<ForStmt&>(statement);
        declare(*loop.target);
        load(loop.iterable);
        body(loop.body);
        body(loop.otherwise);
        return load(loop.test);
      }
      case StmtKind::if_chain: {
        auto& chain = static_cast<IfStmt&>(statement);
        for (auto& branch : chain.branches) {
          load(branch.test);
          body(branch.body);
        }
        return body(chain.otherwise);
      }
      case StmtKind::macro:
      case StmtKind::call_block:
      case StmtKind::generation: {
        auto& macro = static_cast<MacroStmt&>(statement);
        load(macro.call);
        for (auto& parameter : macro.parameters) declare(*parameter.target);
        for (auto& parameter : macro.parameters) load(parameter.default_value);
        return body(macro.body);
      }
      case StmtKind::filter_block: {
        auto& block = static_cast<FilterBlockStmt&>(statement);
        body(block.body);
        return load(block.filter);
      }
      case StmtKind::with: {
        auto& with = static_cast<WithStmt&>(statement);
        for (auto& target : with.targets) declare(*target);
        for (auto& value : with.values) load(value);
        return body(with.body);
      }
      case StmtKind::break_loop:
      case StmtKind::continue_loop:
        return;
    }
  }

  std::set<std::string> names_;
};

}  // namespace

void analyze(Symbols& symbols, Body& body) {
  for (auto& statement : body) analyze(symbols, *statement);
}

void analyze(Symbols& symbols, Expr& expr) {
  if (expr.kind == ExprKind::name) symbols.load(expr.name);
  for_each_child(expr, [&](Expr& child) { analyze(symbols, child); });
}

void declare_parameters(Symbols& symbols, Expr& target) {
  if (target.kind == ExprKind::name) symbols.declare_parameter(target.name);
  for (auto& item : target.operands) declare_parameters(symbols, *item);
}

std::set<std::string> undeclared_names(Body& body, std::set<std::string> names) {
  Undeclared undeclared(std::move(names));
  undeclared.body(body);
  return undeclared.found;
}

}  // namespace nibble::jinja
