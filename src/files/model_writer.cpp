#include "files/model_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "files/safetensors_rules.h"

namespace nibble {
namespace {

constexpr uint64_t copy_bytes = uint64_t{4} << 20;
constexpr uint64_t max_side_file_bytes = uint64_t{256} << 20;

}  // namespace

ModelWriter::ModelWriter(const AtomicDir& folder, const std::vector<SafetensorsInfo>& tensors,
                         uint64_t max_shard_bytes)
    : folder_(folder) {
  uint64_t shard_bytes = 0;
  std::string whole;  // what names that stay together begin with
  for (const SafetensorsInfo& tensor : tensors) {
    uint64_t bytes = 0;
    if (const std::string problem = safetensors::problem_with(tensor, bytes); !problem.empty())
      fail(ErrorKind::internal, "{}: tensor {} {}", folder.target().string(), tensor.name, problem);
    const bool extends = !whole.empty() && tensor.name.starts_with(whole + ".");
    if (shards_.empty() || (!extends && shard_bytes + bytes > max_shard_bytes && shard_bytes > 0)) {
      shards_.emplace_back();
      shard_bytes = 0;
    }
    if (!extends) whole = tensor.name;
    shards_.back().push_back(tensor);
    shard_of_[tensor.name] = shards_.size() - 1;
    shard_bytes += bytes;
    total_bytes_ += bytes;
  }
  if (shards_.empty()) fail(ErrorKind::internal, "{}: no tensors", folder.target().string());
  open_shard(0);
}

std::string ModelWriter::shard_name(size_t shard) const {
  if (shards_.size() == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards_.size());
}

void ModelWriter::open_shard(size_t shard) {
  if (writer_) writer_->finish();
  writer_.reset();  // closes the file before the next is reserved
  writer_.emplace(folder_.path() / shard_name(shard), shards_[shard]);
  current_ = shard;
}

void ModelWriter::write(std::string_view tensor, std::span<const std::byte> bytes) {
  const auto found = shard_of_.find(tensor);
  if (found == shard_of_.end() || found->second < current_)
    fail(ErrorKind::internal, "{}: tensor {} has no place in shard {} or later",
         folder_.target().string(), tensor, current_ + 1);
  while (current_ < found->second) open_shard(current_ + 1);
  writer_->write(tensor, bytes);
  written_bytes_ += bytes.size();
}

void ModelWriter::copy(const ModelDir& from, const std::string& tensor) {
  const uint64_t size = from.info(tensor).bytes;
  std::vector<std::byte> buffer(std::min(size, copy_bytes));
  for (uint64_t begin = 0; begin < size; begin += buffer.size()) {
    const std::span piece = std::span(buffer).first(std::min(buffer.size(), size - begin));
    from.read(tensor, begin, piece);
    write(tensor, piece);
  }
}

void ModelWriter::finish() {
  while (current_ + 1 < shards_.size()) open_shard(current_ + 1);
  writer_->finish();
  if (shards_.size() == 1) return;
  nlohmann::ordered_json index;
  index["metadata"]["total_size"] = total_bytes_;
  for (const auto& [name, shard] : shard_of_) index["weight_map"][name] = shard_name(shard);
  write_new_file(folder_.path() / "model.safetensors.index.json", index.dump(2) + "\n");
}

void copy_side_files(const ModelDir& from, AtomicDir& to,
                     const std::map<std::string, std::string>& others) {
  for (const auto& [name, bytes] : others) to.write(name, bytes);
  for (const std::string& name : from.side_files()) {
    if (others.contains(name)) continue;
    if (const auto bytes = from.read_file(name, max_side_file_bytes)) to.write(name, *bytes);
  }
}

}  // namespace nibble
