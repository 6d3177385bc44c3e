#include "text/decoder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/error.h"
#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/metaspace.h"
#include "text/utf8.h"

namespace nibble {
namespace {

constexpr int kDecoderDepth = 4;      // of Sequences in Sequences
constexpr size_t kDecoderSteps = 64;  // each may copy the whole text
constexpr int32_t kMaxStrip = 1 << 20;

// Every `from` (not empty) in `text` replaced, from left to right.
std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != std::string_view::npos;
       at = found + from.size())
    out.append(text, at, found - at).append(to);
  return out.append(text, at);
}

// WordPiece's cleanup.
std::string cleaned(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> kPairs[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kPairs) text = replaced(text, from, to);
  return text;
}

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
  if (!decoder.is_null_) decoder.add_steps(json, who, 0);
  if (decoder.steps_.size() > kDecoderSteps)
    fail(ErrorKind::bad_input, "{}: {} steps, at most {} are accepted", who, decoder.steps_.size(),
         kDecoderSteps);
  return decoder;
}

void Decoder::add_steps(const nlohmann::json& json, const std::string& who, int depth) {
  JsonFields fields(json, who);
  const std::string& type = fields.text("type");
  const std::string inside = who + ": " + type;
  if (type == "Sequence") {
    if (depth == kDecoderDepth)
      fail(ErrorKind::bad_input, "{}: too many Sequences in Sequences", who);
    for (const auto& step : fields.array("decoders")) add_steps(step, inside, depth + 1);
  } else if (type == "ByteLevel") {
    for (const auto option : {"add_prefix_space", "trim_offsets", "use_regex"})
      fields.ignore(option);  // of the pre-tokenizer of this name only
    steps_.push_back(ByteLevel{});
  } else if (type == "ByteFallback") {
    steps_.push_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps_.push_back(Fuse{});
  } else if (type == "Strip") {
    const std::string& content = fields.text("content");
    if (content.empty() || content.size() != utf8_length(content[0]))
      fail(ErrorKind::bad_input, "{}: field 'content': got '{}', expected one character", inside,
           content);
    steps_.push_back(Strip{decode_utf8(content, 0), fields.integer("start", kMaxStrip),
                           fields.integer("stop", kMaxStrip)});
  } else if (type == "Replace") {
    Pattern pattern = Pattern::from_json(fields.require("pattern"), inside + ": pattern");
    steps_.push_back(Replace{std::move(pattern), fields.text("content"), inside});
  } else if (type == "Metaspace") {
    const MetaspaceFields metaspace = read_metaspace(json, inside);
    steps_.push_back(
        Metaspace{decode_utf8(metaspace.replacement, 0), metaspace.prepend_scheme != "never"});
    return;
  } else if (type == "BPEDecoder") {
    if (fields.text("suffix").empty())
      fail(ErrorKind::bad_input, "{}: field 'suffix': got an empty string", inside);
    steps_.push_back(BpeSuffix{fields.text("suffix")});
  } else if (type == "WordPiece") {
    steps_.push_back(WordPiece{fields.text("prefix"), fields.boolean("cleanup")});
  } else if (type == "CTC") {
    if (fields.text("pad_token").empty() || fields.text("word_delimiter_token").empty())
      fail(ErrorKind::bad_input, "{}: pad_token or word_delimiter_token is empty", inside);
    steps_.push_back(Ctc{fields.text("pad_token"), fields.text("word_delimiter_token"),
                         fields.boolean("cleanup")});
  } else {
    fail(ErrorKind::bad_input,
         "{}: the type '{}' is not supported; Nibble knows ByteLevel, "
         "ByteFallback, Fuse, Strip, "
         "Replace, Metaspace, BPEDecoder, WordPiece, CTC and Sequence",
         who, type);
  }
  fields.done();
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

void Decoder::apply(const BpeSuffix& bpe, Tokens& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = replaced(tokens[i], bpe.suffix, i + 1 == tokens.size() ? "" : " ");
}

void Decoder::apply(const WordPiece& word_piece, Tokens& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string& token = tokens[i];
    if (i > 0)
      token = token.starts_with(word_piece.prefix) ? token.substr(word_piece.prefix.size())
                                                   : " " + token;
    if (word_piece.cleanup) token = cleaned(std::move(token));
  }
}

void Decoder::apply(const Ctc& ctc, Tokens& tokens) {
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (std::string& token : tokens) {
    token = replaced(token, ctc.pad, "");
    if (ctc.cleanup) token = replaced(cleaned(std::move(token)), ctc.delimiter, " ");
  }
  std::erase_if(tokens, [](const std::string& token) { return token.empty(); });
}

}  // namespace nibble
