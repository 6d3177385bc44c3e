// Whether two model folders hold the same weights, without reading all of them.
#pragma once

#include <string>

#include "files/model_dir.h"

namespace nibble {

// SHA-256, in hex, of every tensor's name, dtype and shape and of 16 samples of 64 bytes of it,
// evenly spread. The same for one file and for shards of the same weights.
std::string fingerprint(const ModelDir& model);

}  // namespace nibble
