// What quantize and merge share: a model folder derived from another, tensor by tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "files/atomic_dir.h"
#include "files/model_writer.h"
#include "transformer/weights.h"

namespace nibble {

// A linear layer of the decoder by its module path, "model.layers.0.mlp.up_proj".
struct LinearPlace {
  std::string path;
  LinearSpec spec;
  size_t index = 0;  // among all linear layers, as lora_modules() counts them

  std::string weight() const { return path + ".weight"; }
};
std::vector<LinearPlace> linear_places(const ModelSpec& spec);

// The tensors of a folder that are not weights of a linear layer, quantized or not: sorted.
std::vector<std::string> other_tensors(const ModelSource& source,
                                       const std::vector<LinearPlace>& linears);

// Where a derived folder goes, made a plain path. Throws usage when it is `source` itself, or is
// not empty and `overwrite` is false.
std::filesystem::path check_output_dir(const std::string& output_dir, bool overwrite,
                                       const std::filesystem::path& source);

// config.json of `source` with quantization_config set to `quantization`, or removed when that is
// null; keys keep their order. Then the side files.
void write_config_and_side_files(const ModelDir& source, const nlohmann::ordered_json& quantization,
                                 AtomicDir& folder);

}  // namespace nibble
