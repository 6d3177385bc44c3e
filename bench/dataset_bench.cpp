// A data set that is larger than memory: writes one, tokenizes it into a cache under a limit of the
// memory that the process may own, and reads it back from the cache.
//
//   dataset_bench MODEL_DIR TEXT_FILE [gigabytes=2] [limit_mib=384] [threads=all]
//
// Rows are pieces of 200 to 4000 bytes of the text, from random places. Checked: every 1000th row
// is what encoding it alone gives, and the second load comes from the cache and is equal. Shown:
// rate, the most memory owned (RssAnon) and in all (VmHWM, with pages of files that the kernel may
// take back), and what the caches take on disk. The files lie in TMPDIR.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "core/error.h"
#include "core/rng.h"
#include "data/dataset_loader.h"
#include "data/row_encoder.h"
#include "files/file_io.h"
#include "files/json.h"
#include "text/utf8.h"
#include "train/tokenizer_source.h"

namespace {

using namespace nibble;
namespace fs = std::filesystem;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A line of /proc/self/status, in MiB.
double memory(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key + ":"))
      return std::strtod(line.c_str() + key.size() + 1, nullptr) / 1024;
  return 0;
}

std::string piece(const std::string& text, RandomSequence& random) {
  const auto boundary = [&](size_t at) {
    while (at < text.size() && is_utf8_continuation(text[at])) ++at;
    return at;
  };
  const size_t begin = boundary(random.below(static_cast<uint32_t>(text.size() - 4000)));
  return text.substr(begin, boundary(begin + 200 + random.below(3800)) - begin);
}

std::string row_of(int64_t number, const std::string& text) {
  RandomSequence random(42, static_cast<uint64_t>(number));
  return nlohmann::json({{"text", piece(text, random)}}).dump();
}

int64_t write_rows(const fs::path& path, const std::string& text, double bytes) {
  std::ofstream file(path, std::ios::binary);
  int64_t rows = 0;
  while (static_cast<double>(file.tellp()) < bytes) file << row_of(rows++, text) << "\n";
  return rows;
}

struct Load {
  LoadedDataset data;
  double seconds = 0, owned_mib = 0;
};

Load load(const DatasetSpec& spec, const RowEncoder& encoder) {
  Load result;
  const double start = now();
  double shown = start;
  DatasetEvents events;
  events.progress = [&](uint64_t done, uint64_t total) {
    result.owned_mib = std::max(result.owned_mib, memory("RssAnon"));
    if (now() - shown < 10) return;
    shown = now();
    fmt::print("  {:.0f} % after {:.0f} s, {:.0f} MiB owned\n",
               100 * static_cast<double>(done) / static_cast<double>(total), shown - start,
               result.owned_mib);
    std::fflush(stdout);
  };
  result.data = load_dataset(
      spec, [&](const Example& example) { return encoder.encode(example); }, events);
  result.seconds = now() - start;
  result.owned_mib = std::max(result.owned_mib, memory("RssAnon"));
  return result;
}

void check(const TokenizedDataset& data, const std::string& text, const RowEncoder& encoder) {
  for (int64_t i = 0; i < data.documents(); i += 1000) {
    Example example;
    example.text = parse_json(row_of(i, text), "row").at("text").get<std::string>();
    const EncodedRow row = encoder.encode(example);
    if (!std::ranges::equal(row.documents.at(0).ids, data.ids(i)) ||
        !std::ranges::equal(row.documents.at(0).labels, data.labels(i)))
      fail(ErrorKind::internal, "row {} is not what it is alone", i);
  }
}

void run(const std::string& model, const std::string& text_file, double gigabytes, int64_t limit,
         int threads) {
  const std::string text = read_text_file(text_file, uint64_t{64} << 20);
  const fs::path folder = fs::temp_directory_path() / "nibble-dataset-bench";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const fs::path path = folder / "rows.jsonl";
  const int64_t rows = write_rows(path, text, gigabytes * 1e9);
  const double megabytes = static_cast<double>(fs::file_size(path)) * 1e-6;
  fmt::print("{} rows, {:.0f} MB\n", rows, megabytes);

  const TokenizerSource source = TokenizerSource::open(model);
  EncodeOptions options;
  options.max_length = 1 << 20;
  const RowEncoder encoder(source.tokenizer, source.special, nullptr, source.tokenizer.vocab_size(),
                           options);
  DatasetSpec spec;
  spec.paths = {path.string()};
  spec.format.chat_template = false;
  spec.vocab_size = source.tokenizer.vocab_size();
  spec.identity = encoder.identity() + source.sha256;
  spec.cache_folder = folder / "cache";
  spec.threads = threads;

  const rlimit data_limit{static_cast<rlim_t>(limit) << 20, RLIM_INFINITY};
  setrlimit(RLIMIT_DATA, &data_limit);
  const double before = memory("RssAnon");
  const Load first = load(spec, encoder);
  const TokenizedDataset& data = first.data.train;
  uint64_t stored = 0;
  for (const auto& entry : fs::recursive_directory_iterator(spec.cache_folder))
    if (entry.is_regular_file()) stored += entry.file_size();
  fmt::print("tokenized: {:.0f} s, {:.1f} MB/s, {:.2f} M tokens/s, {} tokens\n", first.seconds,
             megabytes / first.seconds, static_cast<double>(data.tokens()) * 1e-6 / first.seconds,
             data.tokens());
  fmt::print(
      "memory: {:.0f} MiB owned before, at most {:.0f} while loading (limit {}); {:.0f} "
      "MiB in all at most\n",
      before, first.owned_mib, limit, memory("VmHWM"));
  fmt::print("cache: {:.0f} MB, {:.2f} times the file\n", static_cast<double>(stored) * 1e-6,
             static_cast<double>(stored) * 1e-6 / megabytes);
  if (data.documents() != rows) fail(ErrorKind::internal, "{} documents", data.documents());
  check(data, text, encoder);
  const Load second = load(spec, encoder);
  if (!second.data.from_cache || second.data.train.sha256() != data.sha256() ||
      second.data.train.tokens() != data.tokens())
    fail(ErrorKind::internal, "the second load is not the first");
  fmt::print("from the cache, verified: {:.1f} s\n", second.seconds);
  fs::remove_all(folder);
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, double standard) {
    return argc > i ? std::strtod(argv[i], nullptr) : standard;
  };
  try {
    if (argc < 3)
      fail(ErrorKind::usage, "dataset_bench MODEL_DIR TEXT_FILE [gigabytes] [limit_mib]");
    run(argv[1], argv[2], number(3, 2), static_cast<int64_t>(number(4, 384)),
        static_cast<int>(number(5, 0)));
  } catch (const Error& error) {
    fmt::print(stderr, "dataset_bench: {}\n", error.what());
    return static_cast<int>(error.kind());
  }
}
