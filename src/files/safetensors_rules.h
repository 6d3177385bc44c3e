// What the safetensors reader and writer agree on: dtype names, and the limits of one tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "files/safetensors.h"

namespace nibble::safetensors {

constexpr uint64_t max_header_bytes = 100'000'000;  // decimal, as in the reference
constexpr uint64_t max_dimension = (uint64_t{1} << 48) - 1;
constexpr size_t max_tensors = 262'144;
constexpr size_t max_metadata_entries = 16'384;
constexpr size_t max_rank = 8;
constexpr size_t max_name_bytes = 4096;
constexpr size_t max_number_chars = 20;

// Position among the format's 22 dtypes, which is the order the reference writer sorts by;
// nothing for a name that is not one (case counts).
std::optional<size_t> dtype_index(std::string_view name);

// Checks name, dtype and shape and computes the size in bytes. Returns what is wrong, or "".
std::string problem_with(const SafetensorsInfo& tensor, uint64_t& bytes);

}  // namespace nibble::safetensors
