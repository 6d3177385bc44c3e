#include "text/bpe.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/utf8.h"

namespace nibble {
namespace {

constexpr std::string_view kSpaceMark = "\u2581";

size_t hash_pair(int32_t left, int32_t right) {
  const uint64_t pair = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  const uint64_t hash = pair * 0x9E3779B97F4A7C15u;
  return static_cast<size_t>(hash ^ hash >> 32);
}

// Is there a space mark right after a character that is none?
bool continues_past_mark(std::string_view token) {
  for (size_t at = token.find(kSpaceMark, 1); at != std::string_view::npos;
       at = token.find(kSpaceMark, at + 1))
    if (at < kSpaceMark.size() ||
        token.substr(at - kSpaceMark.size(), kSpaceMark.size()) != kSpaceMark)
      return true;
  return false;
}

std::pair<std::string_view, std::string_view> merge_parts(const nlohmann::json& merge,
                                                          const std::string& who) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
  if (merge.is_string()) {
    const std::string_view both = merge.get_ref<const std::string&>();
    const size_t space = both.find(' ');
    if (space != std::string_view::npos && both.find(' ', space + 1) == std::string_view::npos)
      return {both.substr(0, space), both.substr(space + 1)};
  }
  fail(ErrorKind::bad_input, "{}: got {}, expected two tokens, as [\"a\", \"b\"] or \"a b\"", who,
       merge.dump().substr(0, 80));
}

}  // namespace

Bpe::Bpe(const nlohmann::json& model, bool byte_level, const std::string& who)
    : who_(who), byte_level_(byte_level) {
  JsonFields fields(model, who);
  if (model.contains("type") && fields.text("type") != "BPE")
    fail(ErrorKind::bad_input, "{}: the type '{}' is not supported; Nibble knows BPE", who,
         fields.text("type"));
  const auto text_or_empty = [&](std::string_view key) {
    const nlohmann::json* value = fields.find(key);
    return value && !value->is_null() ? fields.text(key) : std::string();
  };
  prefix_ = text_or_empty("continuing_subword_prefix");
  suffix_ = text_or_empty("end_of_word_suffix");
  const nlohmann::json* dropout = fields.find("dropout");
  if (dropout && !dropout->is_null() && *dropout != 0)
    fail(ErrorKind::bad_input,
         "{}: field 'dropout': got {}, which makes ids random; set it to null", who,
         dropout->dump());
  fuse_unk_ = fields.boolean_or("fuse_unk", false);
  ignore_merges_ = fields.boolean_or("ignore_merges", false);
  const bool byte_fallback = fields.boolean_or("byte_fallback", false);
  if (byte_fallback && (!prefix_.empty() || !suffix_.empty()))
    fail(ErrorKind::bad_input,
         "{}: field 'byte_fallback': together with continuing_subword_prefix "
         "or end_of_word_suffix "
         "it is not supported",
         who);

  read_vocabulary(fields.require("vocab"));
  read_merges(fields.array("merges"));
  // One that the vocabulary lacks matters to a text that needs it only.
  if (const std::string unk = text_or_empty("unk_token"); !unk.empty())
    unk_ = vocabulary_.id_of(unk);
  fields.done();

  for (size_t byte = 0; byte < 256; ++byte) {
    std::string spelled;
    if (byte_level_) {
      spelled = to_byte_level(std::string(1, static_cast<char>(byte)));
    } else if (byte_fallback) {
      spelled = fmt::format("<0x{:02X}>", byte);
    }
    byte_ids_[byte] = spelled.empty() ? -1 : vocabulary_.id_of(spelled).value_or(-1);
    if (byte_level_ && byte_fallback && byte_ids_[byte] < 0)
      fail(ErrorKind::bad_input,
           "{}: field 'byte_fallback': together with ByteLevel it is supported "
           "only where the "
           "vocabulary spells every byte; it lacks '{}'",
           who, spelled);
  }
}

void Bpe::read_vocabulary(const nlohmann::json& vocab) {
  if (!vocab.is_object())
    fail(ErrorKind::bad_input, "{}: field 'vocab': got {}, expected an object", who_,
         kind_of(vocab));
  for (const auto& item : vocab.items()) {
    const nlohmann::json& id = item.value();
    if (!id.is_number_integer() || id.get<uint64_t>() > uint64_t{kMaxTokenId})
      fail(ErrorKind::bad_input, "{}: vocab: '{}': got {}, expected an id 0..{}", who_, item.key(),
           id.dump(), kMaxTokenId);
    if (!vocabulary_.add(item.key(), id.get<int32_t>()))
      fail(ErrorKind::bad_input, "{}: vocab: id {} is there twice, for '{}' and '{}'", who_,
           id.dump(), vocabulary_.token_of(id.get<int32_t>()), item.key());
  }
}

void Bpe::read_merges(const nlohmann::json& merges) {
  size_t capacity = 2;
  while (capacity < merges.size() * 2) capacity *= 2;
  merges_.assign(capacity, Merge{});
  splits_at_marks_ = !byte_level_ && !ignore_merges_ && prefix_.empty() && suffix_.empty() &&
                     vocabulary_.id_of(kSpaceMark).has_value();
  uint32_t rank = 0;
  std::string joined;
  for (const auto& entry : merges) {
    const std::string who = fmt::format("{}: merges[{}]", who_, rank);
    const auto [left, right] = merge_parts(entry, who);
    const auto id = [&](std::string_view token) {
      const auto found = vocabulary_.id_of(token);
      if (!found) fail(ErrorKind::bad_input, "{}: '{}' is not in the vocabulary", who, token);
      return *found;
    };
    if (!right.starts_with(prefix_))
      fail(ErrorKind::bad_input, "{}: '{}' does not begin with continuing_subword_prefix '{}'", who,
           right, prefix_);
    joined.assign(left).append(right.substr(prefix_.size()));
    if (continues_past_mark(joined)) splits_at_marks_ = false;
    insert_merge({id(left), id(right), rank++, id(joined)});
  }
}

// A pair that is there twice keeps its last rank, as in `tokenizers`.
void Bpe::insert_merge(const Merge& merge) {
  size_t slot = hash_pair(merge.left, merge.right);
  for (;; ++slot) {
    Merge& place = merges_[slot & (merges_.size() - 1)];
    if (place.left >= 0 && (place.left != merge.left || place.right != merge.right)) continue;
    place = merge;
    return;
  }
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  for (size_t slot = hash_pair(left, right);; ++slot) {
    const Merge& place = merges_[slot & (merges_.size() - 1)];
    if (place.left == left && place.right == right) return &place;
    if (place.left < 0) return nullptr;
  }
}

void Bpe::encode(std::string_view word, Workspace& workspace, std::vector<BpeToken>& tokens) const {
  if (!splits_at_marks_) {
    encode_unit(word, workspace, tokens);
    return;
  }
  while (!word.empty()) {
    size_t end = 0;
    while (word.substr(end).starts_with(kSpaceMark)) end += kSpaceMark.size();
    end = std::min(word.find(kSpaceMark, end), word.size());
    encode_unit(word.substr(0, end), workspace, tokens);
    word.remove_prefix(end);
  }
}

void Bpe::encode_unit(std::string_view word, Workspace& workspace,
                      std::vector<BpeToken>& tokens) const {
  WordCache::Entry* place = WordCache::fits(word) ? &workspace.cache_.at(word) : nullptr;
  if (place && WordCache::holds(*place, word)) {
    for (size_t i = 0; i < place->tokens; ++i) tokens.push_back({place->ids[i], place->lengths[i]});
    return;
  }
  const size_t first = tokens.size();
  if (const auto id = whole_word(word)) {
    tokens.push_back({*id, static_cast<uint32_t>(word.size())});
  } else {
    start_symbols(word, workspace);
    merge_symbols(workspace);
    for (const Workspace::Symbol& symbol : workspace.symbols_)
      if (symbol.length > 0) tokens.push_back({symbol.id, symbol.length});
  }
  if (place && tokens.size() - first <= WordCache::kMaxTokens) {
    WordCache::claim(*place, word);
    for (size_t i = first; i < tokens.size(); ++i) {
      place->ids[place->tokens] = tokens[i].id;
      place->lengths[place->tokens] = static_cast<uint8_t>(tokens[i].length);
      ++place->tokens;
    }
  }
}

// The whole word as one token, where the file asks for it (ignore_merges).
std::optional<int32_t> Bpe::whole_word(std::string_view word) const {
  if (!ignore_merges_) return std::nullopt;
  return vocabulary_.id_of(byte_level_ ? to_byte_level(word) : std::string(word));
}

// The id of one character of a word (a byte, if byte_level); -1: none.
int32_t Bpe::symbol_of(std::string_view character, bool is_first, bool is_last) const {
  const bool plain = (is_first || prefix_.empty()) && (!is_last || suffix_.empty());
  if (plain && byte_level_) return byte_ids_[static_cast<uint8_t>(character[0])];
  if (plain) return vocabulary_.id_of(character).value_or(-1);
  std::string spelled = is_first ? "" : prefix_;
  spelled += byte_level_ ? to_byte_level(character) : character;
  if (is_last) spelled += suffix_;
  return vocabulary_.id_of(spelled).value_or(-1);
}

void Bpe::start_symbols(std::string_view word, Workspace& workspace) const {
  auto& symbols = workspace.symbols_;
  symbols.clear();
  const auto add = [&](int32_t id, size_t length) {
    const auto i = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, static_cast<uint32_t>(length), i - 1, i + 1});
  };
  size_t unknown = 0;  // bytes that wait to become one unk
  const auto flush = [&] {
    if (unknown > 0) add(*unk_, unknown);
    unknown = 0;
  };
  for (size_t i = 0; i < word.size();) {
    const size_t length = byte_level_ ? 1 : utf8_length(word[i]);
    const std::string_view character = word.substr(i, length);
    i += length;
    const auto byte_id = [&](size_t k) { return byte_ids_[static_cast<uint8_t>(character[k])]; };
    const int32_t id = symbol_of(character, i == length, i == word.size());
    if (id >= 0) {
      flush();
      add(id, length);
      continue;
    }
    bool all_bytes = !byte_level_;
    for (size_t k = 0; k < length && all_bytes; ++k) all_bytes = byte_id(k) >= 0;
    if (all_bytes) {  // before an unk that still waits, as in `tokenizers`
      for (size_t k = 0; k < length; ++k) add(byte_id(k), 1);
      continue;
    }
    if (!unk_)
      fail(ErrorKind::bad_input,
           "{}: the text holds {}, for which the vocabulary has no token and no "
           "unk_token",
           who_,
           byte_level_ ? fmt::format("byte 0x{:02X}", static_cast<uint8_t>(character[0]))
                       : fmt::format("U+{:04X}", static_cast<uint32_t>(decode_utf8(character, 0))));
    if (!fuse_unk_) flush();
    unknown += length;
  }
  flush();
  if (!symbols.empty()) symbols.back().next = -1;
}

void Bpe::merge_symbols(Workspace& workspace) const {
  auto& symbols = workspace.symbols_;
  auto& heap = workspace.heap_;
  const auto candidate = [&](int32_t position) -> const Merge* {
    const Workspace::Symbol& left = symbols[static_cast<size_t>(position)];
    if (left.next < 0) return nullptr;
    return find_merge(left.id, symbols[static_cast<size_t>(left.next)].id);
  };
  const auto key = [](const Merge& merge, int32_t position) {
    return uint64_t{merge.rank} << 32 | static_cast<uint32_t>(position);
  };
  heap.clear();
  for (int32_t i = 0; i < std::ssize(symbols); ++i)
    if (const Merge* merge = candidate(i)) heap.push_back(key(*merge, i));
  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  const auto push = [&](int32_t position) {
    if (position < 0) return;
    if (const Merge* merge = candidate(position)) {
      heap.push_back(key(*merge, position));
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
    }
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t top = heap.back();
    heap.pop_back();
    const auto position = static_cast<int32_t>(top & 0xFFFFFFFFu);
    Workspace::Symbol& left = symbols[static_cast<size_t>(position)];
    if (left.length == 0) continue;
    const Merge* merge = candidate(position);
    if (!merge || merge->rank != top >> 32) continue;  // its neighbours have changed since
    Workspace::Symbol& right = symbols[static_cast<size_t>(left.next)];
    left.id = merge->merged;
    left.length += right.length;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = position;
    push(left.previous);
    push(position);
  }
}

}  // namespace nibble
