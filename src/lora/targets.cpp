#include "lora/targets.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>

#include "core/error.h"
#include "lora/pattern.h"

namespace nibble {
namespace {

bool is_or_ends_with(const std::string& path, const std::string& name) {
  return path == name || path.ends_with("." + name);
}

std::string last_names(const std::vector<LoraModule>& modules) {
  std::string names;
  std::set<std::string> seen;
  for (const LoraModule& module : modules) {
    const std::string name = module.path.substr(module.path.rfind('.') + 1);
    if (seen.insert(name).second) names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

// rank_pattern and alpha_pattern: the first key that matches as (.*\.)?(key)$ wins.
template <typename Value>
class Pattern {
 public:
  Pattern(const std::map<std::string, Value>& entries, const char* who) : who_(who) {
    for (const auto& [key, value] : entries)
      rules_.push_back({key, std::make_unique<FullMatch>("(.*\\.)?(" + key + ")", who), value});
  }
  Value value_for(const std::string& path, Value otherwise) {
    for (Rule& rule : rules_)
      if ((*rule.match)(path)) {
        rule.used = true;
        return rule.value;
      }
    return otherwise;
  }
  void check_all_used() const {
    for (const Rule& rule : rules_)
      if (!rule.used)
        fail(ErrorKind::usage, "{}: \"{}\" matches no adapted module; check its spelling", who_,
             rule.key);
  }

 private:
  struct Rule {
    std::string key;
    std::unique_ptr<FullMatch> match;
    Value value;
    bool used = false;
  };
  const char* who_;
  std::vector<Rule> rules_;
};

bool excluded(const AdapterConfig& config, const FullMatch* exclude, const std::string& path) {
  if (exclude && (*exclude)(path)) return true;
  return std::ranges::any_of(config.exclude_modules,
                             [&](const auto& name) { return is_or_ends_with(path, name); });
}

void check_layers(const AdapterConfig& config, const std::vector<LoraModule>& modules) {
  if (!config.layers_to_transform) return;
  for (uint64_t wanted : *config.layers_to_transform)
    if (std::ranges::none_of(modules, [&](const LoraModule& module) {
          return static_cast<uint64_t>(module.layer) == wanted;
        }))
      fail(ErrorKind::usage, "layers_to_transform: the model has no layer {}", wanted);
}

}  // namespace

LoraTargets match_targets(const AdapterConfig& config, const std::vector<LoraModule>& modules) {
  check_layers(config, modules);
  const bool all_linear = config.target_regex == "all-linear";
  std::unique_ptr<FullMatch> regex, exclude;
  if (!config.target_regex.empty() && !all_linear)
    regex = std::make_unique<FullMatch>(config.target_regex, "lora_target_modules");
  if (!config.exclude_regex.empty())
    exclude = std::make_unique<FullMatch>(config.exclude_regex, "exclude_modules");
  Pattern<uint64_t> ranks(config.rank_pattern, "rank_pattern");
  Pattern<double> alphas(config.alpha_pattern, "alpha_pattern");

  LoraTargets result;
  for (const std::string& name : config.target_modules) result.match_counts[name] = 0;
  if (!config.target_regex.empty()) result.match_counts[config.target_regex] = 0;

  for (const LoraModule& module : modules) {
    LoraTarget target;
    bool matched = all_linear || (regex && (*regex)(module.path));
    if (matched) ++result.match_counts[config.target_regex];
    for (const std::string& name : config.target_modules)
      if (is_or_ends_with(module.path, name)) {
        matched = true;
        ++result.match_counts[name];
      }
    const bool layer_wanted =
        !config.layers_to_transform ||
        std::ranges::find(*config.layers_to_transform, static_cast<uint64_t>(module.layer)) !=
            config.layers_to_transform->end();
    if (matched && layer_wanted && !excluded(config, exclude.get(), module.path)) {
      target.rank = static_cast<int64_t>(ranks.value_for(module.path, config.r));
      const double alpha = alphas.value_for(module.path, config.lora_alpha);
      const auto rank = static_cast<double>(target.rank);
      target.scaling = static_cast<float>(alpha / (config.use_rslora ? std::sqrt(rank) : rank));
    }
    result.modules.push_back(target);
  }

  for (const auto& [name, count] : result.match_counts)
    if (count == 0)
      fail(ErrorKind::usage,
           "lora_target_modules: \"{}\" matches no linear layer; this model has: {}{}", name,
           last_names(modules),
           name == "lm_head" || name == "embed_tokens"
               ? " (Nibble does not adapt embeddings or the head)"
               : "");
  if (std::ranges::none_of(result.modules, [](const LoraTarget& t) { return t.rank > 0; }))
    fail(ErrorKind::usage, "lora_target_modules: no module is left to adapt; this model has: {}",
         last_names(modules));
  ranks.check_all_used();
  alphas.check_all_used();
  return result;
}

int64_t trainable_parameters(const LoraTargets& targets, const std::vector<LoraModule>& modules) {
  int64_t count = 0;
  for (size_t i = 0; i < modules.size(); ++i)
    count += targets.modules[i].rank * (modules[i].in_features + modules[i].out_features);
  return count;
}

std::string with_separators(int64_t number) {
  std::string text = std::to_string(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t at = text.size(); at > first + 3;) text.insert(at -= 3, ",");
  return text;
}

std::string trainable_line(int64_t trainable, int64_t base_parameters) {
  const int64_t all = base_parameters + trainable;
  return fmt::format("trainable params: {} || all params: {} || trainable%: {:.4f}",
                     with_separators(trainable), with_separators(all),
                     100.0 * static_cast<double>(trainable) / static_cast<double>(all));
}

}  // namespace nibble
