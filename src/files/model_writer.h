// Writes the weights of a Hugging Face model folder, streamed: one model.safetensors, or shards
// model-00001-of-0000N.safetensors with an index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "files/atomic_dir.h"
#include "files/model_dir.h"
#include "files/safetensors.h"

namespace nibble {

class ModelWriter {
 public:
  // Shards are filled in the order of `tensors` up to max_shard_bytes each; a larger tensor has one
  // to itself, and one whose name extends the name before it (w, w.absmax) stays in its shard.
  ModelWriter(const AtomicDir& folder, const std::vector<SafetensorsInfo>& tensors,
              uint64_t max_shard_bytes);

  // Appends bytes to a tensor. A shard's tensors may come in any order, the shards in theirs: one
  // file is open at a time.
  void write(std::string_view tensor, std::span<const std::byte> bytes);
  // Copies a tensor of `from` that has the same name here.
  void copy(const ModelDir& from, const std::string& tensor);
  // Checks that every byte was given, and writes the index where there are several shards.
  void finish();

  size_t shards() const { return shards_.size(); }
  uint64_t total_bytes() const { return total_bytes_; }
  uint64_t written_bytes() const { return written_bytes_; }

 private:
  std::string shard_name(size_t shard) const;
  void open_shard(size_t shard);

  const AtomicDir& folder_;
  std::vector<std::vector<SafetensorsInfo>> shards_;
  std::map<std::string, size_t, std::less<>> shard_of_;
  size_t current_ = 0;
  std::optional<SafetensorsWriter> writer_;
  uint64_t total_bytes_ = 0, written_bytes_ = 0;
};

// The files beside the weights that a derived folder takes over byte for byte (tokenizer.json,
// ...), and `others`, name and bytes, in place of those of the same names.
void copy_side_files(const ModelDir& from, AtomicDir& to,
                     const std::map<std::string, std::string>& others = {});

}  // namespace nibble
