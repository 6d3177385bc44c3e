#include "data/row_fields.h"

#include "files/json_scanner.h"

namespace nibble {

using Json = nlohmann::ordered_json;

std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return fmt::format("an array of {}", value.size());
    case Json::value_t::string:
      return printable(value.get_ref<const std::string&>());
    default:
      return value.dump();
  }
}

void refuse_field(std::string_view field, const Json& got, std::string_view expected) {
  fail(ErrorKind::bad_input, "{}: got {}, expected {}", field, describe(got), expected);
}

const Json* find_value(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const std::string& string_at(const Json& object, std::string_view key, const std::string& path) {
  const auto found = object.find(key);
  if (found == object.end())
    fail(ErrorKind::bad_input, "{}: the field is missing, expected a string", path);
  if (!found->is_string()) refuse_field(path, *found, "a string");
  return found->get_ref<const std::string&>();
}

}  // namespace nibble
