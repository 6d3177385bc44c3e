// Unicode normalization (UAX #15): NFC, NFD, NFKC and NFKD, with the tables of Unicode 9, as
// `tokenizers` has them.
#pragma once

#include "text/normalized_text.h"

namespace nibble {

struct NormalForm {
  bool compose = false;        // C, else D
  bool compatibility = false;  // K
};

// A composed character stands for the first of those that it is composed of; of the characters that
// one decomposes into, the first stands for it and the others for what is before them, as in
// `tokenizers`. O(n log n).
NormalizedText normalize(NormalizedText text, NormalForm form);

}  // namespace nibble
