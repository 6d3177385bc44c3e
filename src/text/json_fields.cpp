#include "text/json_fields.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace nibble {

std::string_view kind_of(const nlohmann::json& json) { return json.type_name(); }

JsonFields::JsonFields(const nlohmann::json& json, std::string who)
    : json_(json), who_(std::move(who)) {
  if (!json.is_object())
    fail(ErrorKind::bad_input, "{}: got {}, expected an object", who_, kind_of(json));
}

const nlohmann::json* JsonFields::find(std::string_view key) {
  const auto found = json_.find(key);
  if (found == json_.end()) return nullptr;
  read_.push_back(found.key());
  return &*found;
}

const nlohmann::json& JsonFields::require(std::string_view key) {
  const nlohmann::json* value = find(key);
  if (!value) fail(ErrorKind::bad_input, "{}: field '{}' is missing", who_, key);
  return *value;
}

const std::string& JsonFields::text(std::string_view key) {
  const nlohmann::json& value = require(key);
  if (!value.is_string())
    fail(ErrorKind::bad_input, "{}: field '{}': got {}, expected a string", who_, key,
         kind_of(value));
  return value.get_ref<const std::string&>();
}

const nlohmann::json& JsonFields::array(std::string_view key) {
  const nlohmann::json& value = require(key);
  if (!value.is_array())
    fail(ErrorKind::bad_input, "{}: field '{}': got {}, expected an array", who_, key,
         kind_of(value));
  return value;
}

bool JsonFields::boolean(std::string_view key) {
  const nlohmann::json& value = require(key);
  if (!value.is_boolean())
    fail(ErrorKind::bad_input, "{}: field '{}': got {}, expected true or false", who_, key,
         kind_of(value));
  return value.get<bool>();
}

bool JsonFields::boolean_or(std::string_view key, bool absent) {
  return json_.contains(key) ? boolean(key) : absent;
}

int32_t JsonFields::integer(std::string_view key, int32_t limit) {
  const nlohmann::json& value = require(key);
  // is_number_integer also holds for unsigned numbers above 2^63, which as int64 would wrap.
  if (!value.is_number_integer() || value.get<uint64_t>() > static_cast<uint64_t>(limit))
    fail(ErrorKind::bad_input, "{}: field '{}': got {}, expected an integer 0..{}", who_, key,
         value.dump(), limit);
  return value.get<int32_t>();
}

void JsonFields::done() const {
  for (const auto& item : json_.items()) {
    if (std::find(read_.begin(), read_.end(), item.key()) == read_.end())
      fail(ErrorKind::bad_input, "{}: field '{}' is not one that Nibble understands", who_,
           item.key());
  }
}

}  // namespace nibble
