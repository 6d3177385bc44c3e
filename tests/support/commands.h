// What the tests of the commands share: goldens of tools/make_command_goldens.py, and a model
// folder with a tokenizer.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "files/json.h"
#include "files/model_dir.h"
#include "support/data.h"
#include "support/program.h"

namespace nibble::test {

inline nlohmann::json command_goldens() {
  return read_json_file(golden("commands/expected.json"), "expected.json");
}

// tests/goldens/models/<name> with the tokenizer of the goldens, in `folder`/<name>.
inline std::filesystem::path model_with_tokenizer(const std::string& name,
                                                  const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / name;
  std::filesystem::create_directory(path);
  for (const auto& entry : std::filesystem::directory_iterator(golden("models/" + name))) {
    const std::string file = entry.path().filename().string();
    if (file.starts_with("model") || file == "config.json")
      std::filesystem::copy_file(entry.path(), path / file);
  }
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
    std::filesystem::copy_file(golden("commands") / file, path / file);
  return path;
}

inline std::string bytes_of(const ModelDir& model, const std::string& tensor) {
  std::string bytes(model.info(tensor).bytes, '\0');
  model.read(tensor, 0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

// Runs a command that must succeed, and returns what it printed.
inline std::string output_of(const std::vector<std::string>& arguments) {
  const ProgramResult result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.out;
}

inline nlohmann::json json_of(const std::vector<std::string>& arguments) {
  return nlohmann::json::parse(output_of(arguments));
}

// Runs a command that must fail with `exit_code` and a message that holds `words`.
inline void expect_failure(const std::vector<std::string>& arguments, int exit_code,
                           const std::string& words) {
  const ProgramResult result = run_program(arguments);
  EXPECT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "");
}

inline std::vector<std::string> joined(std::vector<std::string> a,
                                       const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace nibble::test
