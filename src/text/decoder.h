// The `decoder` of tokenizer.json: tokens back to text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/pattern.h"

namespace nibble {

class Decoder {
 public:
  // Null (tokens joined by spaces), ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace,
  // BPEDecoder, WordPiece, CTC, or Sequences of these. Throws Error(bad_input) for others.
  static Decoder from_json(const nlohmann::json& json, const std::string& who);

  // Throws Error(bad_input) when the text would grow beyond growth_limit.
  std::string decode(const std::vector<std::string_view>& tokens) const;

 private:
  struct ByteLevel {};
  struct ByteFallback {};
  struct Fuse {};
  struct Strip {
    char32_t content;
    int32_t start, stop;  // at most so many at each end of every token
  };
  struct Replace {
    Pattern pattern;
    std::string content;
    std::string who;
  };
  struct Metaspace {
    char32_t mark;
    bool drops_first;  // the marks of the first token stand for no space
  };
  struct BpeSuffix {
    std::string suffix;  // ends a word: becomes a space, at the very end nothing
  };
  struct WordPiece {
    std::string prefix;  // continues a word: no space goes before it
    bool cleanup;        // no spaces before punctuation and in contractions
  };
  struct Ctc {
    std::string pad, delimiter;
    bool cleanup;
  };
  using Step = std::variant<ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, BpeSuffix,
                            WordPiece, Ctc>;
  using Tokens = std::vector<std::string>;

  void add_steps(const nlohmann::json& json, const std::string& who, int depth);
  static void apply(const ByteLevel&, Tokens& tokens);
  static void apply(const ByteFallback&, Tokens& tokens);
  static void apply(const Fuse&, Tokens& tokens);
  static void apply(const Strip& strip, Tokens& tokens);
  static void apply(const Replace& replace, Tokens& tokens);
  static void apply(const Metaspace& metaspace, Tokens& tokens);
  static void apply(const BpeSuffix& bpe, Tokens& tokens);
  static void apply(const WordPiece& word_piece, Tokens& tokens);
  static void apply(const Ctc& ctc, Tokens& tokens);

  std::string who_;
  bool is_null_ = false;
  std::vector<Step> steps_;
};

}  // namespace nibble
