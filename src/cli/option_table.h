// One table of options serves the command line, YAML files and --help.
//
// Names are spelt with underscores; hyphens are the same. A YAML file has the same names as keys,
// and what the command line says wins over it. Unknown names are errors that suggest the nearest
// one.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace nibble::cli {

class OptionTable {
 public:
  OptionTable(const std::string& command, const std::string& description);

  // `aliases` are other tools' names for the same option.
  template <typename T>
  CLI::Option* add(const std::string& name, T& target, const std::string& help,
                   const std::vector<std::string>& aliases = {}) {
    CLI::Option* option = app_.add_option(names(name, aliases), target, help);
    if constexpr (std::is_same_v<T, bool>) booleans_.insert(option);
    if constexpr (!std::is_same_v<T, std::vector<std::string>>) option->capture_default_str();
    return option;
  }
  // One of named values.
  template <typename T>
  CLI::Option* add_choice(const std::string& name, T& target,
                          const std::map<std::string, T>& choices, const std::string& help,
                          const std::vector<std::string>& aliases = {}) {
    return app_
        .add_option_function<std::string>(
            names(name, aliases),
            [this, name, &target, choices](const std::string& value) {
              const auto found = choices.find(value);
              if (found == choices.end()) refuse_choice(name, value, keys(choices));
              target = found->second;
            },
            help)
        ->default_str(default_choice(target, choices));
  }
  // A value the caller parses; it may throw Error.
  CLI::Option* add_parsed(const std::string& name,
                          std::function<void(const std::vector<std::string>&)> parse,
                          const std::string& help, const std::vector<std::string>& aliases = {});
  // An argument without a name, as DIR in `nibble inspect DIR`.
  CLI::Option* add_positional(const std::string& name, std::string& target,
                              const std::string& help);
  // --json and the like: takes no value.
  void add_flag(const std::string& name, bool& target, const std::string& help);
  // --config FILE.yaml.
  void add_config();

  // False when --help was asked for and printed. Throws usage.
  bool parse(std::vector<std::string> arguments);

 private:
  static std::string names(const std::string& name, const std::vector<std::string>& aliases);
  template <typename T>
  static std::vector<std::string> keys(const std::map<std::string, T>& choices) {
    std::vector<std::string> result;
    for (const auto& [key, value] : choices) result.push_back(key);
    return result;
  }
  template <typename T>
  static std::string default_choice(const T& value, const std::map<std::string, T>& choices) {
    for (const auto& [key, choice] : choices)
      if (choice == value) return key;
    return "";
  }
  [[noreturn]] void refuse_choice(const std::string& name, const std::string& value,
                                  const std::vector<std::string>& choices) const;
  [[noreturn]] void refuse_unknown(const std::string& where, const std::string& name) const;
  CLI::Option* find(const std::string& name) const;
  std::vector<std::string> known_names() const;
  void normalize(std::vector<std::string>& arguments) const;
  // The file's settings as arguments, to stand before those of the command line.
  std::vector<std::string> read_yaml(const std::string& path) const;

  CLI::App app_;
  std::string config_;
  std::set<const CLI::Option*> booleans_;
};

}  // namespace nibble::cli
