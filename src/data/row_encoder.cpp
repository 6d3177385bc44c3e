#include "data/row_encoder.h"

#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "text/rendering_tokens.h"

namespace nibble {
namespace {

int32_t eos_of(const SpecialTokens& special) {
  if (special.eos) return special.eos->id;
  if (!special.stop_ids.empty()) return special.stop_ids.back();
  fail(ErrorKind::bad_input,
       "the model folder names no end-of-text token, so an answer could never learn to end; set "
       "eos_token in tokenizer_config.json");
}

int64_t count_trained(const Document& document) {
  if (document.labels.empty()) return 0;
  return std::count_if(document.labels.begin() + 1, document.labels.end(),
                       [](int32_t label) { return label >= 0; });
}

bool added_by_post_processor(const std::pair<uint32_t, uint32_t>& offsets) {
  return offsets.first == 0 && offsets.second == 0;
}

Document piece_of(const Document& document, size_t begin, size_t end) {
  const auto at = [&](const std::vector<int32_t>& all, size_t i) {
    return all.begin() + static_cast<std::ptrdiff_t>(i);
  };
  return {{at(document.ids, begin), at(document.ids, end)},
          {at(document.labels, begin), at(document.labels, end)}};
}

}  // namespace

RowEncoder::RowEncoder(const Tokenizer& tokenizer, const SpecialTokens& special,
                       const ChatFormat* format, int64_t vocab_size, const EncodeOptions& options)
    : tokenizer_(tokenizer),
      special_(special),
      format_(format),
      vocab_size_(vocab_size),
      options_(options),
      eos_(eos_of(special)) {}

std::string RowEncoder::identity() const {
  const TurnOptions& turns = options_.turns;
  return fmt::format(
      "encoder 2; max_length {} truncation {} completion_only {} assistant_only {} "
      "mask_history {} eos {} null_as_empty {} split_special {} drop_untrained {}; template {} now "
      "{} "
      "variables {}; vocab {} eos {} stops {}",
      options_.max_length, static_cast<int>(options_.truncation_mode),
      options_.completion_only_loss, turns.assistant_only_loss, turns.mask_history,
      static_cast<int>(turns.train_on_eos), turns.null_content_as_empty,
      options_.split_special_tokens, options_.drop_untrained, format_ ? format_->sha256 : "none",
      format_ ? format_->now : 0, format_ ? format_->variables.dump() : "", vocab_size_, eos_,
      fmt::join(special_.stop_ids, ","));
}

// The tokenizer's special tokens, the text, EOS unless it is there.
Document RowEncoder::text(const std::string& text, size_t prompt_bytes, EncodedRow& row) const {
  Encoding encoding = tokenizer_.encode(text, true);
  Document document;
  document.ids = std::move(encoding.ids);
  bool straddling = false;
  for (size_t i = 0; i < document.ids.size(); ++i) {
    const auto& offsets = encoding.offsets[i];
    const bool trained = !added_by_post_processor(offsets) && offsets.first >= prompt_bytes;
    straddling |= offsets.first < prompt_bytes && offsets.second > prompt_bytes;
    document.labels.push_back(trained || prompt_bytes == 0 ? document.ids[i] : -100);
  }
  if (document.ids.empty() || document.ids.back() != eos_) {
    document.ids.push_back(eos_);
    document.labels.push_back(eos_);
  }
  if (straddling)
    row.found(Guard::straddling_token, "a token spans the end of the prompt; it is not trained");
  return document;
}

Document RowEncoder::conversation(const TrainedText& text, const Example& example,
                                  EncodedRow& row) const {
  RenderingTokens tokens =
      encode_rendering(text.rendering, example.messages, tokenizer_, options_.split_special_tokens);
  const Encoding& encoding = tokens.encoding;
  if (!tokens.spelled.empty()) {
    const auto& [origin, place] = tokens.spelled[0];
    const std::string who = origin.source == Origin::Source::message
                                ? fmt::format("message {}", origin.message)
                                : "the tools";
    row.found(Guard::special_in_content,
              fmt::format("{} spells {}; {} such places are text, not tokens", who,
                          tokenizer_.piece(place.id), tokens.spelled.size()));
  }

  Document document;
  document.ids = encoding.ids;
  document.labels.assign(document.ids.size(), -100);
  int64_t straddling = 0;
  size_t next = 0;  // the first span that may still hold a token
  for (size_t i = 0; i < document.ids.size(); ++i) {
    const size_t begin = encoding.offsets[i].first, end = encoding.offsets[i].second;
    while (next < text.trained.size() && text.trained[next].second <= begin) ++next;
    if (next == text.trained.size()) break;
    const auto& [first, last] = text.trained[next];
    if (begin >= first && end <= last) {
      document.labels[i] = document.ids[i];
    } else if (end > first) {
      // An end token may take the white space behind it along (rstrip): it is the turn's all the
      // same.
      const bool ends_turn = std::ranges::any_of(text.turn_ends, [&](const auto& turn_end) {
        return begin >= turn_end.first && begin < turn_end.second;
      });
      if (ends_turn) document.labels[i] = document.ids[i];
      straddling += ends_turn ? 0 : 1;
    }
  }
  if (straddling > 0)
    row.found(
        Guard::straddling_token,
        fmt::format("{} tokens lie on both sides of a trained span's edge; they are not trained",
                    straddling));

  // Every trained turn ends in a trained end token, and that stops generation.
  for (const auto& turn_end : text.turn_ends) {
    const AddedTokenPlace* last = nullptr;
    bool stops = false;
    for (const AddedTokenPlace& place : tokens.control) {
      if (place.begin < turn_end.first || place.end > turn_end.second) continue;
      last = &place;
      stops = stops || std::ranges::count(special_.stop_ids, place.id) > 0;
    }
    if (!last)
      row.found(Guard::end_not_trained,
                "the template writes no end token behind a turn, so no answer learns to end");
    else if (!stops)
      row.found(
          Guard::end_not_a_stop,
          fmt::format("the turn ends in {} ({}), which does not stop generation: eos_token_id of "
                      "generation_config.json lacks it",
                      tokenizer_.piece(last->id), last->id));
  }
  return document;
}

Document RowEncoder::tokenized(const Example& example) const {
  for (size_t i = 0; i < example.ids.size(); ++i)
    if (example.ids[i] < 0 || example.ids[i] >= vocab_size_)
      fail(ErrorKind::bad_input, "input_ids[{}] is {}, expected 0..{}", i, example.ids[i],
           vocab_size_ - 1);
  return {example.ids, example.labels.empty() ? example.ids : example.labels};
}

void RowEncoder::check(const Document& document, EncodedRow& row) const {
  if (document.ids.size() > 1 && special_.bos && document.ids[0] == special_.bos->id &&
      document.ids[1] == special_.bos->id)
    row.found(Guard::double_bos, fmt::format("the row starts with {} twice", special_.bos->text));
}

// Brings a document to max_length, by the policy.
void RowEncoder::fit(Document document, EncodedRow& row) const {
  const auto limit = static_cast<size_t>(options_.max_length);
  const size_t length = document.ids.size();
  if (length <= limit) {
    const bool untrained = count_trained(document) == 0;
    if (untrained) row.found(Guard::nothing_trained, "no token of the row is trained");
    if (!untrained || !options_.drop_untrained) row.documents.push_back(std::move(document));
    return;
  }
  const auto found = [&](Guard guard, const std::string& what) {
    row.found(guard,
              fmt::format("{} tokens, max_length {}: {}", length, options_.max_length, what));
  };
  switch (options_.truncation_mode) {
    case TruncationMode::drop:
      found(Guard::truncated, "the row is dropped");
      row.cut_tokens += static_cast<int64_t>(length);
      return;
    case TruncationMode::split: {
      found(Guard::truncated, "the row is split");
      for (size_t begin = 0; begin < length; begin += limit) {
        Document piece = piece_of(document, begin, std::min(length, begin + limit));
        if (count_trained(piece) > 0)
          row.documents.push_back(std::move(piece));
        else
          row.cut_tokens += static_cast<int64_t>(piece.ids.size());
      }
      return;
    }
    case TruncationMode::refuse:
    case TruncationMode::keep_start:
    case TruncationMode::keep_end: {
      const bool start = options_.truncation_mode != TruncationMode::keep_end;
      Document piece =
          start ? piece_of(document, 0, limit) : piece_of(document, length - limit, length);
      const int64_t lost = count_trained(document) - count_trained(piece);
      row.cut_tokens += static_cast<int64_t>(length - limit);
      found(Guard::truncated, start ? "its end is cut off" : "its start is cut off");
      if (options_.truncation_mode == TruncationMode::refuse && lost > 0)
        found(Guard::answer_cut,
              fmt::format("{} trained tokens, its end among them, are lost", lost));
      if (count_trained(piece) > 0) row.documents.push_back(std::move(piece));
      return;
    }
  }
}

EncodedRow RowEncoder::encode(const Example& example) const {
  EncodedRow row;
  const auto finish = [&](Document document) {
    check(document, row);
    fit(std::move(document), row);
  };
  switch (example.kind) {
    case Example::Kind::text:
      finish(text(example.text, 0, row));
      break;
    case Example::Kind::prompt_completion:
      if (example.completion.empty()) row.found(Guard::empty_answer, "the completion is empty");
      finish(text(example.text + example.completion,
                  options_.completion_only_loss ? example.text.size() : 0, row));
      break;
    case Example::Kind::tokenized:
      finish(tokenized(example));
      break;
    case Example::Kind::conversation: {
      if (!format_)
        fail(ErrorKind::bad_input,
             "the row is a conversation, but the model folder has no chat template; give one with "
             "--chat_template_path, or rows with text, or prompt and completion");
      for (const TrainedText& rendered :
           trained_texts(example, *format_, tokenizer_, special_, options_.turns, row.findings))
        finish(conversation(rendered, example, row));
      break;
    }
  }
  return row;
}

}  // namespace nibble
