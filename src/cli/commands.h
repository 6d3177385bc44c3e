// The commands: each parses its own options, calls the library and prints. No mathematics here.
#pragma once

#include <string>
#include <vector>

namespace nibble::cli {

// Arguments after the command's name. Throw Error; return the process's exit code.
int run_train(std::vector<std::string> arguments);
int run_plan(std::vector<std::string> arguments);
int run_inspect(std::vector<std::string> arguments);
int run_quantize(std::vector<std::string> arguments);
int run_eval(std::vector<std::string> arguments);
int run_generate(std::vector<std::string> arguments);
int run_merge(std::vector<std::string> arguments);
int run_bench(std::vector<std::string> arguments);
int run_doctor(std::vector<std::string> arguments);
int run_tokenize(std::vector<std::string> arguments);
int run_render(std::vector<std::string> arguments);
int run_check(std::vector<std::string> arguments);
int run_chat(std::vector<std::string> arguments);

}  // namespace nibble::cli
