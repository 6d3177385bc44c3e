// The values of expressions.
#include "text/jinja/attributes.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/tests.h"

namespace nibble::jinja {

Value& Interpreter::variable(const Slot& slot) {
  Activation* activation = activation_.get();
  for (uint32_t i = 0; i < slot.hops; ++i) activation = activation->parent.get();
  return activation->slots[slot.index];
}

Value Interpreter::evaluate_name(const Expr& expr) {
  const Value& value = variable(expr.slot);
  return value.is_missing() ? Value::undefined_name(expr.name) : value;
}

Value Interpreter::evaluate(const Expr& expr) {
  runtime_.charge_step();
  if (expr.kind == ExprKind::constant) return expr.constant;
  if (expr.kind == ExprKind::name) return evaluate_name(expr);
  const DepthGuard guard(runtime_, DepthGuard::What::evaluation);
  return evaluate_inner(expr);
}

Value Interpreter::evaluate_inner(const Expr& expr) {
  const auto operand = [&](size_t i) { return evaluate(*expr.operands[i]); };
  switch (expr.kind) {
    case ExprKind::constant:
      return expr.constant;
    case ExprKind::name:
    case ExprKind::name_space:
      return evaluate_name(expr);
    case ExprKind::list:
    case ExprKind::tuple:
      return evaluate_list(expr);
    case ExprKind::dict:
      return evaluate_dict(expr);
    case ExprKind::attribute:
      return get_attribute(runtime_, operand(0), expr.constant);
    case ExprKind::item: {
      const Value object = operand(0);
      return get_item(runtime_, object, operand(1));
    }
    case ExprKind::slice:
      return evaluate_slice(expr);
    case ExprKind::call:
      return evaluate_call(expr, nullptr);
    case ExprKind::filter:
      return evaluate_filter(expr, nullptr);
    case ExprKind::test:
      return evaluate_test(expr);
    case ExprKind::negative:
      return negate(runtime_, operand(0));
    case ExprKind::positive:
      return plus(runtime_, operand(0));
    case ExprKind::logical_not:
      return Value::boolean(!is_true(runtime_, operand(0)));
    case ExprKind::arithmetic: {
      const Value left = operand(0);
      const Value right = operand(1);
      return apply(runtime_, expr.op, left, right);
    }
    case ExprKind::logical_and: {
      Value left = operand(0);
      return is_true(runtime_, left) ? operand(1) : left;
    }
    case ExprKind::logical_or: {
      Value left = operand(0);
      return is_true(runtime_, left) ? left : operand(1);
    }
    case ExprKind::concat:
      return evaluate_concat(expr);
    case ExprKind::comparison:
      return evaluate_comparison(expr);
    case ExprKind::conditional:
      break;
  }
  if (is_true(runtime_, operand(0))) return operand(1);
  if (expr.operands[2]) return operand(2);
  return Value::undefined_hint(
      fmt::format("the inline if-expression on line {} evaluated to false and no else section was "
                  "defined.",
                  expr.line));
}

Value Interpreter::evaluate_list(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.operands.size());
  for (const auto& operand : expr.operands) items.push_back(evaluate(*operand));
  return expr.kind == ExprKind::list ? Value::list(runtime_, std::move(items))
                                     : Value::tuple(runtime_, std::move(items));
}

Value Interpreter::evaluate_dict(const Expr& expr) {
  auto dict = std::make_shared<Dict>();
  for (size_t i = 0; i + 1 < expr.operands.size(); i += 2) {
    const Value key = evaluate(*expr.operands[i]);
    dict->set(runtime_, key, evaluate(*expr.operands[i + 1]));
  }
  return Value::dict(std::move(dict));
}

Value Interpreter::evaluate_slice(const Expr& expr) {
  const auto bound = [&](size_t i) {
    return expr.operands[i] ? evaluate(*expr.operands[i]) : Value();
  };
  const Value object = evaluate(*expr.operands[0]);
  const Value start = bound(1);
  const Value stop = bound(2);
  return slice_of(runtime_, object, start, stop, bound(3));
}

CallArguments Interpreter::evaluate_arguments(const Arguments& arguments) {
  CallArguments values;
  values.positional.reserve(arguments.positional.size());
  for (const auto& argument : arguments.positional) {
    values.positional.push_back(evaluate(*argument));
  }
  for (const auto& [name, value] : arguments.keywords) {
    values.keywords.emplace_back(name, evaluate(*value));
  }
  if (arguments.star) {
    for (Value& value : to_vector(runtime_, evaluate(*arguments.star))) {
      values.positional.push_back(std::move(value));
    }
  }
  if (arguments.double_star) {
    const Value more = evaluate(*arguments.double_star);
    if (!more.is_dict()) {
      runtime_.fail("argument after ** must be a mapping, not {}", type_name(more));
    }
    runtime_.charge_values(2 * more.as_dict().size());
    for (const Dict::Entry& entry : more.as_dict().entries()) {
      if (!entry.key.is_string()) runtime_.fail("keywords must be strings");
      for (const auto& keyword : arguments.keywords) {
        if (keyword.name == entry.key.view()) {
          runtime_.fail("got multiple values for keyword argument '{}'", keyword.name);
        }
      }
      values.keywords.emplace_back(std::string(entry.key.view()), entry.value);
    }
  }
  return values;
}

// `caller`: the body of a call block, passed as a keyword.
Value Interpreter::evaluate_call(const Expr& expr, const Value* caller) {
  const Value callee = evaluate(*expr.operands[0]);
  CallArguments arguments = evaluate_arguments(*expr.arguments);
  if (caller) arguments.keywords.emplace_back("caller", *caller);
  runtime_.set_line(expr.line);
  check_defined(runtime_, callee);
  if (!callee.is(Kind::opaque)) {
    runtime_.fail("'{}' object is not callable", type_name(callee));
  }
  return callee.as_opaque().call(runtime_, arguments);
}

// `block`: the text of a filter block, which the innermost filter has for its subject.
Value Interpreter::evaluate_filter(const Expr& expr, const Value* block) {
  const Expr* inner = expr.operands[0].get();
  const Value subject = !inner                                     ? *block
                        : block && inner->kind == ExprKind::filter ? evaluate_filter(*inner, block)
                                                                   : evaluate(*inner);
  const CallArguments arguments = evaluate_arguments(*expr.arguments);
  runtime_.set_line(expr.line);
  if (!expr.filter) runtime_.fail("No filter named '{}' found.", expr.name);
  return apply_filter(runtime_, *expr.filter, subject, arguments);
}

Value Interpreter::evaluate_test(const Expr& expr) {
  const Value subject = evaluate(*expr.operands[0]);
  const CallArguments arguments = evaluate_arguments(*expr.arguments);
  runtime_.set_line(expr.line);
  if (!expr.test) runtime_.fail("No test named '{}' found.", expr.name);
  return Value::boolean(expr.test->function(runtime_, subject, arguments));
}

Value Interpreter::evaluate_concat(const Expr& expr) {
  TextBuilder text(runtime_);
  for (const auto& operand : expr.operands) print(runtime_, evaluate(*operand), text);
  return Value::string(std::move(text).build());
}

Value Interpreter::evaluate_comparison(const Expr& expr) {
  Value left = evaluate(*expr.operands[0]);
  for (size_t i = 0; i < expr.comparisons.size(); ++i) {
    Value right = evaluate(*expr.operands[i + 1]);
    const CompareOp op = expr.comparisons[i];
    const bool result = op == CompareOp::in ? contains(runtime_, right, left)
                        : op == CompareOp::not_in
                            ? !contains(runtime_, right, left)
                            : compare(runtime_, static_cast<Comparison>(op), left, right);
    if (!result) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

}  // namespace nibble::jinja
