#include "text/jinja/macros.h"

#include <algorithm>

#include "text/jinja/print.h"

namespace nibble::jinja {

Value Macro::call(Runtime&, CallArguments& arguments) {
  return interpreter_.call_macro(macro_, outer_, arguments);
}

bool Macro::attribute(Runtime& runtime, std::string_view name, Value& result) {
  if (name == "name") {
    result = macro_.name.empty() ? Value::none() : Value::string(macro_.name);
  } else if (name == "arguments") {
    std::vector<Value> names;
    for (const auto& parameter : macro_.parameters) {
      names.push_back(Value::string(parameter.target->name));
    }
    result = Value::tuple(runtime, std::move(names));
  } else if (name == "catch_kwargs") {
    result = Value::boolean(macro_.takes_keywords);
  } else if (name == "catch_varargs") {
    result = Value::boolean(macro_.takes_varargs);
  } else if (name == "caller") {
    result = Value::boolean(macro_.takes_caller);
  } else if (name == "explicit_caller") {
    result = Value::boolean(macro_.has_caller_parameter);
  } else {
    return false;
  }
  return true;
}

void Macro::print(Runtime&, TextBuilder& out) {
  out.append(macro_.name.empty() ? std::string("<Macro anonymous>")
                                 : fmt::format("<Macro '{}'>", macro_.name),
             kTemplateText);
}

// Positional arguments, keywords, and the special ones that the body uses; what is left over is an
// error. Parameters without a value stay missing.
std::shared_ptr<Activation> Interpreter::bind(const MacroStmt& macro,
                                              const std::shared_ptr<Activation>& outer,
                                              CallArguments& arguments) {
  auto activation = std::make_shared<Activation>(macro.function, outer);
  auto& keywords = arguments.keywords;
  const auto take = [&](std::string_view name) {
    const auto found = std::find_if(keywords.begin(), keywords.end(),
                                    [&](const auto& keyword) { return keyword.first == name; });
    if (found == keywords.end()) return Value();
    Value value = std::move(found->second);
    keywords.erase(found);
    return value;
  };
  const size_t count = macro.parameters.size();
  const size_t given = std::min(count, arguments.positional.size());
  bool found_caller = given == count && macro.has_caller_parameter;
  for (size_t i = 0; i < count; ++i) {
    const Expr& target = *macro.parameters[i].target;
    activation->slots[target.slot.index] = i < given ? arguments.positional[i] : take(target.name);
    if (i >= given && target.name == "caller") found_caller = true;
  }
  if (macro.takes_caller && !found_caller) {
    Value caller = take("caller");
    if (caller.is_missing() || caller.is_none()) {
      caller = Value::undefined_hint("No caller defined");
    }
    // With a parameter of that name the body means the parameter.
    if (!macro.has_caller_parameter) activation->slots[macro.caller_slot] = std::move(caller);
  }
  if (macro.takes_keywords) {
    auto rest = std::make_shared<Dict>();
    for (auto& [name, value] : keywords) {
      rest->set(runtime_, Value::string(name), std::move(value));
    }
    activation->slots[macro.keywords_slot] = Value::dict(std::move(rest));
  } else if (!keywords.empty()) {
    runtime_.fail("macro '{}' takes no keyword argument '{}'", macro.name, keywords[0].first);
  }
  if (macro.takes_varargs) {
    std::vector<Value> rest(arguments.positional.begin() + static_cast<ptrdiff_t>(given),
                            arguments.positional.end());
    activation->slots[macro.varargs_slot] = Value::tuple(runtime_, std::move(rest));
  } else if (arguments.positional.size() > count) {
    runtime_.fail("macro '{}' takes not more than {} argument(s)", macro.name, count);
  }
  return activation;
}

Value Interpreter::call_macro(const MacroStmt& macro, const std::shared_ptr<Activation>& outer,
                              CallArguments& arguments) {
  const DepthGuard guard(runtime_, DepthGuard::What::call);
  const int line = runtime_.line();
  Value result = call_body(macro, bind(macro, outer, arguments));
  runtime_.set_line(line);
  return result;
}

Value Interpreter::call_body(const MacroStmt& macro, std::shared_ptr<Activation> activation) {
  activation_.swap(activation);
  enter(macro.scope);
  for (const auto& parameter : macro.parameters) {
    Value& value = activation_->slots[parameter.target->slot.index];
    if (!value.is_missing()) continue;
    if (parameter.default_value) {
      Value standard = evaluate(*parameter.default_value);
      activation_->slots[parameter.target->slot.index] = std::move(standard);
    } else {
      value = Value::undefined_hint(
          fmt::format("parameter '{}' was not provided", parameter.target->name));
    }
  }
  Flow flow = Flow::normal;
  Value text = Value::string(capture(macro.body, flow));
  activation_.swap(activation);
  return text;
}

}  // namespace nibble::jinja
