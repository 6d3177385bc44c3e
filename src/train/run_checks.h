// Guards that only a run can check: that every trainable tensor learns, and that the adapter on
// disk is the one that was trained.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>

#include "files/adapter_dir.h"
#include "train/data_source.h"
#include "train/step.h"

namespace nibble {

// After a step whose A's had a non-zero B: throws diverged, naming the first trainable tensor whose
// gradient is zero everywhere.
void require_gradients(TrainStep& step);

// Reads the adapter at `folder` back. Throws internal unless it holds exactly `trained`; and, where
// `moved` (some step had a learning rate above 0), diverged for a B that is still zero everywhere.
void verify_adapter(const std::filesystem::path& folder, const Adapter& trained, bool moved);

// Control tokens that end a trained stretch of some document: the ends that the model will write.
std::set<int32_t> trained_ends(const TokenizedDataset& data, const Tokenizer& tokenizer);

// generation_config.json with `ends` among its eos_token_id; nothing where they are there already.
// `present`: the base model's file, if it has one.
std::optional<std::string> corrected_generation_config(const std::optional<std::string>& present,
                                                       const SpecialTokens& special,
                                                       const std::set<int32_t>& ends);

}  // namespace nibble
