#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/checked.h"
#include "core/error.h"
#include "files/json_scanner.h"
#include "files/safetensors.h"
#include "files/safetensors_rules.h"

namespace nibble {
namespace {

namespace rules = safetensors;

// Sorts as the reference does, lays the tensors out without holes, and returns the data's size.
uint64_t lay_out(std::vector<SafetensorsInfo>& tensors, const std::string& who) {
  if (tensors.size() > rules::max_tensors) {
    fail(ErrorKind::usage, "{}: got {} tensors, expected at most {}", who, tensors.size(),
         rules::max_tensors);
  }
  Checked end = 0;
  for (auto& tensor : tensors) {
    uint64_t bytes = 0;
    if (std::string problem = rules::problem_with(tensor, bytes); !problem.empty()) {
      fail(ErrorKind::usage, "{}: tensor {} {}", who, printable(tensor.name), problem);
    }
    if (tensor.name == "__metadata__") {
      fail(ErrorKind::usage, "{}: __metadata__ cannot name a tensor", who);
    }
    tensor.begin = 0;
    tensor.end = bytes;
    end = end + bytes;
  }
  if (!end.ok()) fail(ErrorKind::usage, "{}: the tensors' sizes overflow 64 bits", who);
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    const auto left = rules::dtype_index(a.dtype), right = rules::dtype_index(b.dtype);
    return std::tie(right, a.name) < std::tie(left, b.name);
  });
  uint64_t begin = 0;
  for (auto& tensor : tensors) {
    tensor.begin = begin;
    tensor.end += begin;
    begin = tensor.end;
  }
  return begin;
}

std::string header_text(const std::vector<SafetensorsInfo>& tensors,
                        const std::map<std::string, std::string>& metadata,
                        const std::string& who) {
  const auto quoted = [&](const std::string& text) {
    try {
      return nlohmann::json(text).dump();
    } catch (const nlohmann::json::type_error&) {
      fail(ErrorKind::usage, "{}: {} is not valid UTF-8", who, printable(text));
    }
  };
  std::string out = "{";
  if (!metadata.empty()) {
    out += "\"__metadata__\":{";
    const char* comma = "";
    for (const auto& [key, value] : metadata) {
      out += comma + quoted(key) + ":" + quoted(value);
      comma = ",";
    }
    out += tensors.empty() ? "}" : "},";
  }
  const char* comma = "";
  for (const auto& tensor : tensors) {
    out += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", comma,
                       quoted(tensor.name), tensor.dtype, fmt::join(tensor.shape, ","),
                       tensor.begin, tensor.end);
    comma = ",";
  }
  out += "}";
  out.resize((out.size() + 7) / 8 * 8, ' ');
  return out;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<SafetensorsInfo> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(path), tensors_(std::move(tensors)) {
  const std::string who = path.string();
  const uint64_t data_bytes = lay_out(tensors_, who);
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!by_name_.emplace(tensors_[i].name, i).second) {
      fail(ErrorKind::usage, "{}: tensor {} is there twice", who, printable(tensors_[i].name));
    }
  }
  written_.resize(tensors_.size(), 0);
  if (metadata.size() > rules::max_metadata_entries) {
    fail(ErrorKind::usage, "{}: got {} metadata entries, expected at most {}", who, metadata.size(),
         rules::max_metadata_entries);
  }
  const std::string header = header_text(tensors_, metadata, who);
  if (header.size() > rules::max_header_bytes) {
    fail(ErrorKind::usage, "{}: the header would be {} bytes, the format allows {}", who,
         header.size(), rules::max_header_bytes);
  }
  const auto length = std::bit_cast<std::array<char, 8>>(uint64_t{header.size()});
  data_start_ = length.size() + header.size();
  file_ = create_file(path_);
  reserve(file_, (Checked(data_start_) + data_bytes).value(), path_);
  write_all(file_, as_bytes({length.data(), length.size()}), path_);
  write_all(file_, as_bytes(header), path_);
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    fail(ErrorKind::internal, "{}: has no tensor {}", path_.string(), printable(name));
  }
  const auto& tensor = tensors_[found->second];
  uint64_t& written = written_[found->second];
  if (bytes.size() > tensor.bytes() - written) {
    fail(ErrorKind::internal, "{}: tensor {} got {} bytes too many", path_.string(),
         printable(name), bytes.size() - (tensor.bytes() - written));
  }
  write_all_at(file_, data_start_ + tensor.begin + written, bytes, path_);
  written += bytes.size();
}

void SafetensorsWriter::finish() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (written_[i] != tensors_[i].bytes()) {
      fail(ErrorKind::internal, "{}: tensor {} got {} bytes, expected {}", path_.string(),
           printable(tensors_[i].name), written_[i], tensors_[i].bytes());
    }
  }
  sync_file(file_, path_);
}

}  // namespace nibble
