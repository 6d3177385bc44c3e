// The methods of str that look for another string in it.
#pragma once

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace nibble::jinja::methods {

Value count(Runtime& runtime, const Value& self, const CallArguments& arguments);
Value endswith(Runtime& runtime, const Value& self, const CallArguments& arguments);
Value find(Runtime& runtime, const Value& self, const CallArguments& arguments);
Value index(Runtime& runtime, const Value& self, const CallArguments& arguments);
Value partition(Runtime& runtime, const Value& self, const CallArguments& arguments);
Value rfind(Runtime& runtime, const Value& self, const CallArguments& arguments);
Value rindex(Runtime& runtime, const Value& self, const CallArguments& arguments);
Value rpartition(Runtime& runtime, const Value& self, const CallArguments& arguments);
Value startswith(Runtime& runtime, const Value& self, const CallArguments& arguments);

}  // namespace nibble::jinja::methods
