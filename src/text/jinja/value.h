// A value of the template's world, with Python's types. Values are cheap to copy: what is large
// lives in a shared object, and but for namespaces and loops nothing ever changes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/object.h"
#include "text/jinja/text.h"

namespace nibble::jinja {

enum class Kind : uint8_t {
  missing,  // no value: an argument left out, a variable not yet set
  undefined,
  none,
  boolean,
  integer,
  real,
  string,
  list,
  tuple,
  dict,
  name_space,
  range,
  view,      // dict.keys(), .values(), .items()
  iterator,  // what Python calls a generator
  opaque,
};

using WideInt = __int128;  // integers are exact within it; beyond, an error

class List;
class Dict;
class Namespace;
class Range;
class View;
class Iterator;
class Undefined;

class Value {
 public:
  Value() = default;  // missing
  static Value none(Mark mark = kTemplateText) { return Value(Kind::none, mark); }
  static Value boolean(bool value, Mark mark = kTemplateText);
  static Value integer(WideInt value, Mark mark = kTemplateText);
  static Value real(double value, Mark mark = kTemplateText);
  static Value string(Text text, bool markup = false);
  static Value string(std::shared_ptr<const Text> text, bool markup = false);
  static Value string(std::string_view bytes, Mark mark = kTemplateText);
  // Check the nesting of what is in them.
  static Value list(Runtime& runtime, std::vector<Value> items, Mark mark = kTemplateText);
  static Value tuple(Runtime& runtime, std::vector<Value> items, Mark mark = kTemplateText);
  static Value dict(std::shared_ptr<Dict> dict, Mark mark = kTemplateText);
  static Value object(Kind kind, std::shared_ptr<Object> object);
  static Value opaque(std::shared_ptr<Opaque> object);
  // An undefined variable; of something that has no such attribute or element; with words of its
  // own. Its message is what using it fails with.
  static Value undefined_name(std::string name);
  static Value undefined_attribute(const Value& object, std::string name);
  static Value undefined_hint(std::string hint);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_missing() const { return kind_ == Kind::missing; }
  bool is_undefined() const { return kind_ == Kind::undefined; }
  bool is_none() const { return kind_ == Kind::none; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_list() const { return kind_ == Kind::list; }
  bool is_dict() const { return kind_ == Kind::dict; }
  bool is_sequence() const { return kind_ == Kind::list || kind_ == Kind::tuple; }
  // Booleans are integers, as in Python.
  bool is_integral() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }
  bool is_number() const { return is_integral() || kind_ == Kind::real; }
  bool is_markup() const { return markup_; }

  bool as_boolean() const { return scalar_.integer != 0; }
  WideInt as_integer() const;  // of a boolean or integer
  double as_real() const { return scalar_.real; }
  const Text& text() const { return static_cast<const Text&>(*object_); }
  std::string_view view() const { return text().view(); }
  const List& as_list() const;  // of a list or tuple
  const Dict& as_dict() const;
  const std::vector<Value>& items() const;  // of a list or tuple
  const Undefined& as_undefined() const;
  Namespace& as_namespace() const;
  const Range& as_range() const;
  const View& as_view() const;
  Iterator& as_iterator() const;
  Opaque& as_opaque() const { return static_cast<Opaque&>(*object_); }
  const std::shared_ptr<Object>& pointer() const { return object_; }

  // Where it came from; of a string, where its first byte did.
  Mark mark() const { return is_string() ? text().mark() : mark_; }
  uint32_t depth() const { return object_ ? object_->depth : 0; }

 private:
  explicit Value(Kind kind, Mark mark = kTemplateText) : kind_(kind), mark_(mark) {}

  Kind kind_ = Kind::missing;
  bool markup_ = false;  // of a string: escaped already, markupsafe's Markup
  Mark mark_ = kTemplateText;
  union Scalar {
    int64_t integer = 0;
    double real;
  } scalar_;
  std::shared_ptr<Object> object_;  // integers outside 64 bits have one too
};

class List final : public Object {
 public:
  std::vector<Value> items;
  // Of a named tuple (what |groupby gives), the names of its items; else null.
  const std::array<std::string_view, 2>* names = nullptr;
};

class Dict final : public Object {
 public:
  struct Entry {
    Value key, value;
  };
  // Null if absent. Throw Error(bad_input) for keys that Python cannot hash.
  const Value* find(Runtime& runtime, const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Runtime& runtime, const Value& key, Value value);
  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  void clear();

 private:
  size_t slot_of(Runtime& runtime, const Value& key, size_t hash) const;
  void grow(Runtime& runtime);

  std::vector<Entry> entries_;   // in order of insertion
  std::vector<uint32_t> slots_;  // open addressing: entry + 1, or 0; empty while there are few
};

class Namespace final : public Opaque {
 public:
  Dict attributes;
  std::string_view type_name() const override { return "Namespace"; }
  void clear() override { attributes.clear(); }
};

class Range final : public Object {
 public:
  Range(int64_t first, int64_t last, int64_t by) : start(first), stop(last), step(by) {}
  int64_t start, stop, step;
  int64_t size() const;
  int64_t at(int64_t index) const { return start + index * step; }
};

class View final : public Object {
 public:
  enum class What { keys, values, items };
  View(Value of, What which) : dict(std::move(of)), what(which) { depth = dict.depth() + 1; }
  Value dict;
  What what;
};

class Iterator : public Object {
 public:
  // False at the end, again and again.
  virtual bool next(Runtime& runtime, Value& value) = 0;
};

class Undefined final : public Object {
 public:
  std::string hint;  // said as it is, if set
  std::string name;
  std::string owner;  // type of what has no such attribute; empty: a variable
  std::string message() const;
};

// Python's name of the type.
std::string_view type_name(const Value& value);
// hash(): equal values have equal hashes. Throws Error(bad_input) for unhashable types.
size_t hash_value(Runtime& runtime, const Value& value);

}  // namespace nibble::jinja
