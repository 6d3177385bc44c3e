// Mean loss and perplexity of a model, with or without adapter, over a dataset.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "train/data_source.h"
#include "train/options.h"
#include "train/step.h"

namespace nibble {

// Documents in order, `batch_size` at a time. Views of the dataset.
std::vector<MicroBatch> eval_batches(const TokenizedDataset& data, int64_t batch_size);

struct EvaluationEvents {
  std::function<void(const std::string&)> note;  // one line
  std::function<void(uint64_t done, uint64_t total)> loading;
  std::function<void(int64_t documents, int64_t total)> progress;  // after each batch
};

struct Evaluation {
  double loss = 0;        // mean over trained tokens
  double perplexity = 0;  // exp(loss)
  int64_t rows = 0, tokens = 0, trained_tokens = 0;
  double seconds = 0;     // without loading
  size_t peak_bytes = 0;  // of the reservation
};

// Of the options it takes the model, adapter_name_or_path (may be empty), dataset, max_length,
// completion_only_loss, per_device_eval_batch_size. With `logits_out`, a safetensors file that must
// not exist yet, also writes every row's tokens and logits: row<i>.ids I32 [T], row<i>.logits F32
// [T, vocab], for comparing with other programs.
Evaluation run_evaluation(const TrainOptions& options, const std::string& logits_out = {},
                          const EvaluationEvents& events = {});

}  // namespace nibble
