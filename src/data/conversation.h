// Which characters of a rendered conversation are trained.
//
// A conversation is rendered whole. The trained span of an assistant's turn begins where the
// generation prompt ends (what the prompt supplies is never trained) and ends behind the turn's end
// token: its content, reasoning and tool calls, and what the template writes between and behind
// them. No marker is searched for: the renderer knows which message every byte came from.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "data/example.h"
#include "data/findings.h"
#include "text/chat_format.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"

namespace nibble {

// Which end tokens are trained (axolotl's names): of the trained turns; of every turn; of the last
// trained turn; none.
enum class TrainOnEos { turn, all, last, none };

struct TurnOptions {
  bool assistant_only_loss = true;  // false: everything is trained
  bool mask_history = false;        // only the last assistant turn is trained
  TrainOnEos train_on_eos = TrainOnEos::turn;
  bool null_content_as_empty = false;  // send "" for content: null
};

// A rendering to tokenize. It may hold only the first of the example's messages.
struct TrainedText {
  using Span = std::pair<size_t, size_t>;  // bytes [first, second) of the text

  Rendering rendering;
  std::vector<Span> trained;    // in order, apart from each other
  std::vector<Span> turn_ends;  // the end tokens of the trained turns
};

// One text, and one more for every trained turn that the template renders otherwise once later
// turns follow (Qwen3 drops old reasoning): such a turn is trained as the end of its own text.
// Appends what it notices to `findings`. Throws Error(bad_input) where the template raises.
std::vector<TrainedText> trained_texts(const Example& example, const ChatFormat& format,
                                       const Tokenizer& tokenizer, const SpecialTokens& special,
                                       const TurnOptions& options, std::vector<Finding>& findings);

}  // namespace nibble
