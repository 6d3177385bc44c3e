#include "data/dataset.h"

#include <algorithm>

#include "core/error.h"
#include "data/jsonl_reader.h"
#include "files/hashes.h"
#include "files/json.h"

namespace nibble {
namespace {

using Json = nlohmann::json;

struct Row {
  std::string text;         // the whole document
  size_t prompt_bytes = 0;  // its untrained start
};

std::string text_field(const Json& row, const char* key, const std::string& where) {
  const Json& value = row.at(key);
  if (!value.is_string())
    fail(ErrorKind::bad_input, "{}: \"{}\" is {}, expected a string", where, key,
         value.type_name());
  return value.get<std::string>();
}

Row read_row(const Json& json, const std::string& where) {
  if (!json.is_object())
    fail(ErrorKind::bad_input, "{}: the row is {}, expected an object", where, json.type_name());
  const bool text = json.contains("text");
  const bool prompt = json.contains("prompt"), completion = json.contains("completion");
  if (text && !prompt && !completion) return {text_field(json, "text", where), 0};
  if (prompt && completion && !text) {
    const std::string start = text_field(json, "prompt", where);
    const std::string end = text_field(json, "completion", where);
    if (end.empty()) fail(ErrorKind::bad_input, "{}: \"completion\" is empty", where);
    return {start + end, start.size()};
  }
  std::string fields;
  for (const auto& item : json.items()) fields += (fields.empty() ? "" : ", ") + item.key();
  fail(ErrorKind::bad_input,
       "{}: the row has the fields ({}), expected \"text\", or \"prompt\" and \"completion\"",
       where, fields);
}

int32_t eos_of(const SpecialTokens& special) {
  if (special.eos) return special.eos->id;
  if (!special.stop_ids.empty()) return special.stop_ids.back();
  fail(ErrorKind::bad_input,
       "the model folder names no end-of-text token, so an answer could never learn to end; set "
       "eos_token in tokenizer_config.json");
}

// Tokenizes the whole row once and maps the prompt's end by offsets; sets straddling when a token
// lies on both sides of it.
Document tokenize_row(const Row& row, const Tokenizer& tokenizer, int32_t eos, bool& straddling) {
  Encoding encoding = tokenizer.encode(row.text, true);
  Document document;
  document.ids = std::move(encoding.ids);
  for (size_t i = 0; i < document.ids.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    const bool added = begin == 0 && end == 0;  // BOS: never a prediction of the row's own text
    const bool trained = !added && begin >= row.prompt_bytes;
    straddling |= begin < row.prompt_bytes && end > row.prompt_bytes;
    document.labels.push_back(trained || row.prompt_bytes == 0 ? document.ids[i] : -100);
  }
  if (document.ids.empty() || document.ids.back() != eos) {
    document.ids.push_back(eos);
    document.labels.push_back(eos);
  }
  return document;
}

int64_t count_trained(const Document& document) {
  return std::count_if(document.labels.begin() + 1, document.labels.end(),
                       [](int32_t label) { return label >= 0; });
}

}  // namespace

Document tokenize_text(const std::string& text, const Tokenizer& tokenizer,
                       const SpecialTokens& special) {
  bool straddling = false;
  return tokenize_row({text, 0}, tokenizer, eos_of(special), straddling);
}

Dataset load_dataset(const std::filesystem::path& path, const Tokenizer& tokenizer,
                     const SpecialTokens& special, const DatasetOptions& options) {
  Dataset dataset;
  const int32_t eos = eos_of(special);
  JsonlReader reader(path);
  Sha256 hash;
  for (std::string line; reader.next(line);) {
    hash.update(std::as_bytes(std::span(line)));
    hash.update(std::as_bytes(std::span("\n", 1)));
    const Row row = [&] {
      Row result = read_row(parse_json(line, reader.where()), reader.where());
      if (!options.completion_only_loss) result.prompt_bytes = 0;
      return result;
    }();
    if (row.text.empty()) fail(ErrorKind::bad_input, "{}: the row has no text", reader.where());
    bool straddling = false;
    Document document = tokenize_row(row, tokenizer, eos, straddling);
    dataset.straddling_rows += straddling ? 1 : 0;
    const auto length = static_cast<int64_t>(document.ids.size());
    if (length > options.max_length) {
      ++dataset.truncated_rows;
      dataset.truncated_tokens += length - options.max_length;
      document.ids.resize(static_cast<size_t>(options.max_length));
      document.labels.resize(static_cast<size_t>(options.max_length));
    }
    const int64_t trained = count_trained(document);
    if (trained == 0)
      fail(ErrorKind::bad_input,
           "{}: nothing is left to train: {} tokens are cut to max_length {}, which loses the "
           "completion; raise max_length or drop the row",
           reader.where(), length, options.max_length);
    dataset.tokens += static_cast<int64_t>(document.ids.size());
    dataset.trained_tokens += trained;
    dataset.longest = std::max(dataset.longest, static_cast<int64_t>(document.ids.size()));
    dataset.documents.push_back(std::move(document));
  }
  if (dataset.documents.empty())
    fail(ErrorKind::bad_input, "dataset: {}: the file has no rows", path.string());
  dataset.sha256 = hash.hex();
  return dataset;
}

}  // namespace nibble
