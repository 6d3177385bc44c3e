#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/document_view.h"
#include "cli/train_options.h"
#include "core/error.h"
#include "train/data_source.h"
#include "train/guards.h"

namespace nibble::cli {
namespace {

using Json = nlohmann::ordered_json;

Json dataset_json(const TokenizedDataset& data) {
  Json json;
  json["rows"] = data.rows();
  json["documents"] = data.documents();
  json["tokens"] = data.tokens();
  json["trained_tokens"] = data.trained_tokens();
  json["longest"] = data.longest();
  json["cut_rows"] = data.report().cut_rows;
  json["cut_tokens"] = data.report().cut_tokens;
  json["dropped_rows"] = data.report().dropped_rows;
  json["skipped_rows"] = data.report().skipped_rows;
  json["findings"] = data.report().findings.to_json();
  json["files"] = Json::array();
  for (const auto& file : data.report().files)
    json["files"].push_back({{"path", file.path}, {"format", file.format}, {"rows", file.rows}});
  return json;
}

void print_json(const RunData& data, const std::vector<GuardResult>& guards, int64_t example,
                const Tokenizer& tokenizer) {
  Json out;
  out["dataset"] = dataset_json(data.train);
  if (data.eval) out["eval_dataset"] = dataset_json(*data.eval);
  out["guards"] = Json::array();
  for (const GuardResult& guard : guards)
    out["guards"].push_back({{"number", guard.number},
                             {"name", guard.name},
                             {"what", guard.what},
                             {"verdict", verdict_name(guard.verdict)},
                             {"count", guard.count},
                             {"first", guard.where},
                             {"detail", guard.detail}});
  out["example"]["place"] = data.train.place(example);
  out["example"]["stretches"] = Json::array();
  for (const Stretch& stretch : stretches_of(data.train, example, tokenizer))
    out["example"]["stretches"].push_back(
        {{"text", stretch.text}, {"trained", stretch.trained}, {"tokens", stretch.tokens}});
  fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
}

void print_guards(const std::vector<GuardResult>& guards) {
  fmt::print("\n{:>3}  {:<22}{:<12}{:>7}  {}\n", "", "guard", "verdict", "count", "first");
  for (const GuardResult& guard : guards) {
    fmt::print("{:>3}  {:<22}{:<12}{:>7}  {}\n", guard.number, guard.name,
               verdict_name(guard.verdict), guard.count > 0 ? std::to_string(guard.count) : "",
               guard.where);
    if (guard.count > 0) fmt::print("       {}: {}\n", guard.what, guard.detail);
  }
}

}  // namespace

int run_check(std::vector<std::string> arguments) {
  TrainOptions options;
  int64_t row = 1;
  bool json = false;
  OptionTable table("check",
                    "Shows data as it will be trained and what is wrong with it: thirty guards, no "
                    "GPU, no training. Takes the options of train.");
  add_training_options(table, options);
  table.add("show", row, "which document to show, from 1");
  table.add_flag("json", json, "print JSON");
  if (!table.parse(std::move(arguments))) return 0;
  if (options.model_name_or_path.empty())
    fail(ErrorKind::usage, "model_name_or_path is missing; give the folder of the base model");
  if (options.dataset.empty())
    fail(ErrorKind::usage,
         "dataset is missing; give a data file: .jsonl, .json, .csv, .tsv or .txt");

  const ModelSource source =
      ModelSource::open(options.model_name_or_path, options.ignore_config_fields);
  const TokenizerSource tokens =
      TokenizerSource::open(options.model_name_or_path, options.data.chat);
  check_vocabulary(tokens.tokenizer, source.spec);
  Console console(json ? stderr : stdout);
  DatasetEvents events;
  events.note = [&](const std::string& line) { console.note(line); };
  events.progress = [&](uint64_t done, uint64_t total) { console.bytes("reading", done, total); };
  const RunData data = load_run_data(options, tokens, source.spec.vocab_size, {}, true, events);
  console.clear();
  if (row < 1 || row > data.train.documents())
    fail(ErrorKind::usage, "show: got {}, expected 1..{}", row, data.train.documents());
  const std::vector<GuardResult> guards = check_guards(options, source, tokens, data);

  int64_t failed = 0;
  for (const GuardResult& guard : guards) failed += guard.verdict == Verdict::failed ? 1 : 0;
  if (json) {
    print_json(data, guards, row - 1, tokens.tokenizer);
  } else {
    describe_dataset("dataset", data.train, events.note);
    if (data.eval) describe_dataset("eval_dataset", *data.eval, events.note);
    fmt::print("\n");
    print_document(data.train, row - 1, tokens.tokenizer, 600);
    print_guards(guards);
    fmt::print("\n{}\n", failed == 0 ? "no guard failed"
                                     : fmt::format("{} guard{} failed: train would refuse", failed,
                                                   failed > 1 ? "s" : ""));
  }
  return failed == 0 ? 0 : static_cast<int>(ErrorKind::bad_input);
}

}  // namespace nibble::cli
