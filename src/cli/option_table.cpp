#include "cli/option_table.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/nearest.h"
#include "core/error.h"

namespace nibble::cli {
namespace {

// A YAML mapping (rank_pattern) as JSON text, which is what the command line takes.
nlohmann::json json_of(const YAML::Node& node) {
  if (node.IsMap()) {
    nlohmann::json object = nlohmann::json::object();
    for (const auto& entry : node) object[entry.first.Scalar()] = json_of(entry.second);
    return object;
  }
  if (node.IsSequence()) {
    nlohmann::json array = nlohmann::json::array();
    for (const auto& entry : node) array.push_back(json_of(entry));
    return array;
  }
  const nlohmann::json value = nlohmann::json::parse(node.Scalar(), nullptr, false);
  return value.is_number() || value.is_boolean() ? value : nlohmann::json(node.Scalar());
}

std::string flags(const std::string& name, const std::vector<std::string>& aliases) {
  std::string all = "--" + name;
  for (const std::string& alias : aliases) all += ",--" + alias;
  return all;
}

}  // namespace

OptionTable::OptionTable(const std::string& command, const std::string& description)
    : app_(std::make_unique<CLI::App>(description, "nibble " + command)) {
  app_->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app_->get_formatter()->column_width(44);
}

OptionTable::~OptionTable() = default;

template <typename T>
void OptionTable::add(const std::string& name, T& target, const std::string& help,
                      const std::vector<std::string>& aliases) {
  CLI::Option* option = app_->add_option(flags(name, aliases), target, help);
  if constexpr (std::is_same_v<T, bool>) booleans_.insert(option);
  option->capture_default_str();
}

template void OptionTable::add(const std::string&, bool&, const std::string&,
                               const std::vector<std::string>&);
template void OptionTable::add(const std::string&, int&, const std::string&,
                               const std::vector<std::string>&);
template void OptionTable::add(const std::string&, int64_t&, const std::string&,
                               const std::vector<std::string>&);
template void OptionTable::add(const std::string&, uint64_t&, const std::string&,
                               const std::vector<std::string>&);
template void OptionTable::add(const std::string&, float&, const std::string&,
                               const std::vector<std::string>&);
template void OptionTable::add(const std::string&, double&, const std::string&,
                               const std::vector<std::string>&);
template void OptionTable::add(const std::string&, std::string&, const std::string&,
                               const std::vector<std::string>&);

void OptionTable::add_named(const std::string& name, const std::vector<std::string>& choices,
                            std::function<void(const std::string&)> choose,
                            const std::string& present, const std::string& help,
                            const std::vector<std::string>& aliases) {
  app_->add_option_function<std::string>(
          flags(name, aliases),
          [name, choices, choose = std::move(choose)](const std::string& value) {
            if (std::ranges::count(choices, value) == 0)
              fail(ErrorKind::usage, "{}: got {}, expected one of {}{}", name, value,
                   fmt::join(choices, ", "), suggestion(value, choices));
            choose(value);
          },
          help)
      ->default_str(present);
}

void OptionTable::add_parsed(const std::string& name,
                             std::function<void(const std::vector<std::string>&)> parse,
                             const std::string& help, const std::vector<std::string>& aliases,
                             const std::string& present) {
  CLI::Option* option = app_->add_option_function<std::vector<std::string>>(flags(name, aliases),
                                                                            std::move(parse), help);
  if (!present.empty()) option->default_str(present);
}

void OptionTable::add_positional(const std::string& name, std::string& target,
                                 const std::string& help) {
  app_->add_option(name, target, help)->capture_default_str();
}

void OptionTable::add_flag(const std::string& name, bool& target, const std::string& help) {
  app_->add_flag("--" + name, target, help);
}

void OptionTable::add_config() {
  app_->add_option("--config", config_, "YAML file with these options as keys");
}

bool OptionTable::given(const std::string& name) const {
  const CLI::Option* option = find(name);
  return option && option->count() > 0;
}

void OptionTable::refuse_unknown(const std::string& where, const std::string& name) const {
  fail(ErrorKind::usage, "{}: unknown option {}{}", where, name, suggestion(name, known_names()));
}

std::vector<std::string> OptionTable::known_names() const {
  std::vector<std::string> all;
  for (const CLI::Option* option : app_->get_options())
    for (const std::string& name : option->get_lnames()) all.push_back(name);
  return all;
}

CLI::Option* OptionTable::find(const std::string& name) const {
  for (const CLI::Option* option : app_->get_options())
    if (option->check_lname(name)) return const_cast<CLI::Option*>(option);
  return nullptr;
}

// --learning-rate -> --learning_rate, and "--load_in_4bit" alone -> "--load_in_4bit true".
void OptionTable::normalize(std::vector<std::string>& arguments) const {
  std::vector<std::string> result;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string argument = arguments[i];
    if (!argument.starts_with("--")) {
      result.push_back(std::move(argument));
      continue;
    }
    const size_t equals = argument.find('=');
    std::replace(argument.begin() + 2,
                 equals == std::string::npos
                     ? argument.end()
                     : argument.begin() + static_cast<std::ptrdiff_t>(equals),
                 '-', '_');
    const CLI::Option* option =
        find(argument.substr(2, equals == std::string::npos ? equals : equals - 2));
    if (!option) refuse_unknown("command line", argument.substr(0, equals));
    const bool alone = equals == std::string::npos &&
                       (i + 1 == arguments.size() || arguments[i + 1].starts_with("--"));
    result.push_back(std::move(argument));
    if (alone && booleans_.contains(option)) result.emplace_back("true");
  }
  arguments = std::move(result);
}

std::vector<std::string> OptionTable::read_yaml(const std::string& path) const {
  YAML::Node root;
  try {
    root = YAML::LoadFile(path);
  } catch (const YAML::BadFile&) {
    fail(ErrorKind::usage, "config: {}: no such file", path);
  } catch (const YAML::Exception& error) {
    fail(ErrorKind::usage, "config: {}: {}", path, error.what());
  }
  if (!root.IsMap())
    fail(ErrorKind::usage, "config: {}: expected keys with values (learning_rate: 2e-4)", path);
  std::vector<std::string> arguments;
  std::set<std::string> seen;
  for (const auto& entry : root) {
    std::string name = entry.first.Scalar();
    std::replace(name.begin(), name.end(), '-', '_');
    const CLI::Option* option = find(name);
    if (!option || name == "config" || name == "help") refuse_unknown(path, name);
    if (!seen.insert(option->get_lnames().front()).second)
      fail(ErrorKind::usage, "{}: {} is given twice", path, name);
    const YAML::Node& value = entry.second;
    if (value.IsNull()) continue;
    if (value.IsSequence()) {
      arguments.push_back("--" + name);
      for (const auto& item : value) arguments.push_back(item.Scalar());
    } else {
      arguments.push_back("--" + name + "=" +
                          (value.IsMap() ? json_of(value).dump() : value.Scalar()));
    }
  }
  return arguments;
}

bool OptionTable::parse(std::vector<std::string> arguments) {
  for (const std::string& argument : arguments)
    if (argument == "--help" || argument == "-h") {
      std::fputs(app_->help().c_str(), stdout);
      return false;
    }
  normalize(arguments);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool joined = arguments[i].starts_with("--config=");
    if (!joined && (arguments[i] != "--config" || i + 1 == arguments.size())) continue;
    const std::string path = joined ? arguments[i].substr(9) : arguments[i + 1];
    const std::vector<std::string> from_file = read_yaml(path);
    // An option of the command line replaces the file's whole value, lists included.
    std::set<const CLI::Option*> overridden;
    for (const std::string& argument : arguments)
      if (argument.starts_with("--"))
        overridden.insert(find(argument.substr(2, argument.find('=') == std::string::npos
                                                      ? std::string::npos
                                                      : argument.find('=') - 2)));
    std::vector<std::string> kept;
    bool keep = true;
    for (const std::string& argument : from_file) {
      if (argument.starts_with("--"))
        keep = !overridden.contains(find(argument.substr(2, argument.find('=') == std::string::npos
                                                                ? std::string::npos
                                                                : argument.find('=') - 2)));
      if (keep) kept.push_back(argument);
    }
    arguments.insert(arguments.begin(), kept.begin(), kept.end());
    break;
  }
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app_->parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    fail(ErrorKind::usage, "{}; nibble COMMAND --help lists the options", error.what());
  }
  return true;
}

}  // namespace nibble::cli
