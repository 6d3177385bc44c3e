#include "files/json.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "files/file_io.h"

namespace nibble {
namespace {

using Event = JsonScanner::Event;

template <typename Json>
Json scalar(const JsonScanner& scanner, Event event) {
  switch (event) {
    case Event::string:
      return Json(std::string(scanner.text()));
    case Event::natural:
      return Json(scanner.natural());
    case Event::negative:
      return Json(scanner.negative());
    case Event::real:
      return Json(scanner.real());
    case Event::boolean:
      return Json(scanner.boolean());
    default:
      return Json(nullptr);
  }
}

// Null when the key is there already.
nlohmann::json* add_key(nlohmann::json& object, std::string_view key) {
  auto& map = object.get_ref<nlohmann::json::object_t&>();
  const auto [place, added] = map.emplace(std::string(key), nullptr);
  return added ? &place->second : nullptr;
}

// ordered_map searches linearly on insertion, so keys are appended as to the vector it is, and
// duplicates are looked for when the object is complete.
nlohmann::ordered_json* add_key(nlohmann::ordered_json& object, std::string_view key) {
  auto& map = object.get_ref<nlohmann::ordered_json::object_t&>();
  using Pairs = std::remove_reference_t<decltype(map)>::Container;
  return &static_cast<Pairs&>(map).emplace_back(std::string(key), nullptr).second;
}

template <typename Json>
void check_complete_object(const JsonScanner& scanner, const Json& object) {
  if constexpr (std::is_same_v<Json, nlohmann::ordered_json>) {
    std::vector<std::string_view> keys;
    keys.reserve(object.size());
    for (const auto& [key, value] : object.template get_ref<const typename Json::object_t&>()) {
      keys.push_back(key);
    }
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) scanner.refuse("duplicate key " + printable(*twice));
  }
}

// The open containers are kept on an explicit stack of pointers. They stay valid: only the
// innermost container grows, and its elements are not on the stack while it does.
template <typename Json>
Json build(std::string_view text, const std::string& who, const JsonLimits& limits) {
  JsonScanner scanner(text, who, limits);
  Json root;
  std::vector<Json*> open;
  Json* slot = &root;  // where the next value goes when it follows a key, or is the root
  const auto place = [&](Json&& value) -> Json* {
    if (!open.empty() && open.back()->is_array()) {
      open.back()->push_back(std::move(value));
      return &open.back()->back();
    }
    *slot = std::move(value);
    return slot;
  };
  while (true) {
    switch (const Event event = scanner.next()) {
      case Event::end:
        return root;
      case Event::begin_object:
        open.push_back(place(Json::object()));
        break;
      case Event::begin_array:
        open.push_back(place(Json::array()));
        break;
      case Event::end_object:
        check_complete_object(scanner, *open.back());
        [[fallthrough]];
      case Event::end_array:
        open.pop_back();
        break;
      case Event::key:
        slot = add_key(*open.back(), scanner.text());
        if (!slot) scanner.refuse("duplicate key " + printable(scanner.text()));
        break;
      default:
        place(scalar<Json>(scanner, event));
    }
  }
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& who, const JsonLimits& limits) {
  return build<nlohmann::json>(text, who, limits);
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& who,
                                          const JsonLimits& limits) {
  return build<nlohmann::ordered_json>(text, who, limits);
}

nlohmann::json read_json_file(const std::filesystem::path& path, const std::string& who,
                              const JsonLimits& limits) {
  return parse_json(read_whole(open_for_reading(path), limits.max_bytes, who), who, limits);
}

std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes) {
  return read_whole(open_for_reading(path), max_bytes, path.string());
}

}  // namespace nibble
