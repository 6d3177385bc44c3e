#include "files/adapter_dir.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "core/error.h"
#include "files/json.h"

namespace nibble {
namespace {

constexpr const char* config_name = "adapter_config.json";
constexpr const char* weights_name = "adapter_model.safetensors";
constexpr std::string_view prefix = "base_model.model.";
constexpr uint64_t max_adapter_config_bytes = uint64_t{4} << 20;

// The module and factor that a key names.
AdapterTensor tensor_of_key(std::string_view key, const std::string& who) {
  for (const char factor : {'A', 'B'}) {
    const std::string suffix = fmt::format(".lora_{}.weight", factor);
    if (key.starts_with(prefix) && key.ends_with(suffix) &&
        key.size() > prefix.size() + suffix.size()) {
      const size_t length = key.size() - prefix.size() - suffix.size();
      return {std::string(key.substr(prefix.size(), length)), factor, {}, {}};
    }
  }
  fail(ErrorKind::bad_input,
       "{}: tensor {}: expected base_model.model.<module>.lora_A.weight or .lora_B.weight; other "
       "kinds of adapters are not supported",
       who, printable(key));
}

template <typename T>
std::vector<float> widened(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = to_float(value);
  }
  return values;
}

template <typename T>
std::vector<std::byte> narrowed(const AdapterTensor& tensor, const std::string& who) {
  std::vector<std::byte> bytes(tensor.values.size() * sizeof(T));
  for (size_t i = 0; i < tensor.values.size(); ++i) {
    const T value = from_float<T>(tensor.values[i]);
    if (!std::isfinite(to_float(value))) {
      fail(ErrorKind::diverged, "{}: tensor {}: value {} is {}, which is not finite in {}", who,
           tensor.key(), i, tensor.values[i], name_of(dtype_of<T>()));
    }
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}

void sort_tensors(std::vector<AdapterTensor>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.module, a.factor) < std::tie(b.module, b.factor);
  });
}

// Sorted tensors: complete pairs of matching, non-empty matrices of a rank that was configured.
void check_pairs(const std::vector<AdapterTensor>& tensors, const AdapterConfig& config,
                 const std::string& who) {
  if (tensors.empty()) fail(ErrorKind::bad_input, "{}: the adapter has no tensors", who);
  for (size_t i = 0; i < tensors.size(); i += 2) {
    const AdapterTensor& a = tensors[i];
    if (i + 1 == tensors.size() || tensors[i + 1].module != a.module || a.factor != 'A' ||
        tensors[i + 1].factor != 'B') {
      fail(ErrorKind::bad_input, "{}: module {}: expected one lora_A and one lora_B", who,
           printable(a.module));
    }
    const AdapterTensor& b = tensors[i + 1];
    for (const AdapterTensor* t : {&a, &b}) {
      if (t->shape.size() != 2 || t->shape[0] == 0 || t->shape[1] == 0) {
        fail(ErrorKind::bad_input, "{}: tensor {}: got shape [{}], expected two non-zero sizes",
             who, printable(t->key()), fmt::join(t->shape, ", "));
      }
    }
    const uint64_t rank = a.shape[0];
    const bool known =
        rank == config.r || std::any_of(config.rank_pattern.begin(), config.rank_pattern.end(),
                                        [&](const auto& entry) { return entry.second == rank; });
    if (b.shape[1] != rank || !known) {
      fail(ErrorKind::bad_input,
           "{}: module {}: got ranks {} (lora_A) and {} (lora_B), the configuration says r = {}{}",
           who, printable(a.module), rank, b.shape[1], config.r,
           config.rank_pattern.empty() ? "" : " or what rank_pattern lists");
    }
  }
}

}  // namespace

std::string AdapterTensor::key() const {
  return fmt::format("{}{}.lora_{}.weight", prefix, module, factor);
}

Adapter read_adapter(const std::filesystem::path& folder) {
  Adapter adapter;
  const std::string config_who = (folder / config_name).string();
  const auto json =
      read_json_file(folder / config_name, config_who, {.max_bytes = max_adapter_config_bytes});
  adapter.config = adapter_config_from_json(json, config_who, adapter.warnings);

  if (kind_of(folder / weights_name) == PathKind::nothing &&
      kind_of(folder / "adapter_model.bin") != PathKind::nothing) {
    fail(ErrorKind::bad_input,
         "{}: adapter_model.bin is a pickle, which can run code and is never read; save the "
         "adapter as safetensors",
         folder.string());
  }
  const SafetensorsFile file(folder / weights_name);
  adapter.metadata = file.metadata();
  adapter.warnings.insert(adapter.warnings.end(), file.warnings().begin(), file.warnings().end());
  for (const auto& info : file.tensors()) {
    AdapterTensor tensor = tensor_of_key(info.name, file.who());
    tensor.shape = info.shape;
    std::vector<std::byte> bytes(info.bytes());
    file.read(info, 0, bytes);
    const auto dtype = dtype_of_safetensors(info.dtype);
    if (dtype == DType::f32) {
      tensor.values = widened<float>(bytes);
    } else if (dtype == DType::bf16) {
      tensor.values = widened<bf16>(bytes);
    } else if (dtype == DType::f16) {
      tensor.values = widened<f16>(bytes);
    } else {
      fail(ErrorKind::bad_input, "{}: tensor {}: got dtype {}, expected F32, F16 or BF16",
           file.who(), printable(info.name), info.dtype);
    }
    const auto bad = std::find_if_not(tensor.values.begin(), tensor.values.end(),
                                      [](float value) { return std::isfinite(value); });
    if (bad != tensor.values.end()) {
      fail(ErrorKind::bad_input, "{}: tensor {}: value {} is {}, expected finite numbers",
           file.who(), printable(info.name), bad - tensor.values.begin(), *bad);
    }
    adapter.tensors.push_back(std::move(tensor));
  }
  file.check_unchanged();
  sort_tensors(adapter.tensors);
  check_pairs(adapter.tensors, adapter.config, file.who());
  return adapter;
}

void write_adapter(AtomicDir& folder, const Adapter& adapter, DType dtype) {
  const std::filesystem::path path = folder.path() / weights_name;
  std::vector<const AdapterTensor*> by_key;
  std::vector<SafetensorsInfo> infos;
  std::vector<AdapterTensor> shapes;  // the tensors without their values
  for (const auto& tensor : adapter.tensors) {
    by_key.push_back(&tensor);
    infos.push_back({tensor.key(), std::string(safetensors_name_of(dtype)), tensor.shape});
    shapes.push_back({tensor.module, tensor.factor, tensor.shape, {}});
  }
  sort_tensors(shapes);
  check_pairs(shapes, adapter.config, path.string());
  std::sort(by_key.begin(), by_key.end(),
            [](const auto* a, const auto* b) { return a->key() < b->key(); });

  std::map<std::string, std::string> metadata = adapter.metadata;
  metadata["format"] = "pt";
  SafetensorsWriter writer(path, std::move(infos), metadata);
  for (const AdapterTensor* tensor : by_key) {  // one dtype, so the writer's order is by name
    switch (dtype) {
      case DType::f32:
        writer.write(tensor->key(), narrowed<float>(*tensor, path.string()));
        break;
      case DType::bf16:
        writer.write(tensor->key(), narrowed<bf16>(*tensor, path.string()));
        break;
      case DType::f16:
        writer.write(tensor->key(), narrowed<f16>(*tensor, path.string()));
        break;
      default:
        fail(ErrorKind::usage,
             "adapter dtype: got {}, expected float32, bfloat16 or "
             "float16",
             name_of(dtype));
    }
  }
  writer.finish();
  folder.write(config_name, adapter_config_text(adapter.config));
}

}  // namespace nibble
