// Small training runs on the demo's model, for tests of the whole loop.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "train/trainer.h"

namespace nibble::test {

std::filesystem::path demo_model();

// `rows` prompt/completion rows of different lengths, as JSONL text.
std::string demo_rows(int rows);

// A run of 12 short steps over dataset.jsonl in `folder` (written here: 20 rows) into folder/run.
TrainOptions demo_options(const std::filesystem::path& folder);

// The same as command line arguments: "train", "--dataset", ...
std::vector<std::string> demo_arguments(const std::filesystem::path& folder);

struct RunOutcome {
  std::optional<TrainResult> result;
  std::optional<ErrorKind> error;
  std::string message;  // of the error
  std::string notes;    // what the run told, a line each
};

// `stop_after` asks for a stop at the boundary after that many steps; 0: never.
RunOutcome run(const TrainOptions& options, int64_t stop_after = 0);

// Every file below a run's folder but the lock and the cache of its data: relative path -> bytes.
std::map<std::string, std::string> snapshot(const std::filesystem::path& folder);

// The lines of metrics.jsonl without what depends on the clock.
std::vector<std::string> timeless_metrics(const std::filesystem::path& run);

}  // namespace nibble::test
