// MANIFEST.json: what a committed folder holds, down to SHA-256 per file and CRC32C per block of
// 1 MiB. It ends with the hash of itself. Layout: docs/formats.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "files/file_io.h"

namespace nibble {

constexpr const char* manifest_name = "MANIFEST.json";

struct ManifestFile {
  std::string name;
  uint64_t size = 0;
  std::string sha256;            // lower-case hex
  std::vector<uint32_t> crc32c;  // of each block of 1 MiB
};

struct Manifest {
  uint64_t commit = 0;  // grows by one with each commit in a run folder; 0 outside of one
  uint64_t step = 0;    // optimizer steps done
  std::vector<ManifestFile> files;
};

// Reads a whole file for its entry.
ManifestFile describe_file(const FileDescriptor& file, const std::string& name,
                           const std::string& who);
std::string manifest_text(const Manifest& manifest);

// Reads MANIFEST.json of `folder` and checks the manifest itself, not the files.
// Throws Error(bad_input).
Manifest read_manifest(const std::filesystem::path& folder);

// Also checks every byte of every file named. Throws Error(bad_input) naming file and byte range.
// Files that the manifest does not name are ignored.
Manifest verify_manifest(const std::filesystem::path& folder);

}  // namespace nibble
