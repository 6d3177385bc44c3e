// The properties of characters as Hugging Face `tokenizers` sees them, whatever versions of Unicode
// the machine's libraries have. The library itself holds several; each function says whose.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace nibble {

// A set of categories, as bits. "L" names all of Lu, Ll, Lt, Lm and Lo, "Lu" itself; nothing for a
// name that is none.
std::optional<uint32_t> categories_named(std::string_view name);

// A set of characters: sorted ranges that neither overlap nor touch.
class CharacterSet {
 public:
  struct Range {
    char32_t first, last;
  };
  static CharacterSet of_categories(uint32_t categories);  // Unicode 16, as in Oniguruma
  static CharacterSet white_space();
  static CharacterSet word();       // Oniguruma's \w in a class
  static CharacterSet lone_word();  // and outside of one, and for \b
  static CharacterSet rust_word();  // \w of Rust's regex crate
  static CharacterSet numeric();    // Rust's char::is_numeric
  static CharacterSet punctuation();
  // What the normalizers take out: StripAccents; BertNormalizer's clean_text and strip_accents.
  static CharacterSet marks();
  static CharacterSet controls();
  static CharacterSet accents();
  // Of Oniguruma, by lower-case name; nothing for one that is not in the tables.
  static std::optional<CharacterSet> script(std::string_view name);

  void add(char32_t first, char32_t last);
  void add(const CharacterSet& other);
  void invert();
  void intersect(CharacterSet other);
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

// The same for lookup in constant time.
class CharacterClass {
 public:
  explicit CharacterClass(const CharacterSet& set);
  bool contains(char32_t c) const {
    const auto& block = blocks_[pages_[c >> 8]];
    return (block[c >> 6 & 3] >> (c & 63) & 1) != 0;
  }

 private:
  std::array<uint16_t, 0x1100> pages_{};
  std::vector<std::array<uint64_t, 4>> blocks_;
};

// Rust's char::to_lowercase, but for U+0130, whose lower case is two characters.
char32_t to_lower(char32_t c);

// `tokenizers` normalizes with the tables of Unicode 9. A character that has come since is
// reordered and composed nowhere ("inert"), and decomposed nowhere ("whole").
bool is_inert_in_normalization(char32_t c);
bool is_whole_in_normalization(char32_t c);

}  // namespace nibble
