#include "cli/commands.h"
#include "core/error.h"

namespace nibble::cli {

int run_merge(std::vector<std::string>) { fail(ErrorKind::usage, "merge: under construction"); }

}  // namespace nibble::cli
