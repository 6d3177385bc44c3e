#include "lora/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "core/error.h"

namespace nibble {
namespace {
constexpr uint32_t match_limit = 100'000;
}

struct FullMatch::Code {
  pcre2_code* code = nullptr;
  pcre2_match_data* match = nullptr;
  pcre2_match_context* context = nullptr;
  ~Code() {
    pcre2_match_context_free(context);
    pcre2_match_data_free(match);
    pcre2_code_free(code);
  }
};

FullMatch::FullMatch(const std::string& pattern, const std::string& who)
    : code_(std::make_unique<Code>()), who_(who) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED, &error, &offset, nullptr);
  if (!code_->code) {
    std::array<PCRE2_UCHAR, 256> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    fail(ErrorKind::usage, "{}: \"{}\" is not a regular expression: {} at offset {}", who, pattern,
         reinterpret_cast<const char*>(message.data()), offset);
  }
  code_->match = pcre2_match_data_create_from_pattern(code_->code, nullptr);
  code_->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(code_->context, match_limit);
}

FullMatch::~FullMatch() = default;

bool FullMatch::operator()(const std::string& text) const {
  const int result = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                 text.size(), 0, 0, code_->match, code_->context);
  if (result < 0 && result != PCRE2_ERROR_NOMATCH)
    fail(ErrorKind::usage, "{}: matching \"{}\" failed (code {}); simplify the expression", who_,
         text, result);
  return result >= 0;
}

}  // namespace nibble
