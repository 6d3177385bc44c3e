// The train command from outside: signals, resume, what it writes and says.
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "support/data.h"
#include "support/demo_run.h"
#include "support/program.h"

namespace nibble::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> in_folder(std::vector<std::string> arguments, const fs::path& run) {
  arguments.insert(arguments.end(), {"--output_dir", run.string()});
  return arguments;
}

TEST(Train, SignalsSaveAndTheRunResumesBitExactly) {
  const TempDir folder;
  auto arguments = demo_arguments(folder.path());
  arguments.insert(arguments.end(), {"--max_steps", "60"});
  const ProgramResult whole = run_program(in_folder(arguments, folder / "whole"));
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  for (const int signal : {SIGTERM, SIGINT}) {
    SCOPED_TRACE(signal);
    const fs::path run = folder / ("stopped-" + std::to_string(signal));
    Program program(in_folder(arguments, run));
    ASSERT_TRUE(program.wait_for("step  3/60"));
    program.send(signal);
    const ProgramResult stopped = program.finish();
    ASSERT_EQ(stopped.exit_code, 75) << "signal " << stopped.signal << stopped.err;
    EXPECT_NE(stopped.err.find("--resume_from_checkpoint true"), std::string::npos) << stopped.err;
    EXPECT_FALSE(fs::exists(run / "adapter"));
    auto again = in_folder(arguments, run);
    again.insert(again.end(), {"--resume_from_checkpoint", "true"});
    const ProgramResult resumed = run_program(again);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_NE(resumed.out.find("resumed from"), std::string::npos) << resumed.out;
    EXPECT_TRUE(read_file(run / "adapter/adapter_model.safetensors") ==
                read_file(folder / "whole/adapter/adapter_model.safetensors"));
    EXPECT_EQ(timeless_metrics(run), timeless_metrics(folder / "whole"));
  }
}

TEST(Train, WritesMetricsAndSaysWhatItDid) {
  const TempDir folder;
  const ProgramResult result = run_program(demo_arguments(folder.path()));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  for (const char* words : {"trainable params: ", "adapter: all-linear matches 28 linear layers",
                            "step 12/12", "memory: planned "})
    EXPECT_NE(result.out.find(words), std::string::npos) << words << "\n" << result.out;
  std::istringstream lines(read_file(folder / "run/metrics.jsonl"));
  int step = 0;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    EXPECT_EQ(json.at("step"), ++step);
    for (const char* key : {"epoch", "loss", "grad_norm", "learning_rate", "tokens",
                            "tokens_per_second", "step_seconds", "peak_bytes"})
      EXPECT_TRUE(json.at(key).is_number()) << key;
  }
  EXPECT_EQ(step, 12);
}

}  // namespace
}  // namespace nibble::test
