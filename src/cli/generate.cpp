#include "cli/commands.h"
#include "core/error.h"

namespace nibble::cli {

int run_generate(std::vector<std::string>) { fail(ErrorKind::usage, "generate: under construction"); }

}  // namespace nibble::cli
