#include "files/model_fingerprint.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "files/hashes.h"

namespace nibble {

std::string fingerprint(const ModelDir& model) {
  constexpr uint64_t samples = 16, sample_bytes = 64;
  Sha256 hash;
  for (const std::string& name : model.names()) {
    const TensorInfo info = model.info(name);
    const std::string line =
        fmt::format("{} {} {}\n", name, name_of(info.dtype), fmt::join(info.shape, "x"));
    hash.update(std::as_bytes(std::span(line)));
    const uint64_t size = std::min(sample_bytes, info.bytes);
    std::array<std::byte, sample_bytes> bytes;
    const auto sample = std::span(bytes).first(size);
    for (uint64_t i = 0; i < samples; ++i) {
      model.read(name, (info.bytes - size) / (samples - 1) * i, sample);
      hash.update(sample);
    }
  }
  return hash.hex();
}

}  // namespace nibble
