#include "text/decoder.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/metaspace.h"
#include "text/utf8.h"

namespace nibble {
namespace {

constexpr int32_t kMaxStrip = 1 << 20;

// "<0xE2>" -> 0xE2.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (c >= 'A' && c <= 'F') {
      value = value * 16 + (c - 'A' + 10);
    } else if (c >= 'a' && c <= 'f') {
      value = value * 16 + (c - 'a' + 10);
    } else {
      return std::nullopt;
    }
  }
  return static_cast<char>(static_cast<uint8_t>(value));
}

}  // namespace

Decoder Decoder::from_json(const nlohmann::json& json, const std::string& who) {
  Decoder decoder;
  decoder.who_ = who;
  decoder.is_null_ = json.is_null();
  if (decoder.is_null_) return decoder;
  JsonFields fields(json, who);
  if (fields.text("type") != "Sequence") {
    decoder.steps_.push_back(step_from_json(json, who));
    return decoder;
  }
  for (const auto& step : fields.array("decoders"))
    decoder.steps_.push_back(step_from_json(step, who + ": Sequence"));
  fields.done();
  return decoder;
}

Decoder::Step Decoder::step_from_json(const nlohmann::json& json, const std::string& who) {
  JsonFields fields(json, who);
  const std::string& type = fields.text("type");
  Step step;
  if (type == "ByteLevel") {
    for (const auto option : {"add_prefix_space", "trim_offsets", "use_regex"})
      fields.ignore(option);  // of the pre-tokenizer of this name only
    step = ByteLevel{};
  } else if (type == "ByteFallback") {
    step = ByteFallback{};
  } else if (type == "Fuse") {
    step = Fuse{};
  } else if (type == "Strip") {
    const std::string& content = fields.text("content");
    if (content.empty() || content.size() != utf8_length(content[0]))
      fail(ErrorKind::bad_input, "{}: Strip: field 'content': got '{}', expected one character",
           who, content);
    step = Strip{decode_utf8(content, 0), fields.integer("start", kMaxStrip),
                 fields.integer("stop", kMaxStrip)};
  } else if (type == "Replace") {
    step = Replace{Pattern::from_json(fields.require("pattern"), who + ": Replace: pattern"),
                   fields.text("content"), who + ": Replace"};
  } else if (type == "Metaspace") {
    const MetaspaceFields metaspace = read_metaspace(json, who + ": Metaspace");
    return Metaspace{decode_utf8(metaspace.replacement, 0), metaspace.prepend_scheme != "never"};
  } else {
    fail(ErrorKind::bad_input,
         "{}: the type '{}' is not supported; Nibble knows ByteLevel, ByteFallback, Fuse, Strip, "
         "Replace, Metaspace and one Sequence of these",
         who, type);
  }
  fields.done();
  return step;
}

std::string Decoder::decode(const std::vector<std::string_view>& tokens) const {
  std::string text;
  if (is_null_) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) text += ' ';
      text += tokens[i];
    }
    return text;
  }
  Tokens parts(tokens.begin(), tokens.end());
  const auto bytes_of = [](const auto& all) {
    size_t bytes = 0;
    for (const auto& part : all) bytes += part.size();
    return bytes;
  };
  const size_t bytes = bytes_of(tokens);
  for (const Step& step : steps_) {
    std::visit([&](const auto& one) { apply(one, parts); }, step);
    if (bytes_of(parts) > growth_limit(bytes)) fail_growth(who_, bytes);
  }
  for (const std::string& part : parts) text += part;
  return text;
}

void Decoder::apply(const ByteLevel&, Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += from_byte_level(token).value_or(token);
  tokens = {replace_invalid_utf8(bytes)};
}

// Runs of byte tokens become their characters, or, if they are not UTF-8, U+FFFD for each byte.
void Decoder::apply(const ByteFallback&, Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (find_invalid_utf8(bytes) == std::string::npos) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const auto byte = byte_of(token)) {
      bytes += *byte;
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

void Decoder::apply(const Fuse&, Tokens& tokens) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens = {std::move(all)};
}

void Decoder::apply(const Strip& strip, Tokens& tokens) {
  for (std::string& token : tokens) {
    size_t begin = 0;
    for (int32_t i = 0; i < strip.start && begin < token.size(); ++i) {
      if (decode_utf8(token, begin) != strip.content) break;
      begin += utf8_length(token[begin]);
    }
    size_t end = token.size();
    for (int32_t i = 0; i < strip.stop && end > begin; ++i) {
      const size_t last = previous_utf8(token, end);
      if (decode_utf8(token, last) != strip.content) break;
      end = last;
    }
    token = token.substr(begin, end - begin);
  }
}

void Decoder::apply(const Replace& replace, Tokens& tokens) {
  std::vector<Match> matches;
  for (std::string& token : tokens) {
    matches.clear();
    replace.pattern.find_all(token, matches);
    if (matches.empty()) continue;
    if (token.size() + matches.size() * replace.content.size() > growth_limit(token.size()))
      fail_growth(replace.who, token.size());
    std::string out;
    size_t at = 0;
    for (const Match& match : matches) {
      out.append(token, at, match.begin - at).append(replace.content);
      at = match.end;
    }
    token = out.append(token, at);
  }
}

void Decoder::apply(const Metaspace& metaspace, Tokens& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string out;
    for (size_t k = 0; k < tokens[i].size(); k += utf8_length(tokens[i][k])) {
      const char32_t c = decode_utf8(tokens[i], k);
      if (c != metaspace.mark) {
        append_utf8(out, c);
      } else if (i > 0 || !metaspace.drops_first) {
        out += ' ';
      }
    }
    tokens[i] = std::move(out);
  }
}

}  // namespace nibble
