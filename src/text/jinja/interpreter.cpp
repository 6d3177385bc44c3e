#include "text/jinja/interpreter.h"

#include "text/jinja/macros.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace nibble::jinja {

Interpreter::Interpreter(Runtime& runtime, const Program& program, const Variables& variables)
    : runtime_(runtime), program_(program), variables_(variables) {}

Text Interpreter::run() {
  activation_ = std::make_shared<Activation>(program_.function, nullptr);
  keep_activation();
  enter(program_.scope);
  Flow flow = Flow::normal;
  return capture(program_.body, flow);
}

void Interpreter::keep_activation() {
  if (activation_->kept) return;
  activation_->kept = true;
  runtime_.keep(activation_);
}

Text Interpreter::capture(const Body& body, Flow& flow) {
  TextBuilder text(runtime_);
  TextBuilder* const outer = out_;
  out_ = &text;
  flow = execute(body);
  out_ = outer;
  return std::move(text).build();
}

void Interpreter::enter(const Scope& scope) {
  for (const Load& load : scope.loads) {
    Value value;
    if (load.action == Load::Action::copy) {
      value = variable(load.source);
    } else if (load.action == Load::Action::resolve) {
      const auto exported = exported_.find(load.name);
      if (exported != exported_.end()) {
        value = exported->second;
      } else if (const auto found = variables_.find(load.name); found != variables_.end()) {
        value = found->second;
      }
    }
    activation_->slots[load.target] = std::move(value);
  }
}

void Interpreter::leave(const Scope& scope) {
  for (const uint32_t slot : scope.all) activation_->slots[slot] = {};
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  const DepthGuard guard(runtime_, DepthGuard::What::evaluation);
  for (const auto& statement : body) {
    runtime_.charge_step();
    runtime_.set_line(statement->line);
    const Flow flow = execute(*statement);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const Stmt& statement) {
  switch (statement.kind) {
    case StmtKind::output:
      for (const auto& value : static_cast<const OutputStmt&>(statement).values) {
        if (value->kind == ExprKind::constant) {
          print(runtime_, value->constant, *out_);
        } else {
          runtime_.set_line(value->line);
          print(runtime_, evaluate(*value), *out_);
        }
      }
      return Flow::normal;
    case StmtKind::assign:
      execute_assign(static_cast<const AssignStmt&>(statement));
      return Flow::normal;
    case StmtKind::assign_block:
      return execute_assign_block(static_cast<const AssignBlockStmt&>(statement));
    case StmtKind::for_loop:
      return execute_for(static_cast<const ForStmt&>(statement));
    case StmtKind::if_chain:
      return execute_if(static_cast<const IfStmt&>(statement));
    case StmtKind::macro:
      execute_macro(static_cast<const MacroStmt&>(statement));
      return Flow::normal;
    case StmtKind::call_block:
      execute_call_block(static_cast<const MacroStmt&>(statement));
      return Flow::normal;
    case StmtKind::generation:
      execute_generation(static_cast<const MacroStmt&>(statement));
      return Flow::normal;
    case StmtKind::filter_block:
      return execute_filter_block(static_cast<const FilterBlockStmt&>(statement));
    case StmtKind::with:
      return execute_with(static_cast<const WithStmt&>(statement));
    case StmtKind::break_loop:
      return Flow::break_loop;
    case StmtKind::continue_loop:
      break;
  }
  return Flow::continue_loop;
}

void Interpreter::assign(const Expr& target, const Value& value, bool exported) {
  if (target.kind == ExprKind::name) {
    if (exported) exported_[target.name] = value;
    variable(target.slot) = value;
    return;
  }
  if (target.kind == ExprKind::name_space) {
    const Value& object = variable(target.slot);
    if (!object.is(Kind::name_space)) {
      runtime_.fail("cannot assign attribute on non-namespace object");
    }
    if (target.constant.view().starts_with('_')) {
      runtime_.fail("namespaces take no attributes with an underscore in front: '{}'",
                    target.constant.view());
    }
    object.as_namespace().attributes.set(runtime_, target.constant, value);
    return;
  }
  const auto iterator = iterate(runtime_, value);
  size_t count = 0;
  for (Value item; iterator->next(runtime_, item); ++count) {
    if (count == target.operands.size()) {
      runtime_.fail("too many values to unpack (expected {})", count);
    }
    assign(*target.operands[count], item, exported);
  }
  if (count < target.operands.size()) {
    runtime_.fail("not enough values to unpack (expected {}, got {})", target.operands.size(),
                  count);
  }
}

void Interpreter::execute_assign(const AssignStmt& statement) {
  assign(*statement.target, evaluate(*statement.value), statement.exported);
}

Interpreter::Flow Interpreter::execute_assign_block(const AssignBlockStmt& block) {
  enter(block.scope);
  Flow flow = Flow::normal;
  Value text = Value::string(capture(block.body, flow));
  if (flow != Flow::normal) return flow;
  if (block.filter) text = evaluate_filter(*block.filter, &text);
  assign(*block.target, text, block.exported);
  leave(block.scope);
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_if(const IfStmt& chain) {
  for (const auto& branch : chain.branches) {
    runtime_.set_line(branch.line);
    if (is_true(runtime_, evaluate(*branch.test))) return execute(branch.body);
  }
  return execute(chain.otherwise);
}

Interpreter::Flow Interpreter::execute_filter_block(const FilterBlockStmt& block) {
  enter(block.scope);
  Flow flow = Flow::normal;
  const Value text = Value::string(capture(block.body, flow));
  if (flow != Flow::normal) return flow;
  append_text(evaluate_filter(*block.filter, &text));
  leave(block.scope);
  return Flow::normal;
}

// What blocks give is joined as it is: unlike {{ }} they do not make text of other things.
void Interpreter::append_text(const Value& value) {
  if (!value.is_string()) {
    runtime_.fail("expected str instance, {} found: blocks give text", type_name(value));
  }
  out_->append(value.text());
}

Interpreter::Flow Interpreter::execute_with(const WithStmt& with) {
  enter(with.scope);
  for (size_t i = 0; i < with.targets.size(); ++i) {
    assign(*with.targets[i], evaluate(*with.values[i]), false);
  }
  const Flow flow = execute(with.body);
  if (flow == Flow::normal) leave(with.scope);
  return flow;
}

void Interpreter::execute_macro(const MacroStmt& macro) {
  keep_activation();
  const Value value = Value::opaque(std::make_shared<Macro>(*this, macro, activation_));
  variable(macro.slot) = value;
  if (macro.exported) exported_[macro.name] = value;
}

void Interpreter::execute_call_block(const MacroStmt& block) {
  keep_activation();
  const Value caller = Value::opaque(std::make_shared<Macro>(*this, block, activation_));
  append_text(evaluate_call(*block.call, &caller));
}

// The text of the block, marked as generated wherever it ends up.
void Interpreter::execute_generation(const MacroStmt& block) {
  CallArguments none;
  const Value value = call_macro(block, activation_, none);
  const Text& text = value.text();
  text.for_each_run(0, text.size(), [&](size_t begin, size_t end, Mark mark) {
    out_->append(text.view().substr(begin, end - begin), mark | kGenerated);
  });
}

}  // namespace nibble::jinja
