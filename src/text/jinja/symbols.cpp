#include "text/jinja/symbols.h"

#include <algorithm>

namespace nibble::jinja {
namespace {

constexpr int kOwnSlots = 1 << 20;  // added to the level

}  // namespace

uint32_t FunctionBuilder::slot(int level, const std::string& name) {
  const auto [found, is_new] = slots.try_emplace({level, name}, function.slots);
  if (is_new) ++function.slots;
  return found->second;
}

Symbols::Symbols(const Symbols* parent, FunctionBuilder& function, bool own_slots)
    : parent_(parent), function_(&function), level_(parent ? parent->level_ + 1 : 0) {
  if (own_slots) level_ += kOwnSlots;
}

const Variable* Symbols::find(const std::string& name) const {
  for (const Symbols* scope = this; scope; scope = scope->parent_) {
    const auto found = scope->variables_.find(name);
    if (found != scope->variables_.end()) return &found->second;
  }
  return nullptr;
}

void Symbols::set(uint32_t slot, Entry entry) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const auto& each) { return each.first == slot; });
  if (found != entries_.end()) {
    found->second = std::move(entry);
  } else {
    entries_.emplace_back(slot, std::move(entry));
  }
}

Variable Symbols::define(const std::string& name, Entry entry) {
  const Variable variable{function_, function_->slot(level_, name)};
  variables_[name] = variable;
  set(variable.index, std::move(entry));
  return variable;
}

void Symbols::load(const std::string& name) {
  if (!find(name)) define(name, {Action::resolve, {}, name});
}

void Symbols::store(const std::string& name) {
  stores_.insert(name);
  if (variables_.count(name)) return;
  const Variable* outer = parent_ ? parent_->find(name) : nullptr;
  define(name, outer ? Entry{Action::copy, *outer, {}} : Entry{Action::forget, {}, {}});
}

Variable Symbols::declare_parameter(const std::string& name) {
  stores_.insert(name);
  return define(name, {Action::parameter, {}, {}});
}

void Symbols::merge(const std::vector<Symbols>& branches) {
  std::set<std::string> stored;
  for (const Symbols& branch : branches) {
    for (const std::string& name : branch.stores_) {
      if (!stores_.count(name)) stored.insert(name);
    }
  }
  for (const Symbols& branch : branches) {
    for (const auto& [name, variable] : branch.variables_) variables_[name] = variable;
    for (const auto& [slot, entry] : branch.entries_) set(slot, entry);
    stores_.insert(branch.stores_.begin(), branch.stores_.end());
  }
  // Set in one branch only perhaps: what was there before holds in the others.
  for (const std::string& name : stored) {
    const Variable* target = find(name);
    const Variable* outer = parent_ ? parent_->find(name) : nullptr;
    set(target->index, outer ? Entry{Action::copy, *outer, {}} : Entry{Action::resolve, {}, name});
  }
}

Scope Symbols::scope() const {
  Scope scope;
  for (const auto& [slot, entry] : entries_) {
    scope.all.push_back(slot);
    if (entry.action == Action::parameter) continue;
    Load load;
    load.target = slot;
    if (entry.action == Action::resolve) {
      load.action = Load::Action::resolve;
      load.name = entry.name;
    } else if (entry.action == Action::copy) {
      load.action = Load::Action::copy;
      load.source = slot_from(*function_, entry.source);
    }
    scope.loads.push_back(std::move(load));
  }
  return scope;
}

Slot slot_from(const FunctionBuilder& from, const Variable& variable) {
  Slot slot{0, variable.index};
  for (const FunctionBuilder* f = &from; f != variable.function; f = f->parent) ++slot.hops;
  return slot;
}

}  // namespace nibble::jinja
