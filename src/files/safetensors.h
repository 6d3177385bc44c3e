// One safetensors file: a strict reader and a writer. The format and every rule are in
// docs/formats.md. The reader uses pread into the caller's buffers, never mmap: a file truncated
// under a mapping would kill the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "files/file_io.h"

namespace nibble {

struct SafetensorsInfo {
  std::string name;
  std::string dtype;  // as in the file: "F32", "BF16", ...
  std::vector<uint64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes, relative to the end of the header

  uint64_t bytes() const { return end - begin; }
};

// Nibble's type of a safetensors dtype name; nothing for a name Nibble does not compute with.
std::optional<DType> dtype_of_safetensors(std::string_view name);
std::string_view safetensors_name_of(DType type);

class SafetensorsFile {
 public:
  // Opens and validates the whole header. Throws Error(bad_input) naming file, tensor and rule.
  explicit SafetensorsFile(const std::filesystem::path& path);
  SafetensorsFile(FileDescriptor file, std::string who);

  const std::string& who() const { return who_; }
  const std::vector<SafetensorsInfo>& tensors() const { return tensors_; }  // by (begin, end)
  const SafetensorsInfo* find(std::string_view name) const;                 // null when absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  uint64_t data_bytes() const { return stamp_.size - data_start_; }

  // Fills `out` from byte `byte_offset` of the tensor. Safe to call from several threads.
  void read(const SafetensorsInfo& tensor, uint64_t byte_offset, std::span<std::byte> out) const;

  // Throws if the file's size or modification time changed since it was opened: call when done.
  void check_unchanged() const;

 private:
  void parse_header(std::string_view header);
  void check_layout() const;

  FileDescriptor file_;
  std::string who_;
  FileStamp stamp_;
  uint64_t data_start_ = 0;
  std::vector<SafetensorsInfo> tensors_;
  std::vector<uint32_t> by_name_;  // indices into tensors_
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> warnings_;
};

// Writes a new file: header first, then the tensors' bytes, streamed. Tensors may come in any order
// and interleaved; the pieces of one tensor come in theirs.
// The file is incomplete until finish(); nothing renames it: write into an AtomicDir.
class SafetensorsWriter {
 public:
  // begin and end of `tensors` are ignored. Throws Error(usage) for what the reader would refuse,
  // Error(io) when the file cannot be created or the disk has no room for all of it.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<SafetensorsInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

  // The order in which the tensors lie in the file: by dtype descending, then name.
  const std::vector<SafetensorsInfo>& order() const { return tensors_; }

  // Appends bytes to tensor `name`.
  void write(std::string_view name, std::span<const std::byte> bytes);

  // Checks that every byte was given, then fdatasync.
  void finish();

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  std::vector<SafetensorsInfo> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;  // -> index into tensors_
  std::vector<uint64_t> written_;                       // bytes of each tensor so far
  uint64_t data_start_ = 0;
};

}  // namespace nibble
