// Inverse frequencies of the rotary embedding from config.json.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "transformer/model_spec.h"

namespace nibble {

// Reads rope_theta, partial_rotary_factor and rope_scaling (classic layout), or rope_parameters
// (transformers 5). Throws bad_input for a method or a value Nibble does not compute.
RopeSpec rope_spec_from_config(const nlohmann::json& config, int64_t head_dim,
                               int64_t max_positions);

}  // namespace nibble
