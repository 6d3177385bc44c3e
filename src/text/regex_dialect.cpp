#include "text/regex_dialect.h"

#include <cctype>
#include <vector>

#include "core/error.h"
#include "text/utf8.h"

namespace nibble {
namespace {

constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d} \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotWhiteSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}!-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
    R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

constexpr size_t kMaxPattern = 1u << 16;
constexpr size_t kMaxDepth = 100;      // PCRE2's own limit on parentheses is 250
constexpr size_t kMaxRepeat = 100000;  // Oniguruma's limit

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& who) : in_(pattern), who_(who) {
    if (in_.size() > kMaxPattern)
      fail(ErrorKind::bad_input, "{}: pattern of {} bytes, at most {} are accepted", who_,
           in_.size(), kMaxPattern);
  }

  std::string translate() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (caseless() && c != '\'' && c != '|' && c != '(' && c != ')' && c != '?') check_folding();
      switch (c) {
        case '(':
          open_group();
          break;
        case ')':
          close_group();
          break;
        case '[':
          character_class();
          break;
        case '\\':
          escape();
          break;
        case '{':
          refuse("a brace that is no repeat");
        case '*':
        case '+':
        case '?':
          refuse("a repeat of nothing");
        case '|':
          take();
          continue;
        case '^':
        case '$':
          take();
          continue;
        default:
          take();
          break;
      }
      repeat();
    }
    if (!groups_.empty()) refuse("a group that is not closed");
    return out_;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorKind::bad_input, "{}: regular expression, byte {}: {} is not supported (pattern: {})",
         who_, at_, what, in_.substr(0, 200));
  }
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  void take() { out_ += in_[at_++]; }
  bool caseless() const { return !groups_.empty() && groups_.back(); }

  void open_group() {
    if (groups_.size() == kMaxDepth) refuse("nesting this deep");
    bool fold = caseless();
    std::string_view head = "(";
    if (peek(1) == '?') {
      const std::string_view rest = in_.substr(at_);
      for (const std::string_view known : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!"})
        if (rest.starts_with(known)) head = known;
      if (head == "(") refuse("this kind of group");
      if (head == "(?i:") fold = true;
    }
    groups_.push_back(fold);
    out_ += head == "(" ? "(?:" : head;
    at_ += head.size();
    opened_ = true;
  }

  void close_group() {
    if (groups_.empty()) refuse("an unmatched ')'");
    groups_.pop_back();
    take();
  }

  // Under (?i:) Oniguruma also matches foldings of several characters ("ss" and U+00DF). Letters
  // whose neighbours cannot take part in one fold alike in both engines.
  void check_folding() {
    const char c = in_[at_];
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != ' ')
      refuse("anything but ASCII letters and groups under (?i:)");
    const auto lower = [](char x) { return x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x; };
    for (const std::string_view pair : {"ss", "st", "ff", "fi", "fl"})
      if (lower(c) == pair[0] && lower(peek(1)) == pair[1])
        refuse("a letter pair that folds to one character under (?i:)");
  }

  void escape() {
    const char c = peek(1);
    switch (c) {
      case 's':
      case 'S':
        out_ += c == 's' ? "[" : "[^";
        out_ += kWhiteSpace;
        out_ += ']';
        at_ += 2;
        return;
      default:
        escaped_item();
        return;
    }
  }

  // The escapes that mean the same inside and outside a class.
  void escaped_item() {
    const char c = peek(1);
    switch (c) {
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'd':
      case 'D':
        take();
        take();
        return;
      case 'v':
        out_ += "\\x{b}";
        at_ += 2;
        return;
      case 'p':
      case 'P':
        property();
        return;
      case 'u':
      case 'x':
        code_point();
        return;
      default:
        break;
    }
    if (c == '\0' || static_cast<uint8_t>(c) >= 0x80 || std::isalnum(static_cast<unsigned char>(c)))
      refuse(fmt::format("the escape \\{}", c == '\0' ? "" : std::string(1, c)));
    take();
    take();
  }

  void property() {
    size_t end = at_ + 2;
    if (end >= in_.size() || in_[end] != '{') refuse("a property without braces");
    for (++end; end < in_.size() && std::isalpha(static_cast<unsigned char>(in_[end]));) ++end;
    if (end >= in_.size() || in_[end] != '}') refuse("this property name");
    const std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    // General categories only: scripts and binary properties are not among what regex.cpp
    // carries over to characters newer than PCRE2's tables.
    constexpr std::string_view kNames =
        " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp ";
    if (name.empty() || kNames.find(fmt::format(" {} ", name)) == std::string_view::npos)
      refuse(fmt::format("the property '{}'", name));
    out_ += in_.substr(at_, end + 1 - at_);
    at_ = end + 1;
  }

  void code_point() {
    const bool braces = peek(1) == 'x';
    const size_t begin = at_ + (braces ? 3 : 2);
    size_t end = begin;
    while (end < in_.size() && std::isxdigit(static_cast<unsigned char>(in_[end])) &&
           end - begin < (braces ? 6u : 4u))
      ++end;
    const bool ok = braces ? peek(2) == '{' && end > begin && end < in_.size() && in_[end] == '}'
                           : end - begin == 4;
    if (!ok) refuse("this spelling of a code point");
    out_ += fmt::format("\\x{{{}}}", in_.substr(begin, end - begin));
    at_ = end + (braces ? 1 : 0);
  }

  void character_class() {
    take();
    if (peek() == '^') take();
    if (peek() == ']') refuse("an empty class");
    while (peek() != ']') {
      if (at_ >= in_.size()) refuse("a class that is not closed");
      if (peek() == '[') refuse("a class inside a class");
      if (peek() == '&' && peek(1) == '&') refuse("a set operation (&&)");
      const bool is_set =
          peek() == '\\' && std::string_view("sSdDpP").find(peek(1)) != std::string_view::npos;
      if (peek() == '\\' && (peek(1) == 's' || peek(1) == 'S')) {
        out_ += peek(1) == 's' ? kWhiteSpace : kNotWhiteSpace;
        at_ += 2;
      } else if (peek() == '\\') {
        escaped_item();
      } else {
        take();
      }
      if (is_set && peek() == '-' && peek(1) != ']') refuse("a range from a set of characters");
    }
    take();
  }

  void repeat() {
    if (opened_) {  // the start of a group is nothing to repeat
      opened_ = false;
      return;
    }
    // One character may be several bytes: its tail belongs to it.
    while (at_ < in_.size() && is_utf8_continuation(in_[at_])) take();
    const char c = peek();
    if (c == '{') {
      counted_repeat();
    } else if (c == '*' || c == '+' || c == '?') {
      take();
      if (peek() == '?') take();
      if (peek() == '+' || peek() == '*' || peek() == '?') refuse("a possessive or doubled repeat");
    }
  }

  void counted_repeat() {
    const size_t begin = at_ + 1;
    size_t end = begin;
    const auto number = [&] {
      size_t value = 0;
      const size_t first = end;
      while (end < in_.size() && in_[end] >= '0' && in_[end] <= '9' && value <= kMaxRepeat)
        value = value * 10 + static_cast<size_t>(in_[end++] - '0');
      return end > first && value <= kMaxRepeat;
    };
    bool ok = number();
    if (ok && end < in_.size() && in_[end] == ',') {
      ++end;
      if (end < in_.size() && in_[end] != '}') ok = number();
    }
    if (!ok || end >= in_.size() || in_[end] != '}') refuse("this counted repeat");
    out_ += in_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    if (peek() == '?' || peek() == '+' || peek() == '*' || peek() == '{')
      refuse("a repeat of a counted repeat");
  }

  std::string_view in_;
  const std::string& who_;
  size_t at_ = 0;
  std::string out_;
  std::vector<bool> groups_;  // the open groups: is each caseless?
  bool opened_ = false;
};

}  // namespace

std::string to_pcre2(std::string_view oniguruma_pattern, const std::string& who) {
  return Translator(oniguruma_pattern, who).translate();
}

}  // namespace nibble
