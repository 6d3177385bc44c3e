#include "data/dataset_loader.h"

#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <numeric>
#include <optional>
#include <system_error>

#include "core/error.h"
#include "core/rng.h"
#include "data/dataset_files.h"
#include "data/store_builder.h"
#include "files/atomic_dir.h"
#include "files/hashes.h"
#include "files/json_scanner.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double max_weight = 1000;

void check_spec(const DatasetSpec& spec) {
  if (!spec.weights.empty() && spec.weights.size() != spec.paths.size())
    fail(ErrorKind::usage, "dataset_weights: got {} weights, expected {}, one for each of dataset",
         spec.weights.size(), spec.paths.size());
  for (const double weight : spec.weights)
    if (!(weight > 0 && weight <= max_weight))
      fail(ErrorKind::usage, "dataset_weights: got {}, expected above 0, at most {}", weight,
           max_weight);
  const double size = spec.val_set_size;
  if (!(size >= 0 && size < 0x1p53) || (size >= 1 && size != std::floor(size)))
    fail(ErrorKind::usage, "val_set_size: got {}, expected a fraction below 1 or a count of rows",
         size);
}

std::string hash_of(const Json& json) {
  return sha256_hex(as_bytes(json.dump(-1, ' ', false, Json::error_handler_t::replace)));
}

// All that the content of the store depends on.
Json content_of(const DatasetSpec& spec, const std::vector<HashedFile>& files) {
  Json json;
  json["store"] = 2;  // to be raised when the same input gives another store
  json["files"] = Json::array();
  for (const HashedFile& file : files) json["files"].push_back(file.sha256);
  json["format"] = row_format_name(spec.format.format);
  json["text_field"] = spec.format.text_field;
  json["messages_field"] = spec.format.messages_field;
  json["chat_template"] = spec.format.chat_template;
  json["sample_by"] = static_cast<int>(spec.rows.sample_by);
  json["max_row_bytes"] = spec.rows.max_row_bytes;
  json["bad_rows"] = static_cast<int>(spec.bad_rows);
  json["vocab_size"] = spec.vocab_size;
  json["identity"] = spec.identity;
  return json;
}

// ... and the places that it names.
std::string cache_key(const Json& content, const std::vector<HashedFile>& files) {
  Json json = content;
  json["paths"] = Json::array();
  for (const HashedFile& file : files)
    json["paths"].push_back(Json::array({file.path.string(), file.entry}));
  return hash_of(json).substr(0, 32);
}

// A folder of the system's temporary files, removed at the end of its scope.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((fs::temp_directory_path() / "nibble-XXXXXX").string()) {
    if (!mkdtemp(path_.data()))
      fail(ErrorKind::io, "{}: cannot create a temporary folder: {}", path_,
           std::generic_category().message(errno));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  fs::path path() const { return path_; }

 private:
  std::string path_;
};

using StorePtr = std::shared_ptr<const TokenStore>;

// Null where there is none, or one that is not sound, which is removed.
StorePtr open_cached(const fs::path& folder, const DatasetSpec& spec, const DatasetEvents& events) {
  if (kind_of(folder) == PathKind::nothing) return nullptr;
  try {
    verify_manifest(folder);
    const auto store = std::make_shared<TokenStore>(folder, spec.vocab_size);
    for (const DatasetReport::File& file : store->report().files)
      if (file.entry >= spec.paths.size())
        fail(ErrorKind::bad_input, "{}: {} is no file of this dataset", folder.string(),
             printable(file.path));
    return store;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::bad_input) throw;
    if (events.note)
      events.note(fmt::format("dataset cache: {}; the rows are tokenized anew", error.what()));
  }
  remove_tree(folder);
  return nullptr;
}

// Stores of this name for data, tokenizer or options of earlier runs.
void prune_cache(const fs::path& cache, const std::string& name, const fs::path& keep) {
  remove_orphans(cache);
  for (const std::string& other : list_directory(cache))
    if (other.starts_with(name + "-") && other != keep.filename()) discard_dir(cache / other);
}

// Each document once for each time that its row is taken, and once when its row is held out.
struct Selection {
  std::vector<int64_t> train, held_out;
};

double unit_interval(const std::array<uint32_t, 4>& words) {
  return static_cast<double>((uint64_t{words[0]} << 32 | words[1]) >> 11) * 0x1p-53;
}

// The rows to hold out.
std::vector<bool> held_out_rows(const DatasetSpec& spec, std::span<const RowRecord> rows) {
  std::vector<bool> held_out(rows.size());
  if (spec.val_set_size == 0) return held_out;
  const uint64_t key = random_key(spec.seed, RandomUse::held_out);
  const auto draw = [&](const RowRecord& row) { return philox(key, row.text_hash, 0); };
  size_t count = 0;
  if (spec.val_set_size < 1) {
    for (size_t i = 0; i < rows.size(); ++i) {
      held_out[i] = unit_interval(draw(rows[i])) < spec.val_set_size;
      count += held_out[i] ? 1 : 0;
    }
  } else if (spec.val_set_size < static_cast<double>(rows.size())) {
    count = static_cast<size_t>(spec.val_set_size);
    std::vector<std::pair<std::array<uint32_t, 4>, size_t>> draws;
    for (size_t i = 0; i < rows.size(); ++i) draws.emplace_back(draw(rows[i]), i);
    std::ranges::nth_element(draws, draws.begin() + static_cast<ptrdiff_t>(count));
    for (size_t i = 0; i < count; ++i) held_out[draws[i].second] = true;
  }
  if (count == 0 || count == rows.size())
    fail(ErrorKind::usage, "val_set_size {} of {} rows leaves none to {}", spec.val_set_size,
         rows.size(), count == 0 ? "evaluate" : "train");
  return held_out;
}

Selection select(const DatasetSpec& spec, const TokenStore& store) {
  const auto documents = store.documents();
  const auto rows = store.rows();
  const std::vector<bool> held_out = held_out_rows(spec, rows);
  const uint64_t key = random_key(spec.seed, RandomUse::dataset_weights);
  // How often a row is taken.
  const auto times = [&](const RowRecord& row) -> int64_t {
    if (spec.weights.empty()) return 1;
    const double weight = spec.weights[store.report().files[row.file].entry];
    const double whole = std::floor(weight);
    const bool once_more = unit_interval(philox(key, row.number, row.file)) < weight - whole;
    return static_cast<int64_t>(whole) + (once_more ? 1 : 0);
  };
  Selection selection;
  // Pass after pass over a file, so that a row's copies stand apart.
  for (size_t begin = 0; begin < documents.size();) {
    const uint64_t file = rows[documents[begin].row].file;
    size_t end = begin;
    int64_t passes = 1;
    for (; end < documents.size() && rows[documents[end].row].file == file; ++end)
      passes = std::max(passes, times(rows[documents[end].row]));
    for (int64_t pass = 0; pass < passes; ++pass)
      for (size_t i = begin; i < end; ++i) {
        const uint64_t row = documents[i].row;
        if (held_out[row]) {
          if (pass == 0) selection.held_out.push_back(static_cast<int64_t>(i));
        } else if (pass < times(rows[row])) {
          selection.train.push_back(static_cast<int64_t>(i));
        }
      }
    begin = end;
  }
  return selection;
}

}  // namespace

BadRows parse_bad_rows(std::string_view name) {
  if (name == "refuse") return BadRows::refuse;
  if (name == "skip") return BadRows::skip;
  fail(ErrorKind::usage, "bad_rows: got \"{}\", expected refuse or skip", name);
}

TokenizedDataset::TokenizedDataset(std::shared_ptr<const TokenStore> store,
                                   std::vector<int64_t> documents, std::string sha256)
    : store_(std::move(store)), documents_(std::move(documents)), sha256_(std::move(sha256)) {
  for (int64_t i = 0; i < this->documents(); ++i) {
    tokens_ += length(i);
    trained_tokens_ += trained(i);
    longest_ = std::max(longest_, length(i));
    rows_ += starts_row(i) ? 1 : 0;
  }
}

LoadedDataset load_dataset(const DatasetSpec& spec, const EncodeRow& encode,
                           const DatasetEvents& events) {
  check_spec(spec);
  std::vector<HashedFile> files;
  for (const DataFile& file : find_data_files(spec.paths, events.note))
    files.push_back(hash_file(file));
  Json content = content_of(spec, files);

  StorePtr store;
  bool from_cache = false;
  if (spec.cache_folder.empty()) {
    const TemporaryFolder folder;
    build_token_store(files, spec, encode, events, folder.path());
    store = std::make_shared<TokenStore>(folder.path(), spec.vocab_size);
  } else {
    std::error_code error;
    fs::create_directories(spec.cache_folder, error);
    if (error)
      fail(ErrorKind::io, "{}: cannot create the folder: {}", spec.cache_folder.string(),
           error.message());
    const fs::path path = spec.cache_folder / (spec.cache_name + "-" + cache_key(content, files));
    store = open_cached(path, spec, events);
    from_cache = store != nullptr;
    if (!store) {
      AtomicDir folder(path);
      build_token_store(files, spec, encode, events, folder.path());
      folder.commit();
      store = std::make_shared<TokenStore>(path, spec.vocab_size);
    }
    prune_cache(spec.cache_folder, spec.cache_name, path);
  }
  if (store->documents().empty())
    fail(ErrorKind::bad_input, "dataset: no row is left of {}: {} were skipped, {} dropped",
         store->report().rows + store->report().skipped_rows, store->report().skipped_rows,
         store->report().dropped_rows);

  Selection selection = select(spec, *store);
  if (selection.train.empty())
    fail(ErrorKind::usage, "dataset_weights: take none of the {} rows", store->rows().size());
  const bool chosen = spec.val_set_size > 0 || !spec.weights.empty();
  if (chosen) {
    content["weights"] = spec.weights;
    content["val_set_size"] = spec.val_set_size;
    content["seed"] = spec.seed;
  }
  LoadedDataset result;
  result.from_cache = from_cache;
  content["part"] = "train";
  result.train = TokenizedDataset(store, std::move(selection.train), hash_of(content));
  content["part"] = "held_out";
  result.held_out = TokenizedDataset(store, std::move(selection.held_out), hash_of(content));
  return result;
}

SharedRows shared_rows(const TokenizedDataset& train, const TokenizedDataset& eval) {
  std::vector<uint64_t> hashes;
  for (int64_t i = 0; i < train.documents(); ++i) hashes.push_back(train.row(i).token_hash);
  std::ranges::sort(hashes);
  SharedRows shared;
  const RowRecord* last = nullptr;
  for (int64_t i = 0; i < eval.documents(); ++i) {
    const RowRecord& row = eval.row(i);
    if (&row == last) continue;  // another document of the same row
    last = &row;
    if (!std::ranges::binary_search(hashes, row.token_hash)) continue;
    if (shared.count++ == 0) shared.first_place = eval.place(i);
  }
  return shared;
}

}  // namespace nibble
