#include "text/rendering_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace nibble {
namespace {

bool from_template(const Origin& origin, const Rendering& rendering) {
  using Source = Origin::Source;
  if (origin.source == Source::template_text || origin.source == Source::variable) return true;
  return origin.source == Source::message && origin.field >= 0 &&
         rendering.fields[static_cast<size_t>(origin.field)] == "role";
}

bool from_assistant(const Origin& origin, const nlohmann::ordered_json& messages) {
  if (origin.source != Origin::Source::message) return false;
  const auto& message = messages[static_cast<size_t>(origin.message)];
  const auto role = message.find("role");
  return role != message.end() && *role == "assistant";
}

}  // namespace

RenderingTokens encode_rendering(const Rendering& rendering, const nlohmann::ordered_json& messages,
                                 const Tokenizer& tokenizer, bool split_special_tokens) {
  RenderingTokens tokens;
  const auto accept = [&](const AddedTokenPlace& place) {
    if (split_special_tokens) {
      auto span = std::prev(
          std::ranges::upper_bound(rendering.spans, size_t{place.begin}, {}, &RenderedSpan::begin));
      for (; span != rendering.spans.end() && span->begin < place.end; ++span) {
        if (from_template(span->origin, rendering)) continue;
        if (!place.special && from_assistant(span->origin, messages)) continue;
        tokens.spelled.push_back({span->origin, place});
        return false;
      }
    }
    tokens.control.push_back(place);
    return true;
  };
  tokens.encoding = tokenizer.encode(rendering.text, false, accept);
  return tokens;
}

}  // namespace nibble
