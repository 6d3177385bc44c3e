#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "text/regex_dialect.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace nibble {
namespace {

// Backtracking steps of one attempt at one position before it counts against the budget of the
// whole text, which is kFreeSteps + kStepsPerByte * bytes.
constexpr uint32_t kUncountedSteps = 1000;
constexpr uint64_t kFreeSteps = 1u << 20;
constexpr uint64_t kStepsPerByte = 64;
constexpr size_t kJitStackBytes = 1u << 20;

// What matching writes to; one a thread, shared by all patterns.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr);

  Scratch() {
    if (!data || !context || !stack)
      fail(ErrorKind::no_resources, "regular expressions: out of memory");
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Code {};

void Regex::FreeCode::operator()(Code* code) const {
  pcre2_code_free(reinterpret_cast<pcre2_code*>(code));
}

Regex::Regex(std::string_view oniguruma_pattern, std::string who) : who_(std::move(who)) {
  compile(to_pcre2(oniguruma_pattern, who_));
}

Regex Regex::word_character() {
  Regex regex("a character of a word");
  regex.compile("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]");
  return regex;
}

void Regex::compile(const std::string& pattern) {
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  if (!context) fail(ErrorKind::no_resources, "{}: out of memory", who_);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  // ANCHORED: find_all walks the positions itself, so that every attempt is counted.
  // NO_AUTO_POSSESS: a loop that never gives back would cost steps that are not counted.
  // MULTILINE: ^ and $ are about lines in Oniguruma.
  const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_MULTILINE |
                           PCRE2_NO_AUTO_POSSESS | PCRE2_NEVER_BACKSLASH_C;
  int error = 0;
  size_t offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   options, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (!code)
    fail(ErrorKind::bad_input, "{}: regular expression does not compile: {} (pattern: {})", who_,
         message_of(error), pattern.substr(0, 200));
  code_.reset(reinterpret_cast<Code*>(code));
  // Where the machine has no JIT, the interpreter does the same, slower.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
}

void Regex::find_all(std::string_view text, std::vector<Match>& matches) const {
  thread_local const Scratch scratch;
  std::string substitute;  // of the same length, characters at the same places
  std::string_view seen = text;
  if (has_newer_characters(text)) seen = substitute = with_known_characters(text);

  const auto* code = reinterpret_cast<const pcre2_code*>(code_.get());
  const size_t* match = pcre2_get_ovector_pointer(scratch.data);
  uint64_t budget = kFreeSteps + kStepsPerByte * seen.size();
  uint64_t limit = kUncountedSteps;
  pcre2_set_match_limit(scratch.context, kUncountedSteps);

  size_t last_end = std::string_view::npos;
  for (size_t at = 0; at <= seen.size();) {
    const int result = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(seen.data()), seen.size(), at,
                                   PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
    if (result == PCRE2_ERROR_MATCHLIMIT && limit <= budget) {
      budget -= limit;
      limit = std::min<uint64_t>(limit * 4, UINT32_MAX);
      pcre2_set_match_limit(scratch.context, static_cast<uint32_t>(limit));
      continue;
    }
    if (result < 0 && result != PCRE2_ERROR_NOMATCH)
      fail(ErrorKind::bad_input,
           "{}: the regular expression gave up at byte {} of a text of {} bytes: {}; the pattern "
           "takes superlinear time on this text",
           who_, at, seen.size(), message_of(result));
    if (limit != kUncountedSteps) {
      limit = kUncountedSteps;
      pcre2_set_match_limit(scratch.context, kUncountedSteps);
    }
    const bool found = result > 0 && !(match[1] == at && last_end == at);
    if (found) {
      matches.push_back({match[0], match[1]});
      last_end = match[1];
    }
    if (found && match[1] > at) {
      at = match[1];
    } else {
      at += at < seen.size() ? utf8_length(seen[at]) : 1;
    }
  }
}

}  // namespace nibble
