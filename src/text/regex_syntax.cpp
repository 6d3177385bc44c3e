#include "text/regex_syntax.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "core/error.h"
#include "text/utf8.h"

namespace nibble {
namespace {

using Kind = RegexNode::Kind;
using Greed = RegexNode::Greed;

constexpr size_t kMaxPattern = 1u << 14;
constexpr size_t kMaxGroupDepth = 100;
constexpr uint32_t kMaxRepeat = 100000;  // Oniguruma's limit
constexpr char32_t kLastCharacter = 0x10FFFF;

CharacterSet one(char32_t c) {
  CharacterSet set;
  set.add(c, c);
  return set;
}

bool is_ascii_letter(char32_t c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }

// The number of characters that a node matches, if it is always the same.
std::optional<uint32_t> fixed_length(const RegexNode& node) {
  constexpr uint32_t kMaxLength = 1u << 16;
  switch (node.kind) {
    case Kind::character:
      return 1;
    case Kind::sequence: {
      uint32_t sum = 0;
      for (const RegexNode& child : node.children) {
        const auto length = fixed_length(child);
        if (!length || sum + *length > kMaxLength) return std::nullopt;
        sum += *length;
      }
      return sum;
    }
    case Kind::choice: {
      const auto first = fixed_length(node.children[0]);
      for (const RegexNode& child : node.children)
        if (!first || fixed_length(child) != first) return std::nullopt;
      return first;
    }
    case Kind::repeat: {
      const auto length = fixed_length(node.children[0]);
      if (!length || node.min != node.max || uint64_t{*length} * node.min > kMaxLength)
        return std::nullopt;
      return *length * node.min;
    }
    case Kind::atomic:
      return fixed_length(node.children[0]);
    default:
      return 0;
  }
}

class Parser {
 public:
  Parser(std::string_view pattern, const std::string& who) : in_(pattern), who_(who) {
    if (in_.size() > kMaxPattern)
      fail(ErrorKind::bad_input, "{}: pattern of {} bytes, at most {} are accepted", who_,
           in_.size(), kMaxPattern);
    if (const size_t bad = find_invalid_utf8(in_); bad != std::string_view::npos)
      fail(ErrorKind::bad_input, "{}: the pattern is not UTF-8 at byte {}", who_, bad);
  }

  RegexTree parse() {
    RegexTree tree;
    tree.root = choice();
    if (at_ < in_.size()) refuse("an unmatched ')'");
    tree.sets = std::move(sets_);
    return tree;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorKind::bad_input, "{}: regular expression, byte {}: {} is not supported (pattern: {})",
         who_, at_, what, in_.substr(0, 200));
  }
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  bool take(std::string_view text) {
    if (!in_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t take_character() {
    const char32_t c = decode_utf8(in_, at_);
    at_ += utf8_length(in_[at_]);
    return c;
  }

  RegexNode character(CharacterSet set) {
    RegexNode node;
    node.kind = Kind::character;
    node.set = static_cast<uint32_t>(sets_.size());
    sets_.push_back(std::move(set));
    return node;
  }
  static RegexNode around(Kind kind, RegexNode child) {
    RegexNode node;
    node.kind = kind;
    node.children.push_back(std::move(child));
    return node;
  }
  static RegexNode plain(Kind kind) {
    RegexNode node;
    node.kind = kind;
    return node;
  }

  // Alternatives, up to the end of the pattern or of the group.
  RegexNode choice() {
    if (++depth_ > kMaxGroupDepth) refuse("nesting this deep");
    RegexNode node = plain(Kind::choice);
    do node.children.push_back(sequence());
    while (take("|"));
    --depth_;
    if (node.children.size() > 1) return node;
    RegexNode only = std::move(node.children[0]);
    return only;
  }

  RegexNode sequence() {
    RegexNode node = plain(Kind::sequence);
    while (at_ < in_.size() && peek() != '|' && peek() != ')') {
      if (take("(?i)")) {  // until the end of the group, alternatives and all
        const bool outer = std::exchange(caseless_, true);
        node.children.push_back(choice());
        caseless_ = outer;
        break;
      }
      node.children.push_back(repeated(atom()));
    }
    return node;
  }

  RegexNode atom() {
    switch (peek()) {
      case '(':
        return group();
      case '[':
        ++at_;
        return character(character_class());
      case '\\':
        return escape();
      case '.': {
        ++at_;
        CharacterSet set = one('\n');
        set.invert();
        return character(std::move(set));
      }
      case '^':
        ++at_;
        return plain(Kind::line_begin);
      case '$':
        ++at_;
        return plain(Kind::line_end);
      case '{':
        refuse("a brace that is no repeat");
      case '*':
      case '+':
      case '?':
        refuse("a repeat of nothing");
      default:
        return literal(take_character());
    }
  }

  // A character that stands for itself.
  RegexNode literal(char32_t c) {
    if (!caseless_) return character(one(c));
    // Oniguruma also matches foldings of several characters ("ss" and U+00DF).
    const auto lower = [](char32_t x) { return x >= 'A' && x <= 'Z' ? x + 32 : x; };
    const auto next = static_cast<char32_t>(static_cast<uint8_t>(peek()));
    for (const std::string_view pair : {"ss", "st", "ff", "fi", "fl"})
      if (lower(c) == static_cast<char32_t>(pair[0]) &&
          lower(next) == static_cast<char32_t>(pair[1]))
        refuse("a letter pair that folds to one character under (?i)");
    return character(folded(one(c)));
  }

  // All that a set matches under (?i). Two ASCII letters have kin outside of ASCII.
  CharacterSet folded(CharacterSet set) const {
    CharacterSet more;
    for (const auto& [first, last] : set.ranges()) {
      if (last >= 0x80) refuse("anything but ASCII under (?i)");
      for (char32_t c = first; c <= last; ++c) {
        if (!is_ascii_letter(c)) continue;
        more.add(c ^ 0x20, c ^ 0x20);
        if ((c | 0x20) == 'k') more.add(0x212A, 0x212A);
        if ((c | 0x20) == 's') more.add(0x17F, 0x17F);
      }
    }
    set.add(more);
    return set;
  }

  RegexNode group() {
    if (take("(?:")) return closed(choice());
    if (take("(?i:")) {
      const bool outer = std::exchange(caseless_, true);
      RegexNode node = closed(choice());
      caseless_ = outer;
      return node;
    }
    if (take("(?>")) return around(Kind::atomic, closed(choice()));
    if (take("(?=")) return around(Kind::look_ahead, closed(choice()));
    if (take("(?!")) return around(Kind::not_ahead, closed(choice()));
    if (take("(?<=")) return look_behind(true);
    if (take("(?<!")) return look_behind(false);
    if (peek(1) == '?' || peek(1) == '*') refuse("this kind of group");
    ++at_;
    return closed(choice());
  }

  RegexNode closed(RegexNode node) {
    if (!take(")")) refuse("a group that is not closed");
    return node;
  }

  // The alternatives may differ in length, each has one.
  RegexNode look_behind(bool wanted) {
    const size_t begin = at_;
    RegexNode body = closed(choice());
    std::vector<RegexNode> alternatives;
    if (body.kind == Kind::choice) {
      alternatives = std::move(body.children);
    } else {
      alternatives.push_back(std::move(body));
    }
    // One of them ends here; or: not this one, and not that one.
    RegexNode node = plain(wanted ? Kind::choice : Kind::sequence);
    for (RegexNode& alternative : alternatives) {
      const auto length = fixed_length(alternative);
      if (!length) {
        at_ = begin;
        refuse("a lookbehind of varying length");
      }
      RegexNode behind =
          around(wanted ? Kind::look_behind : Kind::not_behind, std::move(alternative));
      behind.min = *length;
      node.children.push_back(std::move(behind));
    }
    return node;
  }

  RegexNode escape() {
    switch (peek(1)) {
      case 'A':
        at_ += 2;
        return plain(Kind::text_begin);
      case 'z':
        at_ += 2;
        return plain(Kind::text_end);
      case 'Z':
        at_ += 2;
        return plain(Kind::text_end_or_newline);
      case 'b':
        at_ += 2;
        return plain(Kind::word_boundary);
      case 'B':
        at_ += 2;
        return plain(Kind::no_boundary);
      default:
        break;
    }
    if (auto set = escaped_set(/*in_class=*/false)) {
      if (caseless_) refuse("a set of characters under (?i)");
      return character(std::move(*set));
    }
    return literal(escaped_character());
  }

  // \s \d \w \h \p{..} and their complements.
  std::optional<CharacterSet> escaped_set(bool in_class) {
    CharacterSet set;
    const char c = peek(1);
    switch (c) {
      case 's':
      case 'S':
        set = CharacterSet::white_space();
        break;
      case 'd':
      case 'D':
        set = CharacterSet::of_categories(categories_named("Nd").value());
        break;
      case 'w':
      case 'W':
        set = in_class ? CharacterSet::word() : CharacterSet::lone_word();
        break;
      case 'h':
      case 'H':
        set.add('0', '9');
        set.add('A', 'F');
        set.add('a', 'f');
        break;
      case 'p':
      case 'P':
        set = property();
        if (c == 'P') set.invert();
        return set;
      default:
        return std::nullopt;
    }
    at_ += 2;
    if (std::isupper(static_cast<unsigned char>(c))) set.invert();
    return set;
  }

  CharacterSet property() {
    const size_t end = in_.find('}', at_);
    if (peek(2) != '{' || end == std::string_view::npos) refuse("a property without braces");
    std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    const bool inverted = name.starts_with('^');
    if (inverted) name.remove_prefix(1);
    CharacterSet set;
    if (const auto categories = categories_named(name)) {
      set = CharacterSet::of_categories(*categories);
    } else {
      std::string lower(name.substr(0, 32));
      for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      auto script = CharacterSet::script(lower);
      if (!script) refuse(fmt::format("the property '{}'", name.substr(0, 32)));
      set = std::move(*script);
    }
    if (inverted) set.invert();
    at_ = end + 1;
    return set;
  }

  char32_t escaped_character() {
    const char c = peek(1);
    if (c == 'u' || c == 'x') return code_point();
    constexpr std::string_view kNames = "nrtfvae";
    constexpr std::string_view kValues = "\n\r\t\f\v\a\x1b";
    if (const size_t i = kNames.find(c); c != '\0' && i != std::string_view::npos) {
      at_ += 2;
      return static_cast<char32_t>(kValues[i]);
    }
    if (c == '\0' || std::isalnum(static_cast<unsigned char>(c)))
      refuse(fmt::format("the escape \\{}", c == '\0' ? "" : std::string(1, c)));
    ++at_;
    return take_character();
  }

  // \uHHHH or \x{H..}.
  char32_t code_point() {
    const bool braces = peek(1) == 'x';
    const size_t begin = at_ + (braces ? 3 : 2);
    size_t end = begin;
    char32_t value = 0;
    while (end < in_.size() && std::isxdigit(static_cast<unsigned char>(in_[end])) &&
           end - begin < (braces ? 6u : 4u)) {
      const char digit = in_[end++];
      value = value * 16 + static_cast<char32_t>(digit <= '9' ? digit - '0' : (digit | 0x20) - 87);
    }
    const bool ok = braces ? peek(2) == '{' && end > begin && end < in_.size() && in_[end] == '}'
                           : end - begin == 4;
    if (!ok || value > kLastCharacter || (value >= 0xD800 && value < 0xE000))
      refuse("this spelling of a code point");
    at_ = end + (braces ? 1 : 0);
    return value;
  }

  // What follows '[', up to and with its ']'.
  CharacterSet character_class() {
    if (++depth_ > kMaxGroupDepth) refuse("nesting this deep");
    const bool inverted = take("^");
    if (peek() == ']') refuse("an empty class");
    std::optional<CharacterSet> result;  // of what came before &&
    CharacterSet set;
    std::vector<CharacterSet::Range> ranges;
    const auto finish = [&] {
      for (const auto& [first, last] : ranges) set.add(first, last);
      ranges.clear();
      if (result) set.intersect(std::move(*result));
    };
    while (!take("]")) {
      if (at_ >= in_.size()) refuse("a class that is not closed");
      if (take("&&")) {
        finish();
        result = std::exchange(set, {});
        continue;
      }
      if (peek() == '[') {
        if (peek(1) == ':') refuse("a POSIX bracket");
        ++at_;
        set.add(character_class());
        continue;
      }
      if (peek() == '\\') {
        if (const auto escaped = escaped_set(/*in_class=*/true)) {
          set.add(*escaped);
          if (peek() == '-' && peek(1) != ']') refuse("a range from a set of characters");
          continue;
        }
      }
      ranges.push_back(range());
    }
    finish();
    --depth_;
    if (caseless_) set = folded(std::move(set));
    if (inverted) set.invert();
    return set;
  }

  CharacterSet::Range range() {
    const auto end_point = [&] { return peek() == '\\' ? escaped_character() : take_character(); };
    const char32_t first = end_point();
    if (peek() != '-' || peek(1) == ']') return {first, first};
    ++at_;
    if (at_ >= in_.size() || peek() == '[' || in_.substr(at_).starts_with("&&"))
      refuse("a range without an end");
    const char32_t last = end_point();
    if (last < first) refuse("a range that runs backwards");
    return {first, last};
  }

  RegexNode repeated(RegexNode node) {
    for (size_t count = 0;; ++count) {
      RegexNode repeat = plain(Kind::repeat);
      const bool braces = peek() == '{';
      if (braces) {
        counted(repeat);
      } else if (take("*")) {
        repeat.max = RegexNode::kUnlimited;
      } else if (take("+")) {
        repeat.min = 1;
        repeat.max = RegexNode::kUnlimited;
      } else if (take("?")) {
        repeat.max = 1;
      } else {
        return node;
      }
      if (count == 4) refuse("so many repeats of a repeat");
      if (node.kind >= Kind::look_ahead) refuse("a repeat of what has no length");
      if (take("?")) {
        repeat.greed = Greed::lazy;
      } else if (!braces && take("+")) {  // after braces a '+' repeats the repeat
        repeat.greed = Greed::possessive;
      }
      repeat.children.push_back(std::move(node));
      node = std::move(repeat);
    }
  }

  // {n}, {n,} and {n,m}.
  void counted(RegexNode& repeat) {
    size_t end = at_ + 1;
    const auto number = [&]() -> std::optional<uint32_t> {
      uint32_t value = 0;
      const size_t first = end;
      while (end < in_.size() && in_[end] >= '0' && in_[end] <= '9' && value <= kMaxRepeat)
        value = value * 10 + static_cast<uint32_t>(in_[end++] - '0');
      if (end == first || value > kMaxRepeat) return std::nullopt;
      return value;
    };
    const auto min = number();
    auto max = min;
    if (min && end < in_.size() && in_[end] == ',') {
      ++end;
      max = RegexNode::kUnlimited;
      if (end < in_.size() && in_[end] != '}') max = number();
    }
    if (!min || !max || *max < *min || end >= in_.size() || in_[end] != '}')
      refuse("this counted repeat");
    repeat.min = *min;
    repeat.max = *max;
    at_ = end + 1;
    if (peek() == '?' && *min == *max) refuse("a lazy repeat of a fixed number");
  }

  std::string_view in_;
  const std::string& who_;
  size_t at_ = 0;
  size_t depth_ = 0;
  bool caseless_ = false;
  std::vector<CharacterSet> sets_;
};

}  // namespace

RegexTree parse_regex(std::string_view pattern, const std::string& who) {
  return Parser(pattern, who).parse();
}

}  // namespace nibble
