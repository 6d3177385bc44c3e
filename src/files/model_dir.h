// A Hugging Face model folder: config.json and safetensors weights, in one file or in shards with
// an index. Opening checks every rule of docs/formats.md about the folder; reading copies bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/dtype.h"
#include "files/file_io.h"
#include "files/safetensors.h"

namespace nibble {

struct TensorInfo {
  DType dtype;
  std::vector<uint64_t> shape;
  uint64_t bytes = 0;
};

class ModelDir {
 public:
  // Throws Error(bad_input) naming file and field, before any weight is read.
  explicit ModelDir(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const nlohmann::json& config() const { return config_; }
  const std::optional<nlohmann::json>& generation_config() const { return generation_config_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

  bool has(std::string_view name) const;
  std::vector<std::string> names() const;  // sorted
  uint64_t total_bytes() const;            // of all tensors

  // Throws Error(bad_input) when there is no such tensor or Nibble has no type for its dtype.
  TensorInfo info(std::string_view name) const;

  // Fills `out` from byte `byte_offset` of the tensor. Safe to call from several threads.
  void read(std::string_view name, uint64_t byte_offset, std::span<std::byte> out) const;

  // Throws if a weight file changed since it was opened: call when all is read.
  void check_unchanged() const;

  // Files present here that a folder derived from this model takes over byte for byte
  // (tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json, ...).
  std::vector<std::string> side_files() const;
  // The bytes of such a file, or nothing when it is absent.
  std::optional<std::string> read_file(const std::string& name, uint64_t max_bytes) const;

 private:
  struct Place {
    size_t file = 0, tensor = 0;
  };
  void open_single();
  void open_shards(const nlohmann::json& index);
  std::optional<FileDescriptor> open_entry(const std::string& name) const;
  Place place(std::string_view name) const;

  std::filesystem::path path_;
  FileDescriptor directory_;
  nlohmann::json config_;
  std::optional<nlohmann::json> generation_config_;
  std::vector<SafetensorsFile> files_;
  std::unordered_map<std::string, Place> places_;
  std::vector<std::string> warnings_;
};

}  // namespace nibble
