#include "files/atomic_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <system_error>

#include "core/error.h"

namespace nibble {
namespace fs = std::filesystem;
namespace {

constexpr const char* writer_name = ".writer";

// A hidden sibling of `path` that nobody has.
fs::path temporary_beside(const fs::path& path) {
  std::random_device random;
  return parent_of(path) /
         fmt::format(".{}.tmp-{}-{:08x}", path.filename().string(), getpid(), random());
}

// Whether `name` is one that temporary_beside() makes.
bool is_temporary_name(std::string_view name) {
  const size_t mark = name.rfind(".tmp-");
  if (!name.starts_with('.') || mark == name.npos || mark < 2) return false;
  const std::string_view id = name.substr(mark + 5);
  const size_t dash = id.find('-');
  return dash != id.npos && dash > 0 && id.size() - dash - 1 == 8 &&
         id.find_first_not_of("0123456789abcdef-") == id.npos;
}

// What a target must be for commit() to replace it.
void check_replaceable(const fs::path& target) {
  if (kind_of(target) != PathKind::folder) {
    fail(ErrorKind::usage, "{}: is not a folder; choose another place", target.string());
  }
  if (kind_of(target / manifest_name) != PathKind::file && !list_directory(target).empty()) {
    fail(ErrorKind::usage,
         "{}: holds files but no {}, so Nibble did not write it and will not replace it; choose "
         "another place or delete it",
         target.string(), manifest_name);
  }
}

// Whether the writer of a temporary folder still lives, which its lock tells.
bool writer_lives(const fs::path& folder) {
  const FileDescriptor file(open((folder / writer_name).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!file.is_open()) return errno != ENOENT;
  return flock(file.get(), LOCK_EX | LOCK_NB) != 0;
}

}  // namespace

AtomicDir::AtomicDir(const fs::path& target) : target_(target) {
  if (kind_of(target_) != PathKind::nothing) {
    check_replaceable(target_);
    replaces_ = true;
  }
  // Between mkdir and flock another process's remove_orphans may take the folder for an orphan;
  // then it is gone, and the next name is tried.
  while (!lock_.is_open()) {
    temporary_ = temporary_beside(target_);
    make_directory(temporary_);
    try {
      lock_ = create_file(temporary_ / writer_name);
    } catch (const Error&) {
      if (kind_of(temporary_) == PathKind::nothing) continue;
      std::error_code ignored;
      fs::remove_all(temporary_, ignored);
      throw;
    }
  }
  if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0 ||
      kind_of(temporary_ / writer_name) != PathKind::file) {
    fail(ErrorKind::io, "{}: cannot lock the temporary folder", temporary_.string());
  }
}

AtomicDir::~AtomicDir() {
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void AtomicDir::write(const std::string& name, std::string_view bytes) {
  write_new_file(temporary_ / name, bytes);
}

Manifest AtomicDir::commit(uint64_t commit_number, uint64_t step) {
  Manifest manifest{.commit = commit_number, .step = step, .files = {}};
  for (const std::string& name : list_directory(temporary_)) {
    if (name == writer_name) continue;
    const fs::path path = temporary_ / name;
    const FileDescriptor file = open_for_reading(path);
    sync_file(file, path);
    manifest.files.push_back(describe_file(file, name, path.string()));
    // Out of the page cache, so that the verification reads what the disk has.
    posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
  write(manifest_name, manifest_text(manifest));
  sync_directory(temporary_);
  rename_and_verify();
  return manifest;
}

// The commit. Whatever fails after the rename is undone, so that a failed commit leaves the old
// folder under its name and the new one to the destructor.
void AtomicDir::rename_and_verify() {
  const auto move = [this](const fs::path& from, const fs::path& to) {
    replaces_ ? exchange_paths(from, to) : rename_path(from, to);
  };
  move(temporary_, target_);
  try {
    sync_directory(parent_of(target_));
    verify_manifest(target_);
  } catch (const Error& error) {
    committed_ = true;  // should undoing fail too, the destructor must not delete the old folder
    move(target_, temporary_);
    committed_ = false;
    fail(ErrorKind::io, "commit undone: {}", error.what());
  }
  committed_ = true;
  std::error_code ignored;  // leftovers are harmless, and the next remove_orphans takes them
  fs::remove(target_ / writer_name, ignored);
  if (replaces_) fs::remove_all(temporary_, ignored);
}

std::vector<std::string> remove_orphans(const fs::path& parent) {
  std::vector<std::string> removed;
  for (const std::string& name : list_directory(parent)) {
    const fs::path path = parent / name;
    if (!is_temporary_name(name) || kind_of(path) != PathKind::folder || writer_lives(path)) {
      continue;
    }
    remove_tree(path);
    removed.push_back(name);
  }
  return removed;
}

void discard_dir(const fs::path& folder) {
  const fs::path hidden = temporary_beside(folder);
  rename_path(folder, hidden);
  remove_tree(hidden);
}

}  // namespace nibble
