// Any bytes as JSONL, an array or a sequence of objects, as the first byte says: every row is
// found, parsed, and either refused with Error(bad_input) or made an example that keeps its
// promises.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "core/error.h"
#include "data/row_format.h"
#include "data/row_reader.h"

namespace {

using namespace nibble;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_example(const Example& example) {
  if (example.kind == Example::Kind::conversation) {
    require(example.messages.is_array() && !example.messages.empty());
    require(example.prompt_messages <= example.messages.size());
    require(example.train.empty() || example.train.size() == example.messages.size());
    for (const auto& message : example.messages) {
      require(message.at("role").is_string());
      const bool calls = message.contains("tool_calls");
      require(calls || message.at("content").is_string());
    }
    require(example.tools.is_null() || (example.tools.is_array() && !example.tools.empty()));
  } else if (example.kind == Example::Kind::tokenized) {
    require(!example.ids.empty() && example.ids.size() == example.labels.size());
    for (size_t i = 0; i < example.ids.size(); ++i)
      require(example.ids[i] >= 0 &&
              (example.labels[i] == example.ids[i] || example.labels[i] == -100));
  }
}

void check_row(const RowReader& reader, const RawRow& row, const RowFormatOptions& options) {
  try {
    const nlohmann::ordered_json json = reader.parse(row);
    check_example(to_example(json, recognize_format(json, options), options));
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::bad_input && *error.what() != '\0');
  }
}

std::unique_ptr<RowReader> open(char mode, std::string bytes) {
  RowReaderOptions options;
  options.max_row_bytes = 2048;
  ByteSource source = ByteSource::of(std::move(bytes), "fuzz");
  if (mode == '[') return read_json_objects(std::move(source), true, options);
  if (mode == '{') return read_json_objects(std::move(source), false, options);
  return read_jsonl(std::move(source), options);
}

void check_file(char mode, const std::string& bytes) {
  RowFormatOptions options;
  options.chat_template = mode != 'p';  // JSONL for a model without a template
  const std::unique_ptr<RowReader> reader = open(mode, bytes);
  uint64_t last_end = 0;
  int64_t last_number = 0;
  for (RawRow row; reader->next(row);) {
    require(row.number > last_number && row.offset >= last_end);
    last_number = row.number;
    last_end = row.offset + row.text.size();
    require(last_end <= bytes.size());
    check_row(*reader, row, options);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  try {
    check_file(bytes[0], bytes.substr(1));
  } catch (const nibble::Error& error) {
    require(error.kind() == nibble::ErrorKind::bad_input);
  }
  return 0;
}
