#include "train/data_source.h"

#include <algorithm>

#include "core/error.h"

namespace nibble {
namespace {

std::vector<std::string> split_paths(const std::string& list) {
  std::vector<std::string> paths;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    if (end > begin) paths.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return paths;
}

}  // namespace

RunData load_run_data(const TrainOptions& options, const TokenizerSource& tokens,
                      int64_t vocab_size, const std::filesystem::path& cache_folder, bool with_eval,
                      const DatasetEvents& events) {
  EncodeOptions encode = options.data.encode;
  encode.max_length = options.max_length;
  encode.completion_only_loss = options.completion_only_loss;
  encode.drop_untrained =
      std::ranges::count(options.data.ignore_guards, std::string("all-labels-masked")) > 0;
  const RowEncoder encoder(tokens.tokenizer, tokens.special, tokens.chat ? &*tokens.chat : nullptr,
                           vocab_size, encode);
  DatasetSpec spec;
  spec.paths = split_paths(options.dataset);
  spec.weights = options.data.weights;
  spec.format = options.data.format;
  spec.format.chat_template = tokens.chat.has_value();
  spec.rows = options.data.rows;
  spec.bad_rows = options.data.bad_rows;
  spec.val_set_size = with_eval ? options.data.val_set_size : 0;
  spec.seed = options.seed;
  spec.vocab_size = vocab_size;
  spec.identity = encoder.identity() + "; tokenizer " + tokens.sha256;
  spec.cache_folder = cache_folder;
  spec.threads = options.threads;
  const auto encode_row = [&](const Example& example) { return encoder.encode(example); };

  LoadedDataset loaded = load_dataset(spec, encode_row, events);
  RunData data{std::move(loaded.train), std::nullopt};
  if (loaded.held_out.documents() > 0) data.eval = std::move(loaded.held_out);
  if (with_eval && !options.eval_dataset.empty()) {
    spec.paths = split_paths(options.eval_dataset);
    spec.weights.clear();
    spec.val_set_size = 0;
    spec.cache_name = "eval";
    data.eval = load_dataset(spec, encode_row, events).train;
  }
  if (data.eval && events.note)
    if (const SharedRows shared = shared_rows(data.train, *data.eval); shared.count > 0)
      events.note(
          fmt::format("warning: {} evaluation rows are trained, too, so their loss tells nothing; "
                      "the first: {}",
                      shared.count, shared.first_place));
  return data;
}

std::string rows_and_documents(const TokenizedDataset& data) {
  if (data.rows() == data.documents()) return fmt::format("{} rows", data.rows());
  return fmt::format("{} rows in {} documents", data.rows(), data.documents());
}

void describe_dataset(const std::string& name, const TokenizedDataset& data,
                      const std::function<void(const std::string&)>& note) {
  if (!note) return;
  note(fmt::format(
      "{}: {}, {} tokens, {} trained ({:.0f} %), longest {}", name, rows_and_documents(data),
      data.tokens(), data.trained_tokens(),
      100.0 * static_cast<double>(data.trained_tokens()) / static_cast<double>(data.tokens()),
      data.longest()));
  const DatasetReport& report = data.report();
  const auto tell = [&](Guard guard, const char* what) {
    const Findings::Entry& entry = report.findings.of(guard);
    if (entry.count > 0)
      note(
          fmt::format("{}: {} rows {}; the first: {}", name, entry.count, what, entry.first_place));
  };
  tell(Guard::duplicate_row, "have the tokens of an earlier row");
  tell(Guard::empty_answer, "have an empty answer");
  if (report.skipped_rows > 0)
    note(fmt::format("{}: {} rows are not understood and skipped; the first: {}: {}", name,
                     report.skipped_rows, report.findings.of(Guard::bad_row).first_place,
                     report.findings.of(Guard::bad_row).first_detail));
  if (report.cut_rows > 0)
    note(fmt::format("{}: {} rows are longer than max_length and lose {} tokens", name,
                     report.cut_rows, report.cut_tokens));
}

}  // namespace nibble
