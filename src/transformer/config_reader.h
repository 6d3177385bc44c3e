// Typed, range-checked access to the fields of config.json.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"

namespace nibble {

class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& object, std::string who = "config.json")
      : object_(object), who_(std::move(who)) {
    if (!object.is_object())
      fail(ErrorKind::bad_input, "{}: got {}, expected an object", who_, object.type_name());
  }

  // True when the field is there and not null.
  bool has(const char* key) const {
    const auto found = object_.find(key);
    return found != object_.end() && !found->is_null();
  }

  int64_t integer(const char* key, int64_t low, int64_t high) const {
    const nlohmann::json& value = at(key);
    if (!value.is_number_integer() || value.get<double>() < static_cast<double>(low) ||
        value.get<double>() > static_cast<double>(high))
      fail(ErrorKind::bad_input, "{}: {}: got {}, expected an integer in [{}, {}]", who_, key,
           value.dump(), low, high);
    return value.get<int64_t>();
  }
  int64_t integer_or(const char* key, int64_t low, int64_t high, int64_t otherwise) const {
    return has(key) ? integer(key, low, high) : otherwise;
  }

  double number(const char* key, double low, double high) const {
    const nlohmann::json& value = at(key);
    if (!value.is_number() || !(value.get<double>() >= low && value.get<double>() <= high))
      fail(ErrorKind::bad_input, "{}: {}: got {}, expected a number in [{}, {}]", who_, key,
           value.dump(), low, high);
    return value.get<double>();
  }
  double number_or(const char* key, double low, double high, double otherwise) const {
    return has(key) ? number(key, low, high) : otherwise;
  }

  bool boolean_or(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    const nlohmann::json& value = at(key);
    if (!value.is_boolean())
      fail(ErrorKind::bad_input, "{}: {}: got {}, expected true or false", who_, key, value.dump());
    return value.get<bool>();
  }

  std::string text_or(const char* key, const std::string& otherwise) const {
    if (!has(key)) return otherwise;
    const nlohmann::json& value = at(key);
    if (!value.is_string())
      fail(ErrorKind::bad_input, "{}: {}: got {}, expected a string", who_, key, value.dump());
    return value.get<std::string>();
  }

  const nlohmann::json& at(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end() || found->is_null())
      fail(ErrorKind::bad_input, "{}: field {} is missing", who_, key);
    return *found;
  }
  const nlohmann::json& object() const { return object_; }
  const std::string& who() const { return who_; }

 private:
  const nlohmann::json& object_;
  std::string who_;
};

}  // namespace nibble
