#include "files/run_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <system_error>

#include "core/error.h"
#include "files/json.h"

namespace nibble {
namespace fs = std::filesystem;
namespace {

constexpr const char* lock_name = "run.lock";
constexpr uint64_t max_metrics_bytes = uint64_t{1} << 30;

std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

// Differs after each boot and between machines; the same in all containers of one kernel.
std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

// The step of "checkpoint-<step>", or nothing for another name.
std::optional<uint64_t> step_of(const std::string& name) {
  constexpr std::string_view prefix = "checkpoint-";
  if (!name.starts_with(prefix)) return std::nullopt;
  uint64_t step = 0;
  const char* const end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + prefix.size(), end, step);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  if (name != fmt::format("checkpoint-{}", step)) return std::nullopt;  // leading zeros
  return step;
}

// The steps of all folders checkpoint-<step>.
std::vector<uint64_t> checkpoint_steps(const fs::path& run) {
  std::vector<uint64_t> steps;
  for (const std::string& name : list_directory(run)) {
    const auto step = step_of(name);
    if (step && kind_of(run / name) == PathKind::folder) steps.push_back(*step);
  }
  return steps;
}

fs::path checkpoint_in(const fs::path& run, uint64_t step) {
  return run / fmt::format("checkpoint-{}", step);
}

// Checkpoints newest first; what is wrong with each that has no intact manifest goes to `problems`.
std::vector<Checkpoint> list_checkpoints(const fs::path& run, std::vector<std::string>& problems) {
  std::vector<Checkpoint> found;
  for (const uint64_t step : checkpoint_steps(run)) {
    const fs::path path = checkpoint_in(run, step);
    try {
      const Manifest manifest = read_manifest(path);
      if (manifest.step != step) {
        fail(ErrorKind::bad_input, "{}: the manifest is of step {}; was the folder renamed?",
             path.string(), manifest.step);
      }
      found.push_back({path, manifest.commit, step});
    } catch (const Error& error) {
      problems.emplace_back(error.what());
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.commit != b.commit ? a.commit > b.commit : a.step > b.step;
  });
  return found;
}

bool holds_run(const fs::path& path) {
  return kind_of(path / "metrics.jsonl") != PathKind::nothing ||
         kind_of(path / "adapter") != PathKind::nothing || !checkpoint_steps(path).empty();
}

}  // namespace

RunDir::RunDir(const fs::path& path, RunMode mode) : path_(path) {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) fail(ErrorKind::io, "{}: cannot create: {}", path_.string(), error.message());
  const bool created_lock = take_lock();
  if (mode == RunMode::fresh && holds_run(path_)) {
    if (created_lock) unlink((path_ / lock_name).c_str());
    fail(ErrorKind::usage,
         "{}: holds a run already; give --resume_from_checkpoint true to continue it, "
         "--overwrite_output_dir to delete it, or another output_dir",
         path_.string());
  }
  write_record();
  remove_orphans(path_);
  const auto known = checkpoints();
  if (!known.empty()) last_commit_ = known.front().commit;
}

RunDir::~RunDir() {
  // An empty record says that nobody has the folder; the file stays, so that flock has one inode.
  if (ftruncate(lock_.get(), 0) != 0) return;
}

// Takes the flock and checks the record of the previous owner. True if the lock file is new.
bool RunDir::take_lock() {
  const fs::path path = path_ / lock_name;
  const bool exists = kind_of(path) != PathKind::nothing;
  lock_ = FileDescriptor(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!lock_.is_open()) {
    fail(ErrorKind::io, "{}: cannot open: {}", path.string(),
         std::generic_category().message(errno));
  }
  const int locked = flock(lock_.get(), LOCK_EX | LOCK_NB);
  const int error = errno;
  if (locked != 0 && error != EWOULDBLOCK) {
    fail(ErrorKind::io, "{}: cannot lock: {}; put the run on a file system with locks",
         path.string(), std::generic_category().message(error));
  }
  const std::string text = read_whole(lock_, 4096, path.string());
  if (locked != 0) {
    fail(ErrorKind::in_use, "{}: in use by another run {}", path_.string(), text);
  }
  // With the lock in hand, a record left on this host or in this boot is of a dead process. One
  // of another host may be of a living one: its locks may not reach us, or the folder is a copy.
  try {
    const auto record = text.empty() ? nlohmann::json() : parse_json(text, path.string());
    if (record.is_object() && record.value("boot", "") != boot_id() &&
        record.value("host", "") != host_name()) {
      fail(ErrorKind::in_use,
           "{}: another host has or had this run: {}; if that process is gone, delete {}",
           path_.string(), text, path.string());
    }
  } catch (const nlohmann::json::exception&) {
    // Not our record: written by a process that died while writing it.
  } catch (const Error& problem) {
    if (problem.kind() == ErrorKind::in_use) throw;
  }
  return !exists;
}

void RunDir::write_record() {
  const fs::path path = path_ / lock_name;
  const nlohmann::json record = {{"pid", getpid()}, {"host", host_name()}, {"boot", boot_id()}};
  if (ftruncate(lock_.get(), 0) != 0 || lseek(lock_.get(), 0, SEEK_SET) != 0) {
    fail(ErrorKind::io, "{}: {}", path.string(), std::generic_category().message(errno));
  }
  write_all(lock_, as_bytes(record.dump()), path);
  sync_file(lock_, path);
}

void RunDir::clear() {
  for (const uint64_t step : checkpoint_steps(path_)) discard_dir(checkpoint_path(step));
  if (kind_of(adapter_path()) == PathKind::folder) discard_dir(adapter_path());
  remove_tree(metrics_path());
}

fs::path RunDir::checkpoint_path(uint64_t step) const { return checkpoint_in(path_, step); }

std::vector<Checkpoint> RunDir::checkpoints() const {
  std::vector<std::string> ignored;
  return list_checkpoints(path_, ignored);
}

std::optional<Checkpoint> RunDir::newest_valid(std::vector<std::string>& problems) const {
  for (const auto& checkpoint : list_checkpoints(path_, problems)) {
    try {
      verify_manifest(checkpoint.path);
      return checkpoint;
    } catch (const Error& error) {
      problems.emplace_back(error.what());
    }
  }
  return std::nullopt;
}

void RunDir::commit_checkpoint(AtomicDir& folder, uint64_t step) {
  if (folder.target() != checkpoint_path(step)) {
    fail(ErrorKind::internal, "{}: is not the folder of step {}", folder.target().string(), step);
  }
  folder.commit(last_commit_ + 1, step);
  ++last_commit_;
}

void RunDir::prune(uint64_t keep) {
  if (keep == 0) fail(ErrorKind::usage, "save_total_limit: got 0, expected at least 1");
  const auto known = checkpoints();
  for (size_t i = keep; i < known.size(); ++i) discard_dir(known[i].path);
}

MetricsLog::MetricsLog(const fs::path& path, uint64_t resumed_step) : path_(path) {
  std::string kept;
  if (kind_of(path_) != PathKind::nothing) {
    const std::string text = read_text_file(path_, max_metrics_bytes);
    for (size_t start = 0; start < text.size();) {
      const size_t end = text.find('\n', start);
      const std::string_view line = std::string_view(text).substr(start, end - start);
      bool keep = false;
      try {
        keep = end != text.npos &&
               parse_json(line, path_.string()).at("step").get<uint64_t>() <= resumed_step;
      } catch (const std::exception&) {
        // A torn line: counted as dropped.
      }
      keep ? static_cast<void>(kept.append(line).append("\n")) : static_cast<void>(++dropped_);
      start = end == text.npos ? text.size() : end + 1;
    }
    if (dropped_ > 0) replace_file(path_, kept);
  }
  file_ = FileDescriptor(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!file_.is_open()) {
    fail(ErrorKind::io, "{}: cannot open: {}", path_.string(),
         std::generic_category().message(errno));
  }
}

bool MetricsLog::append(const nlohmann::ordered_json& line) {
  if (!error_.empty()) return false;
  if (!line.contains("step")) {
    fail(ErrorKind::internal, "{}: a line without step", path_.string());
  }
  const uint64_t size = stamp_of(file_, path_.string()).size;
  try {
    using Json = nlohmann::ordered_json;
    write_all(file_, as_bytes(line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"),
              path_);
  } catch (const Error& error) {
    error_ = error.what();
    if (ftruncate(file_.get(), static_cast<off_t>(size)) != 0) error_ += "; a line is torn";
  }
  return error_.empty();
}

void MetricsLog::sync() {
  if (error_.empty()) sync_file(file_, path_);
}

}  // namespace nibble
