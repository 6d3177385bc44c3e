// A folder that appears complete or not at all: checkpoints, adapters and exports are written
// with it. Files go to a hidden sibling; commit() writes MANIFEST.json with hashes last, makes
// everything durable and renames. Protocol and manifest layout: docs/formats.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "files/file_io.h"
#include "files/manifest.h"

namespace nibble {

class AtomicDir {
 public:
  // Creates the hidden temporary folder beside `target`, whose parent must exist. An existing
  // target is replaced at commit if it is empty or has a manifest; any other is refused now.
  explicit AtomicDir(const std::filesystem::path& target);
  ~AtomicDir();  // not committed: removes the temporary folder; the old target stays untouched
  AtomicDir(const AtomicDir&) = delete;
  AtomicDir& operator=(const AtomicDir&) = delete;

  const std::filesystem::path& target() const { return target_; }
  // Where to create files until commit(). Flat: no sub-folders.
  const std::filesystem::path& path() const { return temporary_; }
  void write(const std::string& name, std::string_view bytes);

  // Hashes and syncs every file, commits, re-reads and verifies. Throws Error(io), and then the
  // previous contents of the target are in place again; write everything anew to retry.
  Manifest commit(uint64_t commit_number = 0, uint64_t step = 0);

 private:
  void rename_and_verify();

  std::filesystem::path target_, temporary_;
  FileDescriptor lock_;  // flock on temporary_/.writer: while it is held, the writer lives
  bool replaces_ = false;
  bool committed_ = false;
};

// Removes what dead writers left in `parent`; a living writer's folder is locked and stays.
// Returns the removed names.
std::vector<std::string> remove_orphans(const std::filesystem::path& parent);

// Hides `folder` by rename, then deletes it, so that no half-deleted folder has its name.
void discard_dir(const std::filesystem::path& folder);

}  // namespace nibble
