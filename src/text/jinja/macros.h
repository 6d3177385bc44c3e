// What a template can call of its own: macros, the bodies of call blocks, and recursive loops.
#pragma once

#include <memory>

#include "text/jinja/interpreter.h"

namespace nibble::jinja {

class Macro final : public Opaque {
 public:
  Macro(Interpreter& interpreter, const MacroStmt& macro, std::shared_ptr<Activation> outer)
      : interpreter_(interpreter), macro_(macro), outer_(std::move(outer)) {}
  std::string_view type_name() const override { return "Macro"; }
  bool is_callable() const override { return true; }
  Value call(Runtime& runtime, CallArguments& arguments) override;
  bool attribute(Runtime& runtime, std::string_view name, Value& result) override;
  void print(Runtime& runtime, TextBuilder& out) override;

 private:
  Interpreter& interpreter_;
  const MacroStmt& macro_;
  std::shared_ptr<Activation> outer_;
};

// The variable `loop`.
class LoopState final : public Opaque, public std::enable_shared_from_this<LoopState> {
 public:
  // `iterable`: what to go through; `iterator` does so, perhaps with a condition.
  LoopState(Interpreter& interpreter, const ForStmt& loop, Value iterable,
            std::shared_ptr<Iterator> iterator, int level, std::shared_ptr<Activation> outer);

  bool advance(Runtime& runtime, Value& item);

  std::string_view type_name() const override { return "LoopContext"; }
  bool is_callable() const override { return true; }
  Value call(Runtime& runtime, CallArguments& arguments) override;
  bool attribute(Runtime& runtime, std::string_view name, Value& result) override;
  std::optional<int64_t> length(Runtime& runtime) override;
  void print(Runtime& runtime, TextBuilder& out) override;
  void clear() override;

  Value cycle(Runtime& runtime, const CallArguments& arguments) const;
  Value changed(Runtime& runtime, const CallArguments& arguments);

 private:
  // The next item without going there; missing at the end.
  const Value& peek(Runtime& runtime);

  Interpreter& interpreter_;
  const ForStmt& loop_;
  Value iterable_;
  std::shared_ptr<Iterator> iterator_;
  int level_;                          // of recursion, from 0
  std::shared_ptr<Activation> outer_;  // of a recursive loop
  int64_t index_ = -1;
  int64_t length_ = -1;  // not known yet
  Value before_, current_, after_;
  Value last_changed_;
};

}  // namespace nibble::jinja
