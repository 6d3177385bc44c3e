// Everything a training run can be told, with Nibble's defaults. Names are those of transformers,
// TRL and PEFT; cli/option_table.cpp gives them to the command line and to YAML files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch_schedule.h"
#include "files/adapter_dir.h"
#include "ops/device.h"
#include "train/data_options.h"
#include "train/learning_rate.h"
#include "train/optimizer.h"
#include "transformer/weights.h"

namespace nibble {

struct TrainOptions {
  // what
  std::string model_name_or_path;
  std::string dataset;
  std::string eval_dataset;
  std::string output_dir;
  std::string adapter_name_or_path;    // start from this adapter instead of a fresh one
  std::string resume_from_checkpoint;  // "true": the newest in output_dir; or a checkpoint's path
  bool overwrite_output_dir = false;
  std::vector<std::string> ignore_config_fields;

  DataOptions data;

  // batches
  int64_t per_device_train_batch_size = 8;
  int64_t per_device_eval_batch_size = 8;
  int64_t gradient_accumulation_steps = 1;
  int64_t max_length = 1024;
  double num_train_epochs = 3;
  int64_t max_steps = -1;
  bool completion_only_loss = true;
  bool packing = false;  // whole documents share packs of max_length tokens
  std::string packing_strategy = "bfd";
  Sampling train_sampling_strategy = Sampling::random;

  // optimizer
  double learning_rate = 2e-4;
  SchedulerType lr_scheduler_type = SchedulerType::linear;
  int64_t warmup_steps = 0;
  double warmup_ratio = 0;
  double weight_decay = 0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1;
  OptimizerType optim = OptimizerType::adamw;
  uint64_t seed = 42;

  // adapter
  AdapterConfig lora = default_lora();

  // base model
  bool load_in_4bit = true;
  QuantType bnb_4bit_quant_type = QuantType::nf4;
  bool bnb_4bit_use_double_quant = true;
  std::string bnb_4bit_compute_dtype = "auto";  // auto, bfloat16, float32
  // Every n-th block is recomputed, the others keep all; 0: none; automatic: as fits.
  static constexpr int64_t automatic = -1;
  int64_t gradient_checkpointing = automatic;

  // memory
  std::string memory_budget;       // of the device, "6GiB"; empty: what it has free
  std::string host_memory_budget;  // outside of it, likewise
  std::string offload_folder;      // of the file that serves the CPU so; empty: output_dir
  int64_t global_batch_size = 0;   // rows in an optimizer step, cut as fits; 0: as the next two say
  bool micro_batch_given = false;  // per_device_train_batch_size is the user's

  // log
  int64_t logging_steps = 10;
  int64_t eval_steps = 0;  // 0: once, at the end
  int64_t save_steps = 500;
  int64_t save_total_limit = 2;

  std::string device = "auto";  // auto, cpu, cuda, cuda:N
  int threads = 0;              // of the CPU; 0: all processors
  std::string device_profile;   // plan only: for this GPU, whatever the machine has

  static AdapterConfig default_lora() {
    AdapterConfig config;
    config.r = 16;
    config.lora_alpha = 32;
    config.target_regex = "all-linear";
    return config;
  }
};

// The folder of far memory's file, on the CPU.
std::string far_folder(const TrainOptions& options);
// The levels that blocks keep where gradient_checkpointing says so; empty where it is automatic.
std::vector<Keep> fixed_levels(const TrainOptions& options, int64_t layers);

// Chooses options.device and puts its name there, so that what follows knows it.
Device resolve_device(TrainOptions& options);

// The dtype of activations that the options ask for on their device, which must be resolved:
// bfloat16 where that is the faster one, else float32. Throws usage for one that it cannot compute.
DType compute_dtype(const TrainOptions& options);

WeightOptions weight_options(const TrainOptions& options);
ScheduleOptions schedule_options(const TrainOptions& options);
OptimizerOptions optimizer_options(const TrainOptions& options);
LearningRateSchedule learning_rate_schedule(const TrainOptions& options, int64_t total_steps);

// Throws usage, naming the option, for a value out of range or a combination that has no meaning.
void check_options(const TrainOptions& options);

}  // namespace nibble
