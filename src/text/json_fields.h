// One JSON object, read field by field; what nobody asked for is refused by name, so that a field
// that would change the result is never passed over.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

class JsonFields {
 public:
  // `json` must outlive this. Throws Error(bad_input) unless it is an object.
  JsonFields(const nlohmann::json& json, std::string who);

  const std::string& who() const { return who_; }
  // Null when absent. Marks the field as read, as all below do.
  const nlohmann::json* find(std::string_view key);
  const nlohmann::json& require(std::string_view key);
  const std::string& text(std::string_view key);
  const nlohmann::json& array(std::string_view key);
  bool boolean(std::string_view key);
  bool boolean_or(std::string_view key, bool absent);
  // 0..limit.
  int32_t integer(std::string_view key, int32_t limit);
  void ignore(std::string_view key) { find(key); }
  // Throws unless every field has been read.
  void done() const;

 private:
  const nlohmann::json& json_;
  std::string who_;
  std::vector<std::string_view> read_;
};

// "object", "array", ...: what `json` is, for messages.
std::string_view kind_of(const nlohmann::json& json);

}  // namespace nibble
