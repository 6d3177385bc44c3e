// Model folder -> arena. Laying out and filling are one code path, so that the plan backend, which
// fills nothing, takes the same bytes in the same order.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <set>

#include "core/rng.h"
#include "files/quant_state.h"
#include "quant/block_quant.h"
#include "quant/dynamic_map.h"
#include "transformer/weights.h"

namespace nibble {
namespace {

// Whole blocks of every block size, whole nested blocks, and even: 4 MiB of float32.
constexpr int64_t piece_elements = 1 << 20;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Index of the first NaN or infinity, or -1. All exponent bits set, read without aligned access; a
// run at a time without branches, which compilers turn into vectors.
template <typename Word>
int64_t first_nonfinite(const std::byte* bytes, int64_t count, Word exponent) {
  constexpr int64_t run = 4096;
  const auto is_bad = [&](int64_t i) {
    Word word;
    std::memcpy(&word, bytes + i * static_cast<int64_t>(sizeof(Word)), sizeof(Word));
    return (word & exponent) == exponent;
  };
  for (int64_t begin = 0; begin < count; begin += run) {
    const int64_t end = std::min(begin + run, count);
    Word any = 0;
    for (int64_t i = begin; i < end; ++i) any = static_cast<Word>(any | Word{is_bad(i)});
    for (int64_t i = begin; any != 0 && i < end; ++i)
      if (is_bad(i)) return i;
  }
  return -1;
}

int64_t first_nonfinite(const std::byte* bytes, int64_t count, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return first_nonfinite<uint32_t>(bytes, count, 0x7f800000u);
    case DType::bf16:
      return first_nonfinite<uint16_t>(bytes, count, 0x7f80u);
    case DType::f16:
      return first_nonfinite<uint16_t>(bytes, count, 0x7c00u);
    default:
      return -1;
  }
}

class Loader {
 public:
  Loader(const ModelSource& source, const WeightOptions& options, Ops& ops,
         const LoadProgress& progress)
      : source_(source), options_(options), ops_(ops), progress_(progress) {
    if (source.dir) total_ = source.dir->total_bytes();
  }

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

  // Reads a tensor of n elements piece by piece, several at once, checks them to be finite, and
  // calls use(first element, elements, bytes) for each in order.
  using UsePiece = std::function<void(int64_t, int64_t, std::span<const std::byte>)>;
  void read_pieces(const std::string& name, DType dtype, int64_t n, const UsePiece& use);
  void expect_shape(const std::string& name, int64_t rows, int64_t cols);
  void check_tied_head();
  void synthesize();
  void check_nothing_left() const;

  const ModelSource& source_;
  const WeightOptions& options_;
  Ops& ops_;
  const LoadProgress& progress_;
  // Pieces of a tensor; pages that small tensors never reach are never taken.
  static constexpr size_t piece_bytes = piece_elements * sizeof(float);
  static constexpr int64_t readers = 8;
  const std::unique_ptr<std::byte[]> buffer_ =
      std::make_unique_for_overwrite<std::byte[]>(readers * piece_bytes);
  std::set<std::string> used_;
  uint64_t done_ = 0, total_ = 0;
  int64_t quantized_ = 0;
  Place place_ = Place::near;
  Tensor code_map_, nested_map_;  // Nibble's own tables, for what it quantizes itself
};

// "[4096, 1024]" as a shape; a vector is stored with one dimension.
void Loader::expect_shape(const std::string& name, int64_t rows, int64_t cols) {
  const TensorInfo info = dir().info(name);
  const auto r = static_cast<uint64_t>(rows);
  const auto c = static_cast<uint64_t>(cols);
  const bool ok = rows == 1 ? (info.shape == std::vector<uint64_t>{c})
                            : (info.shape == std::vector<uint64_t>{r, c});
  if (!ok)
    fail(ErrorKind::bad_input,
         "{}: shape is [{}], expected [{}] from config.json; do the weights belong to this config?",
         name, fmt::join(info.shape, ", "),
         rows == 1 ? std::to_string(cols) : fmt::format("{}, {}", rows, cols));
}

void Loader::read_pieces(const std::string& name, DType dtype, int64_t n, const UsePiece& use) {
  const auto width = static_cast<int64_t>(size_of(dtype));
  const auto place = [&](int64_t reader) {
    return buffer_.get() + (source_.synthetic ? 0 : static_cast<size_t>(reader) * piece_bytes);
  };
  const auto count_at = [&](int64_t begin) { return std::min(piece_elements, n - begin); };
  for (int64_t first = 0; first < n; first += readers * piece_elements) {
    const int64_t pieces = std::min(readers, ceil_div(n - first, piece_elements));
    std::array<int64_t, readers> bad;
    std::array<std::exception_ptr, readers> errors;
    bad.fill(-1);
#pragma omp parallel for schedule(static, 1) if (pieces > 1)
    for (int64_t i = 0; i < pieces; ++i) {
      if (source_.synthetic) continue;
      const int64_t begin = first + i * piece_elements, count = count_at(begin);
      try {
        dir().read(name, static_cast<uint64_t>(begin * width),
                   std::span(place(i), static_cast<size_t>(count * width)));
        bad[static_cast<size_t>(i)] = first_nonfinite(place(i), count, dtype);
      } catch (...) {
        errors[static_cast<size_t>(i)] = std::current_exception();
      }
    }
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t begin = first + i * piece_elements, count = count_at(begin);
      if (errors[static_cast<size_t>(i)]) std::rethrow_exception(errors[static_cast<size_t>(i)]);
      if (bad[static_cast<size_t>(i)] >= 0)
        fail(ErrorKind::bad_input,
             "{}: element {} is NaN or infinite; the file is damaged or the model diverged when it "
             "was made",
             name, begin + bad[static_cast<size_t>(i)]);
      done_ += static_cast<uint64_t>(count * width);
      if (progress_) progress_(done_, total_);
      use(begin, count, std::span(place(i), static_cast<size_t>(count * width)));
    }
  }
}

Tensor Loader::dense(const std::string& name, int64_t rows, int64_t cols, DType dtype,
                     MemoryUse use, const char* label) {
  const Tensor result = home().tensor(rows, cols, dtype, use, label);
  const int64_t n = rows * cols;
  DType stored = source_.spec.dtype;
  if (source_.dir) {
    expect_shape(name, rows, cols);
    stored = dir().info(name).dtype;
    used_.insert(name);
  }
  const Arena::Scope scope(arena());
  const Tensor staging = arena().tensor(1, std::min(n, piece_elements), stored,
                                        MemoryUse::working_set, "load staging");
  if (!filling()) return result;
  const Tensor flat = result.reshaped(1, n);
  read_pieces(name, stored, n, [&](int64_t begin, int64_t count, auto bytes) {
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

// The same random piece for every tensor: what it costs to compute with is all that is asked.
void Loader::synthesize() {
  RandomSequence random(0, 0);
  auto* values = reinterpret_cast<bf16*>(buffer_.get());
  for (int64_t i = 0; i < piece_elements; ++i) {
    float sum = -2;  // four uniforms: nearly normal, of deviation 0.58
    for (int j = 0; j < 4; ++j) sum += uniform_float(random.next());
    values[i] = to_bf16(0.04f * sum);
  }
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
  q.source_dtype = source_.dir ? dir().info(name).dtype : source_.spec.dtype;
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
  read_pieces(name, q.source_dtype, n, [&](int64_t begin, int64_t count, auto bytes) {
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
  const TensorInfo info = dir().info(name);
  if (static_cast<int64_t>(info.bytes) != y.bytes() || (info.dtype != dtype && dtype != DType::u8))
    fail(ErrorKind::bad_input, "{}: {} bytes of {}, expected {} bytes of {}", name, info.bytes,
         name_of(info.dtype), y.bytes(), name_of(dtype));
  used_.insert(name);
  if (!filling()) return;
  read_pieces(name, dtype, y.cols, [&](int64_t begin, int64_t count, auto bytes) {
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
  const TensorInfo info = dir().info(state_name);
  if (info.bytes > 4096)
    fail(ErrorKind::bad_input, "{}: {} bytes, expected at most 4096", state_name, info.bytes);
  std::string text(info.bytes, '\0');
  dir().read(state_name, 0, std::as_writable_bytes(std::span(text)));
  used_.insert(state_name);
  const QuantState state = parse_quant_state(text, state_name);
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
    if (source_.dir) expect_shape(weight, spec.out_features, spec.in_features);
    used_.insert(weight);
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

// A tied model whose file also holds a head: the two must be the same bytes.
void Loader::check_tied_head() {
  const std::string head = "lm_head.weight", embedding = "model.embed_tokens.weight";
  if (!source_.dir || !dir().has(head)) return;
  used_.insert(head);
  if (!filling()) return;
  const TensorInfo a = dir().info(head), b = dir().info(embedding);
  bool equal = a.dtype == b.dtype && a.bytes == b.bytes;
  constexpr size_t piece = piece_elements * sizeof(float);
  const auto other = std::make_unique_for_overwrite<std::byte[]>(piece);
  for (uint64_t begin = 0; equal && begin < a.bytes; begin += piece) {
    const size_t count = std::min<uint64_t>(piece, a.bytes - begin);
    dir().read(head, begin, std::span(buffer_.get(), count));
    dir().read(embedding, begin, std::span(other.get(), count));
    equal = std::memcmp(buffer_.get(), other.get(), count) == 0;
  }
  if (!equal)
    fail(ErrorKind::bad_input,
         "config.json: tie_word_embeddings is true, but {} differs from {}; set it to false if the "
         "head was trained apart",
         head, embedding);
}

void Loader::check_nothing_left() const {
  if (!source_.dir) return;
  for (const std::string& name : dir().names())
    if (!used_.contains(name) && !name.ends_with("rotary_emb.inv_freq"))
      fail(ErrorKind::bad_input,
           "{}: this tensor has no place in a {} model; is model_type in config.json right?", name,
           source_.spec.model_type);
}

void Loader::load_tables() {
  if (filling() && !source_.synthetic) (void)source_.weights();
  if (filling() && source_.synthetic) synthesize();
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
    check_tied_head();
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
  check_nothing_left();
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
