#include "files/file_io.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace nibble {
namespace {

FaultHook fault_hook;

// The errno that a test wants `call` to fail with, or 0.
int injected(std::string_view call, const std::filesystem::path& path) {
  return fault_hook ? fault_hook(call, path) : 0;
}

// Runs a system call that returns -1 and sets errno, retrying when a signal interrupts it.
template <typename Call>
auto retried(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

std::string reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail_write(const char* doing, const std::filesystem::path& path, int error,
                             uint64_t wanted = 0) {
  std::string remedy;
  if (error == ENOSPC || error == EDQUOT) {
    struct statvfs disk {};
    if (statvfs(parent_of(path).c_str(), &disk) == 0) {
      remedy = fmt::format("; {}{} bytes are free on this file system; make room",
                           wanted ? fmt::format("{} bytes are needed, ", wanted) : "",
                           uint64_t{disk.f_bavail} * disk.f_frsize);
    }
  }
  fail(ErrorKind::io, "{}: cannot {}: {}{}", path.string(), doing, reason(error), remedy);
}

// Runs `call` unless a test makes it fail; throws on failure.
template <typename Call>
auto change_disk(const char* doing, const char* name, const std::filesystem::path& path, Call call,
                 uint64_t wanted = 0) {
  if (const int error = injected(name, path)) fail_write(doing, path, error, wanted);
  const auto result = retried(call);
  if (result == -1) fail_write(doing, path, errno, wanted);
  return result;
}

bool machine_at_fault(int error) {
  return error == EIO || error == EMFILE || error == ENFILE || error == ENOMEM;
}

}  // namespace

void set_fault_hook(FaultHook hook) { fault_hook = std::move(hook); }

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = other.release();
  }
  return *this;
}

int FileDescriptor::release() { return std::exchange(fd_, -1); }

void FileDescriptor::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

FileDescriptor open_for_reading(int directory, const std::string& name, const std::string& who,
                                int extra_flags) {
  FileDescriptor file(retried([&] {
    return openat(directory, name.c_str(),
                  O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | extra_flags);
  }));
  if (!file.is_open()) {
    const int error = errno;
    fail(machine_at_fault(error) ? ErrorKind::io : ErrorKind::bad_input, "{}: cannot open: {}", who,
         reason(error));
  }
  struct stat status {};
  if (fstat(file.get(), &status) != 0) fail(ErrorKind::io, "{}: {}", who, reason(errno));
  if (!S_ISREG(status.st_mode)) {
    fail(ErrorKind::bad_input, "{}: got a {}, expected a regular file", who,
         S_ISDIR(status.st_mode)    ? "folder"
         : S_ISFIFO(status.st_mode) ? "pipe"
         : S_ISCHR(status.st_mode)  ? "character device"
                                    : "special file");
  }
  return file;
}

FileDescriptor open_for_reading(const std::filesystem::path& path) {
  return open_for_reading(AT_FDCWD, path.string(), path.string());
}

FileDescriptor open_directory(const std::filesystem::path& path) {
  FileDescriptor directory(
      retried([&] { return open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!directory.is_open()) {
    const int error = errno;
    fail(machine_at_fault(error) ? ErrorKind::io : ErrorKind::bad_input,
         "{}: cannot open the folder: {}", path.string(), reason(error));
  }
  return directory;
}

FileStamp stamp_of(const FileDescriptor& file, const std::string& who) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0) fail(ErrorKind::io, "{}: {}", who, reason(errno));
  return {static_cast<uint64_t>(status.st_size), static_cast<uint64_t>(status.st_dev),
          static_cast<uint64_t>(status.st_ino), status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

PathKind kind_of(const std::filesystem::path& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return PathKind::nothing;
    fail(ErrorKind::io, "{}: {}", path.string(), reason(errno));
  }
  if (S_ISREG(status.st_mode)) return PathKind::file;
  return S_ISDIR(status.st_mode) ? PathKind::folder : PathKind::other;
}

std::vector<std::string> list_directory(const std::filesystem::path& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) fail(ErrorKind::io, "{}: cannot list: {}", path.string(), error.message());
  std::sort(names.begin(), names.end());
  return names;
}

void read_exactly(const FileDescriptor& file, uint64_t offset, std::span<std::byte> out,
                  const std::string& who) {
  constexpr size_t largest = size_t{1} << 30;  // Linux reads less than 2 GiB at once
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = retried([&] {
      return pread(file.get(), out.data() + done, std::min(out.size() - done, largest),
                   static_cast<off_t>(offset + done));
    });
    if (got < 0) fail(ErrorKind::io, "{}: cannot read: {}", who, reason(errno));
    if (got == 0) {
      fail(ErrorKind::bad_input,
           "{}: ends at byte {}, expected {} more; was it changed while being read?", who,
           offset + done, out.size() - done);
    }
    done += static_cast<size_t>(got);
  }
}

std::string read_whole(const FileDescriptor& file, uint64_t max_bytes, const std::string& who) {
  const uint64_t size = stamp_of(file, who).size;
  if (size > max_bytes) {
    fail(ErrorKind::bad_input, "{}: got {} bytes, expected at most {}", who, size, max_bytes);
  }
  std::string text(size, '\0');
  read_exactly(file, 0, std::as_writable_bytes(std::span(text)), who);
  return text;
}

FileDescriptor create_file(const std::filesystem::path& path) {
  return FileDescriptor(change_disk("create", "open", path, [&] {
    return open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  }));
}

void reserve(const FileDescriptor& file, uint64_t size, const std::filesystem::path& path) {
  if (size == 0) return;
  change_disk(
      "reserve space", "fallocate", path,
      [&] {
        errno = posix_fallocate(file.get(), 0, static_cast<off_t>(size));
        return errno == 0 ? 0 : -1;
      },
      size);
}

void write_all(const FileDescriptor& file, std::span<const std::byte> bytes,
               const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t wrote = change_disk(
        "write", "write", path, [&] { return write(file.get(), bytes.data(), bytes.size()); },
        bytes.size());
    bytes = bytes.subspan(static_cast<size_t>(wrote));
  }
}

void write_all_at(const FileDescriptor& file, uint64_t offset, std::span<const std::byte> bytes,
                  const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t wrote = change_disk(
        "write", "write", path,
        [&] { return pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)); },
        bytes.size());
    bytes = bytes.subspan(static_cast<size_t>(wrote));
    offset += static_cast<uint64_t>(wrote);
  }
}

void sync_file(const FileDescriptor& file, const std::filesystem::path& path) {
  change_disk("make durable", "fdatasync", path, [&] { return fdatasync(file.get()); });
}

void sync_directory(const std::filesystem::path& path) {
  const FileDescriptor directory = open_directory(path);
  change_disk("make durable", "fsync", path, [&] { return fsync(directory.get()); });
}

void make_directory(const std::filesystem::path& path) {
  change_disk("create the folder", "mkdir", path, [&] { return mkdir(path.c_str(), 0777); });
}

void rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
  change_disk("rename into place", "rename", to,
              [&] { return renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0); });
}

void exchange_paths(const std::filesystem::path& a, const std::filesystem::path& b) {
  change_disk("replace in one step (if this file system cannot, delete it first)", "rename", b,
              [&] { return renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE); });
}

void remove_tree(const std::filesystem::path& path) {
  change_disk("delete", "unlink", path, [&] {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    errno = error.value();
    return error ? -1 : 0;
  });
}

std::filesystem::path parent_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

void write_new_file(const std::filesystem::path& path, std::string_view bytes) {
  const FileDescriptor file = create_file(path);
  reserve(file, bytes.size(), path);
  write_all(file, as_bytes(bytes), path);
  sync_file(file, path);
}

void replace_file(const std::filesystem::path& path, std::string_view bytes) {
  const std::filesystem::path temporary =
      parent_of(path) / ("." + path.filename().string() + ".tmp");
  unlink(temporary.c_str());
  try {
    write_new_file(temporary, bytes);
    rename_path(temporary, path);
  } catch (const Error&) {
    unlink(temporary.c_str());
    throw;
  }
  sync_directory(parent_of(path));
}

}  // namespace nibble
