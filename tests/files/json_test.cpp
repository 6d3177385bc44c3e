// The strict JSON reader, in the manner of JSONTestSuite: what RFC 8259 demands is accepted, what
// it forbids is refused, and what it leaves open is written down here.
#include "files/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "support/data.h"

namespace nibble::test {
namespace {

using std::string;

bool accepts(const string& text) {
  bool plain = true, ordered = true;
  try {
    parse_json(text, "test");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    plain = false;
  }
  try {
    parse_ordered_json(text, "test");
  } catch (const Error&) {
    ordered = false;
  }
  EXPECT_EQ(plain, ordered) << text.substr(0, 100);
  return plain;
}

string refusal_of(const string& text, const JsonLimits& limits = {}) {
  try {
    parse_json(text, "test", limits);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

string repeat(const string& text, size_t times) {
  string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

const std::vector<string> must_accept = {
    "[[]   ]",
    "[\"\"]",
    "[]",
    "[\"a\"]",
    "[false]",
    "[null, 1, \"1\", {}]",
    "[null]",
    "[1\n]",
    " [1]",
    "[1,null,null,null,2]",
    "[2] ",
    "[123e65]",
    "[0e+1]",
    "[0e1]",
    "[ 4]",
    "[-0.0000000000000000000000000000000000000000000000000000000000000000000000000000"
    "01]\n",
    "[20e1]",
    "[-0]",
    "[-123]",
    "[-1]",
    "[1E22]",
    "[1E-2]",
    "[1E+2]",
    "[123e45]",
    "[123.456e78]",
    "[1e-2]",
    "[1e+2]",
    "[123]",
    "[123.456789]",
    "{\"asd\":\"sdf\", \"dfg\":\"fgh\"}",
    "{\"asd\":\"sdf\"}",
    "{}",
    "{\"\":0}",
    "{\"foo\\u0000bar\": 42}",
    "{ \"min\": -1.0e+28, \"max\": 1.0e+28 }",
    "{\"x\":[{\"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}], \"id\": \"x\"}",
    "{\"a\":[]}",
    "{\"title\":\"\\u041f\\u043e\\u043b\" }",
    "{\n\"a\": \"b\"\n}",
    "[\"\\u0060\\u012a\\u12AB\"]",
    "[\"\\uD801\\udc37\"]",
    "[\"\\ud83d\\ude39\\ud83d\\udc8d\"]",
    "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
    "[\"\\\\u0000\"]",
    "[\"\\\"\"]",
    "[\"a/*b*/c/*d//e\"]",
    "[\"\\\\a\"]",
    "[\"\\\\n\"]",
    "[\"\\u0012\"]",
    "[\"\\uFFFF\"]",
    "[\"asd\"]",
    "[ \"asd\"]",
    "[\"\\uDBFF\\uDFFF\"]",
    "[\"new\\u00A0line\"]",
    "[\"\xF4\x8F\xBF\xBF\"]",
    "[\"\xEF\xBF\xBF\"]",
    "[\"\\u0000\"]",
    "[\"\\u002c\"]",
    "[\"\xCF\x80\"]",
    "[\"\xF0\x9B\xBF\xBF\"]",
    "[\"asd \"]",
    "\" \"",
    "[\"\\uD834\\uDd1e\"]",
    "[\"\\u0821\"]",
    "[\"\\u0123\"]",
    "[\"\xE2\x80\xA8\"]",
    "[\"\xE2\x80\xA9\"]",
    "[\"\\u0061\\u30af\\u30EA\"]",
    "[\"new\\u000Aline\"]",
    "[\"\x7F\"]",
    "[\"\\uA66D\"]",
    "[\"\\u005C\"]",
    "[\"\xE2\x8D\x82\xE3\x88\xB4\xE2\x8D\x82\"]",
    "[\"\\u200B\"]",
    "[\"\\u2064\"]",
    "[\"\\uFDD0\"]",
    "[\"\\uFFFE\"]",
    "[\"\\u0022\"]",
    "[\"\xE2\x82\xAC\xF0\x9D\x84\x9E\"]",
    "[\"a\x7F"
    "a\"]",
    "false",
    "42",
    "-0.1",
    "null",
    "\"asd\"",
    "true",
    "\"\"",
    "[\"a\"]\n",
    "[true]",
    " [] ",
    "\t[\r\n1\t]\n",
    // The limits of exact integers.
    "[18446744073709551615]",
    "[-9223372036854775808]",
    "[1.7976931348623157e308]",
    "[5e-324]",
};

const std::vector<string> must_refuse = {
    "",
    " ",
    "[1 true]",
    "[a\xE5]",
    "[\"\": 1]",
    "[\"\"],",
    "[,1]",
    "[1,,2]",
    "[\"x\",,]",
    "[\"x\"]]",
    "[\"\",]",
    "[\"x\"",
    "[x",
    "[3[4]]",
    "[\xFF]",
    "[1:2]",
    "[,]",
    "[-]",
    "[   , \"\"]",
    "[\"a\",\n4\n,1,",
    "[1,]",
    "[1,,]",
    "[\"\va\"\\f]",
    "[*]",
    "[\"\"",
    "[1,",
    "[1,\n1\n,1",
    "[{}",
    "[fals]",
    "[nul]",
    "[tru]",
    "[++1234]",
    "[+1]",
    "[+Inf]",
    "[-01]",
    "[-1.0.]",
    "[-2.]",
    "[-NaN]",
    "[.-1]",
    "[.2e-3]",
    "[0.1.2]",
    "[0.3e+]",
    "[0.3e]",
    "[0.e1]",
    "[0E+]",
    "[0E]",
    "[0e+]",
    "[0e]",
    "[1.0e+]",
    "[1.0e-]",
    "[1.0e]",
    "[1 000.0]",
    "[1eE2]",
    "[2.e+3]",
    "[2.e-3]",
    "[2.e3]",
    "[9.e+]",
    "[Inf]",
    "[NaN]",
    "[\xEF\xBC\x91]",
    "[1+2]",
    "[0x1]",
    "[0x42]",
    "[Infinity]",
    "[0e+-1]",
    "[-123.123foo]",
    "[123\xE5]",
    "[1e1\xE5]",
    "[0\xE5]",
    "[-Infinity]",
    "[-foo]",
    "[- 1]",
    "[-012]",
    "[-.123]",
    "[-1x]",
    "[1ea]",
    "[1e\xE5]",
    "[1.]",
    "[.123]",
    "[1.2a-3]",
    "[1.8011670033376514H-308]",
    "[012]",
    "[\"x\", truth]",
    "{[: \"x\"}\n",
    "{\"x\", null}",
    "{\"x\"::\"b\"}",
    "{\xF0\x9F\x87\xA8}",
    "{\"a\":\"a\" 123}",
    "{key: 'value'}",
    "{\"\xB9\":\"0\",}",
    "{\"a\" b}",
    "{:\"b\"}",
    "{\"a\" \"b\"}",
    "{\"a\":",
    "{\"a\"",
    "{1:1}",
    "{9999E9999:1}",
    "{null:null,null:null}",
    "{\"id\":0,,,,,}",
    "{'a':0}",
    "{\"id\":0,}",
    "{\"a\":\"b\"}/**/",
    "{\"a\":\"b\"}/**//",
    "{\"a\":\"b\"}//",
    "{\"a\":\"b\"}/",
    "{\"a\":\"b\",,\"c\":\"d\"}",
    "{a: \"b\"}",
    "{\"a\":\"a",
    "{ \"foo\" : \"bar\", \"a\" }",
    "{\"a\":\"b\"}#",
    "[\"\\uD800\\\"]",
    "[\"\\uD800\\u\"]",
    "[\"\\uD800\\u1\"]",
    "[\"\\uD800\\u1x\"]",
    "[\xC3\xA9]",
    "[\"\\x00\"]",
    "[\"\\\\\\\"]",
    "[\"\\\t\"]",
    "[\"\\\xF0\x9F\x8C\x80\"]",
    "[\"\\\"]",
    "[\"\\u00A\"]",
    "[\"\\uD834\\uDd\"]",
    "[\"\\uD800\\uD800\\x\"]",
    "[\"\\u\xE5\"]",
    "[\"\\a\"]",
    "[\"\\uqqqq\"]",
    "[\"\\\xE5\"]",
    "[\\u0020\"asd\"]",
    "[\\n]",
    "\"",
    "['single quote']",
    "abc",
    "[\"\\",
    string("[\"a\0a\"]", 7),
    "[\"new\nline\"]",
    "[\"\t\"]",
    "\"\\UA66D\"",
    "\"\"x",
    "[\xE2\x81\xA0]",
    "\xEF\xBB\xBF",
    "<.>",
    "[<null>]",
    "[1]x",
    "[1]]",
    "[\"asd]",
    "a\xC3\xA5",
    "[True]",
    "1]",
    "{\"x\": true,",
    "[][]",
    "]",
    "\xEF\xBB{}",
    "\xE5",
    "[",
    string("123\0", 4),
    string("[\0]", 3),
    "2@",
    "{}}",
    "{\"\":",
    "{\"a\":/*comment*/\"b\"}",
    "{\"a\": true} \"x\"",
    "['",
    "[,",
    "[{",
    "[\"a",
    "[\"a\"",
    "{",
    "{]",
    "{,",
    "{[",
    "{\"a",
    "{'a'",
    "[\"\\{[\"\\{[\"\\{[\"\\{",
    "\xE9",
    "*",
    "{\"a\":\"b\"}#{}",
    "[\\u000A\"\"]",
    "[1",
    "[ false, nul",
    "[ true, fals",
    "[ false, tru",
    "{\"asd\":\"asd\"",
    "\xC3\xA5",
    "[\xE2\x81\xA0]",
    "[\f]",
    "[\x0C"
    "1]",
    "\x0B",
    "[\"\x1F\"]",
    "[\xC2\xA0]",
    "nulll",
    "truefalse",
};

TEST(Json, AcceptsWhatTheStandardDemands) {
  for (const string& text : must_accept) EXPECT_TRUE(accepts(text)) << text;
}

TEST(Json, RefusesWhatTheStandardForbids) {
  for (const string& text : must_refuse) EXPECT_FALSE(accepts(text)) << text;
}

// JSONTestSuite's implementation-defined (i_) cases. Nibble refuses all that a reader could only
// take by losing or inventing something; what is exact is taken.
TEST(Json, ImplementationDefinedCasesAreFixed) {
  const std::vector<string> refused = {
      "[123.456e-789]",  // double_huge_neg_exp: rounds to 0
      "[0.4e00669999999999999999999999999999999999999999999999999999999999999999999999"
      "999999999999999999999999999999999999999999969999999006]",  // huge_exp
      "[-1e+9999]",
      "[1.5e+9999]",
      "[-123123e100000]",
      "[123123e100000]",                                      // real overflow
      "[123e-10000000]",                                      // real underflow
      "[-123123123123123123123123123123]",                    // too_big_neg_int: not an int64
      "[100000000000000000000]",                              // too_big_pos_int: not an uint64
      "[-237462374673276894279832749832423479823246327846]",  // very_big_negative_int
      "[18446744073709551616]",
      "[-9223372036854775809]",  // the first that do not fit
      "{\"\\uDFAA\":0}",
      "[\"\\uDADA\"]",
      "[\"\\uD888\\u1234\"]",
      "[\"\\uD800\\n\"]",
      "[\"\\uDd1ea\"]",
      "[\"\\uD800\\uD800\\n\"]",
      "[\"\\ud800\"]",
      "[\"\\ud800abc\"]",
      "[\"\\uDd1e\\uD834\"]",
      "[\"\\uDFAA\"]",                   // lone surrogates
      "[\"\xE6\x97\xA5\xD1\x88\xFA\"]",  // UTF-8 with an invalid sequence
      "[\"\xF4\xBF\xBF\xBF\"]",          // above U+10FFFF
      "[\"\xED\xA0\x80\"]",              // an encoded surrogate
      "[\"\xFF\"]",
      "[\"\xE9\"]",
      "[\"\x81\"]",  // not UTF-8
      "[\"\xC0\xAF\"]",
      "[\"\xFC\x83\xBF\xBF\xBF\xBF\"]",
      "[\"\xFC\x80\x80\x80\x80\x80\"]",            // overlong
      "[\"\xE0\xFF\"]",                            // truncated
      string("\xFF\xFE[\0\"\0\xE9\0\"\0]\0", 12),  // UTF-16LE with a byte order mark
      string("[\0\"\0\xE9\0\"\0]\0", 10),          // UTF-16LE without
      string("\0[\0\"\0\xE9\0\"\0]", 10),          // UTF-16BE without
      "\xEF\xBB\xBF{}",                            // UTF-8 with a byte order mark
      repeat("[", 500) + repeat("]", 500),         // 500_nested_arrays: the limit is 128
  };
  for (const string& text : refused) EXPECT_FALSE(accepts(text)) << text.substr(0, 100);
  EXPECT_TRUE(accepts(repeat("[", 128) + repeat("]", 128)));
}

// Two of JSONTestSuite's y_ files hold duplicate keys: refused on purpose.
TEST(Json, RefusesDuplicateKeysAtEveryLevel) {
  for (const char* text : {R"({"a":"b","a":"c"})", R"({"a":"b","a":"b"})", R"([[{"a":{},"a":{}}]])",
                           R"({"a":1,"\u0061":2})", R"({"x":{"b":1,"c":2,"b":3}})"}) {
    EXPECT_FALSE(accepts(text)) << text;
    EXPECT_NE(refusal_of(text).find("duplicate key"), string::npos) << refusal_of(text);
  }
  EXPECT_TRUE(accepts(R"({"a":{"a":{"a":1}},"b":{"a":1}})"));
}

TEST(Json, InputDepthIsNotStackDepth) {
  EXPECT_FALSE(accepts(repeat("[", 100'000)));
  EXPECT_FALSE(accepts(repeat("[{\"\":", 50'000) + "\n"));
  EXPECT_TRUE(refusal_of(repeat("[", 100'000), {.max_depth = 1'000'000}).find("ends") !=
              string::npos);
  // Parsed, and destroyed again.
  const string deep = repeat("[", 100'000) + repeat("]", 100'000);
  EXPECT_EQ(refusal_of(deep, {.max_depth = 100'000}), "accepted");
}

TEST(Json, ValuesAreExact) {
  const auto parsed = parse_json(
      R"({"u":18446744073709551615,"i":-9223372036854775808,"z":-0,"d":0.031807661056518555,
          "e":-1.5e-3,"one":1.0,"t":true,"n":null,"s":"a\u00e9\ud83d\ude39\n/"})",
      "test");
  EXPECT_EQ(parsed["u"].get<uint64_t>(), 18446744073709551615u);
  EXPECT_TRUE(parsed["u"].is_number_unsigned());
  EXPECT_EQ(parsed["i"].get<int64_t>(), INT64_MIN);
  EXPECT_EQ(parsed["z"].get<int64_t>(), 0);
  EXPECT_EQ(parsed["d"].get<double>(), 0.031807661056518555);
  EXPECT_EQ(parsed["e"].get<double>(), -0.0015);
  EXPECT_TRUE(parsed["one"].is_number_float());
  EXPECT_EQ(parsed["t"], true);
  EXPECT_TRUE(parsed["n"].is_null());
  EXPECT_EQ(parsed["s"], "a\xC3\xA9\xF0\x9F\x98\xB9\n/");
}

// Strings cross the 8-byte steps of the fast path at every offset.
TEST(Json, StringsOfEveryLengthReadBack) {
  for (size_t length = 0; length < 40; ++length) {
    for (const string special : {"", "\\n", "\xC3\xA9", "\\u0041"}) {
      const string body = string(length, 'x') + special + string(length % 9, 'y');
      string expected = string(length, 'x');
      expected += special == "\\n" ? "\n" : special == "\\u0041" ? "A" : special;
      expected += string(length % 9, 'y');
      EXPECT_EQ(parse_json("\"" + body + "\"", "test"), expected);
    }
    EXPECT_FALSE(accepts("\"" + string(length, 'x') + "\x1F" + string(9, 'y') + "\""));
    EXPECT_FALSE(accepts("\"" + string(length, 'x') + "\x80" + string(9, 'y') + "\""));
  }
}

TEST(Json, OrderOfKeysIsKeptOnRequest) {
  const auto parsed = parse_ordered_json(R"({"z":1,"a":{"y":[{"q":1,"b":2}],"c":3}})", "test");
  EXPECT_EQ(parsed.dump(), R"({"z":1,"a":{"y":[{"q":1,"b":2}],"c":3}})");
}

TEST(Json, LimitsHold) {
  EXPECT_NE(refusal_of("[1,2,3]", {.max_bytes = 6}).find("7 bytes"), string::npos);
  EXPECT_EQ(refusal_of("[1,2,3]", {.max_bytes = 7}), "accepted");
  EXPECT_NE(refusal_of("[1,2,3]", {.max_values = 3}).find("more than 3 values"), string::npos);
  EXPECT_EQ(refusal_of("[1,2,3]", {.max_values = 4}), "accepted");
  EXPECT_NE(refusal_of("[12345]", {.max_number_chars = 4}).find("longer"), string::npos);
  EXPECT_EQ(refusal_of("[12345]", {.max_number_chars = 5}), "accepted");
  EXPECT_NE(refusal_of("[[[]]]", {.max_depth = 2}).find("deeper than 2"), string::npos);
  const string long_number = "[" + string(1'000'000, '1') + "]";
  EXPECT_LT(refusal_of(long_number).size(), 200u);
}

TEST(Json, MessagesNameFileByteAndLine) {
  EXPECT_EQ(refusal_of("{\n \"a\": 1,\n}"),
            "test: byte 11 (line 3): got \"}\", expected a key in double quotes");
  EXPECT_EQ(refusal_of("[1"),
            "test: byte 2 (line 1): the text ends, expected ',' or ']'; is it truncated?");
  EXPECT_NE(refusal_of("\xEF\xBB\xBF{}").find("byte order mark"), string::npos);
}

// Every prefix of a valid document is refused, and no flipped bit crashes the reader.
TEST(Json, TruncationAndBitFlips) {
  const string text =
      R"({"quant_type": "nf4", "shape": [128, 896], "x": -1.5e-3, "s": "\u00e9\ud83d\ude39", "n": null})";
  for (size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(accepts(text.substr(0, size)));
  size_t accepted = 0;
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    accepted += accepts(flipped);
  }
  EXPECT_GT(accepted, 0u);  // a flipped letter in a string is still JSON
}

TEST(Json, PrintableHidesTerminalControl) {
  EXPECT_EQ(printable("a\x1b[31m\"\\\xC3\xA9"), "\"a\\x1b[31m\\\"\\\\\\xc3\\xa9\"");
  EXPECT_EQ(printable(string(1000, 'x')), "\"" + string(100, 'x') + "\"... (1000 bytes)");
}

TEST(Json, ReadsFilesWithinTheLimit) {
  const TempDir folder;
  write_file(folder / "a.json", "{\"a\": 1}");
  EXPECT_EQ(read_json_file(folder / "a.json", "a.json")["a"], 1);
  EXPECT_EQ(read_text_file(folder / "a.json", 8), "{\"a\": 1}");
  EXPECT_THROW(read_text_file(folder / "a.json", 7), Error);
  EXPECT_THROW(read_text_file(folder / "missing.json", 7), Error);
  EXPECT_THROW(read_text_file(folder.path(), 7), Error);
}

}  // namespace
}  // namespace nibble::test
