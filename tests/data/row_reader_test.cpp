// Rows and their places in every file format, and what hostile files get: a row of their own that
// is refused, or a refusal of the file where nobody can say where the next row begins.
#include "data/row_reader.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "core/error.h"
#include "support/data.h"

namespace nibble::test {
namespace {

using Json = nlohmann::ordered_json;
using Read = std::function<std::unique_ptr<RowReader>(ByteSource)>;

// What a row says: its JSON, or "! " and the error.
struct Seen {
  int64_t number;
  uint64_t offset;
  std::string says;
  bool operator==(const Seen&) const = default;
};

void PrintTo(const Seen& seen, std::ostream* out) {
  *out << "{" << seen.number << ", " << seen.offset << ", " << seen.says << "}";
}

std::string says(const RowReader& reader, const RawRow& row) {
  try {
    return reader.parse(row).dump();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    return std::string("! ") + error.what();
  }
}

std::vector<Seen> rows_of(RowReader& reader) {
  std::vector<Seen> rows;
  for (RawRow row; reader.next(row);) rows.push_back({row.number, row.offset, says(reader, row)});
  return rows;
}

std::vector<Seen> read(const Read& how, const std::string& bytes) {
  return rows_of(*how(ByteSource::of(bytes, "data")));
}

// The error that a file as a whole gets.
std::string refusal(const Read& how, const std::string& bytes) {
  try {
    read(how, bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    return error.what();
  }
  return "(accepted)";
}

RowReaderOptions limited(uint64_t bytes) {
  RowReaderOptions options;
  options.max_row_bytes = bytes;
  return options;
}

Read jsonl(const RowReaderOptions& options = {}) {
  return [=](ByteSource source) { return read_jsonl(std::move(source), options); };
}
Read array(const RowReaderOptions& options = {}) {
  return [=](ByteSource source) { return read_json_objects(std::move(source), true, options); };
}
Read objects() {
  return [](ByteSource source) { return read_json_objects(std::move(source), false); };
}
Read csv(char delimiter = ',', const RowReaderOptions& options = {}) {
  return [=](ByteSource source) { return read_csv(std::move(source), delimiter, options); };
}
Read text(SampleBy by, const RowReaderOptions& given = {}) {
  RowReaderOptions options = given;
  options.sample_by = by;
  return [=](ByteSource source) { return read_text(std::move(source), options); };
}

bool starts(const std::string& text, const std::string& start) { return text.starts_with(start); }

TEST(Jsonl, LinesAndTheirPlaces) {
  EXPECT_EQ(
      read(jsonl(), "{\"a\":1}\r\n\n \t\r\n{\"b\":2}\n{\"c\":3}"),
      (std::vector<Seen>{{1, 0, R"({"a":1})"}, {4, 14, R"({"b":2})"}, {5, 22, R"({"c":3})"}}));
  EXPECT_EQ(read(jsonl(), "\xEF\xBB\xBF{\"a\":1}\n{\"b\":2}"),
            (std::vector<Seen>{{1, 0, R"({"a":1})"}, {2, 11, R"({"b":2})"}}));
}

TEST(Jsonl, FilesWithoutRows) {
  for (const char* bytes : {"", "\n", "\n\n\r\n \t\n", "\xEF\xBB\xBF", "\xEF\xBB\xBF\n"})
    EXPECT_TRUE(read(jsonl(), bytes).empty()) << bytes;
}

TEST(Jsonl, KeysKeepTheirOrder) {
  EXPECT_EQ(read(jsonl(), R"({"z":1,"a":{"y":2,"b":3}})")[0].says, R"({"z":1,"a":{"y":2,"b":3}})");
}

struct BadLine {
  const char* name;
  std::string line;
  const char* words;
};

// Each stands between two good lines, which must not suffer.
TEST(Jsonl, HostileLinesAreRefusedAlone) {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  const std::vector<BadLine> cases = {
      {"lone CR", "{\"a\":1}\r{\"a\":2}", "after the document"},
      {"NUL", std::string("{\"a\":\"\0\"}", 10), "byte 6 of the row is NUL"},
      {"invalid UTF-8", "{\"a\":\"\xFF\"}", "invalid UTF-8"},
      {"overlong", "{\"a\":\"\xC0\xAF\"}", "invalid UTF-8"},
      {"overlong of 3 bytes", "{\"a\":\"\xE0\x80\xAF\"}", "invalid UTF-8"},
      {"surrogate as UTF-8", "{\"a\":\"\xED\xA0\x80\"}", "invalid UTF-8"},
      {"above U+10FFFF", "{\"a\":\"\xF4\x90\x80\x80\"}", "invalid UTF-8"},
      {"cut character", "{\"a\":\"\xE2\x82\"}", "invalid UTF-8"},
      {"lone high surrogate", R"({"a":"\ud800"})", "lone high surrogate"},
      {"lone low surrogate", R"({"a":"\udc00"})", "lone low surrogate"},
      {"depth 100,000", deep, "nested deeper than"},
      {"depth 100,000 in a field", "{\"a\":" + deep + "}", "nested deeper than"},
      {"objects nested 100,000 deep",
       [] {
         std::string text;
         for (int i = 0; i < 100000; ++i) text += "{\"a\":";
         return text;
       }(),
       "nested deeper than"},
      {"duplicate key", R"({"messages":[],"messages":[1]})", "duplicate key \"messages\""},
      {"duplicate key, escaped", R"({"a":1,"\u0061":2})", "duplicate key"},
      {"trailing comma", R"({"a":1,})", "a key in double quotes"},
      {"NaN", R"({"a":NaN})", "a value"},
      {"Infinity", R"({"a":-Infinity})", "a digit"},
      {"1e400", R"({"a":1e400})", "does not fit a double"},
      {"400 digits", "{\"a\":" + std::string(400, '7') + "}", "does not fit a 64-bit integer"},
      {"5000 digits", "{\"a\":" + std::string(5000, '7') + "}", "longer than 512 characters"},
      {"two objects", R"({"a":1}{"a":2})", "after the document"},
      {"first half of an object", "{\"a\":", "the text ends"},
      {"second half of an object", "1}", "after the document"},
      {"half a line", R"({"a":"A ro)", "is it truncated?"},
      {"single quotes", "{'a':1}", "double quotes"},
      {"comment", "{\"a\":1} // one", "after the document"},
      {"control character", "{\"a\":\"\x01\"}", "control character"},
  };
  for (const BadLine& bad : cases) {
    SCOPED_TRACE(bad.name);
    const auto rows = read(jsonl(), "{\"ok\":1}\n" + bad.line + "\n{\"ok\":2}\n");
    ASSERT_EQ(rows.size(), 3u);
    EXPECT_EQ(rows[0].says, "{\"ok\":1}");
    EXPECT_TRUE(starts(rows[1].says, "! ")) << rows[1].says;
    EXPECT_NE(rows[1].says.find(bad.words), std::string::npos) << rows[1].says;
    EXPECT_LT(rows[1].says.size(), 500u);
    EXPECT_EQ(rows[1].offset, 9u);
    EXPECT_EQ(rows[2], (Seen{3, 9 + bad.line.size() + 1, "{\"ok\":2}"}));
  }
}

// Values that are legal JSON pass here; whether they are rows, row_format says.
TEST(Jsonl, LegalOddities) {
  for (const char* line : {"[1]", "\"a\"", "5", "null", "true", R"({"text":"\u0000"})",
                           "{\"a\":\"\xD7\xA9\xE2\x80\x8F\xE2\x80\x8B\"}"})
    EXPECT_FALSE(starts(read(jsonl(), line).at(0).says, "!")) << line;
}

TEST(Jsonl, LongLineIsOneBadRow) {
  const auto rows = read(jsonl(limited(20)), "{\"a\":1}\n{\"a\":\"" + std::string(1000000, 'x') +
                                                 "\"}\n{\"a\":\"20 bytes....\"}\n");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].says, "! the row is longer than 20 bytes");
  EXPECT_EQ(rows[2].says, R"({"a":"20 bytes...."})");
}

// 256 MB of one line, sparse on disk: what is kept of it ends at the limit.
TEST(Jsonl, EndlessLineTakesNoMemory) {
  const TempDir folder;
  const auto path = folder / "endless.jsonl";
  write_file(path, "{\"a");
  std::filesystem::resize_file(path, uint64_t{1} << 28);
  const auto reader = open_rows(path, limited(uint64_t{1} << 20));
  RawRow row;
  ASSERT_TRUE(reader->next(row));
  EXPECT_TRUE(row.too_long);
  EXPECT_LE(row.text.capacity(), size_t{4} << 20);
  EXPECT_FALSE(reader->next(row));
}

TEST(Jsonl, TenMillionEmptyLines) {
  const auto rows = read(jsonl(), std::string(10000000, '\n') + "{\"a\":1}");
  EXPECT_EQ(rows, (std::vector<Seen>{{10000001, 10000000, "{\"a\":1}"}}));
}

TEST(JsonArray, RowsOverAnyNumberOfLines) {
  EXPECT_EQ(read(array(), "\xEF\xBB\xBF [ {\"a\": \"]}\\\"\"} ,\n{\n\"b\":\n[{}]}\t]\r\n"),
            (std::vector<Seen>{{1, 6, R"({"a":"]}\""})"}, {2, 22, R"({"b":[{}]})"}}));
  EXPECT_TRUE(read(array(), "[]").empty());
  EXPECT_TRUE(read(array(), " [\n]\n").empty());
}

TEST(JsonArray, ObjectsWithoutAnArray) {
  EXPECT_EQ(read(objects(), "{\n \"a\": 1\n}\n{\"b\":\n2}\n"),
            (std::vector<Seen>{{1, 0, "{\"a\":1}"}, {2, 12, "{\"b\":2}"}}));
  EXPECT_NE(refusal(objects(), "{\"a\":1},").find("byte 7 (after row 1)"), std::string::npos);
}

// The text crosses the buffer's border at every place of a row.
TEST(JsonArray, RowsAcrossTheBuffer) {
  const TempDir folder;
  const std::string row = R"({"a":"\\\"]}"})";
  for (size_t shift = 0; shift <= row.size() + 2; ++shift) {
    const std::string padding(ByteSource::buffer_bytes - 2 - shift, ' ');
    write_file(folder / "a.json", "[" + padding + row + "," + row + "]");
    const auto reader = open_rows(folder / "a.json");
    const auto rows = rows_of(*reader);
    ASSERT_EQ(rows.size(), 2u) << shift;
    EXPECT_EQ(rows[0].says, row);
    EXPECT_EQ(rows[1], (Seen{2, 1 + padding.size() + row.size() + 1, row}));
  }
}

TEST(JsonArray, BadRowsAreRefusedAlone) {
  for (const auto& [row, words] : std::vector<std::pair<std::string, std::string>>{
           {R"({"a":1,})", "double quotes"},
           {R"({"a":1,"a":2})", "duplicate key"},
           {R"({"a":[}])", "a value"},
           {R"({"a":"\ud800"})", "surrogate"},
           {R"({"a" 1})", "':'"},
           {"{\"a\":\"\n\"}", "control character"},
           {std::string(1000, '{').replace(0, 1, "{") + std::string(1000, '}'), "double quotes"},
           {"{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}",
            "nested deeper"}}) {
    const auto rows = read(array(), "[{\"ok\":1}," + row + ",{\"ok\":2}]");
    ASSERT_EQ(rows.size(), 3u) << row;
    EXPECT_TRUE(starts(rows[1].says, "! ")) << rows[1].says;
    EXPECT_NE(rows[1].says.find(words), std::string::npos) << rows[1].says;
    EXPECT_EQ(rows[2].says, "{\"ok\":2}");
  }
}

TEST(JsonArray, BrokenFilesAreRefused) {
  for (const auto& [bytes, words] : std::vector<std::pair<std::string, std::string>>{
           {"", "expected '['"},
           {"{\"a\":1}", "expected '['"},
           {"[", "the end of the file"},
           {"[{\"a\":1}", "byte 8 (after row 1): got the end of the file, expected ',' or ']'"},
           {"[{\"a\":1},", "the end of the file"},
           {"[{\"a\":1},]", "a comma before ']'"},
           {"[,{\"a\":1}]", "got \",\""},
           {"[{\"a\":1} {\"a\":2}]", "expected ',' or ']'"},
           {"[5]", "got \"5\", expected a row, which is an object"},
           {"[[{\"a\":1}]]", "expected a row"},
           {"[{\"a\":1},null]", "got \"n\", expected a row"},
           {"[{\"a\":]}]", "byte 7 (after row 1): got \"}\""},
           {"[{\"a\":1}]]", "nothing after the array"},
           {"[{\"a\":1}]{\"a\":1}", "nothing after the array"},
           {"[{\"a\":1", "row 1 (byte 1): the file ends inside this row; is it truncated?"},
           {"[{\"a\":\"x", "the file ends inside a string of this row"},
           {"[{\"a\":\"x}]", "the file ends inside a string of this row"},
           {std::string("[\0", 2), "NUL"}}) {
    const std::string message = refusal(array(), bytes);
    EXPECT_NE(message.find(words), std::string::npos) << bytes << " -> " << message;
    EXPECT_TRUE(starts(message, "data: ")) << message;
  }
}

TEST(JsonArray, LongRowIsOneBadRow) {
  const auto rows =
      read(array(limited(20)), "[{\"a\":\"" + std::string(1000, '}') + "\"},{\"b\":1}]");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].says, "! the row is longer than 20 bytes");
  EXPECT_EQ(rows[1].says, "{\"b\":1}");
}

TEST(Csv, Rfc4180) {
  EXPECT_EQ(read(csv(), "a,b\r\n1,2\r\n\"x,\"\"y\"\"\r\nz\",\r\n\r\n,\"\"\n\"=cmd\",3"),
            (std::vector<Seen>{{2, 5, R"({"a":"1","b":"2"})"},
                               {3, 10, R"({"a":"x,\"y\"\r\nz","b":""})"},
                               {4, 27, R"({"a":"","b":""})"},
                               {5, 31, R"({"a":"=cmd","b":"3"})"}}));
  EXPECT_EQ(read(csv('\t'), "a\tb,c\n1,2\t3\n"),
            (std::vector<Seen>{{2, 6, R"({"a":"1,2","b,c":"3"})"}}));
  EXPECT_EQ(read(csv(), "\xEF\xBB\xBFtext\nx"), (std::vector<Seen>{{2, 8, R"({"text":"x"})"}}));
}

TEST(Csv, NoGuessingOfDelimiters) {
  EXPECT_EQ(read(csv(), "a;b\n1;2\n"), (std::vector<Seen>{{2, 4, R"({"a;b":"1;2"})"}}));
}

TEST(Csv, FilesWithoutRows) {
  for (const char* bytes : {"", "\n\r\n", "a,b\n", "a,b", "a,b\r\n\r\n\n"})
    EXPECT_TRUE(read(csv(), bytes).empty()) << bytes;
}

TEST(Csv, BadRowsAreRefusedAlone) {
  for (const auto& [row, words] : std::vector<std::pair<std::string, std::string>>{
           {"1", "got 1 fields, expected 2 as in the header"},
           {"1,2,3", "got 3 fields, expected 2"},
           {"1,2,", "got 3 fields"},
           {"\"1\"x,2", "byte 3 of the row: got \"x\" after a closing quote"},
           {"1\"2\",3", "byte 1 of the row: a quote in a field without quotes"},
           {"1\r2,3", "a carriage return in a field without quotes"},
           {"\xFF,2", "byte 0 of the row is invalid UTF-8"},
           {std::string("\0,2", 3), "byte 0 of the row is NUL"},
           {std::string(5000, ','), "more than 4096 columns"},
           {"\"" + std::string(200, 'x') + "\",2", "longer than 150 bytes"}}) {
    SCOPED_TRACE(row.substr(0, 20));
    const auto rows =
        read(csv(',', limited(row.size() > 4000 ? 10000 : 150)), "a,b\n1,2\n" + row + "\n3,4\n");
    ASSERT_EQ(rows.size(), 3u);
    EXPECT_TRUE(starts(rows[1].says, "! ")) << rows[1].says;
    EXPECT_NE(rows[1].says.find(words), std::string::npos) << rows[1].says;
    EXPECT_EQ(rows[2].says, R"({"a":"3","b":"4"})");
  }
}

TEST(Csv, BrokenFilesAreRefused) {
  std::string columns = "c0";
  for (int i = 1; i < 100000; ++i) columns += ",c" + std::to_string(i);
  for (const auto& [bytes, words] : std::vector<std::pair<std::string, std::string>>{
           {"a,b\n1,\"2\n3,4\n", "row 2 (byte 4): the quote opened at byte 6 is never closed"},
           {"a,\"b\n1,2\n", "the quote opened at byte 2 is never closed"},
           {"a,b,a\n1,2,3\n", "the header: the column \"a\" is there twice"},
           {columns + "\n", "the header: more than 4096 columns"},
           {"a\"b\n", "the header: byte 1 of the row: a quote"},
           {"a\xFF\n", "the header: byte 1 of the row is invalid UTF-8"},
           {std::string("ab\0\n", 4), "the header: is no text"}}) {
    const std::string message = refusal(csv(), bytes);
    EXPECT_NE(message.find(words), std::string::npos) << bytes.substr(0, 20) << " -> " << message;
    EXPECT_TRUE(starts(message, "data: row ")) << message;
  }
}

// Lines as Python's text mode splits them, which load_dataset("text") reads with.
TEST(Text, Lines) {
  EXPECT_EQ(read(text(SampleBy::line), "a\r\n\nb \rc\n\r\n \nd"),
            (std::vector<Seen>{{1, 0, R"({"text":"a"})"},
                               {3, 4, R"({"text":"b "})"},
                               {4, 7, R"({"text":"c"})"},
                               {6, 11, R"({"text":" "})"},
                               {7, 13, R"({"text":"d"})"}}));
}

// As str.split("\n\n") does: what follows a third line end belongs to the next paragraph.
TEST(Text, Paragraphs) {
  EXPECT_EQ(read(text(SampleBy::paragraph), "a\nb\n\n\n\n\nc\r\n\r\nd\n"),
            (std::vector<Seen>{{1, 0, R"({"text":"a\nb"})"},
                               {3, 7, R"({"text":"\nc"})"},
                               {4, 13, R"({"text":"d\n"})"}}));
  EXPECT_EQ(read(text(SampleBy::paragraph), "a\n\n\nb"),
            (std::vector<Seen>{{1, 0, R"({"text":"a"})"}, {2, 3, R"({"text":"\nb"})"}}));
}

TEST(Text, Documents) {
  EXPECT_EQ(read(text(SampleBy::document), "\n\na\r\n\r\nb\r"),
            (std::vector<Seen>{{1, 0, R"({"text":"\n\na\n\nb\n"})"}}));
  EXPECT_TRUE(read(text(SampleBy::document), "").empty());
}

TEST(Text, BadRowsAreRefusedAlone) {
  const auto rows = read(text(SampleBy::line, limited(5)),
                         std::string("good\nb\xFF\nb\0d\ntoo long\ngood\n", 26));
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[1].says, "! byte 1 of the row is invalid UTF-8");
  EXPECT_TRUE(starts(rows[2].says, "! byte 1 of the row is NUL"));
  EXPECT_EQ(rows[3].says, "! the row is longer than 5 bytes");
  EXPECT_EQ(rows[4].says, R"({"text":"good"})");
}

TEST(OpenRows, ExtensionAndFirstByteDecide) {
  const TempDir folder;
  const auto says_of = [&](const std::string& name, const std::string& bytes) {
    write_file(folder / name, bytes);
    const auto reader = open_rows(folder / name);
    std::string all;
    for (const Seen& seen : rows_of(*reader)) all += seen.says + " ";
    return all;
  };
  EXPECT_EQ(says_of("a.jsonl", "{\"a\":1}\n{\"a\":2}"), "{\"a\":1} {\"a\":2} ");
  EXPECT_EQ(says_of("a.ndjson", "{\"a\":1}\n{\"a\":2}"), "{\"a\":1} {\"a\":2} ");
  EXPECT_EQ(says_of("a.json", "{\"a\":1}\n{\"a\":2}"), "{\"a\":1} {\"a\":2} ");
  EXPECT_EQ(says_of("b.json", "\n [{\"a\":1},\n{\"a\":2}]"), "{\"a\":1} {\"a\":2} ");
  EXPECT_EQ(says_of("c.json", "{\n\"a\":1\n}\n"), "{\"a\":1} ");
  EXPECT_EQ(says_of("d.json", "{\"a\":\n[1,\n2]}"), "{\"a\":[1,2]} ");
  EXPECT_EQ(says_of("e.json", "\xEF\xBB\xBF[{\"a\":1}]"), "{\"a\":1} ");
  EXPECT_EQ(says_of("f.json", "{\"a\":1}"), "{\"a\":1} ");
  EXPECT_EQ(says_of("g.json", ""), "");
  EXPECT_EQ(says_of("a.csv", "a,b\n1,2\n"), R"({"a":"1","b":"2"} )");
  EXPECT_EQ(says_of("a.tsv", "a\tb\n1\t2\n"), R"({"a":"1","b":"2"} )");
  EXPECT_EQ(says_of("a.txt", "x\n"), R"({"text":"x"} )");
}

TEST(OpenRows, WhatIsNoTextIsRefusedByName) {
  const TempDir folder;
  using namespace std::string_literals;
  const std::vector<std::pair<std::string, const char*>> files = {
      {"\x1F\x8B\x08\x04zzzz", "gzip"},
      {"\x28\xB5\x2F\xFDzzzz", "zstd"},
      {"BZh91AY", "bzip2"},
      {"\xFD\x37zXZ\0"s, "xz"},
      {"PK\x03\x04", "zip"},
      {"PAR1\x15\x04", "Parquet"},
      {"ARROW1\0\0"s, "Arrow"},
      {"\xFF\xFE{\0\"\0"s, "UTF-16"},
      {"\xFE\xFF\0{\0\""s, "UTF-16"},
      {"\0\0\xFE\xFF"s, "UTF-32"},
      {"{\0\"\0"s, "UTF-16"},
      {"\0{\0\""s, "UTF-16"},
      {"\0"s, "NUL"},
  };
  for (const char* name : {"a.jsonl", "a.json", "a.csv", "a.txt"})
    for (const auto& [bytes, word] : files) {
      write_file(folder / name, bytes);
      try {
        open_rows(folder / name);
        ADD_FAILURE() << name << ": accepted " << word;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::bad_input);
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
      }
    }
  for (const char* name : {"a.parquet", "a.jsonl.gz", "a", "a.xlsx"}) {
    write_file(folder / name, "{\"a\":1}\n");
    EXPECT_THROW(open_rows(folder / name), Error) << name;
  }
  EXPECT_THROW(open_rows(folder / "none.jsonl"), Error);
  EXPECT_THROW(open_rows(folder.path()), Error);
}

}  // namespace
}  // namespace nibble::test
