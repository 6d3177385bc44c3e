// The system calls of files/: an owner of a file descriptor, guarded reads of untrusted files,
// durable writes. Everything that changes the disk goes through here, where tests inject faults.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { close(); }

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  int release();
  void close();

 private:
  int fd_ = -1;
};

// What must not change while a file is being read.
struct FileStamp {
  uint64_t size = 0;
  uint64_t device = 0, inode = 0;
  int64_t modified_seconds = 0, modified_nanoseconds = 0;

  bool operator==(const FileStamp&) const = default;
};

// --- reading; errors are bad_input, or io when the machine is at fault ---

// Opens a regular file without ever blocking on a pipe or device; `directory` as in openat(2).
// Extra flags (O_NOFOLLOW) are added. `who` names the file in errors.
FileDescriptor open_for_reading(int directory, const std::string& name, const std::string& who,
                                int extra_flags = 0);
FileDescriptor open_for_reading(const std::filesystem::path& path);
FileDescriptor open_directory(const std::filesystem::path& path);
FileStamp stamp_of(const FileDescriptor& file, const std::string& who);

// What is at `path`, not following a symbolic link; `other` covers links, pipes and devices.
enum class PathKind { nothing, file, folder, other };
PathKind kind_of(const std::filesystem::path& path);
// Names in a folder, sorted.
std::vector<std::string> list_directory(const std::filesystem::path& path);

// Reads exactly out.size() bytes at `offset`; a file that ended earlier has shrunk: an error.
void read_exactly(const FileDescriptor& file, uint64_t offset, std::span<std::byte> out,
                  const std::string& who);
// The whole file, refused above max_bytes before anything is allocated.
std::string read_whole(const FileDescriptor& file, uint64_t max_bytes, const std::string& who);

// --- writing; errors are io and say what is missing ---

FileDescriptor create_file(const std::filesystem::path& path);  // must not exist
// Reserves `size` bytes on the disk, so that a full disk shows now and not half way.
void reserve(const FileDescriptor& file, uint64_t size, const std::filesystem::path& path);
void write_all(const FileDescriptor& file, std::span<const std::byte> bytes,
               const std::filesystem::path& path);
// At a byte offset, leaving the file's position alone.
void write_all_at(const FileDescriptor& file, uint64_t offset, std::span<const std::byte> bytes,
                  const std::filesystem::path& path);
void sync_file(const FileDescriptor& file, const std::filesystem::path& path);  // fdatasync
void sync_directory(const std::filesystem::path& path);
void make_directory(const std::filesystem::path& path);
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
void exchange_paths(const std::filesystem::path& a, const std::filesystem::path& b);
void remove_tree(const std::filesystem::path& path);

// The folder that holds `path`: "." for a bare name.
std::filesystem::path parent_of(const std::filesystem::path& path);

// create + reserve + write + fdatasync.
void write_new_file(const std::filesystem::path& path, std::string_view bytes);
// The same through the sibling .<name>.tmp and rename, so that readers see the old bytes or the
// new. One writer at a time: a leftover sibling of a dead one is replaced.
void replace_file(const std::filesystem::path& path, std::string_view bytes);

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Tests only: called before each system call that changes the disk, with its name ("write",
// "rename", ...) and path; a non-zero errno makes the call fail with it. Empty = none.
using FaultHook = std::function<int(std::string_view call, const std::filesystem::path& path)>;
void set_fault_hook(FaultHook hook);

}  // namespace nibble
