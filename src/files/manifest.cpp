// MANIFEST.json: written last into a folder, trusted only after its own hash and every file's.
#include "files/manifest.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <set>

#include "core/checked.h"
#include "core/error.h"
#include "files/hashes.h"
#include "files/json.h"

namespace nibble {
namespace {

constexpr const char* format_name = "nibble-manifest-1";
constexpr uint64_t max_manifest_bytes = uint64_t{64} << 20;
constexpr uint64_t block_bytes = uint64_t{1} << 20;

// The end of the manifest: the hash of all text before it.
std::string trailer(std::string_view body) {
  return fmt::format(" \"manifest_sha256\": \"{}\"\n}}\n", sha256_hex(as_bytes(body)));
}

uint64_t blocks_of(uint64_t size) { return size / block_bytes + (size % block_bytes ? 1 : 0); }

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\0') == name.npos && name != manifest_name;
}

uint32_t parse_crc(const std::string& text, const std::string& who) {
  uint32_t crc = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), crc, 16);
  if (text.size() != 8 || result.ec != std::errc() || result.ptr != text.data() + text.size()) {
    fail(ErrorKind::bad_input, "{}: crc32c: got {}, expected 8 hexadecimal digits", who,
         printable(text));
  }
  return crc;
}

}  // namespace

ManifestFile describe_file(const FileDescriptor& file, const std::string& name,
                           const std::string& who) {
  ManifestFile entry{.name = name, .size = stamp_of(file, who).size, .sha256 = "", .crc32c = {}};
  const auto block = std::make_unique_for_overwrite<std::byte[]>(block_bytes);
  Sha256 hash;
  for (uint64_t offset = 0; offset < entry.size; offset += block_bytes) {
    const std::span bytes(block.get(), std::min(block_bytes, entry.size - offset));
    read_exactly(file, offset, bytes, who);
    hash.update(bytes);
    entry.crc32c.push_back(crc32c(bytes));
  }
  entry.sha256 = hash.hex();
  return entry;
}

std::string manifest_text(const Manifest& manifest) {
  std::string body =
      fmt::format("{{\n \"format\": \"{}\",\n \"commit\": {},\n \"step\": {},\n \"files\": [",
                  format_name, manifest.commit, manifest.step);
  const char* comma = "";
  for (const auto& file : manifest.files) {
    body += fmt::format("{}\n  {{\"name\": {}, \"size\": {}, \"sha256\": \"{}\",\n   \"crc32c\": [",
                        comma, nlohmann::json(file.name).dump(), file.size, file.sha256);
    for (size_t i = 0; i < file.crc32c.size(); ++i) {
      body += fmt::format("{}\"{:08x}\"", i ? ", " : "", file.crc32c[i]);
    }
    body += "]}";
    comma = ",";
  }
  body += "\n ],\n";
  return body + trailer(body);
}

Manifest read_manifest(const std::filesystem::path& folder) {
  const std::string who = (folder / manifest_name).string();
  const std::string text =
      read_whole(open_for_reading(folder / manifest_name), max_manifest_bytes, who);
  const size_t tail = trailer("").size();
  const std::string_view body =
      std::string_view(text).substr(0, text.size() - std::min(text.size(), tail));
  if (text.size() < tail || text.substr(body.size()) != trailer(body)) {
    fail(ErrorKind::bad_input,
         "{}: bytes 0..{} do not match the hash at the end; the manifest is damaged", who,
         text.size());
  }
  try {
    const nlohmann::json json =
        parse_json(text, who, {.max_bytes = max_manifest_bytes, .max_depth = 8});
    if (json.at("format").get<std::string>() != format_name) {
      fail(ErrorKind::bad_input, "{}: format: got {}, expected {}", who,
           printable(json.at("format").dump()), format_name);
    }
    Manifest manifest{.commit = json.at("commit").get<uint64_t>(),
                      .step = json.at("step").get<uint64_t>(),
                      .files = {}};
    std::set<std::string> names;
    for (const auto& entry : json.at("files")) {
      ManifestFile file{.name = entry.at("name").get<std::string>(),
                        .size = entry.at("size").get<uint64_t>(),
                        .sha256 = entry.at("sha256").get<std::string>(),
                        .crc32c = {}};
      for (const auto& crc : entry.at("crc32c")) {
        file.crc32c.push_back(parse_crc(crc.get<std::string>(), who));
      }
      if (!is_plain_name(file.name) || !names.insert(file.name).second ||
          file.crc32c.size() != blocks_of(file.size)) {
        fail(ErrorKind::bad_input, "{}: the entry of {} is not understood", who,
             printable(file.name));
      }
      manifest.files.push_back(std::move(file));
    }
    return manifest;
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::bad_input, "{}: not understood: {}", who, error.what());
  }
}

Manifest verify_manifest(const std::filesystem::path& folder) {
  Manifest manifest = read_manifest(folder);
  for (const auto& expected : manifest.files) {
    const std::string who = (folder / expected.name).string();
    const FileDescriptor file = open_for_reading(folder / expected.name);
    const uint64_t size = stamp_of(file, who).size;
    if (size != expected.size) {
      fail(ErrorKind::bad_input, "{}: bytes {}..{}: got a file of {} bytes, the manifest says {}",
           who, std::min(size, expected.size), std::max(size, expected.size), size, expected.size);
    }
    const ManifestFile got = describe_file(file, expected.name, who);
    for (size_t i = 0; i < got.crc32c.size(); ++i) {
      if (got.crc32c[i] != expected.crc32c[i]) {
        fail(ErrorKind::bad_input, "{}: bytes {}..{} are not what was written (CRC32C)", who,
             i * block_bytes, std::min(size, (i + 1) * block_bytes));
      }
    }
    if (got.sha256 != expected.sha256) {
      fail(ErrorKind::bad_input, "{}: bytes 0..{} are not what was written (SHA-256)", who, size);
    }
  }
  return manifest;
}

}  // namespace nibble
