// A file's bytes as read-only memory that the kernel pages in and out. For files that Nibble itself
// wrote into a folder it owns: whoever cuts a mapped file ends the process.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace nibble {

class MappedFile {
 public:
  MappedFile() = default;
  // Throws bad_input when it cannot be opened, io when it cannot be mapped. The file may be removed
  // afterwards.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Gives the pages read so far back to the kernel; they are read anew where needed.
  void release() const;

  // The whole file as T; its size must be a multiple of T's.
  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data_), size_ / sizeof(T)};
  }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace nibble
