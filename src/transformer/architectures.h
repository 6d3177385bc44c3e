// The shapes of known models by short names, for measuring and planning without their files.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace nibble {

std::vector<std::string> architecture_names();

// The config.json of that model, as far as it decides the computation. Throws usage, listing the
// names, for one that is not known.
nlohmann::json architecture_config(const std::string& name);

}  // namespace nibble
