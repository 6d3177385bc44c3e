// Files -> a store of documents: order, threads, weights, held-out rows, bad rows, and a cache that
// is believed only when every byte of it is as it was written. The encoder here is one a test can
// read: a token is a byte.
#include "data/dataset_loader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <map>
#include <set>
#include <thread>

#include "core/error.h"
#include "data/findings.h"
#include "support/data.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;

// Bytes as ids; a prompt is not trained. "!" in a text is an error, "-" drops the row, "/" cuts it
// in two documents, "#" is a finding.
EncodedRow encode(const Example& example) {
  std::string prompt = example.text, answer = example.completion;
  if (example.kind == Example::Kind::text) std::swap(prompt, answer);
  for (const auto& message : example.messages) answer += message["content"].get<std::string>();
  EncodedRow row;
  if (answer.find('!') != answer.npos) fail(ErrorKind::bad_input, "the text holds '!'");
  if (answer.find('-') != answer.npos) return row;
  if (answer.find('#') != answer.npos) row.findings.push_back({Guard::truncated, "a '#'"});
  row.documents.emplace_back();
  const auto add = [&](char c, bool trained) {
    if (c == '/') {
      row.documents.emplace_back();
      row.cut_tokens = 1;
      return;
    }
    const int32_t id = static_cast<unsigned char>(c);
    row.documents.back().ids.push_back(id);
    row.documents.back().labels.push_back(trained ? id : -100);
  };
  for (const char c : prompt) add(c, false);
  for (const char c : answer) add(c, true);
  for (const int32_t id : example.ids) {
    row.documents.back().ids.push_back(id);
    row.documents.back().labels.push_back(id);
  }
  return row;
}

DatasetSpec spec_of(std::vector<std::string> paths) {
  DatasetSpec spec;
  spec.paths = std::move(paths);
  spec.vocab_size = 256;
  spec.identity = "bytes";
  spec.threads = 2;
  return spec;
}

std::string text_of(std::span<const int32_t> ids) { return {ids.begin(), ids.end()}; }

std::vector<std::string> texts_of(const TokenizedDataset& data) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < data.documents(); ++i) texts.push_back(text_of(data.ids(i)));
  return texts;
}

std::string row(const std::string& text) { return "{\"text\": \"" + text + "\"}\n"; }

// n rows "<prefix>0" ... of different lengths.
std::string rows(int n, const std::string& prefix = "row") {
  std::string bytes;
  for (int i = 0; i < n; ++i)
    bytes += row(prefix + std::to_string(i) + std::string(static_cast<size_t>(i * 7 % 50), 'x'));
  return bytes;
}

class Loader : public testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& bytes) {
    write_file(folder_ / name, bytes);
    return (folder_ / name).string();
  }
  LoadedDataset load(const DatasetSpec& spec) {
    DatasetEvents events;
    events.note = [this](const std::string& note) { notes_ += note + "\n"; };
    return load_dataset(
        spec,
        [this](const Example& example) {
          ++encoded_;
          return encode(example);
        },
        events);
  }
  std::string refusal(const DatasetSpec& spec, ErrorKind kind = ErrorKind::bad_input) {
    try {
      load(spec);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return error.what();
    }
    return "(accepted)";
  }

  const TempDir folder_;
  std::string notes_;
  std::atomic<int> encoded_ = 0;
};

TEST_F(Loader, DocumentsInTheOrderOfRows) {
  const auto path = file("a.jsonl",
                         "{\"prompt\": \"Q\", \"completion\": \"AB\"}\n\n"
                         "{\"prompt\": \"\", \"completion\": \"C/DE\"}\n"
                         "{\"prompt\": \"x\", \"completion\": \"-\"}\n"
                         "{\"prompt\": \"y\", \"completion\": \"#F\"}\n");
  const LoadedDataset loaded = load(spec_of({path}));
  const TokenizedDataset& data = loaded.train;
  EXPECT_EQ(texts_of(data), (std::vector<std::string>{"QAB", "C", "DE", "y#F"}));
  EXPECT_EQ(std::vector<int32_t>(data.labels(0).begin(), data.labels(0).end()),
            (std::vector<int32_t>{-100, 'A', 'B'}));
  EXPECT_EQ(data.length(0), 3);
  EXPECT_EQ(data.trained(0), 2);
  EXPECT_EQ(data.trained(1), 0);  // the first token is never predicted
  EXPECT_EQ(data.place(1), path + ": row 3 (byte 37)");
  EXPECT_EQ(data.place(2), path + ": row 3 (byte 37)");
  EXPECT_EQ(data.tokens(), 9);
  EXPECT_EQ(data.trained_tokens(), 2 + 0 + 1 + 2);
  EXPECT_EQ(data.longest(), 3);
  EXPECT_EQ(loaded.held_out.documents(), 0);
  const DatasetReport& report = data.report();
  EXPECT_EQ(report.rows, 4);
  EXPECT_EQ(report.dropped_rows, 1);
  EXPECT_EQ(report.skipped_rows, 0);
  EXPECT_EQ(report.cut_rows, 1);
  EXPECT_EQ(report.cut_tokens, 1);
  ASSERT_EQ(report.files.size(), 1u);
  EXPECT_EQ(report.files[0].path, path);
  EXPECT_EQ(report.files[0].format, "prompt_completion");
  EXPECT_EQ(report.files[0].rows, 4);
  EXPECT_EQ(report.findings.of(Guard::truncated).count, 1);
  EXPECT_EQ(report.findings.of(Guard::truncated).first_place, path + ": row 5 (byte 109)");
}

TEST_F(Loader, FilesFoldersAndFormats) {
  fs::create_directory(folder_ / "set");
  file("set/b.csv", "text\nb0\nb1\n");
  file("set/a.json", R"([{"instruction":"i","output":"a0"}])");
  file("set/B.txt", "B0\n");
  file("set/README.md", "# A set");
  file("set/.hidden.jsonl", row("hidden"));
  fs::create_directory(folder_ / "set/sub");
  const auto single = file("c.tsv", "text\tid\nc0\t1\n");
  const LoadedDataset loaded = load(spec_of({(folder_ / "set").string(), single}));
  EXPECT_EQ(texts_of(loaded.train), (std::vector<std::string>{"B0", "ia0", "b0", "b1", "c0"}));
  EXPECT_NE(notes_.find("not read: README.md, sub"), std::string::npos) << notes_;
  EXPECT_EQ(notes_.find("hidden"), std::string::npos);
  const auto& files = loaded.train.report().files;
  ASSERT_EQ(files.size(), 4u);
  EXPECT_EQ(files[1].format, "alpaca");
  EXPECT_EQ(files[1].entry, 0u);
  EXPECT_EQ(files[3].entry, 1u);
}

TEST_F(Loader, FilesThatAreNotThereOrNotData) {
  EXPECT_NE(refusal(spec_of({(folder_ / "none.jsonl").string()})).find("none.jsonl: no such file"),
            std::string::npos);
  EXPECT_NE(refusal(spec_of({folder_.path().string()})).find("holds no .jsonl"), std::string::npos);
  file("a.jsonl", row("a"));
  file("b.parquet", "PAR1");
  EXPECT_NE(refusal(spec_of({folder_.path().string()})).find("b.parquet"), std::string::npos);
  for (const char* bytes : {"", "\n\n", "\xEF\xBB\xBF\n"})
    EXPECT_NE(refusal(spec_of({(folder_ / "a.jsonl").string(), file("empty.jsonl", bytes)}))
                  .find("empty.jsonl: the file has no rows"),
              std::string::npos);
  EXPECT_NE(refusal(spec_of({}), ErrorKind::usage).find("no file"), std::string::npos);
}

// The same bytes whatever the threads, also where batches and huge rows mix.
TEST_F(Loader, ThreadsDoNotMatter) {
  const auto path = file("a.jsonl", rows(3000) + row(std::string(300000, 'y') + "/z") + rows(3000));
  std::map<std::string, std::string> first;
  for (const int threads : {1, 2, 4, 7}) {
    DatasetSpec spec = spec_of({path});
    spec.threads = threads;
    spec.cache_folder = folder_ / ("cache" + std::to_string(threads));
    const LoadedDataset loaded = load(spec);
    EXPECT_EQ(loaded.train.documents(), 6002);
    std::map<std::string, std::string> bytes;
    for (const auto& store : fs::directory_iterator(spec.cache_folder))
      for (const auto& entry : fs::directory_iterator(store))
        bytes[entry.path().filename().string()] = read_file(entry.path());
    EXPECT_EQ(bytes.size(), 5u);
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << threads;
  }
}

TEST_F(Loader, FirstBadRowEndsItWhateverTheThreads) {
  std::string bytes = rows(1000);
  const size_t place = bytes.size();
  bytes += "{\"text\": 5}\n" + rows(1000) + "{\"text\n" + rows(1000);
  const auto path = file("a.jsonl", bytes);
  for (const int threads : {1, 4}) {
    DatasetSpec spec = spec_of({path});
    spec.threads = threads;
    EXPECT_EQ(refusal(spec), path + ": row 1001 (byte " + std::to_string(place) +
                                 "): text: got 5, expected a string");
  }
}

TEST_F(Loader, BadRowsCanBeSkippedAndAreCounted) {
  const auto path = file("a.jsonl", "{\"te\n" + row("a") + row("no!") + "[1]\n" + row("") +
                                        "{\"messages\": []}\n" + row("b") + "{\"text\": \"b");
  DatasetSpec spec = spec_of({path});
  EXPECT_EQ(refusal(spec), path +
                               ": row 1 (byte 0): JSON: byte 4 (line 1): the text ends, expected "
                               "'\"' at the end of the string; is it truncated?");
  spec.bad_rows = BadRows::skip;
  const LoadedDataset loaded = load(spec);
  EXPECT_EQ(texts_of(loaded.train), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(loaded.train.report().rows, 2);
  EXPECT_EQ(loaded.train.report().skipped_rows, 6);
  EXPECT_EQ(loaded.train.report().findings.of(Guard::bad_row).count, 6);
  EXPECT_EQ(loaded.train.report().findings.of(Guard::bad_row).first_place,
            path + ": row 1 (byte 0)");
  // A file whose structure is broken is refused all the same.
  spec.paths = {file("b.json", "[{\"text\":\"a\"}")};
  EXPECT_NE(refusal(spec).find("expected ',' or ']'"), std::string::npos);
  spec.paths = {file("c.jsonl", "{\n{\n")};
  EXPECT_NE(refusal(spec).find("2 were skipped"), std::string::npos);
}

TEST_F(Loader, TheEncodersErrorGetsThePlace) {
  const auto path = file("a.jsonl", row("a") + row("no!"));
  EXPECT_EQ(refusal(spec_of({path})), path + ": row 2 (byte 14): the text holds '!'");
}

TEST_F(Loader, OtherErrorsOfTheEncoderPass) {
  const DatasetSpec spec = spec_of({file("a.jsonl", rows(100))});
  EXPECT_THROW(load_dataset(spec,
                            [](const Example&) -> EncodedRow {
                              throw std::runtime_error("not about the row");
                            }),
               std::runtime_error);
}

TEST_F(Loader, OneFileHasOneForm) {
  const auto path = file("a.jsonl", row("a") + "{\"prompt\":\"b\",\"completion\":\"c\"}\n");
  EXPECT_EQ(refusal(spec_of({path})), path +
                                          ": row 2 (byte 14): the row is prompt_completion, "
                                          "expected text as the file's first rows");
  // Another file may have another.
  EXPECT_EQ(texts_of(load(spec_of({file("b.jsonl", row("a")),
                                   file("c.jsonl", "{\"prompt\":\"b\",\"completion\":\"c\"}")}))
                         .train),
            (std::vector<std::string>{"a", "bc"}));
}

TEST_F(Loader, DuplicatesAreCounted) {
  const auto a = file("a.jsonl", row("one") + row("two") + "{ \"text\":\"one\", \"id\": 7}\n");
  const auto b = file("b.jsonl", row("three") + row("two") + row("two"));
  const LoadedDataset loaded = load(spec_of({a, b}));
  const auto& duplicates = loaded.train.report().findings.of(Guard::duplicate_row);
  EXPECT_EQ(duplicates.count, 3);
  EXPECT_EQ(duplicates.first_place, a + ": row 3 (byte 32)");
  EXPECT_EQ(loaded.train.documents(), 6);
}

TEST_F(Loader, ManyEqualRows) {
  std::string bytes;
  for (int i = 0; i < 200000; ++i) bytes += "{\"text\":\"a\"}\n";
  const LoadedDataset loaded = load(spec_of({file("a.jsonl", bytes)}));
  EXPECT_EQ(loaded.train.documents(), 200000);
  EXPECT_EQ(loaded.train.report().findings.of(Guard::duplicate_row).count, 199999);
}

TEST_F(Loader, RowsOfTrainingInEvaluationAreALeak) {
  const auto train = load(spec_of({file("a.jsonl", rows(50) + row("ab/c"))})).train;
  const auto path = file("b.jsonl", rows(10, "new") + row("row3" + std::string(21, 'x')) +
                                        "{\"id\":1,\"text\":\"ab/c\"}\n" + row("abc"));
  const SharedRows shared = shared_rows(train, load(spec_of({path})).train);
  EXPECT_EQ(shared.count, 2);  // "ab/c" is two documents of one row; "abc" is another row
  EXPECT_TRUE(shared.first_place.starts_with(path + ": row 11 (byte ")) << shared.first_place;
  EXPECT_EQ(shared_rows(train, TokenizedDataset()).count, 0);
}

TEST_F(Loader, Weights) {
  const auto a = file("a.jsonl", rows(400, "a")), b = file("b.jsonl", rows(400, "b"));
  const auto c = file("c.jsonl", rows(400, "c"));
  DatasetSpec spec = spec_of({a, b, c});
  spec.weights = {2, 0.5, 1.25};
  std::map<char, std::map<std::string, int>> times;
  const TokenizedDataset data = load(spec).train;
  for (const std::string& text : texts_of(data)) ++times[text[0]][text];
  EXPECT_EQ(times['a'].size(), 400u);
  for (const auto& [text, count] : times['a']) EXPECT_EQ(count, 2) << text;
  // A binomial of 400 draws: 6 standard deviations are 60 at one half, 52 at a quarter.
  EXPECT_NEAR(static_cast<double>(times['b'].size()), 200, 60);
  EXPECT_EQ(times['c'].size(), 400u);
  int twice = 0;
  for (const auto& [text, count] : times['c']) {
    EXPECT_TRUE(count == 1 || count == 2);
    twice += count - 1;
  }
  EXPECT_NEAR(twice, 100, 52);
  // The same again; another choice with another seed; the report is of what was read.
  EXPECT_EQ(texts_of(load(spec).train), texts_of(data));
  EXPECT_EQ(load(spec).train.sha256(), data.sha256());
  spec.seed = 43;
  EXPECT_NE(texts_of(load(spec).train), texts_of(data));
  EXPECT_NE(load(spec).train.sha256(), data.sha256());
  EXPECT_EQ(data.report().rows, 1200);
  EXPECT_EQ(data.report().findings.of(Guard::duplicate_row).count, 0);
}

// A row of several documents is one row, as often as it is taken.
TEST_F(Loader, RowsAreCounted) {
  const auto a = file("a.jsonl", row("a/b/c")), b = file("b.jsonl", row("d") + row("e/f"));
  DatasetSpec spec = spec_of({a, b});
  TokenizedDataset data = load(spec).train;
  EXPECT_EQ(data.rows(), 3);
  EXPECT_EQ(data.documents(), 6);
  spec.weights = {2, 1};
  data = load(spec).train;
  EXPECT_EQ(texts_of(data),
            (std::vector<std::string>{"a", "b", "c", "a", "b", "c", "d", "e", "f"}));
  EXPECT_EQ(data.rows(), 4);
  std::string starts;
  for (int64_t i = 0; i < data.documents(); ++i) starts += data.starts_row(i) ? '1' : '0';
  EXPECT_EQ(starts, "100100110");
  EXPECT_EQ(TokenizedDataset().rows(), 0);
}

TEST_F(Loader, WeightsThatMakeNoSense) {
  DatasetSpec spec = spec_of({file("a.jsonl", rows(4))});
  for (const double weight : {0.0, -1.0, 1e9, std::nan(""), HUGE_VAL}) {
    spec.weights = {weight};
    EXPECT_NE(refusal(spec, ErrorKind::usage).find("dataset_weights"), std::string::npos);
  }
  spec.weights = {1, 1};
  EXPECT_NE(refusal(spec, ErrorKind::usage).find("got 2 weights, expected 1"), std::string::npos);
  spec.weights = {1e-12};
  EXPECT_NE(refusal(spec, ErrorKind::usage).find("take none of the 4 rows"), std::string::npos);
}

TEST_F(Loader, HeldOutFraction) {
  const auto a = file("a.jsonl", rows(500, "a")), b = file("b.jsonl", rows(500, "b"));
  DatasetSpec spec = spec_of({a, b});
  spec.val_set_size = 0.1;
  const LoadedDataset loaded = load(spec);
  const auto held = texts_of(loaded.held_out), kept = texts_of(loaded.train);
  EXPECT_NEAR(static_cast<double>(held.size()), 100, 57);  // 6 standard deviations
  EXPECT_EQ(held.size() + kept.size(), 1000u);
  std::set<std::string> all(held.begin(), held.end());
  all.insert(kept.begin(), kept.end());
  EXPECT_EQ(all.size(), 1000u);
  EXPECT_NE(loaded.train.sha256(), loaded.held_out.sha256());
  // The order of files does not matter, nor do weights.
  spec.paths = {b, a};
  spec.weights = {3, 1};
  const LoadedDataset other = load(spec);
  const auto other_held = texts_of(other.held_out);
  EXPECT_EQ(std::set<std::string>(other_held.begin(), other_held.end()),
            std::set<std::string>(held.begin(), held.end()));
  EXPECT_EQ(shared_rows(other.train, other.held_out).count, 0);
}

TEST_F(Loader, HeldOutCount) {
  DatasetSpec spec = spec_of({file("a.jsonl", rows(100) + row("ab/cd"))});
  spec.val_set_size = 101 - 1;
  const LoadedDataset loaded = load(spec);
  std::set<uint64_t> held;
  for (int64_t i = 0; i < loaded.held_out.documents(); ++i)
    held.insert(loaded.held_out.row(i).number);
  EXPECT_EQ(held.size(), 100u);
  EXPECT_EQ(loaded.train.documents() + loaded.held_out.documents(), 102);
  for (const double size : {101.0, 1000.0, 1e-9, 1.5, -0.1, std::nan(""), HUGE_VAL}) {
    spec.val_set_size = size;
    EXPECT_NE(refusal(spec, ErrorKind::usage).find("val_set_size"), std::string::npos) << size;
  }
}

// Equal rows are held out together, so that holding out leaks nothing.
TEST_F(Loader, EqualRowsStayTogether) {
  DatasetSpec spec = spec_of({file("a.jsonl", rows(200) + rows(200) + rows(200))});
  spec.val_set_size = 0.3;
  const LoadedDataset loaded = load(spec);
  EXPECT_GT(loaded.held_out.documents(), 0);
  EXPECT_EQ(loaded.held_out.documents() % 3, 0);
  EXPECT_EQ(shared_rows(loaded.train, loaded.held_out).count, 0);
}

TEST_F(Loader, CacheIsUsedAgain) {
  DatasetSpec spec = spec_of({file("a.jsonl", rows(100) + row("a#b"))});
  spec.cache_folder = folder_ / "run" / "dataset_cache";
  const LoadedDataset first = load(spec);
  EXPECT_FALSE(first.from_cache);
  EXPECT_EQ(encoded_, 101);
  spec.val_set_size = 5;  // chooses among what is there
  spec.weights = {2};
  const LoadedDataset second = load(spec);
  EXPECT_TRUE(second.from_cache);
  EXPECT_EQ(encoded_, 101);
  spec.val_set_size = 0;
  spec.weights = {};
  const LoadedDataset third = load(spec);
  EXPECT_EQ(texts_of(third.train), texts_of(first.train));
  EXPECT_EQ(third.train.sha256(), first.train.sha256());
  EXPECT_EQ(third.train.report().to_json(), first.train.report().to_json());
  EXPECT_EQ(notes_, "");
}

TEST_F(Loader, CacheIsOfThisDataTokenizerAndOptions) {
  DatasetSpec spec = spec_of({file("a.jsonl", rows(20))});
  spec.cache_folder = folder_ / "cache";
  std::set<std::string> hashes;
  const auto anew = [&](const char* why) {
    SCOPED_TRACE(why);
    const LoadedDataset loaded = load(spec);
    EXPECT_FALSE(loaded.from_cache);
    EXPECT_TRUE(hashes.insert(loaded.train.sha256()).second);
    // Only the newest is kept.
    EXPECT_EQ(std::distance(fs::directory_iterator(spec.cache_folder), fs::directory_iterator()),
              1);
    EXPECT_TRUE(load(spec).from_cache);
  };
  anew("first");
  spec.identity = "other bytes";
  anew("another encoder");
  file("a.jsonl", rows(21));
  anew("other data");
  file("a.jsonl", rows(20).replace(12, 1, "R"));
  anew("other data of the same size");
  spec.bad_rows = BadRows::skip;
  anew("another policy");
  spec.format.format = RowFormat::text;
  anew("a chosen format");
  spec.vocab_size = 300;
  anew("another vocabulary");
  // Another name keeps its own.
  spec.cache_name = "eval";
  EXPECT_FALSE(load(spec).from_cache);
  spec.cache_name = "train";
  EXPECT_TRUE(load(spec).from_cache);
}

TEST_F(Loader, DamagedCacheIsMadeAnew) {
  DatasetSpec spec = spec_of({file("a.jsonl", rows(100))});
  spec.cache_folder = folder_ / "cache";
  const std::vector<std::string> texts = texts_of(load(spec).train);
  const fs::path store = fs::directory_iterator(spec.cache_folder)->path();
  int rebuilt = 0;
  const auto anew = [&](const std::string& why) {
    SCOPED_TRACE(why);
    notes_.clear();
    const LoadedDataset loaded = load(spec);
    EXPECT_FALSE(loaded.from_cache);
    EXPECT_NE(notes_.find("tokenized anew"), std::string::npos) << notes_;
    EXPECT_EQ(texts_of(loaded.train), texts);
    EXPECT_EQ(encoded_, 100 * (1 + ++rebuilt));
    EXPECT_TRUE(load(spec).from_cache);
  };
  for (const char* name :
       {"tokens.bin", "documents.bin", "rows.bin", "report.json", "MANIFEST.json"}) {
    const std::string bytes = read_file(store / name);
    const std::string what = name;
    write_file(store / name, bytes.substr(0, bytes.size() / 2));
    anew(what + " cut");
    write_file(store / name, "");
    anew(what + " empty");
    std::string flipped = bytes;
    flipped[bytes.size() / 2] = static_cast<char>(flipped[bytes.size() / 2] ^ 4);
    write_file(store / name, flipped);
    anew(what + " flipped");
    write_file(store / name, bytes + bytes);
    anew(what + " longer");
    fs::remove(store / name);
    anew(what + " missing");
    fs::remove(store / name);
    fs::create_directory(store / name);
    anew(what + " a folder");
  }
  fs::remove_all(store);
  write_file(store, "a file");
  anew("the store a file");
}

TEST_F(Loader, NothingIsLeftWithoutACacheFolder) {
  const fs::path temporary = folder_ / "tmp";
  fs::create_directory(temporary);
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before ? before : "";
  setenv("TMPDIR", temporary.c_str(), 1);
  const auto good = file("a.jsonl", rows(100)), bad = file("b.jsonl", rows(100) + "{");
  const LoadedDataset loaded = load(spec_of({good}));
  EXPECT_TRUE(fs::is_empty(temporary));
  EXPECT_EQ(loaded.train.documents(), 100);
  EXPECT_EQ(text_of(loaded.train.ids(0)), "row0");
  refusal(spec_of({bad}));
  EXPECT_TRUE(fs::is_empty(temporary));
  DatasetSpec spec = spec_of({bad});
  spec.cache_folder = folder_ / "cache";
  refusal(spec);
  EXPECT_TRUE(fs::is_empty(spec.cache_folder));
  before ? setenv("TMPDIR", kept.c_str(), 1) : unsetenv("TMPDIR");
}

TEST_F(Loader, IdsBeyondTheVocabularyAreNeverServed) {
  const auto path = file("a.jsonl", R"({"input_ids":[1,2,300]})");
  EXPECT_NE(refusal(spec_of({path})).find("the tokens of document 0"), std::string::npos);
}

TEST_F(Loader, ProgressAndStop) {
  const std::string bytes = rows(5000);
  const DatasetSpec spec = spec_of({file("a.jsonl", bytes), file("b.jsonl", bytes)});
  uint64_t last = 0;
  DatasetEvents events;
  events.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    EXPECT_EQ(total, 2 * bytes.size());
    last = done;
  };
  load_dataset(spec, encode, events);
  EXPECT_EQ(last, 2 * bytes.size());
  events.progress = [](uint64_t, uint64_t) { fail(ErrorKind::interrupted, "stop"); };
  EXPECT_THROW(load_dataset(spec, encode, events), Error);
}

// A folder without room is an error that says so, and leaves nothing.
TEST_F(Loader, WriteErrorsAreIo) {
  DatasetSpec spec = spec_of({file("a.jsonl", rows(100))});
  spec.cache_folder = folder_ / "cache";
  set_fault_hook([](std::string_view call, const fs::path& path) {
    return call == "write" && path.filename() == "tokens.bin" ? ENOSPC : 0;
  });
  const std::string message = refusal(spec, ErrorKind::io);
  set_fault_hook({});
  EXPECT_NE(message.find("bytes are free"), std::string::npos) << message;
  EXPECT_TRUE(fs::is_empty(spec.cache_folder));
  EXPECT_EQ(load(spec).train.documents(), 100);
}

TEST(Policy, Names) {
  EXPECT_EQ(parse_bad_rows("refuse"), BadRows::refuse);
  EXPECT_EQ(parse_bad_rows("skip"), BadRows::skip);
  EXPECT_THROW(parse_bad_rows("ignore"), Error);
  EXPECT_EQ(parse_sample_by("document"), SampleBy::document);
  EXPECT_THROW(parse_sample_by("word"), Error);
}

}  // namespace
}  // namespace nibble::test
