// The two checksums of a manifest: SHA-256 proves a file whole, CRC32C of each block says where
// it is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

struct evp_md_ctx_st;

namespace nibble {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  std::string hex();  // lower case; ends the computation

 private:
  evp_md_ctx_st* context_;
};

std::string sha256_hex(std::span<const std::byte> bytes);

// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), as in RFC 3720: of "123456789" it is
// 0xE3069283.
uint32_t crc32c(std::span<const std::byte> bytes);

}  // namespace nibble
