// Formatting of strings: "%s" % value, and "{}".format(value).
#pragma once

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace nibble::jinja {

// format % values, as printf does it in Python: a tuple gives one value each, a dict those that
// %(name)s asks for, all else is one value.
Value format_percent(Runtime& runtime, const Value& format, const Value& values);

// The method str.format, with the usual format specifications of strings and numbers.
Value format_braces(Runtime& runtime, const Value& format, const CallArguments& arguments);
Value format_map(Runtime& runtime, const Value& format, const CallArguments& arguments);

}  // namespace nibble::jinja
