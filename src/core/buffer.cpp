#include "core/buffer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "core/error.h"

namespace nibble {
namespace {

std::byte* map_pages(size_t bytes, int protection, int extra_flags) {
  void* data = mmap(nullptr, std::max<size_t>(bytes, 1), protection,
                    MAP_PRIVATE | MAP_ANONYMOUS | extra_flags, -1, 0);
  if (data == MAP_FAILED)
    fail(ErrorKind::no_resources, "cannot reserve {} bytes of host memory: {}", bytes,
         std::strerror(errno));
  return static_cast<std::byte*>(data);
}

// The whole pages among these bytes.
void advise(const void* data, size_t bytes, int advice) {
  constexpr uintptr_t page = 4096;
  const auto begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

void unmap_pages(std::byte* data, size_t bytes) { munmap(data, bytes); }

size_t read_number(const char* path, size_t otherwise) {
  std::ifstream file(path);
  size_t value = 0;
  return file >> value ? value : otherwise;
}

}  // namespace

Buffer Buffer::host(size_t bytes) {
  return {map_pages(bytes, PROT_READ | PROT_WRITE, 0), std::max<size_t>(bytes, 1), unmap_pages};
}

Buffer Buffer::addresses_only(size_t bytes) {
  return {map_pages(bytes, PROT_NONE, MAP_NORESERVE), std::max<size_t>(bytes, 1), unmap_pages};
}

Buffer Buffer::file(const std::string& folder, size_t bytes) {
  const auto refuse = [&](const char* what) {
    fail(ErrorKind::io,
         "{}: cannot {} a file of {} bytes: {}; give offload_folder a disk with room", folder, what,
         bytes, std::strerror(errno));
  };
  const int file = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) refuse("make");
  const size_t size = std::max<size_t>(bytes, 1);
  errno = posix_fallocate(file, 0, static_cast<off_t>(size));
  void* data =
      errno != 0 ? MAP_FAILED : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  const int error = errno;
  close(file);
  errno = error;
  if (data == MAP_FAILED) refuse("map");
  return {static_cast<std::byte*>(data), size, unmap_pages};
}

Buffer::~Buffer() {
  if (data_) release_(data_, size_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      release_(other.release_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(release_, other.release_);
  return *this;
}

void Buffer::commit() {
#ifdef MADV_POPULATE_WRITE
  if (madvise(data_, size_, MADV_POPULATE_WRITE) == 0) return;
  if (errno == ENOMEM)
    fail(ErrorKind::no_resources, "cannot commit {} bytes of host memory; use a smaller batch",
         size_);
#endif
  // Kernels before 5.14: write one byte of each page that is not resident yet.
  constexpr size_t page = 4096;
  for (size_t i = 0; i < size_; i += page) {
    auto* byte = reinterpret_cast<volatile std::byte*>(data_ + i);
    *byte = *byte;
  }
}

void expect_pages(const void* data, size_t bytes) { advise(data, bytes, MADV_WILLNEED); }
void forget_pages(const void* data, size_t bytes) { advise(data, bytes, MADV_DONTNEED); }

size_t available_host_memory() {
  size_t available = std::numeric_limits<size_t>::max();
  std::ifstream meminfo("/proc/meminfo");
  for (std::string key, unit; meminfo >> key;) {
    size_t kib = 0;
    meminfo >> kib;
    std::getline(meminfo, unit);
    if (key == "MemAvailable:") available = kib * 1024;
  }
  const size_t limit = read_number("/sys/fs/cgroup/memory.max", std::numeric_limits<size_t>::max());
  const size_t used = read_number("/sys/fs/cgroup/memory.current", 0);
  if (limit != std::numeric_limits<size_t>::max())
    available = std::min(available, limit > used ? limit - used : 0);
  return available;
}

size_t used_host_memory() {
  std::ifstream statm("/proc/self/statm");
  size_t size = 0, resident = 0;
  return statm >> size >> resident ? resident * static_cast<size_t>(sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace nibble
