// Where tests find their fixtures, and the optional folder of real data beside the checkout.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace nibble::test {

// tests/goldens/<name> in the source tree.
std::filesystem::path golden(const std::string& name);

// ../shared/data beside the checkout (or $NIBBLE_SHARED_DATA); empty when it is not there.
std::filesystem::path shared_data();

// A fresh empty folder, removed when the object dies.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

void write_file(const std::filesystem::path& path, const std::string& bytes);
std::string read_file(const std::filesystem::path& path);

}  // namespace nibble::test

// Skips the running test, saying why, when the real data is not beside the checkout.
#define NIBBLE_NEEDS_SHARED_DATA()                                     \
  if (nibble::test::shared_data().empty())                             \
  GTEST_SKIP() << "needs ../shared/data (real tokenizers, templates, " \
                  "datasets, weights), which is not beside this checkout"
