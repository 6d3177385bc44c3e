// What the checks of the data found: for each guard how often, and where first. docs/data.md
// describes every guard.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

enum class Guard : uint8_t {
  nothing_trained,     // no token of the row is trained
  answer_cut,          // max_length cuts the answer or its end
  truncated,           // max_length cuts something
  end_not_trained,     // a trained turn does not end in a trained end token
  end_not_a_stop,      // the end token of a turn does not stop generation
  double_bos,          // the row starts with two BOS
  straddling_token,    // a token lies on both sides of a trained span's edge
  history_rewritten,   // earlier turns are rendered otherwise once later ones follow
  dropped_field,       // a string of an assistant message does not occur in the rendering
  null_printed,        // null content is rendered as the word None
  special_in_content,  // content spells a special token; it is encoded as text
  empty_answer,        // an assistant message without content
  duplicate_row,       // the same tokens as an earlier row
  bad_row,             // skipped: the row could not be understood
  count
};

// A short name ("nothing-trained"), for tables and JSON.
std::string_view guard_name(Guard guard);

struct Finding {
  Guard guard;
  std::string detail;  // one line: what exactly, in this row
};

// In how many rows each guard found something; the first of them keeps its place and detail.
class Findings {
 public:
  struct Entry {
    int64_t count = 0;        // rows
    std::string first_place;  // "train.jsonl: row 3 (byte 812)"
    std::string first_detail;
  };

  // All that was found in one row, which counts once for a guard that found something several times
  // (in several turns, or in the documents that the row is split into).
  void add(const std::string& place, const std::vector<Finding>& of_row);
  const Entry& of(Guard guard) const { return entries_[static_cast<size_t>(guard)]; }

  nlohmann::ordered_json to_json() const;
  static Findings from_json(const nlohmann::ordered_json& json);

 private:
  std::array<Entry, static_cast<size_t>(Guard::count)> entries_;
};

}  // namespace nibble
