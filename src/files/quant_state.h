// The JSON blob that bitsandbytes stores beside a quantized weight, as bytes of a U8 tensor named
// <weight>.quant_state.bitsandbytes__<type> (docs/formats.md, "Pre-quantized folders").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

struct QuantState {
  std::string quant_type;  // "nf4" or "fp4"
  int64_t blocksize = 64;
  std::string dtype;  // "bfloat16", "float16", "float32"
  std::vector<int64_t> shape;
  bool nested = false;
  int64_t nested_blocksize = 256;
  float nested_offset = 0;
};

// `who` names the tensor. Throws bad_input for an unknown key, type, block size or dtype.
QuantState parse_quant_state(std::string_view bytes, const std::string& who);

// As Python's json.dumps writes it, keys in bitsandbytes' order.
std::string quant_state_text(const QuantState& state);

}  // namespace nibble
