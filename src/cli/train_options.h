// The options of train and plan, and those that other commands share with them.
#pragma once

#include "cli/option_table.h"
#include "train/options.h"

namespace nibble::cli {

void add_model_options(OptionTable& table, TrainOptions& options);  // base model and its numerics
void add_lora_options(OptionTable& table, TrainOptions& options);
void add_training_options(OptionTable& table,
                          TrainOptions& options);  // all of the above and the rest

}  // namespace nibble::cli
