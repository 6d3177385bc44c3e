// The ids of a rendered conversation. What a message or a tool spells never becomes a control
// token: only the template writes those.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace nibble {

struct RenderingTokens {
  Encoding encoding;                     // no token added around the text
  std::vector<AddedTokenPlace> control;  // the added tokens in it, in order
  struct Spelled {
    Origin origin;
    AddedTokenPlace place;
  };
  std::vector<Spelled> spelled;  // places that spell an added token and are text
};

// `messages` are those that were rendered. Added tokens that the tokenizer does not call special
// (<think>) do count in an assistant's message: the model writes them itself. A role belongs to the
// template ('<|' + role + '|>'). Without split_special_tokens everything that spells a token is
// one.
RenderingTokens encode_rendering(const Rendering& rendering, const nlohmann::ordered_json& messages,
                                 const Tokenizer& tokenizer, bool split_special_tokens);

}  // namespace nibble
