#include "cli/sizes.h"

#include <array>
#include <charconv>
#include <utility>

#include "core/checked.h"
#include "core/error.h"

namespace nibble::cli {

uint64_t parse_size(const std::string& name, const std::string& text) {
  constexpr std::array<std::pair<const char*, uint64_t>, 8> units = {{{"", 1},
                                                                      {"B", 1},
                                                                      {"KB", 1'000},
                                                                      {"MB", 1'000'000},
                                                                      {"GB", 1'000'000'000},
                                                                      {"KiB", uint64_t{1} << 10},
                                                                      {"MiB", uint64_t{1} << 20},
                                                                      {"GiB", uint64_t{1} << 30}}};
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, text.data() + text.size());
  for (const auto& [word, factor] : units) {
    const Checked bytes = Checked(number) * factor;
    if (error == std::errc() && unit == word && bytes.ok() && bytes.value() > 0)
      return bytes.value();
  }
  fail(ErrorKind::usage, "{}: got {}, expected a size such as 5GB or 500MiB", name, text);
}

void add_shard_option(OptionTable& table, uint64_t& max_shard_bytes) {
  table.add_parsed(
      "max_shard_size",
      [&](const std::vector<std::string>& words) {
        max_shard_bytes = parse_size("max_shard_size", words.back());
      },
      "largest weight file; a larger tensor has a file to itself", {}, "5GB");
}

}  // namespace nibble::cli
