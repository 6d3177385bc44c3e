// Strict JSON (RFC 8259) from untrusted text into nlohmann::json.
//
// Stricter than the RFC where it leaves a choice: duplicate keys (compared after unescaping),
// a byte order mark, lone surrogates, integers outside 64 bits and reals outside double are
// refused, never repaired. Iterative: input depth never becomes stack depth.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "files/json_scanner.h"

namespace nibble {

// `who` names the text in errors ("config.json"). Throws Error(bad_input).
nlohmann::json parse_json(std::string_view text, const std::string& who,
                          const JsonLimits& limits = {});

// The same, with object keys in the order of the text (what a chat template sees).
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& who,
                                          const JsonLimits& limits = {});

// Reads and parses a whole file of at most limits.max_bytes.
nlohmann::json read_json_file(const std::filesystem::path& path, const std::string& who,
                              const JsonLimits& limits = {});

// The bytes of a regular file (not a pipe, device or folder) of at most max_bytes.
std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes);

}  // namespace nibble
