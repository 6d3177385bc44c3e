#include "text/jinja/scopes.h"

#include <algorithm>

#include "core/error.h"
#include "text/jinja/names.h"
#include "text/jinja/symbols.h"

namespace nibble::jinja {
namespace {

// Where a statement stands.
struct Place {
  Symbols& symbols;
  bool top_level = false;  // outside of every loop, macro and block (conditions do not count)
  bool in_condition = false;
  bool in_loop = false;
  Place with_condition() const { return {symbols, top_level, true, in_loop}; }
};

class Resolver {
 public:
  explicit Resolver(const std::string& who) : who_(who) {}

  void resolve(Program& program) {
    FunctionBuilder root(program.function, nullptr);
    Symbols symbols(nullptr, root);
    analyze(symbols, program.body);
    program.scope = symbols.scope();
    body(program.body, {symbols, true, false, false});
  }

 private:
  [[noreturn]] void fail(int line, const std::string& problem) const {
    nibble::fail(ErrorKind::bad_input, "{}: line {}: {}", who_, line, problem);
  }

  void body(Body& statements, const Place& place) {
    for (auto& statement : statements) visit(*statement, place);
  }

  void visit(Stmt& statement, const Place& place) {
    switch (statement.kind) {
      case StmtKind::output:
        for (auto& value : static_cast<OutputStmt&>(statement).values) expression(*value, place);
        return;
      case StmtKind::assign: {
        auto& assign = static_cast<AssignStmt&>(statement);
        expression(*assign.target, place);
        expression(*assign.value, place);
        assign.exported = place.top_level;
        return;
      }
      case StmtKind::assign_block:
        return visit_assign_block(static_cast<AssignBlockStmt&>(statement), place);
      case StmtKind::for_loop:
        return visit_for(static_cast<ForStmt&>(statement), place);
      case StmtKind::if_chain: {
        auto& chain = static_cast<IfStmt&>(statement);
        const Place inside = place.with_condition();
        for (auto& branch : chain.branches) {
          expression(*branch.test, inside);
          body(branch.body, inside);
        }
        return body(chain.otherwise, inside);
      }
      case StmtKind::macro:
      case StmtKind::call_block:
      case StmtKind::generation:
        return visit_macro(static_cast<MacroStmt&>(statement), place);
      case StmtKind::filter_block: {
        auto& block = static_cast<FilterBlockStmt&>(statement);
        Symbols symbols(&place.symbols, place.symbols.function());
        analyze(symbols, block.body);
        analyze(symbols, *block.filter);
        block.scope = symbols.scope();
        const Place inside{symbols, false, false, place.in_loop};
        body(block.body, inside);
        return expression(*block.filter, inside);
      }
      case StmtKind::with: {
        auto& with = static_cast<WithStmt&>(statement);
        Symbols symbols(&place.symbols, place.symbols.function());
        for (auto& target : with.targets) declare_parameters(symbols, *target);
        analyze(symbols, with.body);
        with.scope = symbols.scope();
        const Place inside{symbols, false, false, place.in_loop};
        for (auto& target : with.targets) expression(*target, inside);
        for (auto& value : with.values) expression(*value, place);
        return body(with.body, inside);
      }
      case StmtKind::break_loop:
      case StmtKind::continue_loop:
        if (!place.in_loop) fail(statement.line, "break or continue outside of a loop");
        return;
    }
  }

  void visit_assign_block(AssignBlockStmt& block, const Place& place) {
    Symbols symbols(&place.symbols, place.symbols.function());
    analyze(symbols, block.body);
    block.scope = symbols.scope();
    const Place inside{symbols, false, false, place.in_loop};
    body(block.body, inside);
    expression(*block.target, place);
    if (block.filter) expression(*block.filter, inside);
    block.exported = place.top_level;
  }

  void visit_for(ForStmt& loop, const Place& place) {
    expression(*loop.iterable, place);
    FunctionBuilder own(loop.function, &place.symbols.function());
    FunctionBuilder& function = loop.recursive ? own : place.symbols.function();

    Symbols symbols(&place.symbols, function);
    loop.has_loop = loop.recursive || undeclared_names(loop.body, {"loop"}).count("loop") > 0;
    if (loop.has_loop) loop.loop_slot = symbols.declare_parameter("loop").index;
    declare_parameters(symbols, *loop.target);
    analyze(symbols, loop.body);
    loop.scope = symbols.scope();
    const Place inside{symbols, false, false, true};
    expression(*loop.target, inside);
    body(loop.body, inside);

    if (loop.test) {
      Symbols test(&place.symbols, function, true);
      declare_parameters(test, *loop.test_target);
      analyze(test, *loop.test);
      loop.test_scope = test.scope();
      const Place at{test, false, false, false};
      expression(*loop.test_target, at);
      expression(*loop.test, at);
    }
    Symbols otherwise(&place.symbols, function);
    analyze(otherwise, loop.otherwise);
    loop.else_scope = otherwise.scope();
    body(loop.otherwise, {otherwise, false, false, place.in_loop && !loop.recursive});
  }

  void visit_macro(MacroStmt& macro, const Place& place) {
    if (macro.call) expression(*macro.call, place);
    FunctionBuilder own(macro.function, &place.symbols.function());
    Symbols symbols(&place.symbols, own);
    for (auto& parameter : macro.parameters) declare_parameters(symbols, *parameter.target);
    for (auto& parameter : macro.parameters) {
      if (parameter.default_value) analyze(symbols, *parameter.default_value);
    }
    analyze(symbols, macro.body);
    declare_specials(macro, symbols);
    macro.scope = symbols.scope();

    const Place inside{symbols, false, false, false};
    for (auto& parameter : macro.parameters) {
      expression(*parameter.target, inside);
      if (parameter.default_value) expression(*parameter.default_value, inside);
    }
    body(macro.body, inside);
    if (macro.kind == StmtKind::macro) {
      macro.slot = slot_from(place.symbols.function(), *place.symbols.find(macro.name));
      macro.exported = place.top_level;
    }
  }

  // caller, kwargs and varargs exist where the body uses them.
  void declare_specials(MacroStmt& macro, Symbols& symbols) {
    const auto parameter = [&](std::string_view name) {
      return std::find_if(macro.parameters.begin(), macro.parameters.end(),
                          [&](const auto& each) { return each.target->name == name; });
    };
    const auto none = macro.parameters.end();
    const auto used = undeclared_names(macro.body, {"caller", "kwargs", "varargs"});
    macro.has_caller_parameter = parameter("caller") != none;
    if (used.count("caller")) {
      macro.takes_caller = true;
      if (!macro.has_caller_parameter) {
        macro.caller_slot = symbols.declare_parameter("caller").index;
      } else if (!parameter("caller")->default_value) {
        fail(macro.line, "the special \"caller\" argument must be omitted or be given a default");
      }
    }
    if (used.count("kwargs") && parameter("kwargs") == none) {
      macro.takes_keywords = true;
      macro.keywords_slot = symbols.declare_parameter("kwargs").index;
    }
    if (used.count("varargs") && parameter("varargs") == none) {
      macro.takes_varargs = true;
      macro.varargs_slot = symbols.declare_parameter("varargs").index;
    }
  }

  void expression(Expr& expr, const Place& place) {
    if (expr.kind == ExprKind::name || expr.kind == ExprKind::name_space) {
      const Variable* variable = place.symbols.find(expr.name);
      if (!variable) {
        fail(expr.line, fmt::format("the name '{}' cannot be used here: jinja2 does not look it "
                                    "up in the filter of a set block",
                                    expr.name));
      }
      expr.slot = slot_from(place.symbols.function(), *variable);
      return;
    }
    const bool unknown = (expr.kind == ExprKind::filter && !expr.filter) ||
                         (expr.kind == ExprKind::test && !expr.test);
    if (unknown && !place.in_condition) {
      fail(expr.line, fmt::format("No {} named '{}'.",
                                  expr.kind == ExprKind::filter ? "filter" : "test", expr.name));
    }
    const Place inside = expr.kind == ExprKind::conditional ? place.with_condition() : place;
    for_each_child(expr, [&](Expr& child) { expression(child, inside); });
  }

  const std::string& who_;
};

}  // namespace

void resolve_scopes(Program& program, const std::string& who) { Resolver(who).resolve(program); }

}  // namespace nibble::jinja
