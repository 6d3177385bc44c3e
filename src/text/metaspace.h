// The fields of "Metaspace", which tokenizer.json holds as a pre-tokenizer and as a decoder.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace nibble {

struct MetaspaceFields {
  std::string replacement;     // one character: the mark that stands for a space
  std::string prepend_scheme;  // "always", "first" or "never"
  bool split = true;
};

// Reads the present spelling and the one before it (add_prefix_space). Throws Error(bad_input).
MetaspaceFields read_metaspace(const nlohmann::json& json, const std::string& who);

}  // namespace nibble
