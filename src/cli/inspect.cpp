#include "cli/commands.h"
#include "core/error.h"

namespace nibble::cli {

int run_inspect(std::vector<std::string>) { fail(ErrorKind::usage, "inspect: under construction"); }

}  // namespace nibble::cli
