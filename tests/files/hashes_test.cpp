// Known answers: FIPS 180-2 for SHA-256, RFC 3720 appendix B.4 for CRC32C.
#include "files/hashes.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "files/file_io.h"

namespace nibble::test {
namespace {

TEST(Hashes, Sha256KnownAnswers) {
  EXPECT_EQ(sha256_hex(as_bytes("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex(as_bytes("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 pieces;
  pieces.update(as_bytes("a"));
  pieces.update(as_bytes("bc"));
  EXPECT_EQ(pieces.hex(), sha256_hex(as_bytes("abc")));
}

TEST(Hashes, Crc32cKnownAnswers) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283u);
  EXPECT_EQ(crc32c(as_bytes("")), 0u);
  EXPECT_EQ(crc32c(as_bytes(std::string(32, '\0'))), 0x8A9136AAu);
  EXPECT_EQ(crc32c(as_bytes(std::string(32, '\xFF'))), 0x62A8AB43u);
  std::string ascending(32, '\0');
  std::iota(ascending.begin(), ascending.end(), '\0');
  EXPECT_EQ(crc32c(as_bytes(ascending)), 0x46DD794Eu);
}

}  // namespace
}  // namespace nibble::test
