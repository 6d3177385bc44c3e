// Any bytes as a chat template, and after a record separator (0x1E) perhaps the messages as JSON:
// it renders within the limits or is refused with Error(bad_input), and what it renders is UTF-8
// whose origins cover it.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "text/chat_template.h"
#include "text/utf8.h"

namespace {

using nibble::Rendering;
using Json = nlohmann::ordered_json;

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const Rendering& rendering) {
  require(nibble::find_invalid_utf8(rendering.text) == std::string_view::npos);
  size_t end = 0;
  for (const auto& span : rendering.spans) {
    require(span.begin == end && span.end > span.begin);
    require(span.origin.field < static_cast<int32_t>(rendering.fields.size()));
    end = span.end;
  }
  require(end == rendering.text.size());
  end = 0;
  for (const auto& [from, to] : rendering.generation) {
    require(from >= end && to > from && to <= rendering.text.size());
    end = to;
  }
}

const Json& usual_messages() {
  static const Json messages = Json::parse(R"([
    {"role": "system", "content": " Be kind.\n"},
    {"role": "user", "content": "Gr\u00fc\u00dfe \ud83d\ude00", "n": 3, "xs": [1, 2.5, null, true]},
    {"role": "assistant", "content": "<think>a</think>b", "tool_calls": [
      {"function": {"name": "f", "arguments": {"x": {"y": [1, "two"]}}}}]},
    {"role": "tool", "content": null}])");
  return messages;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t separator = input.find('\x1E');
  static const Json tools = Json::parse(R"([{"type": "function", "function": {"name": "f"}}])");
  static const Json variables = Json::parse(R"({"bos_token": "<s>", "n": 42, "d": {"a": 1}})");
  nibble::RenderOptions options;
  options.tools = &tools;
  options.variables = &variables;
  options.add_generation_prompt = size % 2 == 0;
  options.limits = {.max_steps = 20000, .max_output = 1 << 16, .max_depth = 50};
  try {
    const auto parsed = nibble::ChatTemplate::parse(input.substr(0, separator), "fuzz");
    Json messages = usual_messages();
    if (separator != std::string_view::npos) {
      messages = Json::parse(input.substr(separator + 1), nullptr, false);
      if (messages.is_discarded()) return 0;
    }
    check(parsed.render(messages, options));
  } catch (const nibble::Error& error) {
    require(error.kind() == nibble::ErrorKind::bad_input);
  }
  return 0;
}
