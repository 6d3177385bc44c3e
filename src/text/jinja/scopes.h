// Which variable every name means. Jinja decides this before rendering, per scope and not per
// statement: a name that a loop's body sets anywhere is the loop's own from its first line on, and
// starts as a copy of the one outside.
#pragma once

#include <string>

#include "text/jinja/ast.h"

namespace nibble::jinja {

// Fills in the slots, scopes and functions of the tree. Throws Error(bad_input), naming `who` and
// the line, for what jinja2 refuses when it compiles: filters and tests that do not exist (outside
// of conditions), break and continue outside of loops.
void resolve_scopes(Program& program, const std::string& who);

}  // namespace nibble::jinja
