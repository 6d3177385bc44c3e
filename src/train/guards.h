// The thirty ways in which a fine-tune fails without a word, each with what Nibble does about it:
// docs/data.md lists them. `nibble check` shows all of them, and a run refuses to start where one
// fails.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/data_source.h"
#include "train/options.h"
#include "transformer/weights.h"

namespace nibble {

enum class Verdict {
  ok,         // looked for, not found
  prevented,  // cannot happen here, by construction
  in_run,     // looked for while the run goes
  note,       // found and dealt with; worth knowing
  warning,    // found; the run goes on
  failed      // found; no run starts
};
const char* verdict_name(Verdict verdict);

struct GuardResult {
  int number = 0;    // 1..30
  std::string name;  // for --ignore_guards, tables and JSON: "all-labels-masked"
  std::string what;  // the failure, in a few words
  Verdict verdict = Verdict::ok;
  int64_t count = 0;   // rows in which it was found; 1 or more where it is not about rows
  std::string where;   // the first: "train.jsonl: row 3 (byte 812)"; empty: it is not about rows
  std::string detail;  // one line: what was found, or how it is prevented
};

// ": 12 rows, the first train.jsonl: row 3 (byte 812)"; empty where it is not about rows.
std::string rows_of(const GuardResult& guard);

// In order of number. `tokens` are the model folder's. Reads a few rows of the model's embedding
// where the folder has weights.
std::vector<GuardResult> check_guards(const TrainOptions& options, const ModelSource& source,
                                      const TokenizerSource& tokens, const RunData& data);

// Throws bad_input, naming every failed guard that options.data.ignore_guards does not; usage for a
// name there that is none.
void require_guards(const std::vector<GuardResult>& guards, const TrainOptions& options);

}  // namespace nibble
