// Model folder -> arena. Laying out and filling are one code path, so that the plan backend, which
// fills nothing, takes the same bytes in the same order.
#include <algorithm>

#include "core/ceil_div.h"
#include "files/quant_state.h"
#include "quant/block_quant.h"
#include "quant/dynamic_map.h"
#include "transformer/tensor_reader.h"
#include "transformer/weights.h"

namespace nibble {
namespace {

constexpr int64_t piece_elements = TensorReader::piece_elements;

class Loader {
 public:
  Loader(const ModelSource& source, const WeightOptions& options, Ops& ops,
         const LoadProgress& progress)
      : source_(source), options_(options), ops_(ops), reader_(source, progress) {}

  ModelWeights load();
  FrozenLinear load_alone(const std::string& path, const LinearSpec& spec) {
    load_tables();
    return load_linear(path, spec);
  }

 private:
  const ModelDir& dir() const { return source_.weights(); }
  bool filling() const { return ops_.has_data(); }
  Arena& arena() const { return ops_.arena(); }
  // Where what is loaded now is to stay; scratch is always near.
  Arena& home() const { return place_ == Place::far ? ops_.far() : ops_.arena(); }

  void load_tables();
  BlockWeights load_block(int64_t layer);
  void load_far_block(int64_t layer, BlockStore& blocks);
  FrozenLinear load_linear(const std::string& path, const LinearSpec& spec);
  bool stored_quantized(const std::string& weight) const;

  Tensor dense(const std::string& name, int64_t rows, int64_t cols, DType dtype, MemoryUse use,
               const char* label);
  Tensor norm(const std::string& name, int64_t size);
  void quantize(QuantizedMatrix& q, const std::string& name);
  void layout_quantized(QuantizedMatrix& q, bool own_tables);
  QuantizedMatrix read_quantized(const std::string& weight, const LinearSpec& spec);
  void read_exactly(Tensor y, const std::string& name, DType dtype);
  void upload_table(Tensor y, std::span<const float> values) {
    if (filling()) ops_.upload(y, std::as_bytes(values));
  }

  const ModelSource& source_;
  const WeightOptions& options_;
  Ops& ops_;
  TensorReader reader_;
  int64_t quantized_ = 0;
  Place place_ = Place::near;
  Tensor code_map_, nested_map_;  // Nibble's own tables, for what it quantizes itself
};

Tensor Loader::dense(const std::string& name, int64_t rows, int64_t cols, DType dtype,
                     MemoryUse use, const char* label) {
  const Tensor result = home().tensor(rows, cols, dtype, use, label);
  const int64_t n = rows * cols;
  const DType stored = reader_.use(name, rows, cols);
  const Arena::Scope scope(arena());
  const Tensor staging = arena().tensor(1, std::min(n, piece_elements), stored,
                                        MemoryUse::working_set, "load staging");
  if (!filling()) return result;
  const Tensor flat = result.reshaped(1, n);
  reader_.read(name, stored, n, [&](int64_t begin, int64_t count, auto bytes) {
    if (stored == dtype) {
      ops_.upload(flat.columns(begin, count), bytes);
    } else {
      ops_.upload(staging.columns(0, count), bytes);
      ops_.convert(flat.columns(begin, count), staging.columns(0, count));
    }
    ops_.idle(flat.columns(begin, count));
  });
  return result;
}

Tensor Loader::norm(const std::string& name, int64_t size) {
  if (source_.synthetic) {
    const Tensor ones = home().tensor(1, size, DType::f32, MemoryUse::base_weights, "norm");
    upload_table(ones, std::vector<float>(static_cast<size_t>(size), 1.0f));
    return ones;
  }
  return dense(name, 1, size, DType::f32, MemoryUse::base_weights, "norm");
}

void Loader::layout_quantized(QuantizedMatrix& q, bool own_tables) {
  const auto use = MemoryUse::base_weights;
  q.codes = home().tensor(1, ceil_div(q.size(), 2), DType::u8, use, "4-bit codes");
  if (q.spec.double_quant) {
    q.scale_codes = home().tensor(1, q.blocks(), DType::u8, use, "scale codes");
    q.nested_absmax = home().tensor(1, ceil_div(q.blocks(), QuantSpec::nested_block_size),
                                    DType::f32, use, "nested scales");
    q.offset = home().tensor(1, 1, DType::f32, use, "scale offset");
    q.nested_map = own_tables ? home().tensor(1, 256, DType::f32, use, "nested map") : nested_map_;
  } else {
    q.absmax = home().tensor(1, q.blocks(), DType::f32, use, "scales");
  }
  q.code_map = own_tables ? home().tensor(1, 16, DType::f32, use, "code map") : code_map_;
}

void Loader::quantize(QuantizedMatrix& q, const std::string& name) {
  q.source_dtype = reader_.use(name, q.rows, q.cols);
  layout_quantized(q, false);
  const int64_t n = q.size();
  const Arena::Scope scope(arena());
  const Tensor staging = arena().tensor(1, std::min(n, piece_elements), q.source_dtype,
                                        MemoryUse::working_set, "load staging");
  const Tensor absmax = q.spec.double_quant
                            ? arena().tensor(1, q.blocks(), DType::f32, MemoryUse::working_set,
                                             "scales before double quantization")
                            : q.absmax;
  if (!filling()) return;
  reader_.read(name, q.source_dtype, n, [&](int64_t begin, int64_t count, auto bytes) {
    const Tensor piece = staging.columns(0, count);
    ops_.upload(piece, bytes);
    ops_.quantize_blocks(
        q.codes.columns(begin / 2, ceil_div(count, 2)),
        absmax.columns(begin / q.spec.block_size, ceil_div(count, q.spec.block_size)), piece,
        q.spec, q.code_map);
  });
  if (q.spec.double_quant) ops_.double_quantize(q, absmax);
}

void Loader::read_exactly(Tensor y, const std::string& name, DType dtype) {
  reader_.use_bytes(name, y.bytes(), dtype);
  if (!filling()) return;
  reader_.read(name, dtype, y.cols, [&](int64_t begin, int64_t count, auto bytes) {
    ops_.upload(y.columns(begin, count), bytes);
  });
}

bool Loader::stored_quantized(const std::string& weight) const {
  return source_.dir && (dir().has(weight + ".quant_state.bitsandbytes__nf4") ||
                         dir().has(weight + ".quant_state.bitsandbytes__fp4"));
}

QuantizedMatrix Loader::read_quantized(const std::string& weight, const LinearSpec& spec) {
  const std::string prefix = weight + ".quant_state.bitsandbytes__";
  const bool nf4 = dir().has(prefix + "nf4");
  if (nf4 && dir().has(prefix + "fp4"))
    fail(ErrorKind::bad_input, "{}: has two quant_state tensors, expected one", weight);
  const std::string state_name = prefix + (nf4 ? "nf4" : "fp4");
  const QuantState state = parse_quant_state(reader_.read_text(state_name, 4096), state_name);
  if (state.quant_type != (nf4 ? "nf4" : "fp4") || state.shape[0] != spec.out_features ||
      state.shape[1] != spec.in_features)
    fail(ErrorKind::bad_input, "{}: says {} [{}, {}], expected {} [{}, {}]", state_name,
         state.quant_type, state.shape[0], state.shape[1], nf4 ? "nf4" : "fp4", spec.out_features,
         spec.in_features);

  QuantizedMatrix q;
  q.rows = spec.out_features;
  q.cols = spec.in_features;
  q.spec = {nf4 ? QuantType::nf4 : QuantType::fp4, state.nested, static_cast<int>(state.blocksize)};
  q.source_dtype = state.dtype == "bfloat16"  ? DType::bf16
                   : state.dtype == "float16" ? DType::f16
                                              : DType::f32;
  layout_quantized(q, true);
  read_exactly(q.codes, weight, DType::u8);
  read_exactly(q.code_map, weight + ".quant_map", DType::f32);
  if (state.nested) {
    read_exactly(q.scale_codes, weight + ".absmax", DType::u8);
    read_exactly(q.nested_absmax, weight + ".nested_absmax", DType::f32);
    read_exactly(q.nested_map, weight + ".nested_quant_map", DType::f32);
    upload_table(q.offset, std::span(&state.nested_offset, 1));
  } else {
    read_exactly(q.absmax, weight + ".absmax", DType::f32);
  }
  return q;
}

FrozenLinear Loader::load_linear(const std::string& path, const LinearSpec& spec) {
  FrozenLinear linear;
  linear.out_features = spec.out_features;
  linear.in_features = spec.in_features;
  const std::string weight = path + ".weight";
  // What lies in the file decides; a linear that a pre-quantized folder keeps in 16 bits stays so.
  if (stored_quantized(weight)) {
    if (!options_.load_in_4bit)
      fail(ErrorKind::usage,
           "load_in_4bit: false, but {} is stored in 4 bits; give the 16-bit folder of the model",
           weight);
    linear.quantized = read_quantized(weight, spec);
    ++quantized_;
  } else if (options_.load_in_4bit && !source_.prequantized) {
    linear.quantized.rows = spec.out_features;
    linear.quantized.cols = spec.in_features;
    linear.quantized.spec = options_.quant;
    quantize(linear.quantized, weight);
    ++quantized_;
  } else {
    linear.dense = dense(weight, spec.out_features, spec.in_features, options_.compute,
                         MemoryUse::base_weights, "dense weight");
  }
  if (spec.bias)
    linear.bias = dense(path + ".bias", 1, spec.out_features, options_.compute,
                        MemoryUse::base_weights, "bias");
  return linear;
}

// In one piece of far memory, as it will be fetched.
void Loader::load_far_block(int64_t layer, BlockStore& blocks) {
  place_ = Place::far;
  const size_t before = ops_.far().used();
  BlockWeights block = load_block(layer);
  place_ = Place::near;
  const auto bytes = static_cast<int64_t>(ops_.far().used() - before);
  const Tensor image = dense_tensor(block.input_norm.data, 1, bytes, DType::u8);
  ops_.idle(image);
  blocks.add_far(std::move(block), image);
}

BlockWeights Loader::load_block(int64_t layer) {
  const ModelSpec& spec = source_.spec;
  BlockWeights block;
  block.input_norm = norm(module_path(layer, "input_layernorm.weight"), spec.hidden_size);
  block.post_attention_norm =
      norm(module_path(layer, "post_attention_layernorm.weight"), spec.hidden_size);
  if (spec.qk_norm) {
    block.q_norm = norm(module_path(layer, "self_attn.q_norm.weight"), spec.head_dim);
    block.k_norm = norm(module_path(layer, "self_attn.k_norm.weight"), spec.head_dim);
  }
  for (const LinearSpec& linear : spec.linears)
    block.linears.push_back(load_linear(module_path(layer, linear.name), linear));
  return block;
}

void Loader::load_tables() {
  if (filling()) reader_.begin();
  const auto use = MemoryUse::base_weights;
  code_map_ = arena().tensor(1, 16, DType::f32, use, "code map");
  nested_map_ = arena().tensor(1, 256, DType::f32, use, "nested map");
  upload_table(code_map_, code_map_of(options_.quant.type));
  upload_table(nested_map_, dynamic_map_signed());
}

ModelWeights Loader::load() {
  const ModelSpec& spec = source_.spec;
  const auto use = MemoryUse::base_weights;
  load_tables();

  ModelWeights weights;
  const auto variants = static_cast<int64_t>(spec.rope.inverse_frequencies.size());
  weights.inverse_frequencies =
      arena().tensor(variants, spec.rope.rotary_dim() / 2, DType::f32, use, "rope frequencies");
  for (int64_t i = 0; i < variants; ++i)
    upload_table(weights.inverse_frequencies.row_range(i, 1),
                 spec.rope.inverse_frequencies[static_cast<size_t>(i)]);

  const MemoryPolicy& policy = options_.policy;
  place_ = policy.embedding;
  weights.embedding = dense("model.embed_tokens.weight", spec.vocab_size, spec.hidden_size,
                            options_.compute, MemoryUse::embeddings_and_head, "embedding");
  if (spec.tied_head) {
    reader_.check_tied("lm_head.weight", "model.embed_tokens.weight", filling());
    weights.head = weights.embedding;
  } else {
    place_ = policy.head;
    weights.head = dense("lm_head.weight", spec.vocab_size, spec.hidden_size, options_.compute,
                         MemoryUse::embeddings_and_head, "head");
  }
  place_ = Place::near;
  ops_.idle(weights.embedding);
  ops_.idle(weights.head);
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const auto i = static_cast<size_t>(layer);
    if (i < policy.blocks.size() && policy.blocks[i].weights == Place::far)
      load_far_block(layer, weights.blocks);
    else
      weights.blocks.add(load_block(layer));
  }
  weights.blocks.take_slots(arena());
  weights.final_norm = norm("model.norm.weight", spec.hidden_size);
  reader_.check_nothing_left();
  if (filling() && source_.dir) dir().check_unchanged();
  weights.quantized_linears = quantized_;
  return weights;
}

}  // namespace

ModelWeights load_weights(const ModelSource& source, const WeightOptions& options, Ops& ops,
                          const LoadProgress& progress) {
  return Loader(source, options, ops, progress).load();
}

FrozenLinear load_linear(const ModelSource& source, const WeightOptions& options,
                         const std::string& path, const LinearSpec& spec, Ops& ops) {
  return Loader(source, options, ops, {}).load_alone(path, spec);
}

}  // namespace nibble
