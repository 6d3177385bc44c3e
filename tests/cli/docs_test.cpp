// The configuration reference names every option that the program has.
#include <gtest/gtest.h>

#include <regex>

#include "support/data.h"
#include "support/program.h"

namespace nibble::test {
namespace {

TEST(Docs, ConfigurationNamesEveryOption) {
  const std::string help = run_program({"train", "--help"}).out;
  const std::string docs =
      read_file(std::filesystem::path(NIBBLE_SOURCE_DIR) / "docs" / "configuration.md");
  const std::regex option("--([a-z][a-z0-9_]+)");
  int options = 0;
  for (std::sregex_iterator it(help.begin(), help.end(), option), end; it != end; ++it) {
    const std::string name = (*it)[1];
    if (name == "help") continue;
    ++options;
    EXPECT_TRUE(std::regex_search(docs, std::regex("[`( ]" + name + "[`,)]"))) << name;
  }
  EXPECT_GT(options, 50);
}

}  // namespace
}  // namespace nibble::test
