// Loading: what it refuses, what it takes, and that it streams.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "ops/cpu/cpu_ops.h"
#include "support/data.h"
#include "support/golden_model.h"
#include "transformer/tensor_reader.h"

namespace nibble::test {
namespace {
namespace fs = std::filesystem;

// A copy of a golden folder that a test may damage.
class Copy {
 public:
  explicit Copy(const std::string& name) {
    for (const auto& entry : fs::directory_iterator(golden("models") / name))
      if (entry.is_regular_file()) fs::copy(entry.path(), folder_ / entry.path().filename());
  }
  std::string path() const { return folder_.path().string(); }

  nlohmann::json config() const {
    return nlohmann::json::parse(read_file(folder_ / "config.json"));
  }
  void set_config(const nlohmann::json& config) {
    write_file(folder_ / "config.json", config.dump());
  }

  // Rewrites the weights with one tensor changed by `change(info, bytes)`, or left out.
  template <typename Change>
  void rewrite(const Change& change) {
    const SafetensorsFile file(folder_ / "model.safetensors");
    std::map<std::string, std::string> data;
    std::vector<SafetensorsInfo> infos;
    for (SafetensorsInfo info : file.tensors()) {
      std::string bytes(info.bytes(), '\0');
      file.read(info, 0, std::as_writable_bytes(std::span(bytes)));
      if (!change(info, bytes)) continue;
      data[info.name] = bytes;
      infos.push_back(info);
    }
    const fs::path next = folder_ / "next.safetensors";
    SafetensorsWriter writer(next, infos);
    for (const SafetensorsInfo& info : writer.order())
      writer.write(info.name, std::as_bytes(std::span(data[info.name])));
    writer.finish();
    fs::rename(next, folder_ / "model.safetensors");
  }

 private:
  TempDir folder_;
};

TrainOptions options_for(const std::string& path) {
  TrainOptions options;
  options.model_name_or_path = path;
  options.bnb_4bit_compute_dtype = "float32";
  return options;
}

void expect_refused(const std::string& path, const std::string& named) {
  try {
    TrainingRig rig(options_for(path));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
  }
}

// More pieces than are read at a time.
TEST(TensorReader, GivesPiecesInOrder) {
  constexpr int64_t n = 9 * TensorReader::piece_elements + 5;
  std::vector<uint16_t> values(n);
  for (int64_t i = 0; i < n; ++i)
    values[static_cast<size_t>(i)] = static_cast<uint16_t>((7 * i + i / 65536) % 0x4000);
  TempDir folder;
  write_file(folder / "config.json", read_file(golden("models") / "llama2" / "config.json"));
  const auto read = [&](const TensorReader::TakePiece& take) {
    fs::remove(folder / "model.safetensors");
    SafetensorsWriter writer(folder / "model.safetensors", {{"t", "BF16", {n}, 0, 2 * n}});
    writer.write("t", std::as_bytes(std::span(values)));
    writer.finish();
    const ModelSource source = ModelSource::open(folder.path().string());
    TensorReader(source, {}).read("t", DType::bf16, n, take);
  };
  int64_t next = 0;
  read([&](int64_t begin, int64_t count, std::span<const std::byte> bytes) {
    ASSERT_EQ(begin, next);
    ASSERT_EQ(bytes.size(), static_cast<size_t>(2 * count));
    EXPECT_EQ(std::memcmp(bytes.data(), values.data() + begin, bytes.size()), 0) << begin;
    next = begin + count;
  });
  EXPECT_EQ(next, n);

  constexpr int64_t bad = 8 * TensorReader::piece_elements + 77;
  values[static_cast<size_t>(bad)] = 0x7fc0;
  int64_t taken = 0;
  try {
    read([&](int64_t, int64_t count, auto) { taken += count; });
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(fmt::format("t: element {} is NaN", bad)),
              std::string::npos)
        << error.what();
  }
  EXPECT_EQ(taken, 8 * TensorReader::piece_elements);
}

TEST(Load, RefusesNonFiniteWeights) {
  for (const uint32_t bits : {0x7fc00000u, 0x7f800000u, 0xff800000u}) {
    Copy copy("llama2");
    copy.rewrite([&](const SafetensorsInfo& info, std::string& bytes) {
      if (info.name == "model.layers.1.mlp.up_proj.weight")
        std::memcpy(bytes.data() + 40, &bits, 4);
      return true;
    });
    expect_refused(copy.path(), "model.layers.1.mlp.up_proj.weight: element 10 is NaN or infinite");
  }
}

TEST(Load, RefusesMissingSurplusAndMisshapenTensors) {
  {
    Copy copy("llama2");
    copy.rewrite([](const SafetensorsInfo& info, std::string&) {
      return info.name != "model.layers.0.mlp.down_proj.weight";
    });
    expect_refused(copy.path(), "model.layers.0.mlp.down_proj.weight");
  }
  {
    Copy copy("llama2");
    copy.rewrite([](SafetensorsInfo& info, std::string&) {
      if (info.name == "model.norm.weight") info.name = "model.layers.0.self_attn.q_norm.weight";
      return true;
    });
    expect_refused(copy.path(), "model.norm.weight");
  }
  {
    Copy copy("llama2");
    nlohmann::json config = copy.config();
    config["intermediate_size"] = config["intermediate_size"].get<int>() + 1;
    copy.set_config(config);
    expect_refused(copy.path(), "expected [");
  }
  {
    Copy copy("qwen3");  // its q_norm has no place in a llama
    nlohmann::json config = copy.config();
    config["model_type"] = "llama";
    copy.set_config(config);
    expect_refused(copy.path(), "has no place in a llama model");
  }
}

TEST(Load, RefusesAHeadThatDiffersFromItsTiedEmbedding) {
  Copy copy("llama2");
  nlohmann::json config = copy.config();
  config["tie_word_embeddings"] = true;
  copy.set_config(config);
  expect_refused(copy.path(), "tie_word_embeddings is true, but lm_head.weight differs");
}

TEST(Load, RefusesOtherQuantizations) {
  Copy copy("llama2");
  nlohmann::json config = copy.config();
  config["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  copy.set_config(config);
  expect_refused(copy.path(), "gptq");
}

TEST(Load, FourBitFolderCannotBeTrainedIn16Bit) {
  TrainOptions options = options_for((golden("models") / "bnb_llama").string());
  options.load_in_4bit = false;
  try {
    TrainingRig rig(options);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
  }
}

// At most the quantized model plus two of its largest tensors, at any moment of loading.
TEST(Load, StreamsTensorByTensor) {
  for (const bool four_bit : {true, false}) {
    const ModelSource source = ModelSource::open((golden("models") / "llama3_bf16").string());
    uint64_t largest = 0;
    for (const std::string& name : source.weights().names())
      largest = std::max(largest, source.weights().info(name).bytes);
    const Buffer buffer = Buffer::host(size_t{64} << 20);
    Arena arena(buffer.data(), buffer.size());
    CpuOps ops(arena, 2);
    WeightOptions options;
    options.compute = DType::f32;
    options.load_in_4bit = four_bit;
    load_weights(source, options, ops);
    // One host piece beside the arena, no larger than the tensor it is read from.
    EXPECT_LE(arena.peak().bytes + largest, arena.used() + 2 * largest + 2 * Arena::alignment);
  }
}

TEST(Load, LoadingIsReproducible) {
  const auto codes = [] {
    TrainingRig rig(options_for((golden("models") / "llama2").string()));
    const Tensor t = rig.step.weights().blocks[1].linears[0].quantized.codes;
    std::string bytes(static_cast<size_t>(t.bytes()), '\0');
    rig.ops.download(std::as_writable_bytes(std::span(bytes)), t);
    return bytes;
  };
  EXPECT_EQ(codes(), codes());
}

}  // namespace
}  // namespace nibble::test
