#include "train/checkpoint.h"

#include "core/error.h"
#include "files/adapter_dir.h"
#include "files/hashes.h"
#include "files/json.h"
#include "files/safetensors.h"

namespace nibble {
namespace {

constexpr int format_version = 1;

SafetensorsInfo info_of(const std::string& name, Tensor tensor) {
  SafetensorsInfo info;
  info.name = name;
  info.dtype = std::string(safetensors_name_of(tensor.dtype));
  info.shape = {static_cast<uint64_t>(tensor.cols)};
  return info;
}

void write_optimizer(const std::filesystem::path& path, TrainStep& step) {
  const auto state = step.optimizer().state();
  std::vector<SafetensorsInfo> infos;
  for (const auto& tensor : state) infos.push_back(info_of(tensor.name, tensor.data));
  SafetensorsWriter writer(path, infos);
  std::vector<std::byte> bytes;
  for (const SafetensorsInfo& info : writer.order())
    for (const auto& tensor : state)
      if (tensor.name == info.name) {
        bytes.resize(static_cast<size_t>(tensor.data.bytes()));
        step.ops().download(bytes, tensor.data);
        writer.write(info.name, bytes);
      }
  writer.finish();
}

void read_optimizer(const std::filesystem::path& path, TrainStep& step) {
  const SafetensorsFile file(path);
  std::vector<std::byte> bytes;
  for (const auto& tensor : step.optimizer().state()) {
    const SafetensorsInfo* info = file.find(tensor.name);
    const SafetensorsInfo expected = info_of(tensor.name, tensor.data);
    if (!info || info->dtype != expected.dtype || info->shape != expected.shape)
      fail(ErrorKind::bad_input, "{}: optimizer tensor {} is missing or has another shape",
           path.string(), tensor.name);
    bytes.resize(info->bytes());
    file.read(*info, 0, bytes);
    step.ops().upload(tensor.data, bytes);
  }
}

}  // namespace

nlohmann::json run_identity(const TrainOptions& o, const ModelSource& source,
                            const std::string& dataset_sha256, int64_t total_steps,
                            const TokenizerSource& tokens) {
  nlohmann::json id;
  id["dataset_sha256"] = dataset_sha256;
  id["tokenizer_sha256"] = tokens.sha256;
  if (tokens.chat) {
    id["chat_template_sha256"] = tokens.chat->sha256;
    id["chat_template_variables"] = tokens.chat->variables;
    if (!tokens.chat->date.empty()) id["template_date"] = tokens.chat->date;
  }
  const std::string config = source.weights().config().dump();
  id["model_config_sha256"] = sha256_hex(std::as_bytes(std::span(config)));
  id["model_bytes"] = source.weights().total_bytes();
  id["per_device_train_batch_size"] = o.per_device_train_batch_size;
  id["gradient_accumulation_steps"] = o.gradient_accumulation_steps;
  id["max_length"] = o.max_length;
  id["completion_only_loss"] = o.completion_only_loss;
  id["packing"] = o.packing;
  id["packing_strategy"] = o.packing_strategy;
  id["train_sampling_strategy"] = static_cast<int>(o.train_sampling_strategy);
  id["total_steps"] = total_steps;
  id["learning_rate"] = o.learning_rate;
  id["lr_scheduler_type"] = static_cast<int>(o.lr_scheduler_type);
  id["warmup_steps"] = o.warmup_steps;
  id["warmup_ratio"] = o.warmup_ratio;
  id["weight_decay"] = o.weight_decay;
  id["adam_beta1"] = o.adam_beta1;
  id["adam_beta2"] = o.adam_beta2;
  id["adam_epsilon"] = o.adam_epsilon;
  id["max_grad_norm"] = o.max_grad_norm;
  id["optim"] = static_cast<int>(o.optim);
  id["seed"] = o.seed;
  id["lora"] = nlohmann::json::parse(adapter_config_text(o.lora));
  id["lora"].erase("base_model_name_or_path");
  id["load_in_4bit"] = o.load_in_4bit;
  id["bnb_4bit_quant_type"] = static_cast<int>(o.bnb_4bit_quant_type);
  id["bnb_4bit_use_double_quant"] = o.bnb_4bit_use_double_quant;
  id["compute_dtype"] = name_of(compute_dtype(o));
  return id;
}

void save_checkpoint(RunDir& run, TrainStep& step, const TrainerState& state) {
  const std::filesystem::path path = run.checkpoint_path(static_cast<uint64_t>(state.step));
  // A folder of this name without a manifest is a damaged checkpoint that a resumed run passed
  // over.
  if (kind_of(path) == PathKind::folder && kind_of(path / manifest_name) == PathKind::nothing)
    discard_dir(path);
  AtomicDir folder(path);
  write_adapter(folder, step.parameters().to_adapter(step.ops()));
  write_optimizer(folder.path() / "optimizer.safetensors", step);
  nlohmann::json json;
  json["format_version"] = format_version;
  json["global_step"] = state.step;
  json["tokens"] = state.tokens;
  json["trained_tokens"] = state.trained_tokens;
  json["logged_loss_sum"] = state.logged_loss_sum;
  json["logged_loss_count"] = state.logged_loss_count;
  const LossScale& scale = step.loss_scale();
  if (scale.dynamic)
    json["loss_scale"] = {{"scale", scale.scale},
                          {"good_steps", scale.good_steps},
                          {"skipped_steps", scale.skipped_steps}};
  json["identity"] = state.identity;
  folder.write("trainer_state.json", json.dump(2) + "\n");
  run.commit_checkpoint(folder, static_cast<uint64_t>(state.step));
}

TrainerState load_checkpoint(const std::filesystem::path& folder, TrainStep& step,
                             const nlohmann::json& identity) {
  verify_manifest(folder);
  const std::string who = (folder / "trainer_state.json").string();
  const nlohmann::json json = read_json_file(folder / "trainer_state.json", who);
  TrainerState state;
  const auto field = [&](const char* key) -> const nlohmann::json& {
    const auto found = json.find(key);
    if (found == json.end())
      fail(ErrorKind::bad_input, "{}: field {} is missing; this is no checkpoint of Nibble's", who,
           key);
    return *found;
  };
  if (field("format_version") != format_version)
    fail(ErrorKind::bad_input, "{}: format_version {}, expected {}", who,
         field("format_version").dump(), format_version);
  try {
    state.step = field("global_step").get<int64_t>();
    state.tokens = field("tokens").get<int64_t>();
    state.trained_tokens = field("trained_tokens").get<int64_t>();
    state.logged_loss_sum = field("logged_loss_sum").get<double>();
    state.logged_loss_count = field("logged_loss_count").get<int64_t>();
    if (LossScale& scale = step.loss_scale(); scale.dynamic) {
      scale.scale = field("loss_scale").at("scale").get<float>();
      scale.good_steps = field("loss_scale").at("good_steps").get<int64_t>();
      scale.skipped_steps = field("loss_scale").at("skipped_steps").get<int64_t>();
    }
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::bad_input, "{}: {}", who, error.what());
  }
  state.identity = identity;
  std::string differing;
  for (const auto& [key, value] : identity.items())
    if (const auto found = field("identity").find(key);
        found == field("identity").end() || *found != value)
      differing +=
          fmt::format("\n  {}: {} in the checkpoint, {} now", key,
                      found == field("identity").end() ? "missing" : found->dump(), value.dump());
  if (!differing.empty())
    fail(
        ErrorKind::usage,
        "resume_from_checkpoint: {} belongs to another run:{}\nset them back, or start afresh from "
        "its adapter with adapter_name_or_path",
        folder.string(), differing);
  step.parameters().load(step.ops(), read_adapter(folder), folder.string());
  read_optimizer(folder / "optimizer.safetensors", step);
  return state;
}

}  // namespace nibble
