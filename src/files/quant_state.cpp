#include "files/quant_state.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "files/json.h"

namespace nibble {
namespace {

using Json = nlohmann::json;

constexpr std::array<int64_t, 8> block_sizes = {32, 64, 128, 256, 512, 1024, 2048, 4096};

const Json& field(const Json& json, const char* key, const std::string& who) {
  const auto found = json.find(key);
  if (found == json.end()) fail(ErrorKind::bad_input, "{}: field {} is missing", who, key);
  return *found;
}

template <size_t n>
std::string one_of(const Json& json, const char* key, const std::array<const char*, n>& allowed,
                   const std::string& who) {
  const Json& value = field(json, key, who);
  for (const char* candidate : allowed)
    if (value == candidate) return candidate;
  fail(ErrorKind::bad_input, "{}: {}: got {}, which Nibble does not read", who, key, value.dump());
}

// Python's repr of a float: the shortest decimal that reads back, with ".0" if it has no point.
std::string python_float(double x) {
  std::array<char, 32> buffer;
  const auto fixed = std::abs(x) >= 1e-4 && std::abs(x) < 1e16;
  const auto result =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), x,
                    fixed || x == 0 ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer.data(), result.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

}  // namespace

QuantState parse_quant_state(std::string_view bytes, const std::string& who) {
  JsonLimits limits;
  limits.max_bytes = 4096;
  const Json json = parse_json(bytes, who, limits);
  if (!json.is_object()) fail(ErrorKind::bad_input, "{}: expected an object", who);
  constexpr std::array known = {"quant_type",       "blocksize",    "dtype",        "shape",
                                "nested_blocksize", "nested_dtype", "nested_offset"};
  for (const auto& item : json.items())
    if (std::ranges::find(known, item.key()) == known.end())
      fail(ErrorKind::bad_input, "{}: unknown field {}", who, item.key());

  QuantState state;
  state.quant_type = one_of<2>(json, "quant_type", {"nf4", "fp4"}, who);
  state.dtype = one_of<3>(json, "dtype", {"bfloat16", "float16", "float32"}, who);
  const Json& blocksize = field(json, "blocksize", who);
  if (!blocksize.is_number_integer() ||
      std::ranges::find(block_sizes, blocksize.get<int64_t>()) == block_sizes.end())
    fail(ErrorKind::bad_input, "{}: blocksize: got {}, expected a power of two in [32, 4096]", who,
         blocksize.dump());
  state.blocksize = blocksize.get<int64_t>();
  const Json& shape = field(json, "shape", who);
  if (!shape.is_array() || shape.size() != 2)
    fail(ErrorKind::bad_input, "{}: shape: got {}, expected [out, in]", who, shape.dump());
  for (const Json& size : shape) {
    if (!size.is_number_integer() || size.get<double>() < 1 || size.get<double>() > 1e9)
      fail(ErrorKind::bad_input, "{}: shape: got {}, expected sizes in [1, 1e9]", who,
           shape.dump());
    state.shape.push_back(size.get<int64_t>());
  }
  state.nested = json.contains("nested_offset");
  if (!state.nested) return state;
  one_of<1>(json, "nested_dtype", {"float32"}, who);
  if (field(json, "nested_blocksize", who) != 256)
    fail(ErrorKind::bad_input, "{}: nested_blocksize: got {}, expected 256", who,
         json["nested_blocksize"].dump());
  const Json& offset = json["nested_offset"];
  if (!offset.is_number() || !std::isfinite(static_cast<float>(offset.get<double>())))
    fail(ErrorKind::bad_input, "{}: nested_offset: got {}, expected a finite number", who,
         offset.dump());
  state.nested_offset = static_cast<float>(offset.get<double>());
  return state;
}

std::string quant_state_text(const QuantState& state) {
  std::string text = fmt::format(
      R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}, {}])",
      state.quant_type, state.blocksize, state.dtype, state.shape.at(0), state.shape.at(1));
  if (state.nested)
    text +=
        fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})",
                    state.nested_blocksize, python_float(static_cast<double>(state.nested_offset)));
  return text + "}";
}

}  // namespace nibble
