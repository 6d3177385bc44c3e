#include "data/findings.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "files/json_scanner.h"

namespace nibble {
namespace {

constexpr size_t guard_count = static_cast<size_t>(Guard::count);

constexpr std::array<std::string_view, guard_count> names = {
    "nothing-trained", "answer-cut",   "truncated",          "end-not-trained",
    "end-not-a-stop",  "double-bos",   "straddling-token",   "history-rewritten",
    "dropped-field",   "null-printed", "special-in-content", "empty-answer",
    "duplicate-row",   "bad-row",
};

}  // namespace

std::string_view guard_name(Guard guard) { return names[static_cast<size_t>(guard)]; }

void Findings::add(const std::string& place, const std::vector<Finding>& of_row) {
  std::array<bool, guard_count> counted{};
  for (const Finding& finding : of_row) {
    const auto guard = static_cast<size_t>(finding.guard);
    if (counted[guard]) continue;
    counted[guard] = true;
    Entry& entry = entries_[guard];
    if (entry.count++ > 0) continue;
    entry.first_place = place;
    entry.first_detail = finding.detail;
  }
}

nlohmann::ordered_json Findings::to_json() const {
  auto json = nlohmann::ordered_json::object();
  for (size_t i = 0; i < guard_count; ++i) {
    const Entry& entry = entries_[i];
    if (entry.count == 0) continue;
    json[std::string(names[i])] = {{"count", entry.count},
                                   {"first_place", entry.first_place},
                                   {"first_detail", entry.first_detail}};
  }
  return json;
}

Findings Findings::from_json(const nlohmann::ordered_json& json) {
  Findings findings;
  try {
    for (const auto& [name, value] : json.get_ref<const nlohmann::ordered_json::object_t&>()) {
      size_t guard = 0;
      while (guard < guard_count && names[guard] != name) ++guard;
      if (guard == guard_count)
        fail(ErrorKind::bad_input, "findings: unknown guard {}", printable(name));
      Entry& entry = findings.entries_[guard];
      entry.count = value.at("count").get<int64_t>();
      entry.first_place = value.at("first_place").get<std::string>();
      entry.first_detail = value.at("first_detail").get<std::string>();
      if (entry.count < 1)
        fail(ErrorKind::bad_input, "findings: {}: got a count of {}, expected 1 or more", name,
             entry.count);
    }
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::bad_input, "findings: not understood: {}", error.what());
  }
  return findings;
}

}  // namespace nibble
