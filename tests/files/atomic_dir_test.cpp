// AtomicDir and its manifest: complete or not there, whatever fails, whatever rots.
#include "files/atomic_dir.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "support/data.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;
using std::string;

const string kWeights = [] {
  string bytes(2'500'000, '\0');  // two and a half blocks of the manifest
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 + i / 251);
  return bytes;
}();

// Writes a folder of two files, `tag` being the content of one, and commits it.
Manifest save(const fs::path& target, const string& tag, const string& weights = "weights",
              uint64_t commit = 1, uint64_t step = 10) {
  AtomicDir folder(target);
  folder.write("tag.txt", tag);
  folder.write("weights.bin", weights);
  return folder.commit(commit, step);
}

// What verify_manifest says: "" if all is well.
string fault(const fs::path& folder) {
  try {
    verify_manifest(folder);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input) << error.what();
    return error.what();
  }
  return "";
}

// The names and bytes of everything below a folder.
std::map<string, string> contents(const fs::path& folder) {
  std::map<string, string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    out[fs::relative(entry.path(), folder).string()] =
        entry.is_regular_file() ? read_file(entry.path()) : "folder";
  }
  return out;
}

// Makes the k-th call (from 1) that changes the disk fail; counts the calls.
class FailAt {
 public:
  FailAt(int k, int error) {
    set_fault_hook(
        [this, k, error](std::string_view, const fs::path&) { return ++calls_ == k ? error : 0; });
  }
  ~FailAt() { set_fault_hook(nullptr); }
  FailAt(const FailAt&) = delete;
  FailAt& operator=(const FailAt&) = delete;
  int calls() const { return calls_; }

 private:
  int calls_ = 0;
};

TEST(AtomicDir, CommitsFilesAndTheirManifest) {
  const TempDir root;
  const Manifest manifest = save(root / "checkpoint-10", "one", kWeights, 7, 10);
  EXPECT_EQ(manifest.files.size(), 2u);
  EXPECT_EQ(manifest.files[1].name, "weights.bin");
  EXPECT_EQ(manifest.files[1].crc32c.size(), 3u);
  const Manifest read = verify_manifest(root / "checkpoint-10");
  EXPECT_EQ(read.commit, 7u);
  EXPECT_EQ(read.step, 10u);
  EXPECT_EQ(read.files[1].sha256, manifest.files[1].sha256);
  EXPECT_EQ(read.files[1].crc32c, manifest.files[1].crc32c);
  EXPECT_EQ(contents(root.path()).size(), 4u);  // the folder, two files, the manifest
}

TEST(AtomicDir, NothingIsThereBeforeTheCommit) {
  const TempDir root;
  {
    AtomicDir folder(root / "out");
    folder.write("a", "bytes");
    EXPECT_FALSE(fs::exists(root / "out"));
  }
  EXPECT_TRUE(contents(root.path()).empty());
}

TEST(AtomicDir, ReplacesItsOwnFoldersOnly) {
  const TempDir root;
  save(root / "out", "one");
  save(root / "out", "two");
  EXPECT_EQ(read_file(root / "out/tag.txt"), "two");
  EXPECT_EQ(list_directory(root.path()), std::vector<string>{"out"});

  fs::create_directory(root / "empty");
  save(root / "empty", "three");
  fs::create_directory(root / "foreign");
  write_file(root / "foreign/thesis.txt", "years of work");
  write_file(root / "file", "x");
  fs::create_directory_symlink(root / "out", root / "link");
  for (const char* name : {"foreign", "file", "link"}) {
    try {
      AtomicDir folder(root / name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
    }
  }
  EXPECT_EQ(read_file(root / "foreign/thesis.txt"), "years of work");
}

// Every call that changes the disk fails once, with each errno, on a first and on a later save.
TEST(AtomicDir, AFailingCallLeavesThePreviousContents) {
  for (const int error : {ENOSPC, EIO, EDQUOT, EROFS, EACCES, EMFILE}) {
    for (const bool replacing : {false, true}) {
      const TempDir root;
      if (replacing) save(root / "out", "old", "old weights");
      const auto before = contents(root.path());
      int failed = 0;
      for (int k = 1;; ++k) {
        FailAt hook(k, error);
        try {
          save(root / "out", "new", "new weights");
          if (hook.calls() < k) break;  // every call has had its turn
          // Only cleaning up may fail without making the save fail.
          ADD_FAILURE() << "call " << k << " failed, but the save did not";
        } catch (const Error& e) {
          ++failed;
          EXPECT_EQ(e.kind(), ErrorKind::io) << e.what();
          EXPECT_EQ(string(e.what()).find('\n'), string::npos);
          if (error == ENOSPC) {
            EXPECT_NE(string(e.what()).find("bytes are free"), string::npos) << e.what();
          }
          EXPECT_EQ(contents(root.path()), before) << "call " << k << ": " << e.what();
        }
      }
      EXPECT_GE(failed, 14) << "calls of one save";
      EXPECT_EQ(read_file(root / "out/tag.txt"), "new");
      EXPECT_EQ(fault(root / "out"), "");
    }
  }
}

TEST(AtomicDir, FullDiskMessagesSayHowMuchIsMissing) {
  const TempDir root;
  FailAt hook(4, ENOSPC);  // mkdir, open .writer, open, fallocate
  try {
    save(root / "out", string(1234, 'x'));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(string(error.what()).find("1234 bytes are needed"), string::npos) << error.what();
  }
}

// The kernel's own refusal, not an injected one.
TEST(AtomicDir, AFileSizeLimitOfTheSystemIsAnIoError) {
  const TempDir root;
  save(root / "out", "old");
  const auto before = contents(root.path());
  struct rlimit old {};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 100'000, old.rlim_max };
  setrlimit(RLIMIT_FSIZE, &small);
  try {
    save(root / "out", "new", kWeights);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
  }
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(contents(root.path()), before);
}

// A process that dies at the k-th call, for every k: the old folder or the new one, and no
// orphan after the next start.
TEST(AtomicDir, DyingAtAnyCallLeavesOneOrTheOther) {
  const TempDir root;
  save(root / "out", "old");
  bool finished = false;
  for (int k = 1; !finished; ++k) {
    ASSERT_LT(k, 100);
    const pid_t child = fork();
    if (child == 0) {
      int calls = 0;
      set_fault_hook([&calls, k](std::string_view, const fs::path&) -> int {
        if (++calls == k) _exit(9);
        return 0;
      });
      save(root / "out", "new");
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    finished = WEXITSTATUS(status) == 0;
    const string tag = read_file(root / "out/tag.txt");
    EXPECT_TRUE(tag == "old" || tag == "new") << tag;
    EXPECT_EQ(fault(root / "out"), "");
    remove_orphans(root.path());
    EXPECT_EQ(list_directory(root.path()), std::vector<string>{"out"}) << "call " << k;
    save(root / "out", "old");
  }
}

TEST(AtomicDir, OrphansOfDeadWritersGoAndLivingWritersStay) {
  const TempDir root;
  AtomicDir living(root / "out");
  living.write("a", "1");
  fs::create_directory(root / ".out.tmp-1-0123abcd");
  write_file(root / ".out.tmp-1-0123abcd/.writer", "");
  write_file(root / ".out.tmp-1-0123abcd/a", "half");
  fs::create_directory(root / ".out.tmp-1-0123abce");  // died before its lock
  for (const char* name : {".cache", ".out.tmp", ".out.tmp-x-0123abcd", "out.tmp-1-0123abcd"}) {
    fs::create_directory(root / name);
  }
  EXPECT_EQ(remove_orphans(root.path()),
            (std::vector<string>{".out.tmp-1-0123abcd", ".out.tmp-1-0123abce"}));
  EXPECT_TRUE(fs::exists(living.path() / "a"));
  EXPECT_TRUE(fs::exists(root / ".cache"));
  EXPECT_TRUE(fs::exists(root / "out.tmp-1-0123abcd"));
  living.commit();
  EXPECT_EQ(fault(root / "out"), "");
}

TEST(AtomicDir, DiscardRemovesAWholeFolder) {
  const TempDir root;
  save(root / "out", "x");
  discard_dir(root / "out");
  EXPECT_TRUE(contents(root.path()).empty());
}

TEST(AtomicDir, WorksWithARelativePath) {
  const TempDir root;
  const fs::path before = fs::current_path();
  fs::current_path(root.path());
  save("out", "x");
  EXPECT_EQ(fault("out"), "");
  fs::current_path(before);
}

// Reliability goal: every bit of a manifest.
TEST(Manifest, EveryFlippedBitIsDetected) {
  const TempDir root;
  save(root / "out", "x", kWeights);
  const fs::path path = root / "out/MANIFEST.json";
  const string good = read_file(path);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    write_file(path, bad);
    EXPECT_THROW(read_manifest(root / "out"), Error) << "bit " << bit;
  }
}

TEST(Manifest, TruncatedAndExtendedManifestsAreDetected) {
  const TempDir root;
  save(root / "out", "x");
  const fs::path path = root / "out/MANIFEST.json";
  const string good = read_file(path);
  for (size_t size = 0; size < good.size(); ++size) {
    write_file(path, good.substr(0, size));
    EXPECT_NE(fault(root / "out"), "") << size;
  }
  for (const char* more : {" ", "\n", "}", "\0"}) {
    write_file(path, good + string(more, 1));
    EXPECT_NE(fault(root / "out"), "");
  }
  write_file(path, string(good.size(), '\0'));  // what a power loss may leave
  EXPECT_NE(fault(root / "out"), "");
  fs::remove(path);
  EXPECT_NE(fault(root / "out"), "");
}

TEST(Manifest, DamageIsNamedByFileAndByteRange) {
  const TempDir root;
  save(root / "out", "x", kWeights);
  const fs::path path = root / "out/weights.bin";
  const auto expect = [&](const string& bytes, const string& range) {
    write_file(path, bytes);
    const string message = fault(root / "out");
    EXPECT_NE(message.find("weights.bin: bytes " + range), string::npos) << message;
  };
  for (const auto& [at, range] : {std::pair<size_t, const char*>{0, "0..1048576 "},
                                  {1'048'575, "0..1048576 "},
                                  {1'048'576, "1048576..2097152 "},
                                  {2'499'999, "2097152..2500000 "}}) {
    string bad = kWeights;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    expect(bad, range);
  }
  string zeroed = kWeights;
  std::fill_n(zeroed.begin() + 4096, 4096, '\0');
  expect(zeroed, "0..1048576 ");
  for (const size_t size : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, kWeights.size() - 1}) {
    expect(kWeights.substr(0, size), fmt::format("{}..2500000: got a file", size));
  }
  expect(kWeights + "x", "2500000..2500001: got a file");
  write_file(path, kWeights);
  EXPECT_EQ(fault(root / "out"), "");
}

TEST(Manifest, FilesThatAreMissingSwappedOrNotFilesAreDetected) {
  const TempDir root;
  save(root / "out", "1234567", "weights");  // equal sizes
  fs::rename(root / "out/tag.txt", root / "out/x");
  EXPECT_NE(fault(root / "out").find("tag.txt"), string::npos);
  fs::rename(root / "out/weights.bin", root / "out/tag.txt");
  fs::rename(root / "out/x", root / "out/weights.bin");
  EXPECT_NE(fault(root / "out").find("tag.txt: bytes 0..7 "), string::npos);
  fs::remove(root / "out/tag.txt");
  fs::create_directory(root / "out/tag.txt");
  EXPECT_NE(fault(root / "out").find("got a folder"), string::npos);
}

TEST(Manifest, FilesItDoesNotNameAreIgnored) {
  const TempDir root;
  save(root / "out", "x");
  write_file(root / "out/README.md", "by a user");
  EXPECT_EQ(fault(root / "out"), "");
}

// A manifest with a right hash but a wrong content: made by an attacker or another version.
TEST(Manifest, NamesThatLeaveTheFolderAreRefused) {
  const TempDir root;
  for (const char* name : {"../x", "/etc/passwd", "", ".", "..", "MANIFEST.json"}) {
    Manifest manifest{.commit = 1, .step = 1, .files = {{name, 0, string(64, '0'), {}}}};
    write_file(root / "MANIFEST.json", manifest_text(manifest));
    EXPECT_NE(fault(root.path()).find("is not understood"), string::npos) << name;
  }
  Manifest twice{.commit = 1, .step = 1, .files = {2, {"a", 0, string(64, '0'), {}}}};
  write_file(root / "MANIFEST.json", manifest_text(twice));
  EXPECT_NE(fault(root.path()).find("is not understood"), string::npos);
  Manifest blocks{.commit = 1, .step = 1, .files = {{"a", ~uint64_t{0}, string(64, '0'), {1}}}};
  write_file(root / "MANIFEST.json", manifest_text(blocks));
  EXPECT_NE(fault(root.path()).find("is not understood"), string::npos);
}

}  // namespace
}  // namespace nibble::test
