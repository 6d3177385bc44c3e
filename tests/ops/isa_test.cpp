// The CPU backend's instruction sets. The choice is made once per process, so every one of them is
// forced in a process of its own: this program again, on all case tables.
#include "ops/cpu/isa.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "core/error.h"

namespace nibble {
namespace {

bool supported(const std::string& isa) {
#if defined(NIBBLE_X86_KERNELS)
  if (isa == "avx2") return __builtin_cpu_supports("x86-64-v3");
  if (isa == "avx512") return __builtin_cpu_supports("x86-64-v4");
  if (isa == "avx512bf16")
    return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16");
#endif
  return isa == "generic";
}

// The exit code of this program with NIBBLE_ISA set.
int run_tests(const std::string& isa, const std::string& filter) {
  const pid_t child = fork();
  if (child == 0) {
    setenv("NIBBLE_ISA", isa.c_str(), 1);
    const std::string argument = "--gtest_filter=" + filter;
    execl("/proc/self/exe", "test_ops", argument.c_str(), "--gtest_brief=1", nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

class Isa : public testing::TestWithParam<const char*> {};

TEST_P(Isa, AllOperationsStayWithinBounds) {
  if (!supported(GetParam())) GTEST_SKIP() << "this processor does not have " << GetParam();
  EXPECT_EQ(run_tests(GetParam(), "Backends/*cpu*:ForcedIsa.*"), 0);
}

INSTANTIATE_TEST_SUITE_P(All, Isa, testing::Values("generic", "avx2", "avx512", "avx512bf16"),
                         [](const auto& p) { return std::string(p.param); });

// In the processes above: the kernels are those that were asked for.
TEST(ForcedIsa, IsTheOneThatRuns) {
  const char* forced = std::getenv("NIBBLE_ISA");
  if (!forced) GTEST_SKIP() << "NIBBLE_ISA is not set";
  EXPECT_STREQ(cpu::kernels().name, forced);
}

TEST(IsaDeathTest, UnknownOnesAreRefused) {
  const auto refused = [] {
    setenv("NIBBLE_ISA", "sse9", 1);
    try {
      cpu::kernels();
    } catch (const Error& error) {
      const std::string message = error.what();
      _exit(error.kind() == ErrorKind::usage && message.find("sse9") != std::string::npos ? 3 : 4);
    }
    _exit(5);
  };
  // A fresh process, since this one may have chosen already.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(refused(), testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace nibble
