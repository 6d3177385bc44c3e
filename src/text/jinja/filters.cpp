#include "text/jinja/filters.h"

#include <algorithm>
#include <iterator>

#include "text/jinja/runtime.h"

namespace nibble::jinja {
namespace {

using namespace filters;

// By name. Without a function: random and what depends on Python's own layout of text.
constexpr Filter kFilters[] = {
    {"abs", abs},
    {"attr", attr},
    {"batch", batch},
    {"capitalize", capitalize},
    {"center", center},
    {"count", length},
    {"d", default_value},
    {"default", default_value},
    {"dictsort", dictsort},
    {"e", escape},
    {"escape", escape},
    {"filesizeformat", filesizeformat},
    {"first", first},
    {"float", to_float},
    {"forceescape", force_escape},
    {"format", format},
    {"groupby", groupby},
    {"indent", indent},
    {"int", to_int},
    {"items", items},
    {"join", join},
    {"last", last},
    {"length", length},
    {"list", list},
    {"lower", lower},
    {"map", map},
    {"max", max},
    {"min", min},
    {"pprint", nullptr},
    {"random", nullptr},
    {"reject", reject},
    {"rejectattr", rejectattr},
    {"replace", replace},
    {"reverse", reverse},
    {"round", round},
    {"safe", safe},
    {"select", select},
    {"selectattr", selectattr},
    {"slice", slice},
    {"sort", sort},
    {"string", string},
    {"striptags", nullptr},
    {"sum", sum},
    {"title", title},
    {"tojson", tojson},
    {"trim", trim},
    {"truncate", truncate},
    {"unique", unique},
    {"upper", upper},
    {"urlencode", urlencode},
    {"urlize", nullptr},
    {"wordcount", wordcount},
    {"wordwrap", nullptr},
    {"xmlattr", nullptr},
};

}  // namespace

const Filter* find_filter(std::string_view name) {
  const auto found =
      std::lower_bound(std::begin(kFilters), std::end(kFilters), name,
                       [](const Filter& f, std::string_view n) { return f.name < n; });
  return found != std::end(kFilters) && found->name == name ? found : nullptr;
}

Value apply_filter(Runtime& runtime, const Filter& filter, const Value& subject,
                   const CallArguments& arguments) {
  if (!filter.function) runtime.fail("the filter '{}' is not supported", filter.name);
  return filter.function(runtime, subject, arguments);
}

}  // namespace nibble::jinja
