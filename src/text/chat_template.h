// A model's chat template: messages -> the text it is trained on, byte for byte as jinja2 renders
// it in transformers (ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loopcontrols), and
// for every byte of that text, where it came from.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble {

// Where rendered text came from.
struct Origin {
  // variable: bos_token and other variables, documents.
  enum class Source : uint8_t { template_text, message, tools, variable };
  Source source = Source::template_text;
  int32_t message = -1;  // index into messages, or -1
  // Index into Rendering::fields (the message's top-level key: "content", "role", "tool_calls"), or
  // -1.
  int32_t field = -1;
  bool operator==(const Origin&) const = default;
};

struct RenderedSpan {
  size_t begin = 0, end = 0;  // bytes of Rendering::text
  Origin origin;
};

struct Rendering {
  std::string text;
  std::vector<RenderedSpan> spans;  // in order, without gaps, covering text
  std::vector<std::string> fields;
  // Bytes inside {% generation %}, in order; neighbours are joined. The mark travels with the text,
  // so it is right also where a macro or a set block moves the block's text (transformers, which
  // counts what was printed before, is not).
  std::vector<std::pair<size_t, size_t>> generation;
};

// Beyond them a rendering is an error.
struct RenderLimits {
  // Evaluated nodes; every 16 bytes made or compared count as one. Hostile loops end within about a
  // second.
  int64_t max_steps = 20'000'000;
  size_t max_output = size_t{64} << 20;  // bytes, of the output and of any one string or list
  int max_depth = 200;                   // nested calls of macros and recursive loops
};

struct RenderOptions {
  const nlohmann::ordered_json* tools = nullptr;      // null: None, as transformers passes it
  const nlohmann::ordered_json* documents = nullptr;  // null: None
  bool add_generation_prompt = false;
  // An object: bos_token, eos_token, ..., enable_thinking, ...
  const nlohmann::ordered_json* variables = nullptr;
  int64_t now = 0;  // seconds since 1970, UTC: what strftime_now sees; the caller fixes it per run
  RenderLimits limits;
};

// Copies share what was parsed, which never changes: several threads may render at once.
class ChatTemplate {
 public:
  // Throws Error(bad_input) naming `who`, line and what is not understood, as jinja2's
  // TemplateSyntaxError would.
  static ChatTemplate parse(std::string_view source, const std::string& who);
  // Throws Error(bad_input) where jinja2 would raise (raise_exception's own message included), and
  // beyond the limits.
  Rendering render(const nlohmann::ordered_json& messages, const RenderOptions& options) const;

 private:
  struct Parsed;
  ChatTemplate() = default;
  std::shared_ptr<const Parsed> parsed_;
};

}  // namespace nibble
