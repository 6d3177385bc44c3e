#include "cli/commands.h"
#include "core/error.h"

namespace nibble::cli {

int run_tokenize(std::vector<std::string>) { fail(ErrorKind::usage, "tokenize: under construction"); }

}  // namespace nibble::cli
