// Renders a parsed template: walks its tree over one set of variables.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "text/jinja/arguments.h"
#include "text/jinja/ast.h"
#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace nibble::jinja {

using Variables = std::unordered_map<std::string, Value>;

// The variables of one call of a function. Macros keep the one that they were defined in.
class Activation final : public Opaque {
 public:
  Activation(const Function& function, std::shared_ptr<Activation> outer)
      : parent(std::move(outer)), slots(function.slots) {}
  std::string_view type_name() const override { return "frame"; }
  void clear() override { slots.clear(); }

  std::shared_ptr<Activation> parent;
  std::vector<Value> slots;
  bool kept = false;  // by the runtime, until the end
};

class Interpreter {
 public:
  // `variables` hold the globals too. Everything must outlive the interpreter.
  Interpreter(Runtime& runtime, const Program& program, const Variables& variables);
  Text run();

  // For macros and loops, which call back.
  Value call_macro(const MacroStmt& macro, const std::shared_ptr<Activation>& outer,
                   CallArguments& arguments);
  Value call_loop(const ForStmt& loop, std::shared_ptr<Activation> outer, const Value& iterable,
                  int depth);
  // Does the item pass the loop's condition?
  bool passes(const ForStmt& loop, const std::shared_ptr<Activation>& activation,
              const Value& item);
  void start_condition(const ForStmt& loop, const std::shared_ptr<Activation>& activation);

 private:
  enum class Flow { normal, break_loop, continue_loop };

  // Statements (interpreter.cpp).
  Flow execute(const Body& body);
  Flow execute(const Stmt& statement);
  void execute_assign(const AssignStmt& assign);
  Flow execute_assign_block(const AssignBlockStmt& block);
  Flow execute_if(const IfStmt& chain);
  void execute_macro(const MacroStmt& macro);
  void execute_call_block(const MacroStmt& block);
  void execute_generation(const MacroStmt& block);
  Flow execute_filter_block(const FilterBlockStmt& block);
  Flow execute_with(const WithStmt& with);
  // Runs the body and gives its text; the flow out of it is left in `flow`.
  Text capture(const Body& body, Flow& flow);
  void assign(const Expr& target, const Value& value, bool exported);
  void append_text(const Value& value);
  void enter(const Scope& scope);
  void leave(const Scope& scope);
  void keep_activation();

  // Loops (loops.cpp).
  Flow execute_for(const ForStmt& loop);
  Flow run_loop(const ForStmt& loop, const Value& iterable, int depth,
                const std::shared_ptr<Activation>& outer);

  // Macros (macros.cpp).
  std::shared_ptr<Activation> bind(const MacroStmt& macro, const std::shared_ptr<Activation>& outer,
                                   CallArguments& arguments);
  Value call_body(const MacroStmt& macro, std::shared_ptr<Activation> activation);

  // Expressions (evaluate.cpp).
  Value evaluate(const Expr& expr);
  Value evaluate_inner(const Expr& expr);
  Value evaluate_name(const Expr& expr);
  Value evaluate_list(const Expr& expr);
  Value evaluate_dict(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value evaluate_call(const Expr& expr, const Value* caller);
  Value evaluate_filter(const Expr& expr, const Value* block);
  Value evaluate_test(const Expr& expr);
  Value evaluate_concat(const Expr& expr);
  Value evaluate_comparison(const Expr& expr);
  CallArguments evaluate_arguments(const Arguments& arguments);
  Value& variable(const Slot& slot);

  Runtime& runtime_;
  const Program& program_;
  const Variables& variables_;
  Variables exported_;  // set at top level
  std::shared_ptr<Activation> activation_;
  TextBuilder* out_ = nullptr;
};

}  // namespace nibble::jinja
