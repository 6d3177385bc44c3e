// What lives on the heap of a rendering: the base of strings, containers and callables.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::jinja {

class Runtime;
class Value;
struct CallArguments;
class TextBuilder;

class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  Object(Object&&) = default;
  Object& operator=(Object&&) = default;
  virtual ~Object() = default;

  // How deep containers nest in it: bounded, so that walking and destroying it may recurse.
  uint32_t depth = 0;
};

// An object that only its own class knows: a macro, a loop, a bound method, a global function.
class Opaque : public Object {
 public:
  // As Python's type(x).__name__.
  virtual std::string_view type_name() const = 0;
  virtual bool is_callable() const { return false; }
  // Throws Error(bad_input) as calling something that is not callable does.
  virtual Value call(Runtime& runtime, CallArguments& arguments);
  // False when there is no such attribute.
  virtual bool attribute(Runtime& runtime, std::string_view name, Value& result);
  // len(); nothing for what has none.
  virtual std::optional<int64_t> length(Runtime& runtime);
  // Throws Error(bad_input) by default: Python prints an address there.
  virtual void print(Runtime& runtime, TextBuilder& out);
  // Drops what it refers to; at the end of a rendering this breaks cycles.
  virtual void clear() {}
};

}  // namespace nibble::jinja
