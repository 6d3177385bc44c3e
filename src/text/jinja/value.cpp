#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"

namespace nibble::jinja {
namespace {

// An integer outside 64 bits.
class BoxedInteger final : public Object {
 public:
  explicit BoxedInteger(WideInt v) : value(v) {}
  WideInt value;
};

std::shared_ptr<List> make_list(Runtime& runtime, std::vector<Value> items) {
  runtime.charge_values(items.size());
  auto list = std::make_shared<List>();
  for (const Value& item : items) list->depth = std::max(list->depth, item.depth() + 1);
  runtime.check_nesting(list->depth);
  list->items = std::move(items);
  return list;
}

constexpr size_t kFew = 8;  // so many keys are searched one by one

}  // namespace

Value Value::boolean(bool value, Mark mark) {
  Value result(Kind::boolean, mark);
  result.scalar_.integer = value ? 1 : 0;
  return result;
}

Value Value::integer(WideInt value, Mark mark) {
  Value result(Kind::integer, mark);
  result.scalar_.integer = static_cast<int64_t>(value);
  if (result.scalar_.integer != value) result.object_ = std::make_shared<BoxedInteger>(value);
  return result;
}

Value Value::real(double value, Mark mark) {
  Value result(Kind::real, mark);
  result.scalar_.real = value;
  return result;
}

Value Value::string(Text text, bool markup) {
  return string(std::make_shared<const Text>(std::move(text)), markup);
}

Value Value::string(std::shared_ptr<const Text> text, bool markup) {
  Value result(Kind::string);
  result.markup_ = markup;
  // Held as an Object like all else; only ever read through text().
  result.object_ = std::const_pointer_cast<Text>(std::move(text));
  return result;
}

Value Value::string(std::string_view bytes, Mark mark) {
  return string(Text(std::string(bytes), mark));
}

Value Value::list(Runtime& runtime, std::vector<Value> items, Mark mark) {
  Value result(Kind::list, mark);
  result.object_ = make_list(runtime, std::move(items));
  return result;
}

Value Value::tuple(Runtime& runtime, std::vector<Value> items, Mark mark) {
  Value result(Kind::tuple, mark);
  result.object_ = make_list(runtime, std::move(items));
  return result;
}

Value Value::dict(std::shared_ptr<Dict> dict, Mark mark) {
  Value result(Kind::dict, mark);
  result.object_ = std::move(dict);
  return result;
}

Value Value::object(Kind kind, std::shared_ptr<Object> object) {
  Value result(kind);
  result.object_ = std::move(object);
  return result;
}

Value Value::opaque(std::shared_ptr<Opaque> object) {
  return Value::object(Kind::opaque, std::move(object));
}

Value Value::undefined_name(std::string name) {
  auto undefined = std::make_shared<Undefined>();
  undefined->name = std::move(name);
  return object(Kind::undefined, std::move(undefined));
}

Value Value::undefined_attribute(const Value& of, std::string name) {
  auto undefined = std::make_shared<Undefined>();
  undefined->name = std::move(name);
  undefined->owner = type_name(of);
  return object(Kind::undefined, std::move(undefined));
}

Value Value::undefined_hint(std::string hint) {
  auto undefined = std::make_shared<Undefined>();
  undefined->hint = std::move(hint);
  return object(Kind::undefined, std::move(undefined));
}

WideInt Value::as_integer() const {
  return object_ ? static_cast<const BoxedInteger&>(*object_).value : scalar_.integer;
}

const List& Value::as_list() const { return static_cast<const List&>(*object_); }
const Dict& Value::as_dict() const { return static_cast<const Dict&>(*object_); }
const std::vector<Value>& Value::items() const { return as_list().items; }
const Undefined& Value::as_undefined() const { return static_cast<const Undefined&>(*object_); }
Namespace& Value::as_namespace() const { return static_cast<Namespace&>(*object_); }
const Range& Value::as_range() const { return static_cast<const Range&>(*object_); }
const View& Value::as_view() const { return static_cast<const View&>(*object_); }
Iterator& Value::as_iterator() const { return static_cast<Iterator&>(*object_); }

std::string Undefined::message() const {
  if (!hint.empty()) return hint;
  if (owner.empty()) return fmt::format("'{}' is undefined", name);
  return fmt::format("'{} object' has no attribute '{}'", owner, name);
}

int64_t Range::size() const {
  if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return value.is_markup() ? "Markup" : "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::dict:
      return "dict";
    case Kind::range:
      return "range";
    case Kind::view:
      return "dict view";
    case Kind::iterator:
      return "generator";
    case Kind::name_space:
    case Kind::opaque:
      break;
  }
  return value.as_opaque().type_name();
}

size_t hash_value(Runtime& runtime, const Value& value) {
  runtime.charge_step();
  switch (value.kind()) {
    case Kind::string:
      runtime.charge_bytes(value.text().size());
      return std::hash<std::string_view>()(value.view());
    case Kind::boolean:
    case Kind::integer:
      return std::hash<int64_t>()(static_cast<int64_t>(value.as_integer()));
    case Kind::real: {
      const double real = value.as_real();
      // An integral number has the hash of the integer that it equals.
      if (std::abs(real) < 0x1p62 && real == std::trunc(real)) {
        return std::hash<int64_t>()(static_cast<int64_t>(real));
      }
      if (std::abs(real) < 0x1p126 && real == std::trunc(real)) {
        return std::hash<int64_t>()(static_cast<int64_t>(static_cast<WideInt>(real)));
      }
      return std::hash<double>()(real);
    }
    case Kind::none:
      return 0x9E3779B9u;
    case Kind::undefined:
    case Kind::missing:
      return 0x7F4A7C15u;
    case Kind::tuple: {
      size_t hash = 0x345678u;
      for (const Value& item : value.items()) hash = hash * 1000003u ^ hash_value(runtime, item);
      return hash;
    }
    case Kind::list:
    case Kind::dict:
    case Kind::view:
      runtime.fail("unhashable type: '{}'", type_name(value));
    case Kind::range:
    case Kind::iterator:
    case Kind::name_space:
    case Kind::opaque:
      break;
  }
  return std::hash<const void*>()(value.pointer().get());
}

const Value* Dict::find(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (entry.key.is_string() && entry.key.view() == key) return &entry.value;
  }
  return nullptr;
}

const Value* Dict::find(Runtime& runtime, const Value& key) const {
  if (slots_.empty() && key.is_string()) {
    runtime.charge_bytes(key.text().size());
    return find(key.view());
  }
  const size_t hash = hash_value(runtime, key);
  if (slots_.empty()) {
    for (const Entry& entry : entries_) {
      if (equals(runtime, entry.key, key)) return &entry.value;
    }
    return nullptr;
  }
  const uint32_t entry = slots_[slot_of(runtime, key, hash)];
  return entry == 0 ? nullptr : &entries_[entry - 1].value;
}

// The slot that holds the key, or the empty one where it would go.
size_t Dict::slot_of(Runtime& runtime, const Value& key, size_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = (hash * 0x9E3779B97F4A7C15u) >> 20 & mask;
  while (slots_[slot] != 0 && !equals(runtime, entries_[slots_[slot] - 1].key, key)) {
    runtime.charge_step();
    slot = (slot + 1) & mask;
  }
  return slot;
}

void Dict::grow(Runtime& runtime) {
  slots_.assign(std::max<size_t>(32, 2 * slots_.size()), 0);
  for (size_t i = 0; i < entries_.size(); ++i) {
    const size_t hash = hash_value(runtime, entries_[i].key);
    slots_[slot_of(runtime, entries_[i].key, hash)] = static_cast<uint32_t>(i + 1);
  }
}

void Dict::set(Runtime& runtime, const Value& key, Value value) {
  depth = std::max({depth, key.depth() + 1, value.depth() + 1});
  runtime.check_nesting(depth);
  if (const Value* old = find(runtime, key)) {
    *const_cast<Value*>(old) = std::move(value);  // ours: this is not const
    return;
  }
  runtime.charge_values(2);
  runtime.check_size((entries_.size() + 1) * sizeof(Entry));
  entries_.push_back({key, std::move(value)});
  if (entries_.size() <= kFew) return;
  if (2 * entries_.size() > slots_.size()) return grow(runtime);
  const size_t hash = hash_value(runtime, key);
  slots_[slot_of(runtime, key, hash)] = static_cast<uint32_t>(entries_.size());
}

void Dict::clear() {
  entries_.clear();
  slots_.clear();
}

}  // namespace nibble::jinja
