#include "files/model_dir.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cmath>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "files/json.h"

namespace nibble {
namespace {

constexpr uint64_t max_config_bytes = uint64_t{4} << 20;
constexpr uint64_t max_index_bytes = uint64_t{64} << 20;
constexpr size_t max_shards = 4096;
constexpr const char* single_name = "model.safetensors";
constexpr const char* index_name = "model.safetensors.index.json";

constexpr std::array side_file_names = {
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
};

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// A link as the Hugging Face cache makes them: snapshots/<revision>/<name> -> ../../blobs/<hash>.
bool is_cache_link(std::string_view target) {
  constexpr std::string_view blobs = "../../blobs/";
  if (!target.starts_with(blobs)) return false;
  const std::string_view hash = target.substr(blobs.size());
  return (hash.size() == 40 || hash.size() == 64) && is_hex(hash);
}

// What is wrong with a shard's name, or "". It must be a plain file name: it is only ever looked
// up in the model's own folder.
std::string problem_with_shard_name(std::string_view name) {
  if (name.size() > NAME_MAX) return "is too long for a file name";
  if (!name.ends_with(".safetensors") || name == ".safetensors") {
    return "does not end in .safetensors";
  }
  if (name.find("..") != name.npos) return "holds '..'";
  for (const char c : name) {
    if (c == '/' || c == '\\' || c == ':') return "is not a plain file name in this folder";
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return "holds a control character";
  }
  return "";
}

std::string ascii_lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// metadata.total_size, which some writers store as 123.0.
std::optional<uint64_t> total_size(const nlohmann::json& index, const std::string& who) {
  const auto metadata = index.find("metadata");
  if (metadata == index.end() || !metadata->is_object()) return std::nullopt;
  const auto size = metadata->find("total_size");
  if (size == metadata->end()) return std::nullopt;
  if (size->is_number_unsigned()) return size->get<uint64_t>();
  if (size->is_number_float()) {
    const double value = size->get<double>();
    if (value >= 0 && value < 9e15 && value == std::floor(value)) {
      return static_cast<uint64_t>(value);
    }
  }
  fail(ErrorKind::bad_input, "{}: metadata.total_size: got {}, expected a number of bytes", who,
       printable(size->dump()));
}

// weight_map, checked: which tensors each shard must hold.
std::map<std::string, std::set<std::string>> shards_of(const nlohmann::json& index,
                                                       const std::string& who) {
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object()) {
    fail(ErrorKind::bad_input, "{}: weight_map: expected an object of tensor name to shard name",
         who);
  }
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, value] : map->items()) {
    if (!value.is_string()) {
      fail(ErrorKind::bad_input, "{}: weight_map: {}: expected the name of a shard", who,
           printable(tensor));
    }
    const auto& shard = value.get_ref<const std::string&>();
    if (std::string problem = problem_with_shard_name(shard); !problem.empty()) {
      fail(ErrorKind::bad_input, "{}: weight_map: {}: {} {}", who, printable(tensor),
           printable(shard), problem);
    }
    shards[shard].insert(tensor);
    if (shards.size() > max_shards) {
      fail(ErrorKind::bad_input, "{}: weight_map: more than {} shards", who, max_shards);
    }
  }
  std::map<std::string, std::string> lower;
  for (const auto& [shard, tensors] : shards) {
    const auto [other, added] = lower.emplace(ascii_lower(shard), shard);
    if (!added) {
      fail(ErrorKind::bad_input, "{}: weight_map: {} and {} differ only in case", who,
           printable(other->second), printable(shard));
    }
  }
  return shards;
}

}  // namespace

ModelDir::ModelDir(const std::filesystem::path& path)
    : path_(path), directory_(open_directory(path)) {
  const auto read_json = [this](const std::string& name) {
    const auto file = open_entry(name);
    const std::string who = (path_ / name).string();
    if (!file) fail(ErrorKind::bad_input, "{}: missing; is this a model folder?", who);
    nlohmann::json json =
        parse_json(read_whole(*file, max_config_bytes, who), who, {.max_bytes = max_config_bytes});
    if (!json.is_object()) fail(ErrorKind::bad_input, "{}: expected a JSON object", who);
    return json;
  };
  config_ = read_json("config.json");
  if (open_entry("generation_config.json")) {
    generation_config_ = read_json("generation_config.json");
  }

  const bool single = open_entry(single_name).has_value();
  const auto index_file = open_entry(index_name);
  if (single) {
    if (index_file) {
      warnings_.push_back(
          fmt::format("{}: both {} and {} are there; reading the first, as "
                      "transformers does",
                      path_.string(), single_name, index_name));
    }
    open_single();
  } else if (index_file) {
    const std::string who = (path_ / index_name).string();
    open_shards(parse_json(read_whole(*index_file, max_index_bytes, who), who,
                           {.max_bytes = max_index_bytes}));
  } else {
    const auto there = [this](const char* name) {
      return kind_of(path_ / name) != PathKind::nothing;
    };
    const bool pickle = there("pytorch_model.bin") || there("pytorch_model.bin.index.json");
    const bool adapter = there("adapter_model.safetensors");
    fail(ErrorKind::bad_input, "{}: neither {} nor {} is there{}", path_.string(), single_name,
         index_name,
         pickle    ? "; pytorch_model.bin is a pickle, which can run code and is never read: "
                     "convert the model to safetensors"
         : adapter ? "; this is an adapter: give the folder of its base model"
                   : "");
  }
  if (places_.empty()) fail(ErrorKind::bad_input, "{}: the model has no tensors", path_.string());
}

// Nothing when there is no such entry. Symbolic links are followed only into the cache's blobs: a
// folder from outside must not make Nibble read files elsewhere.
std::optional<FileDescriptor> ModelDir::open_entry(const std::string& name) const {
  const std::string who = (path_ / name).string();
  struct stat status {};
  if (fstatat(directory_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return std::nullopt;
    fail(ErrorKind::bad_input, "{}: {}", who, std::generic_category().message(errno));
  }
  if (!S_ISLNK(status.st_mode)) return open_for_reading(directory_.get(), name, who, O_NOFOLLOW);
  std::array<char, 128> buffer;
  const ssize_t length = readlinkat(directory_.get(), name.c_str(), buffer.data(), buffer.size());
  const std::string target(buffer.data(), length > 0 ? static_cast<size_t>(length) : 0);
  if (!is_cache_link(target)) {
    fail(ErrorKind::bad_input,
         "{}: is a symbolic link to {}, expected a file or a link into ../../blobs/ as the "
         "Hugging Face cache makes; put the file itself here",
         who, printable(target));
  }
  return open_for_reading(directory_.get(), target, who, O_NOFOLLOW);
}

void ModelDir::open_single() {
  files_.emplace_back(*open_entry(single_name), (path_ / single_name).string());
  const auto& tensors = files_.front().tensors();
  for (size_t i = 0; i < tensors.size(); ++i) places_[tensors[i].name] = {0, i};
  const auto& warnings = files_.front().warnings();
  warnings_.insert(warnings_.end(), warnings.begin(), warnings.end());
}

void ModelDir::open_shards(const nlohmann::json& index) {
  const std::string who = (path_ / index_name).string();
  if (!index.is_object()) fail(ErrorKind::bad_input, "{}: expected a JSON object", who);
  const auto shards = shards_of(index, who);

  std::vector<std::pair<std::string, FileDescriptor>> opened;
  std::string missing;
  for (const auto& [shard, tensors] : shards) {
    if (auto file = open_entry(shard)) {
      opened.emplace_back(shard, std::move(*file));
    } else {
      missing += (missing.empty() ? "" : ", ") + shard;
    }
  }
  if (!missing.empty()) {
    fail(ErrorKind::bad_input, "{}: missing shards: {}; is the download complete?", who, missing);
  }

  for (auto& [shard, file] : opened) {
    const auto& expected = shards.at(shard);
    SafetensorsFile& contents = files_.emplace_back(std::move(file), (path_ / shard).string());
    const auto& tensors = contents.tensors();
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (!expected.contains(tensors[i].name)) {
        const auto& map = index.at("weight_map");
        const auto elsewhere = map.find(tensors[i].name);
        fail(ErrorKind::bad_input, "{}: holds tensor {}, which {} {}", contents.who(),
             printable(tensors[i].name), index_name,
             elsewhere == map.end() ? "does not list" : "places in " + elsewhere->dump());
      }
      places_[tensors[i].name] = {files_.size() - 1, i};
    }
    for (const auto& name : expected) {
      if (!contents.find(name)) {
        fail(ErrorKind::bad_input, "{}: has no tensor {}, which {} places there", contents.who(),
             printable(name), index_name);
      }
    }
    warnings_.insert(warnings_.end(), contents.warnings().begin(), contents.warnings().end());
  }
  if (const auto expected = total_size(index, who); expected && *expected != total_bytes()) {
    fail(ErrorKind::bad_input, "{}: metadata.total_size is {}, but the shards hold {} bytes", who,
         *expected, total_bytes());
  }
}

bool ModelDir::has(std::string_view name) const { return places_.contains(std::string(name)); }

std::vector<std::string> ModelDir::names() const {
  std::vector<std::string> names;
  names.reserve(places_.size());
  for (const auto& [name, place] : places_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

uint64_t ModelDir::total_bytes() const {
  uint64_t bytes = 0;  // cannot overflow: each file's data is on the disk
  for (const auto& file : files_) bytes += file.data_bytes();
  return bytes;
}

ModelDir::Place ModelDir::place(std::string_view name) const {
  const auto found = places_.find(std::string(name));
  if (found == places_.end()) {
    fail(ErrorKind::bad_input, "{}: the model has no tensor {}", path_.string(), printable(name));
  }
  return found->second;
}

TensorInfo ModelDir::info(std::string_view name) const {
  const Place at = place(name);
  const SafetensorsInfo& tensor = files_[at.file].tensors()[at.tensor];
  const auto dtype = dtype_of_safetensors(tensor.dtype);
  if (!dtype) {
    fail(ErrorKind::bad_input, "{}: tensor {} has dtype {}, expected F32, F16, BF16, U8 or I32",
         files_[at.file].who(), printable(name), tensor.dtype);
  }
  return {*dtype, tensor.shape, tensor.bytes()};
}

void ModelDir::read(std::string_view name, uint64_t byte_offset, std::span<std::byte> out) const {
  const Place at = place(name);
  files_[at.file].read(files_[at.file].tensors()[at.tensor], byte_offset, out);
}

void ModelDir::check_unchanged() const {
  for (const auto& file : files_) file.check_unchanged();
}

std::vector<std::string> ModelDir::side_files() const {
  std::vector<std::string> present;
  for (const char* name : side_file_names) {
    if (open_entry(name)) present.emplace_back(name);
  }
  return present;
}

std::optional<std::string> ModelDir::read_file(const std::string& name, uint64_t max_bytes) const {
  const auto file = open_entry(name);
  if (!file) return std::nullopt;
  return read_whole(*file, max_bytes, (path_ / name).string());
}

}  // namespace nibble
