// A training checkpoint: everything a bit-exact continuation needs, in a folder that PEFT can load.
//
//   adapter_model.safetensors, adapter_config.json   the adapter
//   optimizer.safetensors                            moments
//   trainer_state.json                               counters, and what the run was made from
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "files/run_dir.h"
#include "train/step.h"
#include "train/tokenizer_source.h"

namespace nibble {

struct TrainerState {
  int64_t step = 0;    // optimizer steps done
  int64_t tokens = 0;  // processed so far
  int64_t trained_tokens = 0;
  double logged_loss_sum = 0;  // since the last logged step
  int64_t logged_loss_count = 0;
  // What must not change between a run and its continuation: option, file hashes. Compared by key.
  nlohmann::json identity;
};

// What the run's result depends on, besides the step number.
nlohmann::json run_identity(const TrainOptions& options, const ModelSource& source,
                            const std::string& dataset_sha256, int64_t total_steps,
                            const TokenizerSource& tokens);

void save_checkpoint(RunDir& run, TrainStep& step, const TrainerState& state);

// Fills adapter and moments. Throws bad_input for a damaged or incomplete checkpoint, usage naming
// the fields when `identity` differs from the checkpoint's.
TrainerState load_checkpoint(const std::filesystem::path& folder, TrainStep& step,
                             const nlohmann::json& identity);

}  // namespace nibble
