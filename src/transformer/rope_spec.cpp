#include "transformer/rope_spec.h"

#include <cmath>
#include <numbers>

#include "transformer/config_reader.h"

namespace nibble {
namespace {

constexpr double max_theta = 1e12;
constexpr int64_t max_position_limit = int64_t{1} << 30;

// transformers computes frequencies in float32 (modeling_rope_utils.py); so do we, operation by
// operation: at position 131071 one ulp of a frequency is a visible angle.
std::vector<float> default_frequencies(double theta, int64_t rotary_dim) {
  std::vector<float> result;
  for (int64_t i = 0; i < rotary_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rotary_dim);
    const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    result.push_back(1.0f / power);
  }
  return result;
}

// Llama 3.1: frequencies with long wavelengths are divided by `factor`, with a smooth passage.
std::vector<float> llama3_frequencies(std::vector<float> frequencies, const ConfigReader& scaling) {
  const auto factor = static_cast<float>(scaling.number("factor", 1, 1e6));
  const auto low_factor = static_cast<float>(scaling.number("low_freq_factor", 1e-3, 1e6));
  const auto high_factor = static_cast<float>(scaling.number("high_freq_factor", 1e-3, 1e6));
  const auto original = static_cast<float>(
      scaling.integer("original_max_position_embeddings", 1, max_position_limit));
  if (high_factor <= low_factor)
    fail(ErrorKind::bad_input, "{}: high_freq_factor {} is not above low_freq_factor {}",
         scaling.who(), high_factor, low_factor);
  for (float& frequency : frequencies) {
    const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
    if (wavelength > original / low_factor) {
      frequency /= factor;
    } else if (wavelength >= original / high_factor) {
      const float smooth = (original / wavelength - low_factor) / (high_factor - low_factor);
      frequency = (1 - smooth) * (frequency / factor) + smooth * frequency;
    }
  }
  return frequencies;
}

std::vector<float> longrope_frequencies(const ConfigReader& scaling, const char* key, double theta,
                                        int64_t rotary_dim) {
  const nlohmann::json& factors = scaling.at(key);
  if (!factors.is_array() || static_cast<int64_t>(factors.size()) != rotary_dim / 2)
    fail(ErrorKind::bad_input, "{}: {}: got {} entries, expected rotary_dim / 2 = {}",
         scaling.who(), key, factors.is_array() ? factors.size() : 0, rotary_dim / 2);
  std::vector<float> result;
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    const nlohmann::json& entry = factors[static_cast<size_t>(i)];
    const double factor = entry.is_number() ? entry.get<double>() : 0;
    if (!(factor > 0) || !std::isfinite(static_cast<float>(factor)))
      fail(ErrorKind::bad_input, "{}: {}[{}]: got {}, expected a finite number above 0",
           scaling.who(), key, i, entry.dump());
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dim);
    const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    result.push_back(1.0f / (static_cast<float>(factor) * power));
  }
  return result;
}

}  // namespace

RopeSpec rope_spec_from_config(const nlohmann::json& json, int64_t head_dim,
                               int64_t max_positions) {
  const ConfigReader config(json);
  const bool new_layout = config.has("rope_parameters");
  const nlohmann::json empty = nlohmann::json::object();
  const nlohmann::json& scaling_json = new_layout                   ? config.at("rope_parameters")
                                       : config.has("rope_scaling") ? config.at("rope_scaling")
                                                                    : empty;
  const ConfigReader scaling(
      scaling_json, new_layout ? "config.json: rope_parameters" : "config.json: rope_scaling");
  const ConfigReader& base = new_layout ? scaling : config;

  const double theta = base.number_or("rope_theta", 1, max_theta, 10000.0);
  const double partial = base.has("partial_rotary_factor")
                             ? base.number("partial_rotary_factor", 1e-3, 1)
                             : config.number_or("partial_rotary_factor", 1e-3, 1, 1);
  const auto rotary_dim =
      static_cast<int64_t>(static_cast<double>(head_dim) * partial);  // truncates, as transformers
  if (rotary_dim < 2 || rotary_dim % 2 != 0)
    fail(
        ErrorKind::bad_input,
        "config.json: head_dim {} x partial_rotary_factor {} gives rotary_dim {}, expected an even "
        "number",
        head_dim, partial, rotary_dim);

  RopeSpec spec;
  spec.type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  if (spec.type == "su") spec.type = "longrope";  // Phi-3's older name for the same thing
  if (spec.type == "default") {
    spec.inverse_frequencies = {default_frequencies(theta, rotary_dim)};
  } else if (spec.type == "llama3") {
    spec.inverse_frequencies = {
        llama3_frequencies(default_frequencies(theta, rotary_dim), scaling)};
  } else if (spec.type == "longrope") {
    const auto& original_in = scaling.has("original_max_position_embeddings") ? scaling : config;
    const int64_t original =
        original_in.integer("original_max_position_embeddings", 2, max_position_limit);
    const double factor = scaling.number_or(
        "factor", 1e-3, 1e6, static_cast<double>(max_positions) / static_cast<double>(original));
    spec.inverse_frequencies = {longrope_frequencies(scaling, "short_factor", theta, rotary_dim),
                                longrope_frequencies(scaling, "long_factor", theta, rotary_dim)};
    spec.long_threshold = original;
    const double computed =
        factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original)));
    spec.factor = static_cast<float>(scaling.number_or("attention_factor", 1e-3, 1e3, computed));
  } else {
    fail(ErrorKind::bad_input,
         "{}: rope type {} is not supported; supported are default, llama3 and longrope",
         scaling.who(), spec.type);
  }
  return spec;
}

}  // namespace nibble
