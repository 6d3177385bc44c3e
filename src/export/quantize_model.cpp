#include "export/quantize_model.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "export/derived_model.h"
#include "files/quant_state.h"
#include "memory/planned_run.h"
#include "quant/block_quant.h"
#include "quant/dynamic_map.h"

namespace nibble {
namespace {

const char* name_of(QuantType type) { return type == QuantType::nf4 ? "nf4" : "fp4"; }

// The tensors of one quantized linear layer: names, shapes and blob as bitsandbytes saves them.
class QuantizedTensors {
 public:
  QuantizedTensors(const LinearPlace& linear, const QuantSpec& spec, DType source_dtype)
      : weight_(linear.weight()), spec_(spec) {
    state_.quant_type = name_of(spec.type);
    state_.blocksize = spec.block_size;
    state_.dtype = nibble::name_of(source_dtype);
    state_.shape = {linear.spec.out_features, linear.spec.in_features};
    state_.nested = spec.double_quant;
  }

  std::vector<SafetensorsInfo> infos() const {
    const auto n = static_cast<uint64_t>(state_.shape[0] * state_.shape[1]);
    const uint64_t block = static_cast<uint64_t>(spec_.block_size);
    const uint64_t blocks = (n + block - 1) / block;
    std::vector<SafetensorsInfo> infos = {{weight_, "U8", {(n + 1) / 2, 1}},
                                          {weight_ + ".quant_map", "F32", {16}}};
    infos.push_back({weight_ + ".absmax", spec_.double_quant ? "U8" : "F32", {blocks}});
    if (spec_.double_quant) {
      constexpr uint64_t nested = QuantSpec::nested_block_size;
      infos.push_back({weight_ + ".nested_absmax", "F32", {(blocks + nested - 1) / nested}});
      infos.push_back({weight_ + ".nested_quant_map", "F32", {256}});
    }
    infos.push_back({state_name(), "U8", {blob_bytes}});
    return infos;
  }

  void write(const QuantizedMatrix& q, Ops& ops, ModelWriter& writer) {
    const auto write_tensor = [&](const char* suffix, Tensor x) {
      std::vector<std::byte> bytes(static_cast<size_t>(x.bytes()));
      ops.download(bytes, x);
      writer.write(weight_ + suffix, bytes);
    };
    write_tensor("", q.codes);
    write_tensor(".quant_map", q.code_map);
    write_tensor(".absmax", spec_.double_quant ? q.scale_codes : q.absmax);
    if (spec_.double_quant) {
      write_tensor(".nested_absmax", q.nested_absmax);
      write_tensor(".nested_quant_map", q.nested_map);
      ops.download(std::as_writable_bytes(std::span(&state_.nested_offset, 1)), q.offset);
    }
    std::string blob = quant_state_text(state_);
    if (blob.size() > blob_bytes)
      fail(ErrorKind::internal, "{}: {} bytes, expected at most {}", state_name(), blob.size(),
           blob_bytes);
    blob.resize(blob_bytes, ' ');
    writer.write(state_name(), as_bytes(blob));
  }

 private:
  // The digits of nested_offset decide the length of the JSON text, but the file's header comes
  // before any tensor is quantized: so the text is padded with spaces, which JSON ignores.
  static constexpr size_t blob_bytes = 256;

  std::string state_name() const {
    return weight_ + ".quant_state.bitsandbytes__" + state_.quant_type;
  }

  std::string weight_;
  QuantSpec spec_;
  QuantState state_;
};

// As transformers writes it for these tensors.
nlohmann::ordered_json quantization_config(const QuantSpec& spec, DType source_dtype) {
  return {{"_load_in_4bit", true},
          {"_load_in_8bit", false},
          {"bnb_4bit_compute_dtype", nibble::name_of(source_dtype)},
          {"bnb_4bit_quant_storage", "uint8"},
          {"bnb_4bit_quant_type", name_of(spec.type)},
          {"bnb_4bit_use_double_quant", spec.double_quant},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", nullptr},
          {"llm_int8_threshold", 6.0},
          {"load_in_4bit", true},
          {"load_in_8bit", false},
          {"quant_method", "bitsandbytes"}};
}

}  // namespace

QuantizeResult quantize_model(const ModelSource& source, const QuantizeOptions& options,
                              const LoadProgress& progress) {
  const ModelDir& dir = source.weights();
  if (source.prequantized)
    fail(ErrorKind::usage, "model_name_or_path: {} is quantized already; give a 16-bit folder",
         source.path);
  QuantizeResult result;
  result.path = check_output_dir(options.output_dir, options.overwrite_output_dir, dir.path());
  result.source_bytes = dir.total_bytes();

  const std::vector<LinearPlace> linears = linear_places(source.spec);
  const std::vector<std::string> others = other_tensors(source, linears);
  std::vector<QuantizedTensors> quantized;
  std::vector<SafetensorsInfo> infos;
  for (const std::string& name : others) {
    const TensorInfo info = dir.info(name);
    infos.push_back({name, std::string(safetensors_name_of(info.dtype)), info.shape});
  }
  for (const LinearPlace& linear : linears) {
    quantized.emplace_back(linear, options.quant, dir.info(linear.weight()).dtype);
    const auto parts = quantized.back().infos();
    infos.insert(infos.end(), parts.begin(), parts.end());
  }

  AtomicDir folder(result.path);
  write_config_and_side_files(
      dir, quantization_config(options.quant, dir.info(linears.front().weight()).dtype), folder);
  ModelWriter writer(folder, infos, options.max_shard_bytes);
  const auto report = [&] {
    if (progress) progress(writer.written_bytes(), writer.total_bytes());
  };
  for (const std::string& name : others) {
    writer.copy(dir, name);
    report();
  }
  WeightOptions weights;
  weights.compute = DType::f32;
  weights.quant = options.quant;
  const auto stream = [&](Ops& ops) {
    for (const LinearPlace& linear : linears) {
      const Arena::Scope scope(ops.arena());
      LinearSpec spec = linear.spec;
      spec.bias = false;  // copied above
      const FrozenLinear loaded = load_linear(source, weights, linear.path, spec, ops);
      if (!ops.has_data()) continue;
      quantized[linear.index].write(loaded.quantized, ops, writer);
      report();
    }
  };
  result.peak_bytes = run_planned({Device::Kind::cpu, 0, options.threads}, stream,
                                  "quantizing the largest tensor", "close other programs");
  writer.finish();
  dir.check_unchanged();
  folder.commit();
  result.quantized_linears = static_cast<int64_t>(linears.size());
  result.bytes = writer.total_bytes();
  result.shards = writer.shards();
  return result;
}

}  // namespace nibble
