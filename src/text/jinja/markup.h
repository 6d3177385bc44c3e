// HTML escaping as markupsafe does it. Autoescape is off, but |safe and |escape make "markup",
// a string that escapes what is joined to it.
#pragma once

#include "text/jinja/value.h"

namespace nibble::jinja {

// markupsafe.escape(value): markup as it is, all else as str() with & < > ' " escaped.
Value escape(Runtime& runtime, const Value& value);
// Of a string, whether markup or not.
Value escape_text(Runtime& runtime, const Value& text);

}  // namespace nibble::jinja
