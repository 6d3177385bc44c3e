#include "data/conversation.h"

#include <algorithm>
#include <functional>

#include "core/error.h"

namespace nibble {
namespace {

using Json = nlohmann::ordered_json;
using Span = TrainedText::Span;

// What a turn is in a rendering that ends with it.
struct Turn {
  size_t message = 0;
  Rendering rendering;       // of the messages up to this one
  size_t begin = 0;          // where the generation prompt ends
  size_t content_end = 0;    // behind the last byte that came from the message
  std::vector<size_t> ends;  // behind each end token, in order; empty: the template writes none
};

Json first_messages(const Json& messages, size_t count) {
  Json part = Json::array();
  for (size_t i = 0; i < count; ++i) part.push_back(messages[i]);
  return part;
}

std::string role_of(const Json& message) {
  const auto role = message.find("role");
  return role != message.end() && role->is_string() ? role->get<std::string>() : std::string();
}

bool is_assistant(const Json& message) { return role_of(message) == "assistant"; }

// First and behind the last byte that came from what message `k` says (its role is no saying).
Span said_by(const Rendering& rendering, size_t k) {
  Span said{std::string::npos, 0};
  for (const RenderedSpan& span : rendering.spans) {
    if (span.origin.source != Origin::Source::message || span.origin.message != static_cast<int>(k))
      continue;
    if (span.origin.field >= 0 &&
        rendering.fields[static_cast<size_t>(span.origin.field)] == "role")
      continue;
    said.first = std::min(said.first, span.begin);
    said.second = std::max(said.second, span.end);
  }
  return said;
}

size_t common_prefix(std::string_view a, std::string_view b) {
  const auto [end, ignored] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(end - a.begin());
}

// Ends of the added tokens in `text` from `begin` on.
std::vector<size_t> added_token_ends(const std::string& text, size_t begin,
                                     const Tokenizer& tokenizer) {
  std::vector<size_t> ends;
  const std::string_view tail = std::string_view(text).substr(begin);
  if (tail.empty()) return ends;
  tokenizer.encode(tail, false, [&](const AddedTokenPlace& place) {
    ends.push_back(begin + place.end);
    return true;
  });
  return ends;
}

size_t trimmed_end(const std::string& text, size_t begin) {
  size_t end = text.size();
  while (end > begin && (text[end - 1] == '\n' || text[end - 1] == ' ')) --end;
  return end;
}

void visit_strings(const Json& value, const std::function<void(const std::string&)>& visit) {
  if (value.is_string()) visit(value.get_ref<const std::string&>());
  for (const auto& item : value)  // no loop over scalars: nlohmann iterates those once
    if (value.is_structured()) visit_strings(item, visit);
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// A turn as the model would have written it: everything behind the generation prompt.
class TurnReader {
 public:
  TurnReader(const Example& example, const ChatFormat& format, const Tokenizer& tokenizer)
      : example_(example), format_(format), tokenizer_(tokenizer) {}

  Turn read(size_t k, std::vector<Finding>& findings) const {
    Turn turn;
    turn.message = k;
    turn.rendering =
        format_.render(first_messages(example_.messages, k + 1), example_.tools, false);
    const std::string& text = turn.rendering.text;
    const Span said = said_by(turn.rendering, k);
    if (is_assistant(example_.messages[k])) {
      const std::string prompt = generation_prompt(k);
      turn.begin = common_prefix(prompt, text);
      if (turn.begin != prompt.size())
        findings.push_back({Guard::history_rewritten,
                            fmt::format("message {}: the generation prompt that the template gives "
                                        "is not how the turn begins in training",
                                        k)});
      if (said.second > said.first) turn.begin = std::min(turn.begin, said.first);
    } else if (said.second > said.first) {  // trained by the row's own word
      turn.begin = said.first;
    }
    turn.content_end = std::max(said.second, turn.begin);
    turn.ends = added_token_ends(text, turn.content_end, tokenizer_);
    return turn;
  }

 private:
  // Some templates refuse a conversation without any message: then the turn begins the text.
  std::string generation_prompt(size_t k) const {
    try {
      return format_.render(first_messages(example_.messages, k), example_.tools, true).text;
    } catch (const Error&) {
      if (k > 0) throw;
      return {};
    }
  }

  const Example& example_;
  const ChatFormat& format_;
  const Tokenizer& tokenizer_;
};

// Every string that an assistant's message holds must be in the text, as it is or inside JSON.
void check_fields(const Json& message, size_t k, const std::string& text,
                  std::vector<Finding>& findings) {
  for (const auto& [key, value] : message.items()) {
    if (key == "role" || key == "train" || key == "weight" || key == "name") continue;
    if (key == "tool_calls" && value.is_array() && !value.empty() && value[0].is_object()) {
      // Ids and types of calls are the protocol's, not the model's.
      for (const Json& call : value) {
        const Json* function =
            call.is_object() && call.contains("function") ? &call["function"] : &call;
        if (!function->is_object()) continue;
        Json parts = Json::array();
        for (const char* part : {"name", "arguments", "parameters"})
          if (function->contains(part)) parts.push_back((*function)[part]);
        check_fields(Json{{"tool_calls", parts}}, k, text, findings);
      }
      continue;
    }
    visit_strings(value, [&, name = key](const std::string& leaf) {
      const std::string core = trimmed(leaf);
      if (core.empty() || text.find(core) != std::string::npos) return;
      for (const bool ascii : {false, true}) {
        const std::string quoted = Json(core).dump(-1, ' ', ascii, Json::error_handler_t::replace);
        if (text.find(quoted.substr(1, quoted.size() - 2)) != std::string::npos) return;
      }
      // Arguments given as a JSON string may be written anew, with other spaces.
      if (Json::accept(core)) {
        const Json parsed = Json::parse(core);
        bool all = parsed.is_structured();
        if (all)
          visit_strings(parsed, [&](const std::string& inner) {
            all = all && text.find(trimmed(inner)) != std::string::npos;
          });
        if (all) return;
      }
      findings.push_back(
          {Guard::dropped_field,
           fmt::format("message {}: the template drops \"{}\" ({:.40}...)", k, name, core)});
    });
  }
}

void check_null_content(const Example& example, size_t k, const ChatFormat& format,
                        const std::string& text, std::vector<Finding>& findings) {
  const auto content = example.messages[k].find("content");
  if (content == example.messages[k].end() || !content->is_null()) return;
  Json messages = first_messages(example.messages, k + 1);
  messages[k]["content"] = "";
  const std::string other = format.render(messages, example.tools, false).text;
  const size_t at = common_prefix(text, other);
  // "None" where the other text has nothing, seen from where the two part.
  const size_t from = at < 3 ? 0 : at - 3;
  if (text != other && text.substr(from, 8).find("None") != std::string::npos)
    findings.push_back(
        {Guard::null_printed,
         fmt::format("message {}: content is null and the template writes \"None\"", k)});
}

}  // namespace

std::vector<TrainedText> trained_texts(const Example& given, const ChatFormat& format,
                                       const Tokenizer& tokenizer, const SpecialTokens& special,
                                       const TurnOptions& options, std::vector<Finding>& findings) {
  Example example = given;
  if (options.null_content_as_empty)
    for (Json& message : example.messages)
      if (message.contains("content") && message["content"].is_null()) message["content"] = "";

  const size_t count = example.messages.size();
  std::vector<size_t> trained;
  for (size_t k = example.prompt_messages; k < count; ++k) {
    const bool asked = k < example.train.size() && example.train[k].has_value();
    if (asked ? *example.train[k] : is_assistant(example.messages[k])) trained.push_back(k);
  }
  if (options.mask_history && trained.size() > 1) trained.erase(trained.begin(), trained.end() - 1);

  std::vector<TrainedText> texts;
  texts.reserve(trained.size() + 1);  // references into it stay valid
  TrainedText& whole = texts.emplace_back();
  whole.rendering = format.render(example.messages, example.tools, false);
  if (!options.assistant_only_loss) {
    whole.trained = {{0, whole.rendering.text.size()}};
    trained.clear();
  }

  const TurnReader reader(example, format, tokenizer);
  for (const size_t k : trained) {
    Turn turn = reader.read(k, findings);
    const std::string& text = turn.rendering.text;
    if (turn.content_end == turn.begin)
      findings.push_back({Guard::empty_answer, fmt::format("message {}: nothing is said", k)});
    check_fields(example.messages[k], k, text, findings);
    check_null_content(example, k, format, text, findings);

    const bool with_end = options.train_on_eos == TrainOnEos::turn ||
                          options.train_on_eos == TrainOnEos::all ||
                          (options.train_on_eos == TrainOnEos::last && k == trained.back());
    // The template may write more behind the last turn of all (Phi-4-mini: <|end|><|endoftext|>),
    // so in the whole text the turn may have fewer of its end tokens.
    size_t ends = turn.ends.size();
    const auto end_of = [&] {
      return ends > 0 ? turn.ends[ends - 1] : trimmed_end(text, turn.content_end);
    };
    const auto preserved = [&] {
      return whole.rendering.text.compare(0, end_of(), text, 0, end_of()) == 0;
    };
    while (ends > 1 && !preserved()) --ends;
    TrainedText* place = &whole;
    if (!preserved()) {
      ends = turn.ends.size();
      findings.push_back({Guard::history_rewritten,
                          fmt::format("message {}: later turns change how the template writes it; "
                                      "it is trained as the end of its own text",
                                      k)});
      texts.emplace_back();
      place = &texts.back();
    }
    const size_t end = with_end ? end_of() : turn.content_end;
    place->trained.emplace_back(turn.begin, end);
    if (with_end) place->turn_ends.emplace_back(turn.content_end, end);
    if (place != &texts[0]) place->rendering = std::move(turn.rendering);
  }
  if (whole.trained.empty() && texts.size() > 1) texts.erase(texts.begin());
  if (options.train_on_eos == TrainOnEos::all) {
    for (TrainedText& text : texts) {
      std::vector<Span> every;
      tokenizer.encode(text.rendering.text, false, [&](const AddedTokenPlace& place) {
        const bool stop = (special.eos && place.id == special.eos->id) ||
                          std::ranges::count(special.stop_ids, place.id) > 0;
        if (stop) every.emplace_back(place.begin, place.end);
        return true;
      });
      for (const Span& end : every) {
        const bool inside = std::ranges::any_of(text.trained, [&](const Span& span) {
          return span.first <= end.first && end.second <= span.second;
        });
        if (!inside) text.trained.push_back(end);
      }
      std::ranges::sort(text.trained);
    }
  }
  return texts;
}

}  // namespace nibble
