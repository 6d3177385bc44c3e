// libFuzzer target: any bytes as tokenizer.json. What loads encodes and decodes a few texts; what
// is refused is an Error and nothing else.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const nlohmann::json json = nlohmann::json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return 0;
  try {
    const auto tokenizer = nibble::Tokenizer::from_json(json, "tokenizer.json");
    std::string text = "The  caf\u00e9 e\u0301\u0327, don't <|end|> x\n\n\t12345 ";
    text += "\uac00\u4e2d\u6587\ufb01\u0130\U0001f44d\U0001f3fd \u2581the<0x0A>";
    for (const std::string& one : {text, std::string(), std::string(100, 'a') + "b",
                                   nibble::replace_invalid_utf8(bytes.substr(0, 64))}) {
      try {
        const auto ids = tokenizer.encode(one, true).ids;
        tokenizer.decode(ids, true);
        tokenizer.decode(ids, false);
      } catch (const nibble::Error&) {
      }
    }
    for (int32_t id = -1; id < 8; ++id) tokenizer.piece(id);
  } catch (const nibble::Error&) {
  }
  return 0;
}
