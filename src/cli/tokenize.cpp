#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/option_table.h"
#include "core/error.h"
#include "files/json.h"
#include "train/tokenizer_source.h"

namespace nibble::cli {

int run_tokenize(std::vector<std::string> arguments) {
  std::string model, text, file;
  bool add_special_tokens = true, json = false;
  OptionTable table("tokenize", "Token ids and pieces of a text.");
  table.add("model_name_or_path", model, "folder with tokenizer.json", {"base_model", "model"});
  table.add("text", text, "the text");
  table.add("file", file, "UTF-8 file, taken as it is, final newline included");
  table.add("add_special_tokens", add_special_tokens,
            "add what the tokenizer puts around a text (BOS)");
  table.add_flag("json", json, "print {\"ids\": [...], \"pieces\": [...]}");
  if (!table.parse(std::move(arguments))) return 0;
  if (model.empty())
    fail(ErrorKind::usage, "model_name_or_path is missing; give a folder with tokenizer.json");
  if (table.given("text") == !file.empty())
    fail(ErrorKind::usage, "tokenize: give either --text TEXT or --file FILE");
  constexpr uint64_t max_file_bytes = (uint64_t{1} << 31) - 1;
  if (!file.empty()) text = read_text_file(file, max_file_bytes);

  const TokenizerSource source = TokenizerSource::open(model);
  const std::vector<int32_t> ids = source.tokenizer.encode(text, add_special_tokens).ids;
  if (!json) {
    for (const int32_t id : ids) fmt::print("{:>7}  {}\n", id, source.tokenizer.piece(id));
    return 0;
  }
  nlohmann::ordered_json out;
  out["ids"] = ids;
  out["pieces"] = nlohmann::json::array();
  for (const int32_t id : ids) out["pieces"].push_back(std::string(source.tokenizer.piece(id)));
  fmt::print("{}\n", out.dump());
  return 0;
}

}  // namespace nibble::cli
