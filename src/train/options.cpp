#include "train/options.h"

#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/threads.h"

namespace nibble {
namespace {

void require(bool ok, const char* name, double got, const char* expected) {
  if (!ok) fail(ErrorKind::usage, "{}: got {}, expected {}", name, got, expected);
}

void check_packing_strategy(const std::string& name) {
  if (name == "bfd") return;
  if (name == "wrapped")
    fail(ErrorKind::usage,
         "packing_strategy: wrapped cuts rows wherever a pack is full, which parts answers from "
         "their questions; use bfd, which keeps rows whole");
  if (name == "bfd_split")
    fail(ErrorKind::usage,
         "packing_strategy: bfd_split is bfd after splitting rows longer than max_length; give the "
         "two by their own names, bfd and truncation_mode split");
  fail(ErrorKind::usage, "packing_strategy: got {}, expected bfd", name);
}

}  // namespace

Device resolve_device(TrainOptions& options) {
  if (!options.device_profile.empty()) {  // a GPU that need not be here
    options.device = "cuda";
    return {Device::Kind::cuda, 0, 1};
  }
  const Device device = choose_device(options.device, cpu::thread_count(options.threads));
  options.device = device.name();
  return device;
}

DType compute_dtype(const TrainOptions& options) {
  const std::string& name = options.bnb_4bit_compute_dtype;
  const bool cuda = options.device.starts_with("cuda");
  if (name == "auto") return cuda || cpu::cpu_prefers_bf16() ? DType::bf16 : DType::f32;
  if (name == "float32") return DType::f32;
  if (name == "bfloat16") {
    if (!cuda && !cpu::cpu_has_bf16())
      fail(ErrorKind::usage,
           "bnb_4bit_compute_dtype: this CPU cannot (it has no AVX-512); use float32 or auto");
    return DType::bf16;
  }
  if (name == "float16") {
    if (!cuda)
      fail(ErrorKind::usage,
           "bnb_4bit_compute_dtype: float16 is for GPUs; on the CPU use bfloat16, float32 or auto");
    return DType::f16;
  }
  fail(ErrorKind::usage,
       "bnb_4bit_compute_dtype: got {}, expected bfloat16, float32, float16 or auto", name);
}

std::string far_folder(const TrainOptions& options) {
  if (!options.offload_folder.empty()) return options.offload_folder;
  if (!options.output_dir.empty() && std::filesystem::is_directory(options.output_dir))
    return options.output_dir;
  return std::filesystem::temp_directory_path().string();
}

std::vector<Keep> fixed_levels(const TrainOptions& options, int64_t layers) {
  std::vector<Keep> levels;
  if (options.gradient_checkpointing == TrainOptions::automatic) return levels;
  for (const BlockPolicy& block : recompute_every(options.gradient_checkpointing, layers).blocks)
    levels.push_back(block.keep);
  return levels;
}

WeightOptions weight_options(const TrainOptions& options) {
  WeightOptions weights;
  weights.compute = compute_dtype(options);
  weights.load_in_4bit = options.load_in_4bit;
  weights.quant.type = options.bnb_4bit_quant_type;
  weights.quant.double_quant = options.bnb_4bit_use_double_quant;
  return weights;
}

ScheduleOptions schedule_options(const TrainOptions& options) {
  return {options.per_device_train_batch_size,
          options.gradient_accumulation_steps,
          options.num_train_epochs,
          options.max_steps,
          options.train_sampling_strategy,
          options.packing ? options.max_length : 0,
          options.seed};
}

OptimizerOptions optimizer_options(const TrainOptions& options) {
  return {options.optim,        options.adam_beta1,   options.adam_beta2,
          options.adam_epsilon, options.weight_decay, options.max_grad_norm};
}

LearningRateSchedule learning_rate_schedule(const TrainOptions& options, int64_t total_steps) {
  const int64_t warmup = options.warmup_steps > 0
                             ? options.warmup_steps
                             : static_cast<int64_t>(std::ceil(options.warmup_ratio *
                                                              static_cast<double>(total_steps)));
  return {options.lr_scheduler_type, options.learning_rate, warmup, total_steps};
}

void check_options(const TrainOptions& o) {
  const auto count = [](const char* name, int64_t value, int64_t low) {
    require(value >= low && value <= (int64_t{1} << 31), name, static_cast<double>(value),
            low < 1 ? "0 or more" : "1 or more");
  };
  if (o.model_name_or_path.empty())
    fail(ErrorKind::usage, "model_name_or_path is missing; give the folder of the base model");
  count("per_device_train_batch_size", o.per_device_train_batch_size, 1);
  count("per_device_eval_batch_size", o.per_device_eval_batch_size, 1);
  count("gradient_accumulation_steps", o.gradient_accumulation_steps, 1);
  count("max_length", o.max_length, 2);
  count("gradient_checkpointing", o.gradient_checkpointing, TrainOptions::automatic);
  count("global_batch_size", o.global_batch_size, 0);
  count("logging_steps", o.logging_steps, 1);
  count("eval_steps", o.eval_steps, 0);
  count("save_steps", o.save_steps, 0);
  count("save_total_limit", o.save_total_limit, 1);
  count("warmup_steps", o.warmup_steps, 0);
  count("lora_r", static_cast<int64_t>(o.lora.r), 1);
  require(o.max_steps == -1 || (o.max_steps > 0 && o.max_steps <= 10'000'000), "max_steps",
          static_cast<double>(o.max_steps), "-1 or a number in [1, 10000000]");
  require(o.num_train_epochs > 0 && o.num_train_epochs < 1e6, "num_train_epochs",
          o.num_train_epochs, "a number above 0");
  require(o.learning_rate >= 0 && std::isfinite(o.learning_rate), "learning_rate", o.learning_rate,
          "a finite number, 0 or more");
  require(o.warmup_ratio >= 0 && o.warmup_ratio <= 1, "warmup_ratio", o.warmup_ratio, "[0, 1]");
  require(o.weight_decay >= 0 && o.weight_decay <= 1, "weight_decay", o.weight_decay, "[0, 1]");
  require(o.adam_beta1 >= 0 && o.adam_beta1 < 1, "adam_beta1", o.adam_beta1, "[0, 1)");
  require(o.adam_beta2 >= 0 && o.adam_beta2 < 1, "adam_beta2", o.adam_beta2, "[0, 1)");
  require(o.adam_epsilon > 0 && o.adam_epsilon < 1, "adam_epsilon", o.adam_epsilon, "(0, 1)");
  require(o.max_grad_norm >= 0, "max_grad_norm", o.max_grad_norm, "0 (no clipping) or more");
  require(o.lora.lora_dropout >= 0 && o.lora.lora_dropout < 1, "lora_dropout", o.lora.lora_dropout,
          "[0, 1)");
  require(o.lora.lora_alpha > 0 && std::isfinite(o.lora.lora_alpha), "lora_alpha",
          o.lora.lora_alpha, "a number above 0");
  check_packing_strategy(o.packing_strategy);
  if (!o.adapter_name_or_path.empty() && !o.resume_from_checkpoint.empty())
    fail(ErrorKind::usage,
         "adapter_name_or_path and resume_from_checkpoint exclude each other: a checkpoint holds "
         "its "
         "own adapter");
}

}  // namespace nibble
