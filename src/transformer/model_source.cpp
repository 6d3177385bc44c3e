#include <filesystem>

#include "files/json.h"
#include "transformer/architectures.h"
#include "transformer/config_reader.h"
#include "transformer/weights.h"

namespace nibble {
namespace fs = std::filesystem;
namespace {

// What a quantization_config says must be what bitsandbytes 4-bit means.
bool is_bitsandbytes_4bit(const nlohmann::json& config) {
  const auto found = config.find("quantization_config");
  if (found == config.end() || found->is_null()) return false;
  const ConfigReader reader(*found, "config.json: quantization_config");
  const std::string method = reader.text_or("quant_method", "bitsandbytes");
  if (method != "bitsandbytes" || !reader.boolean_or("load_in_4bit", false))
    fail(
        ErrorKind::bad_input,
        "config.json: quantization_config: quant_method {}{} is not supported; use a 16-bit folder "
        "or a bitsandbytes 4-bit one",
        method, method == "bitsandbytes" ? " without load_in_4bit" : "");
  return true;
}

bool has_weights(const fs::path& folder) {
  return fs::exists(folder / "model.safetensors") ||
         fs::exists(folder / "model.safetensors.index.json");
}

}  // namespace

ModelSource ModelSource::open(const std::string& path, const std::vector<std::string>& ignored) {
  ModelSource source;
  source.path = path;
  nlohmann::json config;
  std::error_code error;
  if (path.empty())
    fail(ErrorKind::usage, "model_name_or_path is missing; give the folder of the model");
  const bool config_only = fs::is_regular_file(path, error);
  if (!config_only && !fs::is_directory(path, error))
    fail(ErrorKind::bad_input,
         "model_name_or_path: {} is neither a folder nor a config.json; Nibble does not download: "
         "give the folder of a Hugging Face model",
         path);
  if (!config_only && has_weights(path)) {
    source.dir.emplace(path);
    config = source.dir->config();
  } else {
    const fs::path file = config_only ? fs::path(path) : fs::path(path) / "config.json";
    config = read_json_file(file, file.string());
  }
  source.spec = model_spec_from_config(config, ignored);
  source.prequantized = is_bitsandbytes_4bit(config);
  return source;
}

ModelSource ModelSource::synthesize(const std::string& architecture) {
  ModelSource source;
  source.path = architecture;
  source.spec = model_spec_from_config(architecture_config(architecture));
  source.synthetic = true;
  return source;
}

const ModelDir& ModelSource::weights() const {
  if (!dir)
    fail(ErrorKind::bad_input,
         "{}: no model.safetensors and no model.safetensors.index.json; is the download complete?",
         path);
  return *dir;
}

}  // namespace nibble
