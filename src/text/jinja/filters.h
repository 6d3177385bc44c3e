// jinja2's filters: value|name(arguments). Lazy ones (map, select, unique ...) give iterators,
// whose errors show when they are run through, as Python's generators do.
#pragma once

#include <string_view>

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace nibble::jinja {

struct Filter {
  using Function = Value (*)(Runtime& runtime, const Value& subject,
                             const CallArguments& arguments);
  std::string_view name;
  Function function;  // null: jinja2 has it, but its result cannot be the same here
};

// Null if jinja2 has none of that name.
const Filter* find_filter(std::string_view name);
Value apply_filter(Runtime& runtime, const Filter& filter, const Value& subject,
                   const CallArguments& arguments);

namespace filters {

using Args = const CallArguments&;

// On text (filters_text.cpp).
Value capitalize(Runtime& runtime, const Value& value, Args arguments);
Value center(Runtime& runtime, const Value& value, Args arguments);
Value escape(Runtime& runtime, const Value& value, Args arguments);
Value force_escape(Runtime& runtime, const Value& value, Args arguments);
Value format(Runtime& runtime, const Value& value, Args arguments);
Value indent(Runtime& runtime, const Value& value, Args arguments);
Value join(Runtime& runtime, const Value& value, Args arguments);
Value lower(Runtime& runtime, const Value& value, Args arguments);
Value replace(Runtime& runtime, const Value& value, Args arguments);
Value safe(Runtime& runtime, const Value& value, Args arguments);
Value string(Runtime& runtime, const Value& value, Args arguments);
Value title(Runtime& runtime, const Value& value, Args arguments);
Value tojson(Runtime& runtime, const Value& value, Args arguments);
Value trim(Runtime& runtime, const Value& value, Args arguments);
Value truncate(Runtime& runtime, const Value& value, Args arguments);
Value upper(Runtime& runtime, const Value& value, Args arguments);
Value urlencode(Runtime& runtime, const Value& value, Args arguments);
Value wordcount(Runtime& runtime, const Value& value, Args arguments);

// On numbers and single values (filters_value.cpp).
Value abs(Runtime& runtime, const Value& value, Args arguments);
Value attr(Runtime& runtime, const Value& value, Args arguments);
Value default_value(Runtime& runtime, const Value& value, Args arguments);
Value filesizeformat(Runtime& runtime, const Value& value, Args arguments);
Value to_float(Runtime& runtime, const Value& value, Args arguments);
Value to_int(Runtime& runtime, const Value& value, Args arguments);
Value length(Runtime& runtime, const Value& value, Args arguments);
Value round(Runtime& runtime, const Value& value, Args arguments);

// On sequences (filters_sequence.cpp, filters_sort.cpp, filters_lazy.cpp).
Value first(Runtime& runtime, const Value& value, Args arguments);
Value last(Runtime& runtime, const Value& value, Args arguments);
Value list(Runtime& runtime, const Value& value, Args arguments);
Value reverse(Runtime& runtime, const Value& value, Args arguments);
Value sum(Runtime& runtime, const Value& value, Args arguments);
Value dictsort(Runtime& runtime, const Value& value, Args arguments);
Value groupby(Runtime& runtime, const Value& value, Args arguments);
Value max(Runtime& runtime, const Value& value, Args arguments);
Value min(Runtime& runtime, const Value& value, Args arguments);
Value sort(Runtime& runtime, const Value& value, Args arguments);
Value batch(Runtime& runtime, const Value& value, Args arguments);
Value items(Runtime& runtime, const Value& value, Args arguments);
Value map(Runtime& runtime, const Value& value, Args arguments);
Value reject(Runtime& runtime, const Value& value, Args arguments);
Value rejectattr(Runtime& runtime, const Value& value, Args arguments);
Value select(Runtime& runtime, const Value& value, Args arguments);
Value selectattr(Runtime& runtime, const Value& value, Args arguments);
Value slice(Runtime& runtime, const Value& value, Args arguments);
Value unique(Runtime& runtime, const Value& value, Args arguments);

}  // namespace filters
}  // namespace nibble::jinja
