// Python's string functions on texts: each keeps for every byte of its result where it came from.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace nibble::jinja {

// The bytes [begin, end) of a string value; markup stays markup.
Value substring(Runtime& runtime, const Value& text, size_t begin, size_t end);
// Where the character number `index` starts; the size of the text when there are not so many.
size_t byte_offset(const Text& text, size_t index);
// The same, counted from the byte `from`, which starts a character.
size_t byte_offset(const Text& text, size_t from, size_t index);

// The first place of `what` at or after `from`, and the last that ends by `end`; npos if there is
// none. Linear in the text; the cost of the second is charged.
size_t find_text(std::string_view text, std::string_view what, size_t from);
size_t find_last_text(Runtime& runtime, std::string_view text, std::string_view what, size_t end);

enum class Case { upper, lower, fold, title, capitalize, swap };
Value with_case(Runtime& runtime, const Value& text, Case which);

// str.isupper() or str.islower(): some character has a case, and none has the other.
bool has_case(Runtime& runtime, const Value& text, bool upper);

enum class Side { left, right, both };
// str.strip(characters) and its kin; null: white space.
Value strip(Runtime& runtime, const Value& text, const Value* characters, Side side);
// str.split(separator, most); null separator: runs of white space; most < 0: no limit.
std::vector<Value> split(Runtime& runtime, const Value& text, const Value* separator, int64_t most);
std::vector<Value> split_right(Runtime& runtime, const Value& text, const Value* separator,
                               int64_t most);
std::vector<Value> split_lines(Runtime& runtime, const Value& text, bool keep_ends);
// str.replace(from, to, most); most < 0: all.
Value replace(Runtime& runtime, const Value& text, const Value& from, const Value& to,
              int64_t most);
// Fills up to `width` characters: left pads before the text, both centers it.
Value pad(Runtime& runtime, const Value& text, int64_t width, const Value& fill, Side side);

}  // namespace nibble::jinja
