#include "data/store_builder.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "core/error.h"
#include "files/hashes.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t batch_bytes = uint64_t{64} << 10;
constexpr size_t batch_rows = 512;
constexpr uint64_t max_bytes_in_flight = uint64_t{16} << 20;

uint64_t first_8_bytes(Sha256& hash) {
  const std::string hex = hash.hex();
  uint64_t value = 0;
  std::from_chars(hex.data(), hex.data() + 16, value, 16);
  return value;
}

uint64_t hash_of_text(std::string_view text) {
  Sha256 hash;
  hash.update(as_bytes(text));
  return first_8_bytes(hash);
}

uint64_t hash_of_tokens(const std::vector<Document>& documents) {
  Sha256 hash;
  for (const Document& document : documents) {
    const uint64_t length = document.ids.size();
    hash.update(std::as_bytes(std::span(&length, 1)));
    hash.update(std::as_bytes(std::span(document.ids)));
  }
  return first_8_bytes(hash);
}

// Rows of one file on their way through a worker.
struct Batch {
  std::shared_ptr<const RowReader> reader;
  size_t file = 0;
  std::optional<RowFormat> format;  // of the file; none when no row so far tells it
  std::vector<RawRow> rows;
  uint64_t bytes = 0;    // of the rows
  uint64_t read_to = 0;  // in all files
};

struct Result {
  std::string error;  // empty: the row is good
  EncodedRow encoded;
  uint64_t text_hash = 0, token_hash = 0;
};

// Runs tasks on its threads in the order given; those not begun when it dies are dropped.
class Workers {
 public:
  using Task = std::packaged_task<std::vector<Result>()>;

  explicit Workers(int count) {
    for (int i = 0; i < count; ++i)
      threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }

  std::future<std::vector<Result>> run(Task task) {
    std::future<std::vector<Result>> result = task.get_future();
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    ready_.notify_one();
    return result;
  }

 private:
  void work(const std::stop_token& stop) {
    for (;;) {
      Task task;
      {
        std::unique_lock lock(mutex_);
        if (!ready_.wait(lock, stop, [this] { return !tasks_.empty(); })) return;
        if (stop.stop_requested()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any ready_;
  std::deque<Task> tasks_;
  std::vector<std::jthread> threads_;  // last: they end before what they use
};

class StoreBuilder {
 public:
  StoreBuilder(const DatasetSpec& spec, const EncodeRow& encode, const DatasetEvents& events,
               const fs::path& folder)
      : spec_(spec),
        encode_(encode),
        events_(events),
        folder_(folder),
        writer_(folder),
        threads_(spec.threads > 0
                     ? spec.threads
                     : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))),
        workers_(threads_) {}

  void build(const std::vector<HashedFile>& files) {
    for (const HashedFile& file : files) total_bytes_ += file.stamp.size;
    for (const HashedFile& file : files) read_file(file);
    while (!in_flight_.empty()) write_oldest();
    writer_.finish();
    find_duplicates();
    write_new_file(folder_ / "report.json", report_.to_json());
  }

 private:
  struct InFlight {
    std::shared_ptr<Batch> batch;
    std::future<std::vector<Result>> results;
  };

  void read_file(const HashedFile& file) {
    const std::shared_ptr<RowReader> reader = open_rows(file.path, spec_.rows);
    if (reader->stamp() != file.stamp)
      fail(ErrorKind::bad_input, "{}: was changed while it was read", reader->name());
    const size_t index = report_.files.size();
    report_.files.push_back(
        {.path = reader->name(), .format = "", .bytes = reader->bytes(), .entry = file.entry});
    std::optional<RowFormat> format;
    int64_t rows = 0;
    RawRow row;
    for (bool more = true; more;) {
      auto batch = std::make_shared<Batch>();
      batch->reader = reader;
      batch->file = index;
      while (batch->rows.size() < batch_rows && batch->bytes < batch_bytes &&
             (more = reader->next(row))) {
        ++rows;
        batch->bytes += row.text.size();
        if (!format) format = format_of(*reader, row);
        batch->rows.push_back(std::move(row));
      }
      batch->format = format;
      batch->read_to = bytes_before_ + reader->bytes_read();
      if (!batch->rows.empty()) submit(std::move(batch));
    }
    reader->check_unchanged();
    bytes_before_ += reader->bytes();
    if (rows == 0) fail(ErrorKind::bad_input, "{}: the file has no rows", reader->name());
    if (format) report_.files[index].format = row_format_name(*format);
  }

  // None for a row that no format can be told of: its worker meets the same error, and says it.
  std::optional<RowFormat> format_of(const RowReader& reader, const RawRow& row) const {
    try {
      return recognize_format(reader.parse(row), spec_.format);
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  void submit(std::shared_ptr<Batch> batch) {
    while (!in_flight_.empty() && (in_flight_.size() >= 4 * static_cast<size_t>(threads_) ||
                                   bytes_in_flight_ + batch->bytes > max_bytes_in_flight))
      write_oldest();
    bytes_in_flight_ += batch->bytes;
    in_flight_.push_back(
        {batch, workers_.run(Workers::Task([this, batch] { return encode(*batch); }))});
  }

  // On a worker.
  std::vector<Result> encode(Batch& batch) const {
    std::vector<Result> results(batch.rows.size());
    for (size_t i = 0; i < results.size(); ++i) try {
        results[i].text_hash = hash_of_text(batch.rows[i].text);
        const Example example = example_of(batch, batch.rows[i]);
        batch.rows[i].text = {};  // a large row takes enough memory without it
        results[i].encoded = encode_(example);
        results[i].token_hash = hash_of_tokens(results[i].encoded.documents);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::bad_input) throw;
        results[i].error = error.what();
      }
    return results;
  }

  Example example_of(const Batch& batch, const RawRow& row) const {
    nlohmann::ordered_json json = batch.reader->parse(row);
    const RowFormat format = recognize_format(json, spec_.format);
    if (format != batch.format)
      fail(ErrorKind::bad_input, "the row is {}, expected {} as the file's first rows",
           row_format_name(format), row_format_name(batch.format.value_or(format)));
    return to_example(std::move(json), format, spec_.format);
  }

  void write_oldest() {
    const std::shared_ptr<Batch> batch = std::move(in_flight_.front().batch);
    const std::vector<Result> results = in_flight_.front().results.get();
    in_flight_.pop_front();
    bytes_in_flight_ -= batch->bytes;
    for (size_t i = 0; i < results.size(); ++i) write(*batch, batch->rows[i], results[i]);
    if (events_.progress) events_.progress(batch->read_to, total_bytes_);
  }

  void write(const Batch& batch, const RawRow& row, const Result& result) {
    const std::string place = place_of(batch.reader->name(), row);
    if (!result.error.empty()) {
      if (spec_.bad_rows == BadRows::refuse)
        fail(ErrorKind::bad_input, "{}: {}", place, result.error);
      report_.findings.add(place, {{Guard::bad_row, result.error}});
      ++report_.skipped_rows;
      return;
    }
    report_.findings.add(place, result.encoded.findings);
    ++report_.rows;
    ++report_.files[batch.file].rows;
    report_.cut_rows += result.encoded.cut_tokens > 0 ? 1 : 0;
    report_.cut_tokens += result.encoded.cut_tokens;
    if (result.encoded.documents.empty()) {
      ++report_.dropped_rows;
      return;
    }
    writer_.add({batch.file, static_cast<uint64_t>(row.number), row.offset, result.text_hash,
                 result.token_hash},
                result.encoded.documents);
  }

  // Rows with the tokens of an earlier one, in order.
  void find_duplicates() {
    const MappedFile mapped(folder_ / "rows.bin");
    const auto rows = mapped.as<RowRecord>();
    std::vector<uint64_t> hashes(rows.size());
    std::ranges::transform(rows, hashes.begin(), &RowRecord::token_hash);
    std::ranges::sort(hashes);
    // What is there more than once, once each.
    size_t kept = 0;
    for (size_t i = 1; i < hashes.size(); ++i)
      if (hashes[i] == hashes[i - 1] && (kept == 0 || hashes[kept - 1] != hashes[i]))
        hashes[kept++] = hashes[i];
    hashes.resize(kept);
    std::vector<bool> seen(kept);
    for (const RowRecord& row : rows) {
      const auto found = std::ranges::lower_bound(hashes, row.token_hash);
      if (found == hashes.end() || *found != row.token_hash) continue;
      const auto at = static_cast<size_t>(found - hashes.begin());
      if (seen[at])
        report_.findings.add(fmt::format("{}: row {} (byte {})", report_.files[row.file].path,
                                         row.number, row.offset),
                             {{Guard::duplicate_row, "the same tokens as an earlier row"}});
      seen[at] = true;
    }
  }

  const DatasetSpec& spec_;
  const EncodeRow& encode_;
  const DatasetEvents& events_;
  const fs::path folder_;
  TokenStoreWriter writer_;
  DatasetReport report_;
  uint64_t total_bytes_ = 0;
  uint64_t bytes_before_ = 0;  // of the files that are read
  const int threads_;
  uint64_t bytes_in_flight_ = 0;
  std::deque<InFlight> in_flight_;
  Workers workers_;  // last: its threads end before what they use
};

}  // namespace

void build_token_store(const std::vector<HashedFile>& files, const DatasetSpec& spec,
                       const EncodeRow& encode, const DatasetEvents& events,
                       const fs::path& folder) {
  StoreBuilder(spec, encode, events, folder).build(files);
}

}  // namespace nibble
