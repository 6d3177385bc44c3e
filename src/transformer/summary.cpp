#include "transformer/summary.h"

namespace nibble {

ModelSummary summarize(const ModelSource& source, const WeightOptions& options,
                       const AdapterConfig& lora) {
  const ModelSpec& spec = source.spec;
  const auto width = static_cast<int64_t>(size_of(options.compute));
  ModelSummary s;
  int64_t biases = 0;
  for (const LinearSpec& linear : spec.linears) {
    const int64_t n = linear.out_features * linear.in_features;
    s.linears += spec.layers;
    s.linear_weights += spec.layers * n;
    s.codes_and_scales_bytes +=
        spec.layers * (options.load_in_4bit ? quantized_bytes(n, options.quant) : n * width);
    if (linear.bias) biases += spec.layers * linear.out_features;
  }
  const int64_t norms = spec.parameters() - spec.embedding_parameters() - spec.linear_parameters();
  s.embedding_bytes = spec.embedding_parameters() * width;
  s.rest_bytes = norms * static_cast<int64_t>(sizeof(float)) + biases * width;
  s.quantized_bytes = s.codes_and_scales_bytes + s.embedding_bytes + s.rest_bytes;
  s.stored_bytes = source.dir ? source.dir->total_bytes()
                              : static_cast<uint64_t>(spec.parameters()) * size_of(spec.dtype);
  const std::vector<LoraModule> modules = lora_modules(spec);
  s.targets = match_targets(lora, modules);
  s.trainable = trainable_parameters(s.targets, modules);
  return s;
}

}  // namespace nibble
