#include "train/chat_source.h"

#include <chrono>
#include <map>

#include "core/error.h"
#include "files/file_io.h"
#include "files/hashes.h"
#include "files/json.h"

namespace nibble {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t max_template_bytes = uint64_t{10} << 20;

struct Source {
  std::string text, who;
};

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

Source read_source(const std::filesystem::path& path) {
  return {read_text_file(path, max_template_bytes), path.string()};
}

// Template by name; "default" is the one for conversations without tools.
std::map<std::string, Source> sources_of(const std::filesystem::path& folder,
                                         const nlohmann::json* tokenizer_config) {
  std::map<std::string, Source> sources;
  if (is_there(folder / "chat_template.jinja")) {
    sources["default"] = read_source(folder / "chat_template.jinja");
    const auto tool_use = folder / "additional_chat_templates" / "tool_use.jinja";
    if (is_there(tool_use)) sources["tool_use"] = read_source(tool_use);
    return sources;
  }
  const std::string who = (folder / "tokenizer_config.json").string() + ": chat_template";
  if (!tokenizer_config || !tokenizer_config->contains("chat_template")) return sources;
  const nlohmann::json& given = tokenizer_config->at("chat_template");
  if (given.is_null()) return sources;
  if (given.is_string()) {
    sources["default"] = {given.get<std::string>(), who};
    return sources;
  }
  const auto bad = [&] {
    fail(ErrorKind::bad_input,
         "{}: got {}, expected a string or a list of objects with name and template", who,
         given.type_name());
  };
  if (!given.is_array()) bad();
  for (const auto& named : given) {
    if (!named.is_object() || !named.contains("name") || !named.contains("template") ||
        !named["name"].is_string() || !named["template"].is_string())
      bad();
    const std::string name = named["name"].get<std::string>();
    sources[name] = {named["template"].get<std::string>(), who + " " + name};
  }
  return sources;
}

// What transformers passes as special_tokens_map, then the user's own.
Json variables_of(const nlohmann::json* tokenizer_config, const ChatOptions& options) {
  Json variables = Json::object();
  if (tokenizer_config)
    for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                             "cls_token", "mask_token"}) {
      const auto found = tokenizer_config->find(name);
      if (found == tokenizer_config->end()) continue;
      const nlohmann::json& value =
          found->is_object() && found->contains("content") ? found->at("content") : *found;
      if (value.is_string()) variables[name] = value.get<std::string>();
    }
  if (options.chat_template_kwargs.empty()) return variables;
  const Json given = Json::parse(options.chat_template_kwargs, nullptr, false);
  if (!given.is_object())
    fail(ErrorKind::usage, "chat_template_kwargs: got {}, expected a JSON object such as {}",
         options.chat_template_kwargs, R"({"enable_thinking": false})");
  for (const auto& [key, value] : given.items()) variables[key] = value;
  return variables;
}

int64_t seconds_of(const std::string& date) {
  using namespace std::chrono;
  if (date.empty())
    return duration_cast<seconds>(floor<days>(system_clock::now()).time_since_epoch()).count();
  int year = 0;
  unsigned month = 0, day = 0;
  char rest = 0;
  const bool read = std::sscanf(date.c_str(), "%4d-%2u-%2u%c", &year, &month, &day, &rest) == 3;
  const year_month_day parsed{std::chrono::year(year), std::chrono::month(month),
                              std::chrono::day(day)};
  if (!read || !parsed.ok())
    fail(ErrorKind::usage, "template_date: got {}, expected YYYY-MM-DD", date);
  return duration_cast<seconds>(sys_days(parsed).time_since_epoch()).count();
}

}  // namespace

std::optional<ChatFormat> read_chat_format(const std::filesystem::path& folder,
                                           const nlohmann::json* tokenizer_config,
                                           const ChatOptions& options) {
  std::map<std::string, Source> sources;
  if (options.chat_template_path.empty()) {
    sources = sources_of(folder, tokenizer_config);
  } else {
    const std::filesystem::path path = options.chat_template_path;
    if (!is_there(path))
      fail(ErrorKind::bad_input, "chat_template_path: {}: no such file or folder", path.string());
    if (std::filesystem::is_directory(path)) {
      std::optional<nlohmann::json> config;
      if (is_there(path / "tokenizer_config.json"))
        config = read_json_file(path / "tokenizer_config.json", path.string());
      sources = sources_of(path, config ? &*config : nullptr);
      if (sources.empty())
        fail(ErrorKind::bad_input, "chat_template_path: {} holds no chat template", path.string());
    } else {
      sources["default"] = read_source(path);
    }
  }
  if (sources.empty()) return std::nullopt;
  if (!sources.contains("default"))
    fail(ErrorKind::bad_input,
         "{}: the folder has chat templates, but none is named default; choose one with "
         "--chat_template_path",
         folder.string());
  std::string all;
  for (const auto& [name, source] : sources)
    if (name == "default" || name == "tool_use") all += source.text;
  std::optional<ChatTemplate> with_tools;
  if (const auto found = sources.find("tool_use"); found != sources.end())
    with_tools = ChatTemplate::parse(found->second.text, found->second.who);
  const Source& usual = sources["default"];
  ChatFormat format{ChatTemplate::parse(usual.text, usual.who),
                    std::move(with_tools),
                    variables_of(tokenizer_config, options),
                    sha256_hex(std::as_bytes(std::span(all))),
                    0,
                    {}};
  // A template that reads no clock is the same on every day.
  if (all.find("strftime_now") != std::string::npos) {
    format.now = seconds_of(options.template_date);
    const std::chrono::year_month_day day{std::chrono::floor<std::chrono::days>(
        std::chrono::sys_seconds(std::chrono::seconds(format.now)))};
    format.date = fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day.year()),
                              static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()));
  }
  return format;
}

}  // namespace nibble
