#include "text/tokenizer.h"

#include <mutex>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/json_fields.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace nibble {
namespace {

// Lends each call a workspace of its own; as many are made as calls were ever under way at once.
class WorkspacePool {
 public:
  class Loan {
   public:
    Loan(WorkspacePool& pool, std::unique_ptr<Bpe::Workspace> workspace)
        : pool_(pool), workspace_(std::move(workspace)) {}
    ~Loan() {
      const std::lock_guard lock(pool_.mutex_);
      pool_.free_.push_back(std::move(workspace_));
    }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Bpe::Workspace& operator*() { return *workspace_; }

   private:
    WorkspacePool& pool_;
    std::unique_ptr<Bpe::Workspace> workspace_;
  };

  Loan borrow() {
    std::unique_ptr<Bpe::Workspace> workspace;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        workspace = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (!workspace) workspace = std::make_unique<Bpe::Workspace>();
    return Loan(*this, std::move(workspace));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Bpe::Workspace>> free_;
};

// `tokenizers` ignores the ids of added tokens and counts on from the model's vocabulary. A file
// in which that gives other ids would be read in two ways: it is refused.
Vocabulary with_added(const Vocabulary& model, const std::vector<AddedToken>& added,
                      const std::string& who) {
  Vocabulary vocabulary(&model);
  auto next = static_cast<int32_t>(model.count());
  for (const AddedToken& token : added) {
    const auto in_model = model.id_of(token.content);
    const int32_t expected = in_model.value_or(next);
    if (token.id != expected)
      fail(ErrorKind::bad_input,
           "{}: added token '{}': got id {}, expected {} ({}), which is what "
           "`tokenizers` would use",
           who, token.content, token.id, expected,
           in_model ? "its id in the model's vocabulary" : "the next free one");
    if (in_model) continue;
    if (!vocabulary.add(token.content, token.id))
      fail(ErrorKind::bad_input, "{}: added token '{}': the model has another token of id {}", who,
           token.content, token.id);
    next = token.id + 1;
  }
  return vocabulary;
}

// How an added token is looked for, and decoded.
std::string spelled(const AddedToken& token, const Normalizer& normalizer) {
  if (!token.normalized) return token.content;
  return std::string(normalizer.apply(NormalizedText(token.content, 0)).view());
}

std::vector<AddedTokenFinder::Entry> finder_entries(const std::vector<AddedToken>& tokens,
                                                    bool normalized, const Normalizer& normalizer,
                                                    const std::string& who) {
  std::vector<AddedTokenFinder::Entry> entries;
  for (const bool special : {true, false}) {
    for (const AddedToken& token : tokens) {
      if (token.special != special || token.normalized != normalized) continue;
      std::string pattern = spelled(token, normalizer);
      if (pattern.empty())
        fail(ErrorKind::bad_input,
             "{}: added token '{}': nothing is left of it after normalization, "
             "which is not "
             "supported",
             who, token.content);
      entries.push_back({std::move(pattern), &token});
    }
  }
  return entries;
}

}  // namespace

struct Tokenizer::Parts {
  Parts(const nlohmann::json& json, const std::string& who) : Parts(JsonFields(json, who)) {}

  std::vector<AddedToken> added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  Vocabulary vocabulary;  // the model's tokens and the added ones
  AddedTokenFinder before_normalization, after_normalization;
  PostProcessor post_processor;
  Decoder decoder;
  std::unordered_set<int32_t> special;
  std::unordered_map<int32_t, std::string> normalized;  // spelling of the added tokens that are
  mutable WorkspacePool workspaces;

 private:
  static const nlohmann::json& or_null(JsonFields& fields, std::string_view key) {
    static const nlohmann::json null;
    const nlohmann::json* value = fields.find(key);
    return value ? *value : null;
  }

  explicit Parts(JsonFields fields)
      : added(read_added_tokens(fields.array("added_tokens"), fields.who() + ": added_tokens")),
        normalizer(
            Normalizer::from_json(or_null(fields, "normalizer"), fields.who() + ": normalizer")),
        pre_tokenizer(PreTokenizer::from_json(or_null(fields, "pre_tokenizer"),
                                              fields.who() + ": pre_tokenizer")),
        bpe(fields.require("model"), pre_tokenizer.byte_level(), fields.who() + ": model"),
        vocabulary(with_added(bpe.vocabulary(), added, fields.who())),
        before_normalization(finder_entries(added, false, normalizer, fields.who())),
        after_normalization(finder_entries(added, true, normalizer, fields.who())),
        post_processor(PostProcessor::from_json(or_null(fields, "post_processor"), vocabulary,
                                                fields.who() + ": post_processor")),
        decoder(Decoder::from_json(or_null(fields, "decoder"), fields.who() + ": decoder")) {
    for (const AddedToken& token : added) {
      if (token.special) special.insert(token.id);
      if (token.normalized) normalized.emplace(token.id, spelled(token, normalizer));
    }
    for (const auto not_obeyed : {"version", "truncation", "padding"}) fields.ignore(not_obeyed);
    fields.done();
  }
};

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_json(const nlohmann::json& json, const std::string& who) {
  return Tokenizer(std::make_unique<const Parts>(json, who));
}

Encoding Tokenizer::encode(std::string_view utf8, bool add_special_tokens,
                           const AcceptAddedToken& accept) const {
  if (utf8.size() > size_t{1} << 31)
    fail(ErrorKind::bad_input, "tokenizer: got a text of {} bytes, at most 2^31 are accepted",
         utf8.size());
  if (const size_t bad = find_invalid_utf8(utf8); bad != std::string_view::npos)
    fail(ErrorKind::bad_input, "tokenizer: the text is not UTF-8 at byte {} of {}", bad,
         utf8.size());

  Encoding encoding;
  const auto add = [&](int32_t id, ByteSpan source) {
    encoding.ids.push_back(id);
    encoding.offsets.push_back(source);
  };
  std::vector<WidenedToken> widened;
  const auto add_added = [&](const AddedToken& token, ByteSpan source, std::string_view match) {
    if (match != token.content) widened.push_back({encoding.ids.size(), std::string(match)});
    add(token.id, source);
  };
  auto workspace = parts_->workspaces.borrow();
  std::vector<BpeToken> tokens;
  const auto add_words = [&](const Words& words) {
    for (const auto& [text, range] : words.list) {
      tokens.clear();
      parts_->bpe.encode(text->view().substr(range.begin, range.end - range.begin), *workspace,
                         tokens);
      size_t at = range.begin;
      for (const BpeToken& token : tokens) {
        add(token.id, text->original(at, at + token.length));
        at += token.length;
      }
    }
  };

  const auto accepted_at = [&](const AddedToken& token, ByteSpan place) {
    return accept(AddedTokenPlace{token.id, token.special, place.first, place.second});
  };
  AddedTokenFinder::Accept accept_outer, accept_inner;
  if (accept)
    accept_outer = [&](const AddedToken& token, const Match& match) {
      return accepted_at(token,
                         {static_cast<uint32_t>(match.begin), static_cast<uint32_t>(match.end)});
    };
  std::vector<AddedTokenFinder::Part> outer, inner;
  parts_->before_normalization.find(utf8, outer, accept_outer);
  for (const auto& part : outer) {
    const auto origin = static_cast<uint32_t>(part.range.begin);
    if (part.token) {
      add_added(*part.token, {origin, static_cast<uint32_t>(part.range.end)},
                utf8.substr(origin, part.range.end - origin));
      continue;
    }
    NormalizedText text = parts_->normalizer.apply(
        NormalizedText(utf8.substr(part.range.begin, part.range.end - part.range.begin), origin));
    inner.clear();
    if (accept)
      accept_inner = [&](const AddedToken& token, const Match& match) {
        return accepted_at(token, text.original(match.begin, match.end));
      };
    parts_->after_normalization.find(text.view(), inner, accept_inner);
    if (inner.size() == 1 && !inner[0].token) {
      add_words(parts_->pre_tokenizer.apply(std::move(text)));
      continue;
    }
    for (const auto& [range, token] : inner) {
      if (token) {
        add_added(*token, text.original(range.begin, range.end),
                  text.view().substr(range.begin, range.end - range.begin));
      } else {
        add_words(parts_->pre_tokenizer.apply(text.slice(range.begin, range.end)));
      }
    }
  }
  parts_->post_processor.apply(utf8, parts_->vocabulary, add_special_tokens, widened, encoding);
  return encoding;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string_view> tokens;
  for (const int32_t id : ids) {
    if (!parts_->vocabulary.has_id(id) || (skip_special_tokens && is_special(id))) continue;
    const auto normalized = parts_->normalized.find(id);
    tokens.push_back(normalized == parts_->normalized.end() ? piece(id) : normalized->second);
  }
  return parts_->decoder.decode(tokens);
}

std::string_view Tokenizer::piece(int32_t id) const { return parts_->vocabulary.token_of(id); }

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  return parts_->vocabulary.id_of(token);
}

bool Tokenizer::is_special(int32_t id) const { return parts_->special.contains(id); }

int32_t Tokenizer::vocab_size() const { return parts_->vocabulary.end_id(); }

}  // namespace nibble
