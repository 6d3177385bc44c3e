#include "export/derived_model.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "files/file_io.h"
#include "files/json.h"

namespace nibble {
namespace fs = std::filesystem;

std::vector<LinearPlace> linear_places(const ModelSpec& spec) {
  std::vector<LinearPlace> places;
  for (int64_t layer = 0; layer < spec.layers; ++layer)
    for (const LinearSpec& linear : spec.linears)
      places.push_back({module_path(layer, linear.name), linear, places.size()});
  return places;
}

std::vector<std::string> other_tensors(const ModelSource& source,
                                       const std::vector<LinearPlace>& linears) {
  std::set<std::string> weights;
  for (const LinearPlace& linear : linears) weights.insert(linear.weight());
  std::vector<std::string> others;
  for (const std::string& name : source.weights().names()) {
    // "P.weight" itself, and the parts of a quantized one, "P.weight.absmax".
    const size_t end = name.find(".weight.");
    const std::string weight = end == std::string::npos ? name : name.substr(0, end + 7);
    if (!weights.contains(weight)) others.push_back(name);
  }
  return others;
}

fs::path check_output_dir(const std::string& output_dir, bool overwrite, const fs::path& source) {
  if (output_dir.empty())
    fail(ErrorKind::usage, "output_dir is missing; give a folder for the model");
  fs::path path = fs::path(output_dir).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "out/"
  std::error_code error;
  if (fs::equivalent(path, source, error))
    fail(ErrorKind::usage, "output_dir: {} is the model's own folder; choose another", output_dir);
  if (kind_of(path) == PathKind::folder && !list_directory(path).empty() && !overwrite)
    fail(ErrorKind::usage,
         "output_dir: {} is not empty; choose another, or give --overwrite_output_dir true",
         output_dir);
  return path;
}

void write_config_and_side_files(const ModelDir& source, const nlohmann::ordered_json& quantization,
                                 AtomicDir& folder) {
  constexpr uint64_t max_config_bytes = uint64_t{4} << 20;
  nlohmann::ordered_json config =
      parse_ordered_json(source.read_file("config.json", max_config_bytes).value(), "config.json");
  if (quantization.is_null()) {
    config.erase("quantization_config");
  } else {
    config["quantization_config"] = quantization;
  }
  folder.write("config.json", config.dump(2) + "\n");
  copy_side_files(source, folder);
}

}  // namespace nibble
