// Checked access to the fields of a row. Errors name the field as a path ("messages[2].role"), what
// was got and what was expected; the caller knows the place.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"

namespace nibble {

// "5", "\"Assistant\"", "an array": short and printable.
std::string describe(const nlohmann::ordered_json& value);

// "messages[2].role: got 5, expected a string"
[[noreturn]] void refuse_field(std::string_view field, const nlohmann::ordered_json& got,
                               std::string_view expected);

// The value of a key; null where it is absent or null.
const nlohmann::ordered_json* find_value(const nlohmann::ordered_json& object,
                                         std::string_view key);

// A string, by its path in the row.
const std::string& string_at(const nlohmann::ordered_json& object, std::string_view key,
                             const std::string& path);

}  // namespace nibble
