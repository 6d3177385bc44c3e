#include "train/guards.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "lora/targets.h"
#include "train/embedding_check.h"
#include "transformer/model.h"

namespace nibble {
namespace {

using Json = nlohmann::ordered_json;

struct GuardText {
  const char* name;
  const char* what;
  const char* prevention;  // how it cannot happen; null: it is looked for
};

// The list and its evidence: docs/data.md.
constexpr std::array<GuardText, 30> texts = {{
    {"all-labels-masked", "no token of a row is trained", nullptr},
    {"answer-cut", "max_length cuts the answer or its end", nullptr},
    {"end-not-trained", "no end token is trained, so no answer ends", nullptr},
    {"end-not-a-stop", "the end that is trained does not stop generation", nullptr},
    {"end-untrained-in-base", "the base model never saw the end token", nullptr},
    {"double-bos", "two start tokens", nullptr},
    {"wrong-template", "rows are written for another model", nullptr},
    {"marker-not-found", "the mask searches for a marker and misses",
     "no marker is searched for: the renderer knows where every byte came from"},
    {"straddling-token", "a token lies on the mask's edge", nullptr},
    {"history-rewritten", "the template writes earlier turns differently", nullptr},
    {"dropped-field", "the template drops something a message says", nullptr},
    {"null-printed", "null content becomes the word None", nullptr},
    {"packing-leak", "packed rows see each other",
     "attention, positions and rope go by document, always"},
    {"accumulation", "gradient accumulation weighs rows differently",
     "loss is divided by the trained tokens of the whole step"},
    {"several-gpus", "several GPUs average means", "a run uses one device"},
    {"hidden-nan", "a NaN is averaged away", "a loss or gradient that is not finite ends the run"},
    {"float16-overflow", "float16 for a model trained in bfloat16", nullptr},
    {"merge-base", "an adapter is merged into other weights",
     "merge compares the merged model with the live adapter before the folder appears"},
    {"tied-head", "embedding and head drift apart", "tied weights are one tensor"},
    {"target-ignored", "a requested module matches nothing", nullptr},
    {"empty-adapter", "the adapter on disk is empty",
     "it is read back and compared with what was trained before the run ends"},
    {"idle-adapter", "the adapter loads and changes nothing",
     "a B that is still zero at the end of a run is an error; names are checked against the base"},
    {"no-gradient", "nothing is learned",
     "every trainable tensor must have a gradient at the second step"},
    {"wrong-rope", "longrope's list chosen by the batch", nullptr},
    {"tokenizer-changed", "the tokenizer is rewritten on the way",
     "tokenizer files are copied byte for byte"},
    {"special-in-content", "content spells a control token", nullptr},
    {"resume-differs", "a resumed run is another run",
     "a missing or different part of the state is an error"},
    {"last-step-unsaved", "the last step is not saved",
     "a run ends only when its last step is committed"},
    {"shipped-wrong", "the model folder's own end, pad or template is wrong", nullptr},
    {"two-runs", "two runs write one folder", "the output folder is locked"},
}};

int number_of(std::string_view name) {
  for (size_t i = 0; i < texts.size(); ++i)
    if (name == texts[i].name) return static_cast<int>(i) + 1;
  return 0;
}

class Checker {
 public:
  Checker(const TrainOptions& options, const ModelSource& source, const TokenizerSource& tokens,
          const RunData& data)
      : options_(options), source_(source), tokens_(tokens), data_(data) {
    for (size_t i = 0; i < texts.size(); ++i) {
      GuardResult& result = results_.emplace_back();
      result.number = static_cast<int>(i) + 1;
      result.name = texts[i].name;
      result.what = texts[i].what;
      if (!texts[i].prevention) continue;
      result.verdict = Verdict::prevented;
      result.detail = texts[i].prevention;
    }
    for (const int number : {21, 22, 23}) of(number).verdict = Verdict::in_run;
  }

  std::vector<GuardResult> check() {
    found(1, Guard::nothing_trained, Verdict::failed);
    answers_cut();
    found(3, Guard::end_not_trained, Verdict::failed);
    found(4, Guard::end_not_a_stop, Verdict::warning);
    base_embedding();
    found(6, Guard::double_bos, Verdict::failed);
    foreign_template();
    found(9, Guard::straddling_token, Verdict::note);
    found(10, Guard::history_rewritten, Verdict::warning);
    found(11, Guard::dropped_field, Verdict::failed);
    found(12, Guard::null_printed, Verdict::warning);
    compute_dtype_fits();
    targets();
    longrope();
    found(26, Guard::special_in_content, Verdict::warning);
    shipped();
    return std::move(results_);
  }

 private:
  GuardResult& of(int number) { return results_[static_cast<size_t>(number) - 1]; }

  void report(int number, Verdict verdict, int64_t count, const std::string& where,
              const std::string& detail) {
    GuardResult& result = of(number);
    result.verdict = verdict;
    result.count = count;
    result.where = where;
    result.detail = detail;
  }

  // Findings of both datasets; the first is the training rows'.
  void found(int number, Guard guard, Verdict verdict) {
    const Findings::Entry entry = entry_of(guard);
    if (entry.count > 0)
      report(number, verdict, entry.count, entry.first_place, entry.first_detail);
  }
  Findings::Entry entry_of(Guard guard) const {
    Findings::Entry entry = data_.train.report().findings.of(guard);
    if (!has_other_eval()) return entry;
    const Findings::Entry& other = data_.eval->report().findings.of(guard);
    if (entry.count == 0) return other;
    entry.count += other.count;
    return entry;
  }
  // Rows held out of the same files are in the report of both.
  bool has_other_eval() const {
    return data_.eval && &data_.eval->report() != &data_.train.report();
  }

  void answers_cut() {
    const Findings::Entry entry = entry_of(Guard::answer_cut);
    if (entry.count == 0) return;
    int64_t rows = data_.train.report().rows;
    if (has_other_eval()) rows += data_.eval->report().rows;
    const double part = static_cast<double>(entry.count) / static_cast<double>(rows);
    report(2, part > 0.01 ? Verdict::failed : Verdict::warning, entry.count, entry.first_place,
           fmt::format("{:.1f} % of the rows ({}); raise max_length or choose a truncation_mode",
                       100 * part, entry.first_detail));
  }

  void base_embedding() {
    std::vector<int32_t> ends = tokens_.special.stop_ids;
    if (tokens_.special.eos) ends.push_back(tokens_.special.eos->id);
    const auto untrained = untrained_tokens(source_, ends, tokens_.tokenizer.vocab_size());
    if (untrained.empty()) return;
    report(
        5, Verdict::warning, std::ssize(untrained), "",
        fmt::format("the embedding of {} ({}) is {:.0f} % of a usual one; LoRA does not train it",
                    tokens_.tokenizer.piece(untrained[0].id), untrained[0].id,
                    100 * untrained[0].part_of_median));
  }

  // Text rows that hold another model's turn markers.
  void foreign_template() {
    if (!tokens_.chat) return;
    std::string own;
    try {
      own = tokens_.chat
                ->render(Json::array({{{"role", "user"}, {"content", "a"}},
                                      {{"role", "assistant"}, {"content", "b"}}}),
                         {}, false)
                .text;
    } catch (const Error&) {
      return;  // a template for other conversations; its own error comes with the rows
    }
    constexpr std::array markers = {"### Instruction:", "<|im_start|>",    "<|start_header_id|>",
                                    "[INST]",           "<start_of_turn>", "<|user|>",
                                    "<|Assistant|>",    "### Human:"};
    int64_t count = 0;
    std::string where, marker;
    int64_t rows = 0;
    bool counted = false;  // this row
    for (int64_t i = 0; i < data_.train.documents(); ++i) {
      if (data_.train.starts_row(i)) {
        if (++rows > 1000) break;
        counted = false;
      }
      if (counted) continue;
      const std::string& format = data_.train.report().files[data_.train.row(i).file].format;
      if (format != "text" && format != "prompt_completion") continue;
      const auto ids = data_.train.ids(i);
      const std::string text =
          tokens_.tokenizer.decode(ids.first(std::min<size_t>(ids.size(), 512)), false);
      for (const char* foreign : markers) {
        if (text.find(foreign) == std::string::npos || own.find(foreign) != std::string::npos)
          continue;
        if (count++ == 0) {
          where = data_.train.place(i);
          marker = foreign;
        }
        counted = true;
        break;
      }
    }
    if (count > 0)
      report(7, Verdict::warning, count, where,
             fmt::format("the row holds {}, which this model's chat template never writes; give "
                         "conversations (messages) instead",
                         marker));
  }

  void compute_dtype_fits() {
    if (options_.bnb_4bit_compute_dtype == "float16" && source_.spec.dtype == DType::bf16)
      report(17, Verdict::warning, 1, "",
             "the base was trained in bfloat16; float16 reaches only 65504: use bfloat16");
  }

  void targets() {
    try {
      const LoraTargets matched = match_targets(options_.lora, lora_modules(source_.spec));
      of(20).detail = fmt::format("{} names match", matched.match_counts.size());
    } catch (const Error& error) {
      report(20, Verdict::failed, 1, "", error.what());
    }
  }

  void longrope() {
    const RopeSpec& rope = source_.spec.rope;
    if (rope.inverse_frequencies.size() < 2) return;
    int64_t longer = 0, rows = 0, first = -1;
    bool counted = false;  // this row
    for (int64_t i = 0; i < data_.train.documents(); ++i) {
      if (data_.train.starts_row(i)) counted = false;
      if (rope.variant_for(data_.train.length(i)) != 1) continue;
      if (longer++ == 0) first = i;
      rows += counted ? 0 : 1;
      counted = true;
    }
    if (longer == 0 || longer == data_.train.documents()) return;
    report(24, Verdict::note, rows, data_.train.place(first),
           fmt::format("{} of {} documents are longer than {} tokens and use the long list, the "
                       "others the short one, as in generation",
                       longer, data_.train.documents(), rope.long_threshold));
  }

  void shipped() {
    for (const int number : {3, 4, 7})
      if (of(number).verdict == Verdict::failed || of(number).verdict == Verdict::warning) {
        const GuardResult& cause = of(number);
        report(29, cause.verdict == Verdict::failed ? Verdict::failed : Verdict::warning,
               cause.count, cause.where, "see " + cause.name);
        return;
      }
  }

  const TrainOptions& options_;
  const ModelSource& source_;
  const TokenizerSource& tokens_;
  const RunData& data_;
  std::vector<GuardResult> results_;
};

}  // namespace

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::prevented:
      return "prevented";
    case Verdict::in_run:
      return "in the run";
    case Verdict::note:
      return "note";
    case Verdict::warning:
      return "warning";
    case Verdict::failed:
      return "FAILED";
  }
  return "";
}

std::string rows_of(const GuardResult& guard) {
  if (guard.where.empty()) return {};
  return fmt::format(": {} row{}, the first {}", guard.count, guard.count == 1 ? "" : "s",
                     guard.where);
}

std::vector<GuardResult> check_guards(const TrainOptions& options, const ModelSource& source,
                                      const TokenizerSource& tokens, const RunData& data) {
  return Checker(options, source, tokens, data).check();
}

void require_guards(const std::vector<GuardResult>& guards, const TrainOptions& options) {
  const std::vector<std::string>& ignored = options.data.ignore_guards;
  for (const std::string& name : ignored)
    if (number_of(name) == 0)
      fail(ErrorKind::usage, "ignore_guards: {} is no guard; nibble check lists them", name);
  std::string failed;
  for (const GuardResult& guard : guards) {
    // Targets are an option, and wrong ones its own error; 29 repeats the finding of another.
    if (guard.number == 20 && guard.verdict == Verdict::failed)
      fail(ErrorKind::usage, "{}", guard.detail);
    if (guard.verdict != Verdict::failed || guard.number == 29 ||
        std::ranges::count(ignored, guard.name) > 0)
      continue;
    failed += fmt::format("\n  {}: {}{}: {}", guard.name, guard.what, rows_of(guard), guard.detail);
  }
  if (!failed.empty())
    fail(ErrorKind::bad_input,
         "the data would train the model wrongly:{}\nlook at the rows with nibble check; "
         "--ignore_guards NAME trains all the same",
         failed);
}

}  // namespace nibble
