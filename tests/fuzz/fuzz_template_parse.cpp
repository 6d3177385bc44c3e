// Any bytes as a chat template: it is parsed, or refused with Error(bad_input).
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  try {
    nibble::ChatTemplate::parse(source, "fuzz");
  } catch (const nibble::Error& error) {
    if (error.kind() != nibble::ErrorKind::bad_input) std::abort();
  }
  return 0;
}
