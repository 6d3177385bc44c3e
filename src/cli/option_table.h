// One table of options serves the command line, YAML files and --help.
//
// Names are spelt with underscores; hyphens are the same. A YAML file has the same names as keys,
// and what the command line says wins over it. Unknown names are errors that suggest the nearest
// one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace CLI {  // its header takes seconds to compile
class App;
class Option;
}  // namespace CLI

namespace nibble::cli {

class OptionTable {
 public:
  OptionTable(const std::string& command, const std::string& description);
  ~OptionTable();

  // `aliases` are other tools' names for the same option. T: bool, int, int64_t, uint64_t, float,
  // double, std::string.
  template <typename T>
  void add(const std::string& name, T& target, const std::string& help,
           const std::vector<std::string>& aliases = {});
  // One of named values.
  template <typename T>
  void add_choice(const std::string& name, T& target, const std::map<std::string, T>& choices,
                  const std::string& help, const std::vector<std::string>& aliases = {}) {
    std::string present;
    std::vector<std::string> all;
    for (const auto& [key, value] : choices) {
      all.push_back(key);
      if (present.empty() && value == target) present = key;
    }
    add_named(
        name, all, [&target, choices](const std::string& key) { target = choices.at(key); },
        present, help, aliases);
  }
  // A value the caller parses; it may throw Error. `present` is shown as the default.
  void add_parsed(const std::string& name,
                  std::function<void(const std::vector<std::string>&)> parse,
                  const std::string& help, const std::vector<std::string>& aliases = {},
                  const std::string& present = {});
  // An argument without a name, as DIR in `nibble inspect DIR`.
  void add_positional(const std::string& name, std::string& target, const std::string& help);
  // --json and the like: takes no value.
  void add_flag(const std::string& name, bool& target, const std::string& help);
  // --config FILE.yaml.
  void add_config();

  // False when --help was asked for and printed. Throws usage.
  bool parse(std::vector<std::string> arguments);
  // Whether the option was there, after parse.
  bool given(const std::string& name) const;

 private:
  void add_named(const std::string& name, const std::vector<std::string>& choices,
                 std::function<void(const std::string&)> choose, const std::string& present,
                 const std::string& help, const std::vector<std::string>& aliases);
  [[noreturn]] void refuse_unknown(const std::string& where, const std::string& name) const;
  CLI::Option* find(const std::string& name) const;
  std::vector<std::string> known_names() const;
  void normalize(std::vector<std::string>& arguments) const;
  // The file's settings as arguments, to stand before those of the command line.
  std::vector<std::string> read_yaml(const std::string& path) const;

  std::unique_ptr<CLI::App> app_;
  std::string config_;
  std::set<const CLI::Option*> booleans_;
};

}  // namespace nibble::cli
