// The options of train and plan, and those that other commands share with them.
#pragma once

#include "cli/option_table.h"
#include "train/options.h"

namespace nibble::cli {

void add_source_options(OptionTable& table, TrainOptions& options);   // the base model's folder
void add_quant_options(OptionTable& table, TrainOptions& options);    // how to quantize
void add_compute_options(OptionTable& table, TrainOptions& options);  // dtype and threads
void add_model_options(OptionTable& table, TrainOptions& options);    // these, and load_in_4bit
void add_lora_options(OptionTable& table, TrainOptions& options);
// What decides a step, without data or model folder.
// Data files, their formats, labels, truncation, chat template; not eval_dataset, val_set_size and
// dataset_weights, which only a training run has.
void add_data_options(OptionTable& table, TrainOptions& options);
// How much memory a run may take.
void add_memory_options(OptionTable& table, TrainOptions& options);
void add_step_options(OptionTable& table, TrainOptions& options);
void add_training_options(OptionTable& table,
                          TrainOptions& options);  // all of the above and the rest

}  // namespace nibble::cli
