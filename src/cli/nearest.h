// "did you mean" for misspelt names.
#pragma once

#include <string>
#include <vector>

namespace nibble::cli {

// "; did you mean learning_rate?", or "" when nothing is near.
std::string suggestion(const std::string& given, const std::vector<std::string>& known);

}  // namespace nibble::cli
