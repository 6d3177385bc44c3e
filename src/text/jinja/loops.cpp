// {% for %} and the variable `loop`.
#include "text/jinja/macros.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace nibble::jinja {
namespace {

// What of `for x in xs if condition` is kept.
class ConditionIterator final : public Iterator {
 public:
  ConditionIterator(Interpreter& interpreter, const ForStmt& loop,
                    std::shared_ptr<Activation> activation, std::shared_ptr<Iterator> items)
      : interpreter_(interpreter),
        loop_(loop),
        activation_(std::move(activation)),
        items_(std::move(items)) {
    depth = items_->depth + 1;
  }
  bool next(Runtime& runtime, Value& value) override {
    if (!started_) {
      started_ = true;
      interpreter_.start_condition(loop_, activation_);
    }
    while (items_->next(runtime, value)) {
      if (interpreter_.passes(loop_, activation_, value)) return true;
    }
    return false;
  }

 private:
  Interpreter& interpreter_;
  const ForStmt& loop_;
  std::shared_ptr<Activation> activation_;
  std::shared_ptr<Iterator> items_;
  bool started_ = false;
};

// loop.cycle and loop.changed.
class LoopFunction final : public Opaque {
 public:
  LoopFunction(std::shared_ptr<LoopState> loop, bool is_cycle)
      : loop_(std::move(loop)), is_cycle_(is_cycle) {}
  std::string_view type_name() const override { return "method"; }
  bool is_callable() const override { return true; }
  Value call(Runtime& runtime, CallArguments& arguments) override {
    return is_cycle_ ? loop_->cycle(runtime, arguments) : loop_->changed(runtime, arguments);
  }

 private:
  std::shared_ptr<LoopState> loop_;
  bool is_cycle_;
};

}  // namespace

LoopState::LoopState(Interpreter& interpreter, const ForStmt& loop, Value iterable,
                     std::shared_ptr<Iterator> iterator, int level,
                     std::shared_ptr<Activation> outer)
    : interpreter_(interpreter),
      loop_(loop),
      iterable_(std::move(iterable)),
      iterator_(std::move(iterator)),
      level_(level),
      outer_(std::move(outer)) {}

void LoopState::clear() {
  iterable_ = before_ = current_ = after_ = last_changed_ = {};
  iterator_.reset();
  outer_.reset();
}

bool LoopState::advance(Runtime& runtime, Value& item) {
  if (!after_.is_missing()) {
    item = std::move(after_);
    after_ = {};
  } else if (!iterator_->next(runtime, item)) {
    return false;
  }
  ++index_;
  before_ = std::move(current_);
  current_ = item;
  return true;
}

const Value& LoopState::peek(Runtime& runtime) {
  if (after_.is_missing()) {
    Value next;
    if (iterator_->next(runtime, next)) after_ = std::move(next);
  }
  return after_;
}

std::optional<int64_t> LoopState::length(Runtime& runtime) {
  if (length_ >= 0) return length_;
  if (const auto known = loop_.test ? std::nullopt : length_of(runtime, iterable_)) {
    length_ = *known;
    return length_;
  }
  std::vector<Value> rest;
  for (Value item; iterator_->next(runtime, item);) {
    runtime.charge_values(1);
    rest.push_back(std::move(item));
  }
  length_ = static_cast<int64_t>(rest.size()) + index_ + 1 + (after_.is_missing() ? 0 : 1);
  iterator_ = iterate(runtime, Value::list(runtime, std::move(rest)));
  return length_;
}

bool LoopState::attribute(Runtime& runtime, std::string_view name, Value& result) {
  const auto integer = [&](int64_t value) {
    result = Value::integer(value);
    return true;
  };
  if (name == "index0") return integer(index_);
  if (name == "index") return integer(index_ + 1);
  if (name == "length") return integer(*length(runtime));
  if (name == "revindex0") return integer(*length(runtime) - index_ - 1);
  if (name == "revindex") return integer(*length(runtime) - index_);
  if (name == "depth0") return integer(level_);
  if (name == "depth") return integer(level_ + 1);
  if (name == "first") {
    result = Value::boolean(index_ == 0);
  } else if (name == "last") {
    result = Value::boolean(peek(runtime).is_missing());
  } else if (name == "previtem") {
    result = index_ == 0 ? Value::undefined_hint("there is no previous item") : before_;
  } else if (name == "nextitem") {
    result = peek(runtime);
    if (result.is_missing()) result = Value::undefined_hint("there is no next item");
  } else if (name == "cycle" || name == "changed") {
    result = Value::opaque(std::make_shared<LoopFunction>(shared_from_this(), name == "cycle"));
  } else {
    return false;
  }
  return true;
}

Value LoopState::cycle(Runtime& runtime, const CallArguments& arguments) const {
  if (!arguments.keywords.empty()) runtime.fail("cycle() takes no keyword arguments");
  const auto& items = arguments.positional;
  if (items.empty()) runtime.fail("no items for cycling given");
  return items[static_cast<size_t>(index_) % items.size()];
}

Value LoopState::changed(Runtime& runtime, const CallArguments& arguments) {
  if (!arguments.keywords.empty()) runtime.fail("changed() takes no keyword arguments");
  Value value = Value::tuple(runtime, arguments.positional);
  if (last_changed_.is_missing()) runtime.keep(shared_from_this());
  const bool changed = last_changed_.is_missing() || !equals(runtime, last_changed_, value);
  if (changed) last_changed_ = std::move(value);
  return Value::boolean(changed);
}

Value LoopState::call(Runtime& runtime, CallArguments& arguments) {
  const Parameters given(runtime, "loop", arguments, {"iterable"}, 1);
  if (!loop_.recursive) {
    runtime.fail("The loop must have the 'recursive' marker to be called recursively.");
  }
  return interpreter_.call_loop(loop_, outer_, given[0], level_ + 1);
}

void LoopState::print(Runtime& runtime, TextBuilder& out) {
  out.append(fmt::format("<LoopContext {}/{}>", index_ + 1, *length(runtime)), kTemplateText);
}

void Interpreter::start_condition(const ForStmt& loop,
                                  const std::shared_ptr<Activation>& activation) {
  std::shared_ptr<Activation> current = activation;
  activation_.swap(current);
  enter(loop.test_scope);
  activation_.swap(current);
}

bool Interpreter::passes(const ForStmt& loop, const std::shared_ptr<Activation>& activation,
                         const Value& item) {
  std::shared_ptr<Activation> current = activation;
  activation_.swap(current);
  assign(*loop.test_target, item, false);
  const bool result = is_true(runtime_, evaluate(*loop.test));
  activation_.swap(current);
  return result;
}

Interpreter::Flow Interpreter::execute_for(const ForStmt& loop) {
  const Value iterable = evaluate(*loop.iterable);
  if (!loop.recursive) return run_loop(loop, iterable, 0, nullptr);
  print(runtime_, call_loop(loop, activation_, iterable, 0), *out_);
  return Flow::normal;
}

// `outer` by value: it may be activation_, which changes here.
Value Interpreter::call_loop(const ForStmt& loop, std::shared_ptr<Activation> outer,
                             const Value& iterable, int depth) {
  const DepthGuard guard(runtime_, DepthGuard::What::call);
  auto activation = std::make_shared<Activation>(loop.function, outer);
  activation_.swap(activation);
  TextBuilder text(runtime_);
  TextBuilder* const outer_text = out_;
  out_ = &text;
  run_loop(loop, iterable, depth, outer);
  out_ = outer_text;
  activation_.swap(activation);
  return Value::string(std::move(text).build());
}

// The flow is that of the else branch, which stands in the loop outside.
Interpreter::Flow Interpreter::run_loop(const ForStmt& loop, const Value& iterable, int depth,
                                        const std::shared_ptr<Activation>& outer) {
  std::shared_ptr<Iterator> items = iterate(runtime_, iterable);
  if (loop.test) {
    keep_activation();
    items = std::make_shared<ConditionIterator>(*this, loop, activation_, std::move(items));
  }
  std::shared_ptr<LoopState> state;
  if (loop.has_loop) {
    state = std::make_shared<LoopState>(*this, loop, iterable, items, depth, outer);
  }
  bool completed = false;  // one iteration at least, to its end
  for (Value item; state ? state->advance(runtime_, item) : items->next(runtime_, item);) {
    runtime_.charge_step();
    assign(*loop.target, item, false);
    if (state) activation_->slots[loop.loop_slot] = Value::opaque(state);
    enter(loop.scope);
    const Flow flow = execute(loop.body);
    if (flow == Flow::break_loop) break;
    completed = completed || flow == Flow::normal;
  }
  leave(loop.scope);
  if (completed || loop.otherwise.empty()) return Flow::normal;
  enter(loop.else_scope);
  const Flow flow = execute(loop.otherwise);
  if (flow == Flow::normal) leave(loop.else_scope);
  return flow;
}

}  // namespace nibble::jinja
