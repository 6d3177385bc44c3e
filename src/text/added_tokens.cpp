#include "text/added_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core/error.h"
#include "text/json_fields.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace nibble {
namespace {

constexpr size_t kMaxContent = 1024;  // bounds the search to linear time

}  // namespace

std::vector<AddedToken> read_added_tokens(const nlohmann::json& json, const std::string& who) {
  if (!json.is_array())
    fail(ErrorKind::bad_input, "{}: got {}, expected an array", who, kind_of(json));
  std::vector<AddedToken> tokens;
  std::unordered_set<std::string_view> contents;
  std::unordered_set<int32_t> ids;
  for (const auto& entry : json) {
    JsonFields fields(entry, fmt::format("{}[{}]", who, tokens.size()));
    AddedToken token;
    token.id = fields.integer("id", kMaxTokenId);
    const std::string& content = fields.text("content");
    token.content = content;
    token.single_word = fields.boolean("single_word");
    token.lstrip = fields.boolean("lstrip");
    token.rstrip = fields.boolean("rstrip");
    token.normalized = fields.boolean("normalized");
    token.special = fields.boolean("special");
    fields.done();
    if (content.empty() || content.size() > kMaxContent)
      fail(ErrorKind::bad_input, "{}: content of {} bytes, expected 1..{}", fields.who(),
           content.size(), kMaxContent);
    if (!contents.insert(content).second)
      fail(ErrorKind::bad_input, "{}: content '{}' is there twice", fields.who(), content);
    if (!ids.insert(token.id).second)
      fail(ErrorKind::bad_input, "{}: id {} is there twice", fields.who(), token.id);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

AddedTokenFinder::AddedTokenFinder(std::vector<Entry> entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.pattern < b.pattern; });
  // Breadth first: a node is the run of sorted entries that share its first `depth` bytes.
  struct Run {
    uint32_t node;
    size_t begin, end, depth;
  };
  std::vector<Run> runs = {{0, 0, entries.size(), 0}};
  nodes_.emplace_back();
  for (size_t r = 0; r < runs.size(); ++r) {
    auto [node, begin, end, depth] = runs[r];
    nodes_[node].first_edge = static_cast<uint32_t>(edges_.size());
    while (begin < end && entries[begin].pattern.size() == depth) {
      if (!nodes_[node].token) nodes_[node].token = entries[begin].token;
      ++begin;
    }
    while (begin < end) {
      const char byte = entries[begin].pattern[depth];
      const size_t first = begin;
      while (begin < end && entries[begin].pattern[depth] == byte) ++begin;
      const auto next = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      edges_.push_back({byte, next});
      ++nodes_[node].edge_count;
      runs.push_back({next, first, begin, depth + 1});
    }
  }
  for (const Entry& entry : entries) {
    starts_[static_cast<uint8_t>(entry.pattern[0])] = true;
    if (entry.token->single_word && !word_) word_.emplace(CharacterSet::rust_word());
  }
}

const AddedTokenFinder::Node* AddedTokenFinder::child(const Node& node, char byte) const {
  const auto first = edges_.begin() + node.first_edge;
  const auto last = first + node.edge_count;
  // std::string orders bytes as unsigned, and so must this.
  const auto edge = std::lower_bound(first, last, byte, [](const Edge& e, char value) {
    return static_cast<uint8_t>(e.byte) < static_cast<uint8_t>(value);
  });
  return edge != last && edge->byte == byte ? &nodes_[edge->child] : nullptr;
}

bool AddedTokenFinder::stands_alone(std::string_view text, const Match& range) const {
  const auto is_word = [&](size_t position) {
    return word_->contains(decode_utf8(text, position));
  };
  return (range.begin == 0 || !is_word(previous_utf8(text, range.begin))) &&
         (range.end == text.size() || !is_word(range.end));
}

void AddedTokenFinder::find(std::string_view text, std::vector<Part>& parts,
                            const Accept& accept) const {
  size_t done = 0;  // everything before is in a part
  for (size_t at = 0; at < text.size();) {
    if (!starts_[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    Match match{at, at};
    const AddedToken* token = nullptr;
    const Node* node = &nodes_[0];
    for (size_t i = at; i < text.size() && (node = child(*node, text[i])); ++i) {
      if (node->token) {
        token = node->token;
        match.end = i + 1;
      }
    }
    if (!token || (accept && !accept(*token, match))) {
      ++at;
      continue;
    }
    at = match.end;
    if (token->single_word && !stands_alone(text, match)) continue;
    if (token->lstrip) {
      while (match.begin > done) {
        const size_t before = previous_utf8(text, match.begin);
        if (!is_white_space(decode_utf8(text, before))) break;
        match.begin = before;
      }
      match.begin = std::max(match.begin, done);
      match.end = std::max(match.end, match.begin);
    }
    if (token->rstrip) {
      match.end = std::max(match.end, done);  // in space that the token before has taken
      while (match.end < text.size() && is_white_space(decode_utf8(text, match.end)))
        match.end += utf8_length(text[match.end]);
    }
    if (done < match.begin) parts.push_back({{done, match.begin}, nullptr});
    parts.push_back({match, token});
    done = match.end;
  }
  if (done != text.size()) parts.push_back({{done, text.size()}, nullptr});
}

}  // namespace nibble
