#include "text/regex.h"

#include <utility>

#include "core/error.h"
#include "text/regex_program.h"
#include "text/utf8.h"

namespace nibble {
namespace {

using Op = RegexInstruction::Op;
using Greed = RegexNode::Greed;

// Steps (instructions, characters of a run, and choices taken back) that a text may take. The
// patterns of real tokenizers take 5 to 40 a byte.
constexpr uint64_t kStepsPerByte = 256;
// Besides, n * n steps for n bytes, so that short texts may be hard; a long one is cut into many
// short ones, so this must not be a large constant for each.
constexpr uint64_t kFreeSteps = 1u << 22;

uint64_t step_limit(uint64_t bytes) {
  const uint64_t free = bytes < 2048 ? bytes * bytes : kFreeSteps;
  return 1024 + kStepsPerByte * bytes + free;
}

struct OutOfSteps {};

class Matcher {
 public:
  Matcher(const RegexProgram& program, std::string_view text)
      : code_(program.code.data()),
        classes_(program.classes.data()),
        program_(program),
        text_(text),
        slots_(program.slots),
        steps_(step_limit(text.size())) {}

  // The end of the match that begins at `at`; npos if there is none. Throws OutOfSteps.
  size_t match(size_t at) { return run(0, at); }

  // Can a match begin here?
  bool begins(size_t at) const { return leads(program_.first, at); }

 private:
  static constexpr size_t kNone = std::string_view::npos;

  // What is tried when the rest fails: go on at `pc` from `at`.
  struct Choice {
    enum class Kind : uint32_t {
      plain,
      shrink,  // first give back one character, down to `limit`
      grow,    // first take one more of the run before pc, up to `limit` more
      slot,    // only restore slot `pc` to `at`
    };
    uint32_t pc;
    Kind kind;
    size_t at;
    size_t limit;
  };

  void count(size_t steps) {
    if (steps_ < steps) throw OutOfSteps();
    steps_ -= steps;
  }
  bool is_in(uint32_t set, size_t at) const {
    return at < text_.size() && classes_[set].contains(decode_utf8(text_, at));
  }
  bool leads(uint32_t set, size_t at) const {
    return set == RegexInstruction::kAnything || is_in(set, at);
  }
  bool at_boundary(size_t at) const {
    const bool before = at > 0 && is_in(program_.word, previous_utf8(text_, at));
    return before != is_in(program_.word, at);
  }
  // `count` characters before `at`; npos if there are fewer.
  size_t back(size_t at, uint32_t characters) const {
    for (; characters > 0; --characters) {
      if (at == 0) return kNone;
      at = previous_utf8(text_, at);
    }
    return at;
  }

  size_t run(uint32_t pc, size_t at);
  bool run_of(const RegexInstruction& in, uint32_t pc, size_t& at);
  bool body(const RegexInstruction& in, uint32_t pc, size_t& at);
  bool take_back(size_t base, uint32_t& pc, size_t& at);

  const RegexInstruction* code_;
  const CharacterClass* classes_;
  const RegexProgram& program_;
  std::string_view text_;
  std::vector<size_t> slots_;
  std::vector<Choice> choices_;
  uint64_t steps_;
};

// Runs from `pc` to an accept; the choices that it made are forgotten. Calls itself for bodies
// (lookaround, atomic groups) only, so as deep as the pattern nests.
size_t Matcher::run(uint32_t pc, size_t at) {
  const size_t base = choices_.size();
  while (true) {
    count(1);
    const RegexInstruction& in = code_[pc];
    bool ok = true;
    switch (in.op) {
      case Op::character:
        ok = is_in(in.a, at);
        if (ok) at += utf8_length(text_[at]);
        break;
      case Op::run:
        ok = run_of(in, pc, at);
        break;
      case Op::fork:
        if (!leads(in.first_a, at)) {
          pc = in.b;
          continue;
        }
        if (leads(in.first_b, at)) choices_.push_back({in.b, Choice::Kind::plain, at, 0});
        pc = in.a;
        continue;
      case Op::jump:
        pc = in.a;
        continue;
      case Op::mark:
        choices_.push_back({in.a, Choice::Kind::slot, slots_[in.a], 0});
        slots_[in.a] = at;
        break;
      case Op::progress:
        if (slots_[in.a] == at) {
          pc = in.b;
          continue;
        }
        break;
      case Op::atomic:
      case Op::look_ahead:
      case Op::not_ahead:
      case Op::look_behind:
      case Op::not_behind:
        ok = body(in, pc, at);
        if (ok) {
          pc = in.a;
          continue;
        }
        break;
      case Op::line_begin:  // not after the newline that ends the text
        ok = at == 0 || (text_[at - 1] == '\n' && at < text_.size());
        break;
      case Op::line_end:
        ok = at == text_.size() || text_[at] == '\n';
        break;
      case Op::text_begin:
        ok = at == 0;
        break;
      case Op::text_end:
        ok = at == text_.size();
        break;
      case Op::text_end_or_newline:
        ok = at == text_.size() || (at + 1 == text_.size() && text_[at] == '\n');
        break;
      case Op::word_boundary:
        ok = at_boundary(at);
        break;
      case Op::no_boundary:
        ok = !at_boundary(at);
        break;
      case Op::accept:
        choices_.resize(base);
        return at;
    }
    if (ok) {
      ++pc;
    } else if (!take_back(base, pc, at)) {
      return kNone;
    }
  }
}

bool Matcher::run_of(const RegexInstruction& in, uint32_t pc, size_t& at) {
  const CharacterClass& set = classes_[in.a];
  const uint32_t wanted = in.greed == Greed::lazy ? in.min : in.max;
  size_t least = at;  // the end of the first `min` characters
  uint32_t taken = 0;
  while (taken < wanted && at < text_.size() && set.contains(decode_utf8(text_, at))) {
    at += utf8_length(text_[at]);
    if (++taken == in.min) least = at;
  }
  count(taken);
  if (taken < in.min) return false;
  if (in.greed == Greed::greedy && taken > in.min) {
    choices_.push_back({pc + 1, Choice::Kind::shrink, at, least});
  } else if (in.greed == Greed::lazy && in.max > in.min) {
    const size_t more = in.max == RegexNode::kUnlimited ? kNone : in.max - in.min;
    choices_.push_back({pc + 1, Choice::Kind::grow, at, more});
  }
  return true;
}

bool Matcher::body(const RegexInstruction& in, uint32_t pc, size_t& at) {
  switch (in.op) {
    case Op::atomic: {
      const size_t end = run(pc + 1, at);
      if (end == kNone) return false;
      at = end;
      return true;
    }
    case Op::look_ahead:
      return run(pc + 1, at) != kNone;
    case Op::not_ahead:
      return run(pc + 1, at) == kNone;
    default: {
      const size_t begin = back(at, in.min);
      count(in.min);
      const bool found = begin != kNone && run(pc + 1, begin) != kNone;
      return found == (in.op == Op::look_behind);
    }
  }
}

// To the latest choice that has something left to try.
bool Matcher::take_back(size_t base, uint32_t& pc, size_t& at) {
  while (choices_.size() > base) {
    count(1);
    Choice& choice = choices_.back();
    pc = choice.pc;
    switch (choice.kind) {
      case Choice::Kind::slot:
        slots_[choice.pc] = choice.at;
        choices_.pop_back();
        continue;
      case Choice::Kind::plain:
        at = choice.at;
        choices_.pop_back();
        return true;
      case Choice::Kind::shrink:
        at = choice.at = previous_utf8(text_, choice.at);
        if (at == choice.limit) choices_.pop_back();
        return true;
      case Choice::Kind::grow:
        if (!is_in(code_[pc - 1].a, choice.at)) {
          choices_.pop_back();
          continue;
        }
        at = choice.at += utf8_length(text_[choice.at]);
        if (choice.limit != kNone && --choice.limit == 0) choices_.pop_back();
        return true;
    }
  }
  return false;
}

}  // namespace

Regex::Regex(std::string_view pattern, std::string who) : who_(std::move(who)) {
  program_ = std::make_unique<const RegexProgram>(compile_regex(parse_regex(pattern, who_), who_));
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

void Regex::find_all(std::string_view text, std::vector<Match>& matches) const {
  Matcher matcher(*program_, text);
  size_t last_end = std::string_view::npos;
  for (size_t at = 0; at <= text.size();) {
    size_t end = std::string_view::npos;
    if (matcher.begins(at)) {
      try {
        end = matcher.match(at);
      } catch (const OutOfSteps&) {
        fail(ErrorKind::bad_input,
             "{}: the regular expression gave up at byte {} of a text of {} "
             "bytes; the pattern "
             "takes superlinear time on this text",
             who_, at, text.size());
      }
    }
    if (end != std::string_view::npos && !(end == at && last_end == at)) {
      matches.push_back({at, end});
      last_end = end;
    }
    if (end != std::string_view::npos && end > at) {
      at = end;
    } else {
      at += at < text.size() ? utf8_length(text[at]) : 1;
    }
  }
}

}  // namespace nibble
