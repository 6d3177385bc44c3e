// The names of one scope while scopes.cpp resolves them.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"

namespace nibble::jinja {

// A function and the slots handed out in it so far. Scopes of one level share slots by name, as
// they share Python's local variables in jinja2: only closures can tell.
struct FunctionBuilder {
  FunctionBuilder(Function& f, FunctionBuilder* outer) : function(f), parent(outer) {}
  uint32_t slot(int level, const std::string& name);

  Function& function;
  FunctionBuilder* parent;
  std::map<std::pair<int, std::string>, uint32_t> slots;
};

struct Variable {
  FunctionBuilder* function = nullptr;
  uint32_t index = 0;
};

class Symbols {
 public:
  // `own_slots`: of a loop's condition, which is looked ahead while the body runs.
  Symbols(const Symbols* parent, FunctionBuilder& function, bool own_slots = false);

  void load(const std::string& name);
  void store(const std::string& name);
  Variable declare_parameter(const std::string& name);
  // What the branches of an {% if %}, each analysed on a copy, have done.
  void merge(const std::vector<Symbols>& branches);

  const Variable* find(const std::string& name) const;
  FunctionBuilder& function() const { return *function_; }
  Scope scope() const;

 private:
  enum class Action { parameter, resolve, copy, forget };
  struct Entry {
    Action action = Action::parameter;
    Variable source;   // copy
    std::string name;  // resolve
  };
  Variable define(const std::string& name, Entry entry);
  void set(uint32_t slot, Entry entry);

  const Symbols* parent_;
  FunctionBuilder* function_;
  int level_;
  std::map<std::string, Variable> variables_;
  std::vector<std::pair<uint32_t, Entry>> entries_;  // by slot, in order of appearance
  std::set<std::string> stores_;
};

// The slot by which code of `from` reaches the variable.
Slot slot_from(const FunctionBuilder& from, const Variable& variable);

}  // namespace nibble::jinja
