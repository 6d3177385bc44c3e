// len(), iteration, elements and slices.
#include <algorithm>
#include <limits>

#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/strings.h"
#include "text/utf8.h"

namespace nibble::jinja {
namespace {

class EmptyIterator final : public Iterator {
 public:
  bool next(Runtime&, Value&) override { return false; }
};

// A list, tuple, range, dict or view, by position, in either direction.
class ElementIterator final : public Iterator {
 public:
  ElementIterator(Runtime& runtime, Value of, bool backwards)
      : of_(std::move(of)), size_(*length_of(runtime, of_)), backwards_(backwards) {
    depth = of_.depth() + 1;
  }
  bool next(Runtime& runtime, Value& value) override {
    if (index_ >= size_) return false;
    runtime.charge_step();
    const int64_t at = backwards_ ? size_ - 1 - index_ : index_;
    ++index_;
    switch (of_.kind()) {
      case Kind::dict:
        value = of_.as_dict().entries()[static_cast<size_t>(at)].key;
        break;
      case Kind::view:
        value = view_item(runtime, of_.as_view(), static_cast<size_t>(at));
        break;
      case Kind::range:
        value = Value::integer(of_.as_range().at(at));
        break;
      default:
        value = of_.items()[static_cast<size_t>(at)];
    }
    return true;
  }

 private:
  Value of_;
  int64_t size_;
  int64_t index_ = 0;
  bool backwards_;
};

class CharacterIterator final : public Iterator {
 public:
  explicit CharacterIterator(Value text) : text_(std::move(text)) {}
  bool next(Runtime& runtime, Value& value) override {
    const std::string_view view = text_.view();
    if (position_ >= view.size()) return false;
    runtime.charge_step();
    const size_t length = utf8_length(view[position_]);
    value = substring(runtime, text_, position_, position_ + length);
    position_ += length;
    return true;
  }

 private:
  Value text_;
  size_t position_ = 0;
};

int64_t clamp_to_index(WideInt value) {
  constexpr WideInt kLow = std::numeric_limits<int64_t>::min();
  constexpr WideInt kHigh = std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(std::clamp(value, kLow, kHigh));
}

struct Slice {
  int64_t start, step, count;
};

// slice.indices(length): never out of range.
Slice resolve_slice(Runtime& runtime, int64_t length, const Value& start, const Value& stop,
                    const Value& step) {
  const auto given = [](const Value& value) { return !value.is_missing() && !value.is_none(); };
  Slice slice{0, given(step) ? to_index(runtime, step, true) : 1, 0};
  if (slice.step == 0) runtime.fail("slice step cannot be zero");
  slice.step = std::max(slice.step, -std::numeric_limits<int64_t>::max());
  const bool forwards = slice.step > 0;
  const int64_t lowest = forwards ? 0 : -1;
  const int64_t highest = forwards ? length : length - 1;
  const auto bound = [&](const Value& value, int64_t otherwise) {
    if (!given(value)) return otherwise;
    int64_t at = to_index(runtime, value, true);
    if (at < 0) at = at < -length ? -1 : at + length;
    return std::clamp(at, lowest, highest);
  };
  slice.start = bound(start, forwards ? lowest : highest);
  const int64_t end = bound(stop, forwards ? highest : lowest);
  if (forwards && slice.start < end) slice.count = (end - slice.start - 1) / slice.step + 1;
  if (!forwards && slice.start > end) slice.count = (slice.start - end - 1) / -slice.step + 1;
  return slice;
}

Value slice_string(Runtime& runtime, const Value& value, const Slice& slice) {
  const Text& text = value.text();
  if (slice.count == 0) return substring(runtime, value, 0, 0);
  runtime.charge_bytes(text.size());
  if (slice.step == 1) {
    const size_t begin = byte_offset(text, static_cast<size_t>(slice.start));
    const size_t end = byte_offset(text, begin, static_cast<size_t>(slice.count));
    return substring(runtime, value, begin, end);
  }
  std::vector<uint32_t> offsets;  // of the characters
  for (size_t i = 0; i < text.size(); i += utf8_length(text.view()[i])) {
    offsets.push_back(static_cast<uint32_t>(i));
  }
  TextBuilder result(runtime);
  for (int64_t i = 0; i < slice.count; ++i) {
    const size_t at = offsets[static_cast<size_t>(slice.start + i * slice.step)];
    result.append(text, at, at + utf8_length(text.view()[at]));
  }
  return Value::string(std::move(result).build(), value.is_markup());
}

}  // namespace

Value view_item(Runtime& runtime, const View& view, size_t index) {
  const Dict::Entry& entry = view.dict.as_dict().entries()[index];
  switch (view.what) {
    case View::What::keys:
      return entry.key;
    case View::What::values:
      return entry.value;
    case View::What::items:
      break;
  }
  return Value::tuple(runtime, {entry.key, entry.value}, entry.value.mark());
}

std::optional<int64_t> length_of(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::string:
      runtime.charge_bytes(value.text().is_ascii() ? 0 : value.text().size());
      return static_cast<int64_t>(value.text().length());
    case Kind::list:
    case Kind::tuple:
      return static_cast<int64_t>(value.items().size());
    case Kind::dict:
      return static_cast<int64_t>(value.as_dict().size());
    case Kind::range:
      return value.as_range().size();
    case Kind::view:
      return static_cast<int64_t>(value.as_view().dict.as_dict().size());
    case Kind::opaque:
      return value.as_opaque().length(runtime);
    default:
      return std::nullopt;
  }
}

int64_t to_index(Runtime& runtime, const Value& value, bool clamp) {
  check_defined(runtime, value);
  if (!value.is_integral()) {
    runtime.fail("'{}' object cannot be interpreted as an integer", type_name(value));
  }
  const WideInt wide = value.as_integer();
  const int64_t index = clamp_to_index(wide);
  if (index != wide && !clamp) {
    runtime.fail("the integer {} is too large to be an index", wide);
  }
  return index;
}

std::optional<Value> element(Runtime& runtime, const Value& value, int64_t index) {
  const int64_t size = *length_of(runtime, value);
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  if (value.is(Kind::range)) return Value::integer(value.as_range().at(index));
  if (!value.is_string()) return value.items()[static_cast<size_t>(index)];
  runtime.charge_bytes(value.text().is_ascii() ? 0 : value.text().size());
  const size_t begin = byte_offset(value.text(), static_cast<size_t>(index));
  return substring(runtime, value, begin, begin + utf8_length(value.view()[begin]));
}

Value slice_of(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
               const Value& step) {
  check_defined(runtime, value);
  if (!value.is_string() && !value.is_sequence() && !value.is(Kind::range)) {
    runtime.fail("'{}' object cannot be sliced", type_name(value));
  }
  const Slice slice = resolve_slice(runtime, *length_of(runtime, value), start, stop, step);
  if (value.is_string()) return slice_string(runtime, value, slice);
  if (value.is(Kind::range)) {
    const Range& range = value.as_range();
    const WideInt by = static_cast<WideInt>(range.step) * slice.step;
    const WideInt first = range.start + static_cast<WideInt>(slice.start) * range.step;
    return Value::object(
        Kind::range,
        std::make_shared<Range>(clamp_to_index(first), clamp_to_index(first + by * slice.count),
                                clamp_to_index(by)));
  }
  runtime.charge_values(static_cast<size_t>(slice.count));
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(slice.count));
  for (int64_t i = 0; i < slice.count; ++i) {
    items.push_back(value.items()[static_cast<size_t>(slice.start + i * slice.step)]);
  }
  return value.is_list() ? Value::list(runtime, std::move(items), value.mark())
                         : Value::tuple(runtime, std::move(items), value.mark());
}

std::shared_ptr<Iterator> try_iterate(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return std::make_shared<EmptyIterator>();
    case Kind::string:
      return std::make_shared<CharacterIterator>(value);
    case Kind::list:
    case Kind::tuple:
    case Kind::dict:
    case Kind::range:
    case Kind::view:
      return std::make_shared<ElementIterator>(runtime, value, false);
    case Kind::iterator:
      return std::static_pointer_cast<Iterator>(value.pointer());
    default:
      return nullptr;
  }
}

std::shared_ptr<Iterator> iterate(Runtime& runtime, const Value& value) {
  if (auto iterator = try_iterate(runtime, value)) return iterator;
  runtime.fail("'{}' object is not iterable", type_name(value));
}

std::shared_ptr<Iterator> try_iterate_backwards(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return std::make_shared<EmptyIterator>();
    case Kind::string: {
      std::vector<Value> characters = to_vector(runtime, value);
      return std::make_shared<ElementIterator>(runtime, Value::list(runtime, std::move(characters)),
                                               true);
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::dict:
    case Kind::range:
    case Kind::view:
      return std::make_shared<ElementIterator>(runtime, value, true);
    default:
      return nullptr;
  }
}

std::vector<Value> to_vector(Runtime& runtime, const Value& value) {
  if (value.is_sequence()) {
    runtime.charge_values(value.items().size());
    return value.items();
  }
  std::vector<Value> items;
  const auto iterator = iterate(runtime, value);
  for (Value item; iterator->next(runtime, item);) {
    runtime.check_size(items.size() * sizeof(Value));
    runtime.charge_bytes(sizeof(Value));
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace nibble::jinja
