#include "cli/commands.h"
#include "core/error.h"

namespace nibble::cli {

int run_quantize(std::vector<std::string>) { fail(ErrorKind::usage, "quantize: under construction"); }

}  // namespace nibble::cli
