// Which ids begin, end and pad a sequence, from the files that stand beside tokenizer.json.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace nibble {

struct SpecialTokens {
  // From tokenizer_config.json: what a chat template sees as bos_token, eos_token, pad_token,
  // unk_token, and the id of each. Absent or null there: absent here.
  struct Named {
    std::string text;
    int32_t id = 0;
  };
  std::optional<Named> bos, eos, pad, unk;

  // Ids that end generation: eos_token_id of generation_config.json, else of config.json, else
  // eos above. A list keeps its order (Phi-4-mini: <|end|>, <|endoftext|>); may be empty.
  std::vector<int32_t> stop_ids;
};

// Each of the three files, parsed, or null where the folder has none. A bos/eos/pad/unk token
// that tokenizer_config.json does not give is taken by id from generation_config.json, then
// config.json. Throws Error(bad_input) for a token that the tokenizer lacks, a field of another
// type, or an id that is negative or beyond int32.
SpecialTokens read_special_tokens(const Tokenizer& tokenizer,
                                  const nlohmann::json* tokenizer_config,
                                  const nlohmann::json* generation_config,
                                  const nlohmann::json* config);

}  // namespace nibble
