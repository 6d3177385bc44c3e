#include "support/data.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace nibble::test {
namespace fs = std::filesystem;

fs::path golden(const std::string& name) { return fs::path(NIBBLE_TESTS_DIR) / "goldens" / name; }

fs::path shared_data() {
  const char* given = std::getenv("NIBBLE_SHARED_DATA");
  const fs::path path =
      given ? fs::path(given) : fs::path(NIBBLE_SOURCE_DIR).parent_path() / "shared" / "data";
  return fs::is_directory(path) ? path : fs::path();
}

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "nibble-test-XXXXXX").string();
  if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed: " + pattern);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return bytes.str();
}

}  // namespace nibble::test
