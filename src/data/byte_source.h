// The bytes of a data file in order, a buffer at a time: memory does not grow with the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "files/file_io.h"

namespace nibble {

class ByteSource {
 public:
  static constexpr size_t buffer_bytes = size_t{256} << 10;

  // A regular file. Throws bad_input when there is none.
  static ByteSource open(const std::filesystem::path& path);
  // Bytes in memory, under a name for messages.
  static ByteSource of(std::string bytes, std::string name);

  const std::string& name() const { return name_; }
  uint64_t size() const { return stamp_.size; }
  const FileStamp& stamp() const { return stamp_; }           // of the file when it was opened
  uint64_t offset() const { return buffer_offset_ + used_; }  // of the next byte

  // The bytes at hand, read from the file when all before are skipped; empty only at the end.
  // Valid until the next call of peek().
  std::string_view peek();
  void skip(size_t bytes) { used_ += bytes; }  // at most what peek() gave

  // Throws bad_input when the file is no longer what was opened.
  void check_unchanged() const;

 private:
  ByteSource() = default;

  std::string name_;
  FileDescriptor file_;  // closed: all bytes are in the buffer
  FileStamp stamp_;
  std::string buffer_;
  size_t used_ = 0;
  uint64_t buffer_offset_ = 0;
};

}  // namespace nibble
