// The run folder: the only thing a run writes to. One process at a time owns it.
//
//   run.lock            held by flock while the run lives; says pid, host and boot
//   checkpoint-<step>/  committed by AtomicDir; the newest is the one with the highest commit
//   metrics.jsonl       one JSON object a line, each with "step"
//   adapter/            the result, committed by AtomicDir
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "files/atomic_dir.h"
#include "files/file_io.h"

namespace nibble {

enum class RunMode {
  fresh,      // refuse a folder that holds a run
  resume,     // keep what is there
  overwrite,  // clear() will delete the run that is there
};

struct Checkpoint {
  std::filesystem::path path;
  uint64_t commit = 0, step = 0;
};

class RunDir {
 public:
  // Creates the folder if needed and takes it. Throws Error(in_use) when another process has it,
  // Error(usage) when it holds a run that `mode` does not allow to touch. No byte is changed then.
  RunDir(const std::filesystem::path& path, RunMode mode);
  ~RunDir();
  RunDir(const RunDir&) = delete;
  RunDir& operator=(const RunDir&) = delete;

  // Deletes the run that is there, when the new one has all it needs: for RunMode::overwrite.
  void clear();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path checkpoint_path(uint64_t step) const;
  std::filesystem::path adapter_path() const { return path_ / "adapter"; }
  std::filesystem::path metrics_path() const { return path_ / "metrics.jsonl"; }

  // Newest first: folders checkpoint-<step> whose manifest is intact (file bytes not read).
  std::vector<Checkpoint> checkpoints() const;

  // The newest checkpoint of which every byte verifies; older ones are tried in turn, and what is
  // wrong with each skipped one is appended to `problems`.
  std::optional<Checkpoint> newest_valid(std::vector<std::string>& problems) const;

  // Commits `folder`, an AtomicDir(checkpoint_path(step)), under the next commit number.
  void commit_checkpoint(AtomicDir& folder, uint64_t step);

  // Deletes all but the newest `keep` (>= 1) committed checkpoints. Call after a commit, which
  // verified the new one: at no time are there fewer than min(keep, committed) on disk. Folders
  // without an intact manifest neither count nor are touched.
  void prune(uint64_t keep);

 private:
  bool take_lock();
  void write_record();

  std::filesystem::path path_;
  FileDescriptor lock_;
  uint64_t last_commit_ = 0;
};

// Appends to metrics.jsonl. A full disk stops the log, not the training.
class MetricsLog {
 public:
  // `resumed_step`: lines of later steps and torn lines are dropped (by atomic rewrite).
  MetricsLog(const std::filesystem::path& path, uint64_t resumed_step);

  uint64_t dropped() const { return dropped_; }  // lines, by the constructor

  // `line` must hold "step". False once writing has failed; error() then says why.
  bool append(const nlohmann::ordered_json& line);
  void sync();  // makes the lines durable; call before a checkpoint that counts on them
  const std::string& error() const { return error_; }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  uint64_t dropped_ = 0;
  std::string error_;
};

}  // namespace nibble
