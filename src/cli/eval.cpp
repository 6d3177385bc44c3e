#include "cli/commands.h"
#include "core/error.h"

namespace nibble::cli {

int run_eval(std::vector<std::string>) { fail(ErrorKind::usage, "eval: under construction"); }

}  // namespace nibble::cli
