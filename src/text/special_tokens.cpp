#include "text/special_tokens.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/json_fields.h"

namespace nibble {
namespace {

const nlohmann::json* field(const nlohmann::json* file, const std::string& key) {
  if (!file) return nullptr;
  const auto found = file->find(key);
  return found == file->end() || found->is_null() ? nullptr : &*found;
}

// "<s>" or {"content": "<s>", ...}.
std::optional<SpecialTokens::Named> by_text(const Tokenizer& tokenizer, const nlohmann::json* file,
                                            const std::string& key) {
  const nlohmann::json* value = field(file, key);
  if (!value) return std::nullopt;
  if (value->is_object()) value = field(value, "content");
  if (!value || !value->is_string())
    fail(ErrorKind::bad_input,
         "tokenizer_config.json: {}: expected a string, or an object with a "
         "string 'content'",
         key);
  const auto& text = value->get_ref<const std::string&>();
  const auto id = tokenizer.id_of(text);
  if (!id)
    fail(ErrorKind::bad_input,
         "tokenizer_config.json: {}: '{}' is not in tokenizer.json; do the files belong together?",
         key, text);
  return SpecialTokens::Named{text, *id};
}

// 2, or [128001, 128008].
std::vector<int32_t> ids_of(const nlohmann::json* file, const std::string& key,
                            const std::string& who) {
  std::vector<int32_t> ids;
  const nlohmann::json* value = field(file, key);
  if (!value) return ids;
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_integer() || id.get<uint64_t>() > uint64_t{INT32_MAX})
      fail(ErrorKind::bad_input, "{}: {}: got {}, expected an id 0..{} or a list of ids", who, key,
           id.dump().substr(0, 80), INT32_MAX);
    ids.push_back(id.get<int32_t>());
  };
  if (value->is_array()) {
    for (const auto& id : *value) add(id);
  } else {
    add(*value);
  }
  return ids;
}

void check_object(const nlohmann::json* file, const std::string& who) {
  if (file && !file->is_object())
    fail(ErrorKind::bad_input, "{}: got {}, expected an object", who, kind_of(*file));
}

}  // namespace

SpecialTokens read_special_tokens(const Tokenizer& tokenizer,
                                  const nlohmann::json* tokenizer_config,
                                  const nlohmann::json* generation_config,
                                  const nlohmann::json* config) {
  check_object(tokenizer_config, "tokenizer_config.json");
  check_object(generation_config, "generation_config.json");
  check_object(config, "config.json");

  const auto ids = [&](const std::string& key) {
    auto found = ids_of(generation_config, key, "generation_config.json");
    if (found.empty()) found = ids_of(config, key, "config.json");
    return found;
  };
  const auto named = [&](const std::string& name) -> std::optional<SpecialTokens::Named> {
    if (auto token = by_text(tokenizer, tokenizer_config, name + "_token")) return token;
    const auto found = ids(name + "_token_id");
    // An id beyond the tokenizer is a padding row of the embedding: it names no token.
    if (found.empty() || tokenizer.piece(found[0]).empty()) return std::nullopt;
    return SpecialTokens::Named{std::string(tokenizer.piece(found[0])), found[0]};
  };
  SpecialTokens tokens{named("bos"), named("eos"), named("pad"), named("unk"), {}};
  tokens.stop_ids = ids("eos_token_id");
  if (tokens.stop_ids.empty() && tokens.eos) tokens.stop_ids = {tokens.eos->id};
  return tokens;
}

}  // namespace nibble
