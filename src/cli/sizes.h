// Sizes on the command line, as transformers spells max_shard_size: "5GB", "200MiB", "1000".
#pragma once

#include <cstdint>
#include <string>

#include "cli/option_table.h"

namespace nibble::cli {

// Decimal units KB, MB, GB and binary ones KiB, MiB, GiB. Throws usage, naming the option.
uint64_t parse_size(const std::string& name, const std::string& text);

// --max_shard_size.
void add_shard_option(OptionTable& table, uint64_t& max_shard_bytes);

}  // namespace nibble::cli
