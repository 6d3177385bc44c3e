// How data files become training rows: everything a run can be told about its data.
#pragma once

#include <vector>

#include "data/dataset_loader.h"
#include "data/row_encoder.h"
#include "train/chat_source.h"

namespace nibble {

struct DataOptions {
  std::vector<double> weights;  // dataset_weights: one for each path of dataset, or none
  RowFormatOptions format;
  RowReaderOptions rows;
  BadRows bad_rows = BadRows::refuse;
  double val_set_size = 0;
  EncodeOptions encode;  // max_length and completion_only_loss are TrainOptions'
  ChatOptions chat;
  // Guards (by name) whose failure does not stop the run.
  std::vector<std::string> ignore_guards;
};

}  // namespace nibble
