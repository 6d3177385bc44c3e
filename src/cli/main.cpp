// nibble: the program. Picks the command, and turns every error into one message and an exit code.
#include <fmt/format.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/nearest.h"
#include "core/error.h"

namespace {

using Run = int (*)(std::vector<std::string>);
struct Command {
  const char* name;
  Run run;
  const char* help;
};

constexpr std::array commands = {
    Command{"train", nibble::cli::run_train, "fine-tune a model with QLoRA; writes a PEFT adapter"},
    Command{"check", nibble::cli::run_check,
            "see data as it will be trained, and what is wrong with it"},
    Command{"plan", nibble::cli::run_plan, "show what a training run would take; trains nothing"},
    Command{"inspect", nibble::cli::run_inspect, "architecture, parameter counts and sizes"},
    Command{"quantize", nibble::cli::run_quantize, "write a bitsandbytes 4-bit model folder"},
    Command{"eval", nibble::cli::run_eval, "mean loss and perplexity over a dataset"},
    Command{"generate", nibble::cli::run_generate, "continue a prompt"},
    Command{"chat", nibble::cli::run_chat, "a conversation with a model and an adapter"},
    Command{"merge", nibble::cli::run_merge, "merge an adapter into 16-bit weights"},
    Command{"bench", nibble::cli::run_bench, "time the training step on random weights"},
    Command{"doctor", nibble::cli::run_doctor, "measure this machine and say what is wrong"},
    Command{"tokenize", nibble::cli::run_tokenize, "text to token ids"},
    Command{"render", nibble::cli::run_render, "messages as the chat template writes them"},
};

void print_usage() {
  fmt::print(
      "nibble fine-tunes large language models with QLoRA.\n\n"
      "usage: nibble COMMAND [options]; nibble COMMAND --help lists them\n\n");
  for (const Command& command : commands) fmt::print("  {:<10}{}\n", command.name, command.help);
}

int run(std::vector<std::string> arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") {
    print_usage();
    return arguments.empty() ? static_cast<int>(nibble::ErrorKind::usage) : 0;
  }
  const std::string name = arguments[0];
  std::vector<std::string> names;
  for (const Command& command : commands) {
    if (name == command.name) return command.run({arguments.begin() + 1, arguments.end()});
    names.emplace_back(command.name);
  }
  nibble::fail(nibble::ErrorKind::usage, "unknown command \"{}\"{}", name,
               nibble::cli::suggestion(name, names));
}

int report(const char* message, nibble::ErrorKind kind) {
  std::fflush(stdout);
  fmt::print(stderr, "nibble: {}\n", message);
  return static_cast<int>(kind);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file over `ulimit -f` is an error of write(), as a full disk
  try {
    return run({argv + 1, argv + argc});
  } catch (const nibble::Error& error) {
    return report(error.what(), error.kind());
  } catch (const std::bad_alloc&) {
    return report("out of host memory; close other programs or use a smaller batch",
                  nibble::ErrorKind::no_resources);
  } catch (const std::exception& error) {
    return report(fmt::format("internal error: {}", error.what()).c_str(),
                  nibble::ErrorKind::internal);
  }
}
