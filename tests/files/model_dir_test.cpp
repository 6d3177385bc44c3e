// Model folders: real ones, and the folder inputs 100 to 120, 128 and 129 of docs/formats.md.
#include "files/model_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "support/data.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;
using std::string;

// A safetensors file of F32 vectors of 2 with these names; element i of the k-th is 10 k + i.
string shard(const std::vector<string>& names) {
  const TempDir folder;
  std::vector<SafetensorsInfo> infos;
  for (const string& name : names) infos.push_back({name, "F32", {2}});
  SafetensorsWriter writer(folder / "shard", infos);
  for (size_t k = 0; k < names.size(); ++k) {
    const float values[] = {static_cast<float>(10 * k), static_cast<float>(10 * k + 1)};
    writer.write(names[k], std::as_bytes(std::span(values)));
  }
  writer.finish();
  return read_file(folder / "shard");
}

class ModelDirTest : public testing::Test {
 protected:
  void put(const string& name, const string& bytes) { write_file(folder_ / name, bytes); }

  // Two good shards: a and b in the first, c in the second; the index with `map` entries.
  void put_shards(const string& map = R"("a":"m-1.safetensors","b":"m-1.safetensors",
                                         "c":"m-2.safetensors")",
                  const string& metadata = R"({"total_size":24})") {
    put("config.json", "{}");
    put("m-1.safetensors", shard({"a", "b"}));
    put("m-2.safetensors", shard({"c"}));
    put_index(R"({"metadata":)" + metadata + R"(,"weight_map":{)" + map + "}}");
  }
  void put_index(const string& text) { put("model.safetensors.index.json", text); }
  // The index maps "c" to this name.
  void map_c_to(const string& name) {
    put_shards(R"("a":"m-1.safetensors","b":"m-1.safetensors","c":)" + nlohmann::json(name).dump());
  }

  // The folder is refused as bad input, in one line that holds `part`.
  void expect_refused(const string& part) {
    try {
      ModelDir model(folder_.path());
      ADD_FAILURE() << "accepted; expected: " << part;
    } catch (const Error& error) {
      const string message = error.what();
      EXPECT_EQ(error.kind(), ErrorKind::bad_input) << message;
      EXPECT_NE(message.find(part), string::npos) << message;
      EXPECT_EQ(message.find('\n'), string::npos) << message;
    }
  }

  TempDir folder_;
};

TEST_F(ModelDirTest, ReadsASingleFile) {
  put("config.json", R"({"model_type":"llama"})");
  put("model.safetensors", shard({"x", "y"}));
  const ModelDir model(folder_.path());
  EXPECT_EQ(model.config()["model_type"], "llama");
  EXPECT_FALSE(model.generation_config());
  EXPECT_EQ(model.names(), (std::vector<string>{"x", "y"}));
  EXPECT_TRUE(model.has("x"));
  EXPECT_FALSE(model.has("z"));
  EXPECT_EQ(model.total_bytes(), 16u);
  const TensorInfo info = model.info("y");
  EXPECT_EQ(info.dtype, DType::f32);
  EXPECT_EQ(info.shape, (std::vector<uint64_t>{2}));
  EXPECT_EQ(info.bytes, 8u);
  float second = 0;
  model.read("y", 4, std::as_writable_bytes(std::span(&second, 1)));
  EXPECT_EQ(second, 11);
  model.check_unchanged();
}

TEST_F(ModelDirTest, ReadsShards) {
  put_shards();
  const ModelDir model(folder_.path());
  EXPECT_EQ(model.names(), (std::vector<string>{"a", "b", "c"}));
  float values[2];
  model.read("c", 0, std::as_writable_bytes(std::span(values)));
  EXPECT_EQ(values[1], 1);
  model.read("b", 0, std::as_writable_bytes(std::span(values)));
  EXPECT_EQ(values[1], 11);
  EXPECT_EQ(model.total_bytes(), 24u);
  EXPECT_TRUE(model.warnings().empty());
}

TEST_F(ModelDirTest, ReadsWhatTransformersWrites) {
  const ModelDir sharded(golden("models/llama3_sharded"));
  EXPECT_TRUE(sharded.has("model.embed_tokens.weight"));
  const ModelDir single(golden("models/llama3_bf16"));
  EXPECT_EQ(single.info("model.norm.weight").dtype, DType::bf16);
  EXPECT_EQ(single.config()["model_type"], "llama");
}

TEST_F(ModelDirTest, ReadsTheSmallRealModel) {
  NIBBLE_NEEDS_SHARED_DATA();
  const ModelDir model(shared_data() / "models/tinystories-260k");
  EXPECT_EQ(model.info("model.embed_tokens.weight").shape, (std::vector<uint64_t>{512, 64}));
  for (const string& name : model.names()) {
    std::vector<std::byte> bytes(model.info(name).bytes);
    model.read(name, 0, bytes);
  }
  model.check_unchanged();
  const auto side_files = model.side_files();
  EXPECT_NE(std::find(side_files.begin(), side_files.end(), "tokenizer.json"), side_files.end());
}

TEST_F(ModelDirTest, SideFilesAreListedAndReadAsTheyAre) {
  put_shards();
  put("tokenizer.json", "{ \"odd\":  spacing\r\n");
  put("chat_template.jinja", "{{ x }}");
  put("pytorch_model.bin", "no");
  const ModelDir model(folder_.path());
  EXPECT_EQ(model.side_files(), (std::vector<string>{"tokenizer.json", "chat_template.jinja"}));
  EXPECT_EQ(model.read_file("tokenizer.json", 100), "{ \"odd\":  spacing\r\n");
  EXPECT_THROW(model.read_file("tokenizer.json", 5), Error);
  EXPECT_EQ(model.read_file("vocab.json", 100), std::nullopt);
}

TEST_F(ModelDirTest, DTypesItHasNoTypeForAreNamedOnlyWhenUsed) {
  put("config.json", "{}");
  {
    SafetensorsWriter writer(folder_ / "model.safetensors", {{"f4", "F4", {2}}});
    writer.write("f4", std::vector<std::byte>(1));
    writer.finish();
  }
  const ModelDir model(folder_.path());
  EXPECT_TRUE(model.has("f4"));
  try {
    model.info("f4");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(string(error.what()).find("\"f4\" has dtype F4"), string::npos) << error.what();
  }
  EXPECT_THROW(model.info("none"), Error);
}

TEST_F(ModelDirTest, Input100To102ShardNamesThatLeaveTheFolder) {
  for (const char* name :
       {"../../etc/passwd", "../x.safetensors", "/etc/passwd", "/tmp/x.safetensors",
        "a/../b.safetensors", "a/b.safetensors", "..safetensors/..", "a..safetensors",
        "C:x.safetensors", "a\\b.safetensors", "", ".safetensors", "x.bin", "a\nb.safetensors"}) {
    map_c_to(name);
    expect_refused("weight_map: \"c\":");
  }
  map_c_to(string("m\0.safetensors", 14));
  expect_refused("control character");
  map_c_to(string(300, 'x') + ".safetensors");
  expect_refused("too long");
}

TEST_F(ModelDirTest, Input103Pipe) {
  map_c_to("pipe.safetensors");
  ASSERT_EQ(mkfifo((folder_ / "pipe.safetensors").c_str(), 0600), 0);
  expect_refused("got a pipe");  // and does not wait for a writer
}

TEST_F(ModelDirTest, Input104Folder) {
  map_c_to("folder.safetensors");
  fs::create_directory(folder_ / "folder.safetensors");
  expect_refused("got a folder");
}

TEST_F(ModelDirTest, Input105Device) {
  map_c_to("zero.safetensors");
  fs::create_symlink("/dev/zero", folder_ / "zero.safetensors");
  expect_refused("symbolic link");
  EXPECT_THROW(SafetensorsFile(fs::path("/dev/zero")), Error);
}

TEST_F(ModelDirTest, Input106LinkLoop) {
  map_c_to("loop.safetensors");
  fs::create_symlink("loop.safetensors", folder_ / "loop.safetensors");
  expect_refused("symbolic link");
}

TEST_F(ModelDirTest, LinksOnlyIntoTheCachesBlobs) {
  // As the Hugging Face cache lays a model out.
  const TempDir cache;
  const string hash(64, 'a'), small_hash(40, 'b');
  fs::create_directories(cache / "blobs");
  fs::create_directories(cache / "snapshots/0123");
  write_file(cache / ("blobs/" + hash), shard({"x"}));
  write_file(cache / ("blobs/" + small_hash), R"({"model_type":"llama"})");
  fs::create_symlink("../../blobs/" + hash, cache / "snapshots/0123/model.safetensors");
  fs::create_symlink("../../blobs/" + small_hash, cache / "snapshots/0123/config.json");
  EXPECT_TRUE(ModelDir(cache / "snapshots/0123").has("x"));

  for (const string& target : {string("../../blobs/../../secret"), string("../../blobs/xyz"),
                               (cache / ("blobs/" + hash)).string(), "../../../blobs/" + hash}) {
    fs::remove(cache / "snapshots/0123/model.safetensors");
    fs::create_symlink(target, cache / "snapshots/0123/model.safetensors");
    EXPECT_THROW(ModelDir(cache / "snapshots/0123"), Error) << target;
  }
  // A blob that is itself a link leads out again.
  fs::remove(cache / "snapshots/0123/model.safetensors");
  fs::create_symlink("../../blobs/" + hash, cache / "snapshots/0123/model.safetensors");
  fs::rename(cache / ("blobs/" + hash), cache / "elsewhere");
  fs::create_symlink(cache / "elsewhere", cache / ("blobs/" + hash));
  EXPECT_THROW(ModelDir(cache / "snapshots/0123"), Error);
}

TEST_F(ModelDirTest, Input107To110ForeignBytes) {
  map_c_to("c.safetensors");
  put("c.safetensors", "");
  expect_refused("got 0 bytes");
  put("c.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  expect_refused("Git LFS pointer");
  put("c.safetensors", "<!DOCTYPE html><title>404</title>");
  expect_refused("HTML");
  put("c.safetensors", "PK\x03\x04 archive of torch.save");
  expect_refused("zip archive");
}

TEST_F(ModelDirTest, Input111SameTensorInTwoShards) {
  put_shards();
  put("m-2.safetensors", shard({"b", "c"}));
  expect_refused("m-2.safetensors: holds tensor \"b\"");
}

TEST_F(ModelDirTest, Input112TensorInTheWrongShard) {
  put_shards(R"("a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors")");
  expect_refused("m-1.safetensors: holds tensor \"b\"");
  put_shards(R"("a":"m-1.safetensors","b":"m-1.safetensors","c":"m-2.safetensors",
                "d":"m-2.safetensors")");
  expect_refused("m-2.safetensors: has no tensor \"d\"");
}

TEST_F(ModelDirTest, ATensorThatTheIndexDoesNotListIsRefused) {
  put_shards(R"("a":"m-1.safetensors","c":"m-2.safetensors")");
  expect_refused("does not list");
}

TEST_F(ModelDirTest, Input113MissingShardsAreAllListed) {
  put_shards(R"("a":"m-1.safetensors","b":"m-7.safetensors","c":"m-8.safetensors")");
  expect_refused("missing shards: m-7.safetensors, m-8.safetensors;");
}

TEST_F(ModelDirTest, Input114WeightMapOfTheWrongKind) {
  put_shards();
  for (const char* index :
       {R"({"weight_map":["a"]})", R"({"weight_map":null})", "{}", R"({"weight_map":{"a":1}})"}) {
    put_index(index);
    expect_refused("weight_map");
  }
  put_index("[]");
  expect_refused("expected a JSON object");
}

TEST_F(ModelDirTest, Input115ManyShards) {
  string map;
  for (int i = 0; i < 100'000; ++i) {
    map += fmt::format("{}\"t{}\":\"m-{}.safetensors\"", i ? "," : "", i, i);
  }
  put_shards(map);
  expect_refused("more than 4096 shards");
}

TEST_F(ModelDirTest, Input116HugeIndex) {
  put_shards();
  fs::resize_file(folder_ / "model.safetensors.index.json", 200'000'000);  // sparse
  expect_refused("got 200000000 bytes, expected at most");
}

TEST_F(ModelDirTest, Input117DuplicateKeysInTheMap) {
  put_shards(R"("a":"m-1.safetensors","b":"m-1.safetensors","c":"m-1.safetensors",
                "c":"m-2.safetensors")");
  expect_refused("duplicate key \"c\"");
}

TEST_F(ModelDirTest, Input118WrongTotalSize) {
  const string map = R"("a":"m-1.safetensors","b":"m-1.safetensors","c":"m-2.safetensors")";
  for (const char* size : {"23", "0", "25.0", "-24", "\"24\"", "24.5", "1e300"}) {
    put_shards(map, R"({"total_size":)" + string(size) + "}");
    expect_refused("total_size");
  }
  for (const char* metadata : {R"({"total_size":24.0})", "{}", R"({"total_parameters":6})"}) {
    put_shards(map, metadata);
    EXPECT_NO_THROW(ModelDir(folder_.path())) << metadata;
  }
}

TEST_F(ModelDirTest, Input119NamesThatDifferOnlyInCase) {
  put_shards(R"("a":"m-1.safetensors","b":"M-1.safetensors","c":"m-2.safetensors")");
  expect_refused("differ only in case");
}

TEST_F(ModelDirTest, Input120ShardShrinksDuringTheLoad) {
  put_shards();
  const ModelDir model(folder_.path());
  fs::resize_file(folder_ / "m-1.safetensors", fs::file_size(folder_ / "m-1.safetensors") - 8);
  float values[2];
  EXPECT_THROW(model.read("b", 0, std::as_writable_bytes(std::span(values))), Error);
  EXPECT_THROW(model.check_unchanged(), Error);
}

TEST_F(ModelDirTest, Input128And129ConfigThatIsNoStrictJson) {
  put_shards();
  put("config.json", string(100'000, '['));
  expect_refused("nested deeper");
  put("config.json", "\xEF\xBB\xBF{}");
  expect_refused("byte order mark");
  put("config.json", R"({"hidden_size":1,"hidden_size":2})");
  expect_refused("duplicate key \"hidden_size\"");
  put("config.json", "[]");
  expect_refused("expected a JSON object");
  fs::remove(folder_ / "config.json");
  expect_refused("config.json: missing");
}

TEST_F(ModelDirTest, GenerationConfigIsOptionalButStrict) {
  put_shards();
  put("generation_config.json", R"({"eos_token_id":[1,2]})");
  EXPECT_EQ((*ModelDir(folder_.path()).generation_config())["eos_token_id"][1], 2);
  put("generation_config.json", "{");
  expect_refused("generation_config.json");
}

TEST_F(ModelDirTest, SaysWhatIsThereInsteadOfWeights) {
  put("config.json", "{}");
  expect_refused("neither model.safetensors nor");
  put("pytorch_model.bin", "x");
  expect_refused("pickle");
  put("model.safetensors", string("\x02\0\0\0\0\0\0\0{}", 10));
  expect_refused("no tensors");
  EXPECT_THROW(ModelDir(folder_ / "absent"), Error);
  EXPECT_THROW(ModelDir(folder_ / "config.json"), Error);
}

TEST_F(ModelDirTest, PrefersTheSingleFileAndSaysSo) {
  put_shards();
  put("model.safetensors", shard({"x"}));
  const ModelDir model(folder_.path());
  EXPECT_TRUE(model.has("x"));
  EXPECT_EQ(model.warnings().size(), 1u);
}

}  // namespace
}  // namespace nibble::test
