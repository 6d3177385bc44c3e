#include "text/metaspace.h"

#include "core/error.h"
#include "text/json_fields.h"
#include "text/utf8.h"

namespace nibble {

MetaspaceFields read_metaspace(const nlohmann::json& json, const std::string& who) {
  JsonFields fields(json, who);
  fields.ignore("type");
  fields.ignore("str_rep");  // older files: the replacement once more
  MetaspaceFields metaspace;
  metaspace.replacement = fields.text("replacement");
  if (metaspace.replacement.empty() ||
      metaspace.replacement.size() != utf8_length(metaspace.replacement[0]))
    fail(ErrorKind::bad_input, "{}: field 'replacement': got '{}', expected one character", who,
         metaspace.replacement);
  metaspace.split = fields.boolean_or("split", true);

  const bool prefix = fields.boolean_or("add_prefix_space", true);
  const bool has_scheme = fields.find("prepend_scheme") != nullptr;
  metaspace.prepend_scheme = has_scheme ? fields.text("prepend_scheme")
                             : prefix   ? "always"
                                        : "never";
  const std::string& scheme = metaspace.prepend_scheme;
  if (scheme != "always" && scheme != "first" && scheme != "never")
    fail(ErrorKind::bad_input,
         "{}: field 'prepend_scheme': got '{}', expected always, first or never", who, scheme);
  if (!prefix && scheme != "never")
    fail(ErrorKind::bad_input, "{}: add_prefix_space is false but prepend_scheme is '{}'", who,
         scheme);
  fields.done();
  return metaspace;
}

}  // namespace nibble
