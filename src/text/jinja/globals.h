// The functions that every chat template finds: range, dict, namespace, raise_exception ...
#pragma once

#include "text/jinja/interpreter.h"

namespace nibble::jinja {

void add_globals(Variables& variables);

}  // namespace nibble::jinja
