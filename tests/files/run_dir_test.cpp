// The run folder: one owner, newest commit by number, pruning, and the metrics log.
#include "files/run_dir.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "support/data.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;
using std::string;

void save(RunDir& run, uint64_t step, const string& bytes = "state") {
  AtomicDir folder(run.checkpoint_path(step));
  folder.write("state.bin", bytes);
  run.commit_checkpoint(folder, step);
}

std::vector<uint64_t> steps(const RunDir& run) {
  std::vector<uint64_t> out;
  for (const auto& checkpoint : run.checkpoints()) out.push_back(checkpoint.step);
  return out;
}

std::optional<ErrorKind> refusal(const fs::path& path, RunMode mode, string* message = nullptr) {
  try {
    RunDir run(path, mode);
  } catch (const Error& error) {
    if (message) *message = error.what();
    return error.kind();
  }
  return std::nullopt;
}

// The names, bytes and times of everything in a folder.
std::map<string, string> contents_of(const fs::path& folder) {
  std::map<string, string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    out[entry.path().string()] = (entry.is_regular_file() ? read_file(entry.path()) : "folder") +
                                 std::to_string(entry.last_write_time().time_since_epoch().count());
  }
  return out;
}

TEST(RunDir, ASecondOwnerIsRefusedAndChangesNothing) {
  const TempDir root;
  const fs::path path = root / "deep/run";
  auto first = std::make_unique<RunDir>(path, RunMode::fresh);
  save(*first, 5);
  const auto before = contents_of(path);
  for (const RunMode mode : {RunMode::fresh, RunMode::resume, RunMode::overwrite}) {
    string message;
    EXPECT_EQ(refusal(path, mode, &message), ErrorKind::in_use);
    EXPECT_NE(message.find(fmt::format("\"pid\":{}", getpid())), string::npos) << message;
  }
  EXPECT_EQ(contents_of(path), before);
  first.reset();
  EXPECT_EQ(refusal(path, RunMode::resume), std::nullopt);
}

// Several processes at once: one gets the folder.
TEST(RunDir, ExactlyOneOfManyProcessesWins) {
  for (int round = 0; round < 10; ++round) {
    const TempDir root;
    int go[2], done[2];
    ASSERT_EQ(pipe(go), 0);
    ASSERT_EQ(pipe(done), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < 8; ++i) {
      children.push_back(fork());
      if (children.back() == 0) {
        ::close(go[1]);
        ::close(done[1]);
        char byte;
        if (::read(go[0], &byte, 1) != 0) _exit(1);  // until the parent closes it
        try {
          RunDir run(root / "run", RunMode::fresh);
          if (::read(done[0], &byte, 1) != 0) _exit(1);  // hold it until all have tried
          _exit(0);
        } catch (const Error& error) {
          _exit(static_cast<int>(error.kind()));
        }
      }
    }
    ::close(go[0]);
    ::close(done[0]);
    ::close(go[1]);
    std::map<int, int> exits;
    for (int i = 0; i < 7; ++i) {
      int status = 0;
      wait(&status);
      ++exits[WEXITSTATUS(status)];
    }
    ::close(done[1]);
    int status = 0;
    wait(&status);
    ++exits[WEXITSTATUS(status)];
    EXPECT_EQ(exits, (std::map<int, int>{{0, 1}, {73, 7}}));
  }
}

TEST(RunDir, TheLockOfADeadProcessIsTakenAtOnce) {
  const TempDir root;
  const pid_t child = fork();
  if (child == 0) {
    RunDir run(root / "run", RunMode::fresh);
    _exit(9);  // no destructor: as after kill -9
  }
  waitpid(child, nullptr, 0);
  EXPECT_NE(read_file(root / "run/run.lock"), "");
  EXPECT_EQ(refusal(root / "run", RunMode::resume), std::nullopt);
  EXPECT_EQ(read_file(root / "run/run.lock"), "");
}

TEST(RunDir, ARecordOfAnotherHostIsRespected) {
  const TempDir root;
  fs::create_directory(root / "run");
  const string record = R"({"pid":1,"host":"some-other-host","boot":"some-other-boot"})";
  write_file(root / "run/run.lock", record);
  string message;
  EXPECT_EQ(refusal(root / "run", RunMode::resume, &message), ErrorKind::in_use);
  EXPECT_NE(message.find("some-other-host"), string::npos);
  EXPECT_NE(message.find("delete"), string::npos);
  EXPECT_EQ(read_file(root / "run/run.lock"), record);
  // Damaged records name nobody.
  for (const char* torn : {"{\"pid\":", "[]", "{\"host\":5}"}) {
    write_file(root / "run/run.lock", torn);
    EXPECT_EQ(refusal(root / "run", RunMode::resume), std::nullopt) << torn;
  }
}

TEST(RunDir, AFolderThatHoldsARunIsLeftAloneUnlessAsked) {
  const TempDir root;
  {
    RunDir run(root / "run", RunMode::fresh);
    save(run, 5);
    write_file(run.metrics_path(), "{\"step\":5}\n");
    write_file(run.path() / "notes.txt", "by the user");
    AtomicDir adapter(run.adapter_path());
    adapter.write("a", "b");
    adapter.commit();
  }
  const auto before = contents_of(root.path());
  string message;
  EXPECT_EQ(refusal(root / "run", RunMode::fresh, &message), ErrorKind::usage);
  EXPECT_NE(message.find("--overwrite_output_dir"), string::npos);
  EXPECT_EQ(contents_of(root.path()), before);
  { EXPECT_EQ(steps(RunDir(root / "run", RunMode::resume)), std::vector<uint64_t>{5}); }
  RunDir run(root / "run", RunMode::overwrite);
  EXPECT_FALSE(run.checkpoints().empty());  // not before it is asked to
  run.clear();
  EXPECT_TRUE(run.checkpoints().empty());
  EXPECT_EQ(list_directory(run.path()), (std::vector<string>{"notes.txt", "run.lock"}));
}

TEST(RunDir, ForeignFilesDoNotMakeARun) {
  const TempDir root;
  write_file(root / "train.log", "tee");
  fs::create_directory(root / "checkpoint-final");
  EXPECT_EQ(refusal(root.path(), RunMode::fresh), std::nullopt);
}

// Neither names nor times decide which commit is the newest.
TEST(RunDir, TheNewestIsTheHighestCommit) {
  const TempDir root;
  std::vector<string> problems;
  RunDir run(root / "run", RunMode::fresh);
  EXPECT_FALSE(run.newest_valid(problems));
  save(run, 30);
  save(run, 10);
  save(run, 20);
  EXPECT_EQ(steps(run), (std::vector<uint64_t>{20, 10, 30}));
  fs::last_write_time(run.checkpoint_path(30), fs::file_time_type::clock::now());
  fs::create_directory(run.path() / "checkpoint-99");                // no manifest
  fs::copy(run.checkpoint_path(20), run.path() / "checkpoint-40");   // wrong step
  fs::copy(run.checkpoint_path(20), run.path() / "checkpoint-020");  // not a name of ours
  EXPECT_EQ(run.newest_valid(problems)->step, 20u);
  EXPECT_EQ(problems.size(), 2u);
}

TEST(RunDir, CommitNumbersContinueAfterARestart) {
  const TempDir root;
  {
    RunDir run(root / "run", RunMode::fresh);
    save(run, 1);
    save(run, 2);
  }
  RunDir run(root / "run", RunMode::resume);
  save(run, 3);
  EXPECT_EQ(run.checkpoints().front().commit, 3u);
  save(run, 2, "again");  // a step may be committed anew
  EXPECT_EQ(steps(run), (std::vector<uint64_t>{2, 3, 1}));
}

TEST(RunDir, ADamagedCheckpointYieldsToTheOneBefore) {
  const TempDir root;
  RunDir run(root / "run", RunMode::fresh);
  for (uint64_t step = 1; step <= 3; ++step) save(run, step);
  write_file(run.checkpoint_path(3) / "state.bin", "stale");
  write_file(run.checkpoint_path(2) / "MANIFEST.json", "");
  std::vector<string> problems;
  EXPECT_EQ(run.newest_valid(problems)->step, 1u);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_NE((problems[0] + problems[1]).find("state.bin: bytes 0..5 "), string::npos);
}

TEST(RunDir, PruningKeepsTheNewestCommits) {
  const TempDir root;
  RunDir run(root / "run", RunMode::fresh);
  for (uint64_t step = 1; step <= 5; ++step) save(run, step);
  fs::create_directory(run.path() / "checkpoint-99");  // unfinished: neither counts nor goes
  EXPECT_THROW(run.prune(0), Error);
  run.prune(9);
  EXPECT_EQ(steps(run).size(), 5u);
  run.prune(2);
  EXPECT_EQ(steps(run), (std::vector<uint64_t>{5, 4}));
  run.prune(1);
  EXPECT_EQ(steps(run), std::vector<uint64_t>{5});
  EXPECT_TRUE(fs::exists(run.path() / "checkpoint-99"));
}

TEST(RunDir, AFailedCommitKeepsTheNumberAndTheOldCheckpoint) {
  const TempDir root;
  RunDir run(root / "run", RunMode::fresh);
  save(run, 1);
  set_fault_hook(
      [](std::string_view call, const fs::path&) { return call == "rename" ? ENOSPC : 0; });
  EXPECT_THROW(save(run, 2), Error);
  set_fault_hook(nullptr);
  EXPECT_EQ(steps(run), std::vector<uint64_t>{1});
  save(run, 3);
  EXPECT_EQ(run.checkpoints().front().commit, 2u);
}

TEST(RunDir, OrphansOfADeadRunAreRemovedAtTheStart) {
  const TempDir root;
  fs::create_directories(root / "run/.checkpoint-7.tmp-1-0123abcd");
  const RunDir run(root / "run", RunMode::resume);
  EXPECT_EQ(list_directory(run.path()), std::vector<string>{"run.lock"});
}

TEST(MetricsLog, AppendsLinesInOrder) {
  const TempDir root;
  MetricsLog log(root / "metrics.jsonl", 0);
  EXPECT_TRUE(log.append({{"step", 1}, {"loss", 2.5}}));
  EXPECT_TRUE(log.append({{"step", 2}, {"loss", 0.1}, {"a", "\xC3\xA9"}}));
  log.sync();
  EXPECT_EQ(read_file(root / "metrics.jsonl"),
            "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":0.1,\"a\":\"\xC3\xA9\"}\n");
  EXPECT_THROW(log.append({{"loss", 1}}), Error);
}

TEST(MetricsLog, ResumeDropsLaterAndTornLines) {
  const TempDir root;
  const string kept = "{\"step\":1}\n{\"step\":2,\"eval\":true}\n{\"step\":2}\n";
  write_file(root / "m.jsonl", kept + "{\"step\":3}\n{\"step\":4,\"lo");
  {
    MetricsLog log(root / "m.jsonl", 2);
    EXPECT_EQ(log.dropped(), 2u);
    EXPECT_TRUE(log.append({{"step", 3}}));
  }
  EXPECT_EQ(read_file(root / "m.jsonl"), kept + "{\"step\":3}\n");
  EXPECT_EQ(MetricsLog(root / "m.jsonl", 3).dropped(), 0u);
  EXPECT_EQ(MetricsLog(root / "m.jsonl", 0).dropped(), 4u);
  EXPECT_EQ(list_directory(root.path()), std::vector<string>{"m.jsonl"});
}

TEST(MetricsLog, AFullDiskStopsTheLogOnly) {
  const TempDir root;
  MetricsLog log(root / "m.jsonl", 0);
  EXPECT_TRUE(log.append({{"step", 1}}));
  set_fault_hook([](std::string_view, const fs::path&) { return ENOSPC; });
  EXPECT_FALSE(log.append({{"step", 2}}));
  set_fault_hook(nullptr);
  EXPECT_FALSE(log.append({{"step", 3}}));  // no gap in the middle: it stays stopped
  EXPECT_NE(log.error().find("No space left"), string::npos) << log.error();
  EXPECT_EQ(read_file(root / "m.jsonl"), "{\"step\":1}\n");
}

TEST(ReplaceFile, ShowsTheOldBytesOrTheNew) {
  const TempDir root;
  write_file(root / "f", "old");
  write_file(root / ".f.tmp", "left by a dead process");
  for (const char* failing : {"open", "fallocate", "write", "fdatasync", "rename"}) {
    set_fault_hook(
        [failing](std::string_view call, const fs::path&) { return call == failing ? EIO : 0; });
    EXPECT_THROW(replace_file(root / "f", "new"), Error) << failing;
    EXPECT_EQ(read_file(root / "f"), "old") << failing;
  }
  set_fault_hook(nullptr);
  replace_file(root / "f", "new");
  EXPECT_EQ(read_file(root / "f"), "new");
  EXPECT_EQ(list_directory(root.path()), std::vector<string>{"f"});
}

}  // namespace
}  // namespace nibble::test
