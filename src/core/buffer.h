// Buffer: the sole owner of bytes. Views (Tensor, Arena) must not outlive it.
#pragma once

#include <cstddef>
#include <string>

namespace nibble {

class Buffer {
 public:
  Buffer() = default;
  // Zeroed pages of host memory. They take physical memory when first touched, or all at once by
  // commit(). Throws no_resources when the address space or the machine cannot hold them.
  static Buffer host(size_t bytes);
  // Addresses without memory: the plan backend lays tensors out in them; touching one faults.
  static Buffer addresses_only(size_t bytes);
  // Pages of a new file in `folder`, which has no name and ends with the buffer: they leave
  // physical memory when they are forgotten, or when it is short. Throws io when the disk cannot
  // hold them.
  static Buffer file(const std::string& folder, size_t bytes);
  // Memory of another kind, as a device's, with the function that frees it.
  using Release = void (*)(std::byte* data, size_t bytes);
  static Buffer adopt(std::byte* data, size_t bytes, Release release) {
    return {data, bytes, release};
  }

  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  // Makes every page of host memory resident now, so that it cannot run out later.
  void commit();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  Buffer(std::byte* data, size_t size, Release release)
      : data_(data), size_(size), release_(release) {}
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  Release release_ = nullptr;
};

// Of pages of a Buffer::file(): soon needed, and not needed for now. Hints; nothing is lost.
void expect_pages(const void* data, size_t bytes);
void forget_pages(const void* data, size_t bytes);

// Bytes of host memory that can be taken without swapping (MemAvailable; the cgroup's limit if
// lower).
size_t available_host_memory();
// Bytes of it that this process holds (its resident set).
size_t used_host_memory();

}  // namespace nibble
