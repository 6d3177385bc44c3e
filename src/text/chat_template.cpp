#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/jinja/globals.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/utf8.h"

namespace nibble {
namespace {

using jinja::Mark;
using jinja::Value;
using Json = nlohmann::ordered_json;

// What the caller passes, as values that know their origin.
class Input {
 public:
  Input(jinja::Runtime& runtime, const std::string& who) : runtime_(runtime), who_(who) {
    origins_.emplace_back();  // mark 0: the template's text
  }

  // Every field of a message has an origin of its own; so has each message.
  Value messages(const Json& messages) {
    if (!messages.is_array()) refuse("messages", "a list of objects", messages);
    std::vector<Value> values;
    for (const Json& message : messages) {
      if (!message.is_object()) refuse("messages", "a list of objects", message);
      const auto index = static_cast<int32_t>(values.size());
      auto dict = std::make_shared<jinja::Dict>();
      for (const auto& [name, value] : message.items()) {
        const Mark mark = add({Origin::Source::message, index, field(name)});
        dict->set(runtime_, text(name, mark), convert(value, mark, 2));
      }
      values.push_back(Value::dict(std::move(dict), add({Origin::Source::message, index, -1})));
    }
    return Value::list(runtime_, std::move(values), add({Origin::Source::message, -1, -1}));
  }

  Value value(const Json& json, Origin::Source source) {
    return convert(json, add({source, -1, -1}), 0);
  }

  Rendering rendering(const jinja::Text& text) && {
    Rendering result;
    result.text = text.bytes();
    result.fields = std::move(fields_);
    text.for_each_run(0, text.size(), [&](size_t begin, size_t end, Mark mark) {
      const Origin origin = origins_[mark & ~jinja::kGenerated];
      if (!result.spans.empty() && result.spans.back().origin == origin) {
        result.spans.back().end = end;
      } else {
        result.spans.push_back({begin, end, origin});
      }
      if (!(mark & jinja::kGenerated)) return;
      if (!result.generation.empty() && result.generation.back().second == begin) {
        result.generation.back().second = end;
      } else {
        result.generation.emplace_back(begin, end);
      }
    });
    return result;
  }

 private:
  [[noreturn]] void refuse(const char* what, const char* expected, const Json& got) const {
    fail(ErrorKind::bad_input, "{}: {}: got {}, expected {}", who_, what, got.type_name(),
         expected);
  }

  Mark add(const Origin& origin) {
    origins_.push_back(origin);
    return static_cast<Mark>(origins_.size() - 1);
  }

  int32_t field(const std::string& name) {
    for (size_t i = 0; i < fields_.size(); ++i) {
      if (fields_[i] == name) return static_cast<int32_t>(i);
    }
    fields_.push_back(name);
    return static_cast<int32_t>(fields_.size() - 1);
  }

  Value text(const std::string& bytes, Mark mark) const {
    if (find_invalid_utf8(bytes) != std::string_view::npos) {
      fail(ErrorKind::bad_input, "{}: a string of the messages, tools or variables is not UTF-8",
           who_);
    }
    runtime_.charge_bytes(bytes.size());
    return Value::string(bytes, mark);
  }

  Value convert(const Json& json, Mark mark, uint32_t depth) {
    runtime_.charge_step();
    runtime_.check_nesting(depth);
    switch (json.type()) {
      case Json::value_t::null:
        return Value::none(mark);
      case Json::value_t::boolean:
        return Value::boolean(json.get<bool>(), mark);
      case Json::value_t::number_integer:
        return Value::integer(json.get<int64_t>(), mark);
      case Json::value_t::number_unsigned:
        return Value::integer(json.get<uint64_t>(), mark);
      case Json::value_t::number_float:
        return Value::real(json.get<double>(), mark);
      case Json::value_t::string:
        return text(json.get_ref<const std::string&>(), mark);
      case Json::value_t::array: {
        std::vector<Value> items;
        for (const Json& item : json) items.push_back(convert(item, mark, depth + 1));
        return Value::list(runtime_, std::move(items), mark);
      }
      case Json::value_t::object: {
        auto dict = std::make_shared<jinja::Dict>();
        for (const auto& [name, item] : json.items()) {
          dict->set(runtime_, text(name, mark), convert(item, mark, depth + 1));
        }
        return Value::dict(std::move(dict), mark);
      }
      default:
        refuse("a value of the messages, tools or variables", "JSON", json);
    }
  }

  jinja::Runtime& runtime_;
  const std::string& who_;
  std::vector<Origin> origins_;  // by mark
  std::vector<std::string> fields_;
};

}  // namespace

struct ChatTemplate::Parsed {
  std::string who;
  jinja::Program program;
};

ChatTemplate ChatTemplate::parse(std::string_view source, const std::string& who) {
  auto parsed = std::make_shared<Parsed>();
  parsed->who = who;
  parsed->program = jinja::Parser::parse(source, who);
  ChatTemplate result;
  result.parsed_ = std::move(parsed);
  return result;
}

Rendering ChatTemplate::render(const Json& messages, const RenderOptions& options) const {
  const std::string& who = parsed_->who;
  jinja::Runtime runtime(who, options.limits, options.now);
  Input input(runtime, who);
  jinja::Variables variables;
  jinja::add_globals(variables);
  if (options.variables) {
    if (!options.variables->is_object()) {
      fail(ErrorKind::bad_input, "{}: variables: got {}, expected an object", who,
           options.variables->type_name());
    }
    for (const auto& [name, value] : options.variables->items()) {
      variables[name] = input.value(value, Origin::Source::variable);
    }
  }
  variables["messages"] = input.messages(messages);
  variables["tools"] =
      options.tools ? input.value(*options.tools, Origin::Source::tools) : Value::none();
  variables["documents"] =
      options.documents ? input.value(*options.documents, Origin::Source::variable) : Value::none();
  variables["add_generation_prompt"] = Value::boolean(options.add_generation_prompt);
  const jinja::Text text = jinja::Interpreter(runtime, parsed_->program, variables).run();
  return std::move(input).rendering(text);
}

}  // namespace nibble
