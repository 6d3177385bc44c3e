#include "data/chat_messages.h"

#include <algorithm>
#include <array>
#include <utility>

#include "data/row_fields.h"
#include "files/json.h"

namespace nibble {
namespace {

using Json = nlohmann::ordered_json;
using Pairs = Json::object_t::Container;

constexpr std::array roles = {"system", "developer", "user",    "assistant",
                              "tool",   "function",  "ipython", "observation"};
constexpr const char* expected_roles =
    "system, developer, user, assistant, tool, function, ipython or observation";

// Who speaks in a ShareGPT row. function_call is an assistant's, with its value as the call.
struct Speaker {
  const char* name;
  const char* role;
};
constexpr std::array speakers = {Speaker{"human", "user"},
                                 Speaker{"user", "user"},
                                 Speaker{"gpt", "assistant"},
                                 Speaker{"assistant", "assistant"},
                                 Speaker{"chatgpt", "assistant"},
                                 Speaker{"bing", "assistant"},
                                 Speaker{"bard", "assistant"},
                                 Speaker{"model", "assistant"},
                                 Speaker{"bot", "assistant"},
                                 Speaker{"system", "system"},
                                 Speaker{"tool", "tool"},
                                 Speaker{"observation", "tool"},
                                 Speaker{"tool_response", "tool"},
                                 Speaker{"function_response", "tool"},
                                 Speaker{"function-response", "tool"}};
constexpr std::array function_callers = {"function_call", "function-call", "tool_call"};
constexpr const char* expected_speakers =
    "human, gpt, system, tool, function_call, observation, or another of ShareGPT's "
    "(docs/data.md)";

// Appends without looking for the key: the caller knows that it is new.
Json& add(Json& object, std::string key, Json value) {
  auto& pairs = static_cast<Pairs&>(object.get_ref<Json::object_t&>());
  return pairs.emplace_back(std::move(key), std::move(value)).second;
}

bool is_json_text(const std::string& text) {
  try {
    parse_ordered_json(text, "");
    return true;
  } catch (const Error&) {
    return false;
  }
}

Json parse_json_text(const std::string& text, const std::string& path) {
  try {
    return parse_ordered_json(text, "");
  } catch (const Error& error) {
    fail(ErrorKind::bad_input, "{}: got {}, expected JSON text{}", path, printable(text),
         error.what());
  }
}

// {"name", "arguments"}; arguments are an object, or JSON text, which stays as it is.
void check_call(const Json& call, const std::string& path) {
  if (!call.is_object()) refuse_field(path, call, "an object with name and arguments");
  string_at(call, "name", path + ".name");
  const Json* arguments = find_value(call, "arguments");
  if (!arguments || arguments->is_object()) return;
  if (!arguments->is_string())
    refuse_field(path + ".arguments", *arguments, "an object, or JSON text");
  if (!is_json_text(arguments->get_ref<const std::string&>()))
    refuse_field(path + ".arguments", *arguments, "JSON text");
}

void check_tool_calls(const Json& calls, const std::string& path) {
  if (!calls.is_array()) refuse_field(path, calls, "a list of calls");
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", path, i);
    if (!calls[i].is_object()) refuse_field(at, calls[i], "an object");
    const Json* function = find_value(calls[i], "function");
    check_call(function ? *function : calls[i], function ? at + ".function" : at);
  }
}

// {"type": "function", "function": ...}, as OpenAI wraps both calls and tools.
Json as_function(Json function) {
  Json wrapped = Json::object();
  add(wrapped, "type", "function");
  add(wrapped, "function", std::move(function));
  return wrapped;
}

// The value of a ShareGPT function_call: one call or a list of them, as JSON text.
Json tool_calls_of(const Json& value, const std::string& path) {
  if (!value.is_string()) refuse_field(path, value, "a function call as JSON text");
  Json calls = parse_json_text(value.get_ref<const std::string&>(), path);
  if (!calls.is_array()) calls = Json::array({std::move(calls)});
  Json result = Json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    check_call(calls[i], fmt::format("{}[{}]", path, i));
    result.push_back(as_function(std::move(calls[i])));
  }
  return result;
}

// Text as it is; a list of text parts as one text.
Json content_of(Json content, const std::string& path) {
  if (content.is_string()) return content;
  if (!content.is_array()) refuse_field(path, content, "a string");
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const Json& part = content[i];
    const std::string at = fmt::format("{}[{}]", path, i);
    if (!part.is_object()) refuse_field(at, part, "a part with type and text");
    const std::string& type = string_at(part, "type", at + ".type");
    if (type != "text")
      fail(ErrorKind::bad_input, "{}: got a part of type {}, expected text: Nibble trains on text",
           at, printable(type));
    const char* key = part.contains("value") ? "value" : "text";
    text += string_at(part, key, at + "." + key);
  }
  return text;
}

bool weight_of(const Json& value, const std::string& path) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number() && (value == 0 || value == 1)) return value == 1;
  refuse_field(path, value, "true, false, 0 or 1");
}

std::string role_of(const std::string& name, const std::string& path) {
  if (std::ranges::find(roles, name) != roles.end()) return name;
  fail(ErrorKind::bad_input, "{}: got {}, expected {}", path, printable(name), expected_roles);
}

std::string role_of_speaker(const std::string& name, const std::string& path) {
  const auto speaker =
      std::ranges::find_if(speakers, [&](const Speaker& s) { return s.name == name; });
  if (speaker != speakers.end()) return speaker->role;
  fail(ErrorKind::bad_input, "{}: got {}, expected {}", path, printable(name), expected_speakers);
}

// One of two keys that a message may name a thing by.
const char* key_of(const Json& message, const char* usual, const char* sharegpt,
                   const std::string& path) {
  const bool other = message.contains(sharegpt);
  if (other && message.contains(usual))
    fail(ErrorKind::bad_input, "{}: has both \"{}\" and \"{}\", expected one", path, usual,
         sharegpt);
  return other ? sharegpt : usual;
}

void append_message(Json message, const std::string& path, Example& example) {
  if (!message.is_object()) refuse_field(path, message, "an object with role and content");
  const std::string role_key = key_of(message, "role", "from", path);
  const std::string content_key = key_of(message, "content", "value", path);
  const std::string speaker = string_at(message, role_key, path + "." + role_key);
  const bool is_call =
      role_key == "from" && std::ranges::find(function_callers, speaker) != function_callers.end();
  const std::string role = is_call              ? "assistant"
                           : role_key == "from" ? role_of_speaker(speaker, path + ".from")
                                                : role_of(speaker, path + ".role");
  const Json* calls = find_value(message, "tool_calls");
  const bool may_be_silent = role == "assistant" && calls && !calls->empty();
  if (!message.contains(content_key) && !may_be_silent)
    fail(ErrorKind::bad_input, "{}.{}: the field is missing, expected a string", path, content_key);

  Json result = Json::object();
  std::optional<bool> train;
  for (auto& [key, value] : static_cast<Pairs&>(message.get_ref<Json::object_t&>())) {
    const std::string at = path + "." + key;
    if (key == role_key) {
      add(result, "role", role);
    } else if (key == content_key && is_call) {
      add(result, "content", "");
      add(result, "tool_calls", tool_calls_of(value, at));
    } else if (key == content_key) {
      add(result, "content",
          value.is_null() && may_be_silent ? Json() : content_of(std::move(value), at));
    } else if (value.is_null() || (is_call && key == "tool_calls")) {
      continue;
    } else if (key == "train" || key == "weight" || key == "loss_weight") {
      train = weight_of(value, at);
    } else {
      if (key == "tool_calls") check_tool_calls(value, at);
      add(result, key, std::move(value));
    }
  }
  example.messages.push_back(std::move(result));
  example.train.push_back(train);
}

}  // namespace

void append_messages(Json list, const std::string& path, Example& example) {
  if (!list.is_array()) refuse_field(path, list, "a list of messages");
  if (list.empty()) fail(ErrorKind::bad_input, "{}: the list of messages is empty", path);
  for (size_t i = 0; i < list.size(); ++i)
    append_message(std::move(list[i]), fmt::format("{}[{}]", path, i), example);
}

Json read_tools(const Json& tools, const std::string& path) {
  if (tools.is_null() || tools == "") return {};
  const Json parsed =
      tools.is_string() ? parse_json_text(tools.get_ref<const std::string&>(), path) : Json();
  const Json& list = tools.is_string() ? parsed : tools;
  if (!list.is_array()) refuse_field(path, list, "a list of tools, or such a list as JSON text");
  Json result = list.empty() ? Json() : Json::array();
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", path, i);
    if (!list[i].is_object()) refuse_field(at, list[i], "an object");
    if (find_value(list[i], "function")) {
      result.push_back(list[i]);
    } else {
      string_at(list[i], "name", at + ".name");
      result.push_back(as_function(list[i]));
    }
  }
  return result;
}

}  // namespace nibble
