// Lines, their places, and the limit on one line's length.
#include "data/jsonl_reader.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "support/data.h"

namespace nibble::test {
namespace {

TEST(JsonlReader, LinesAndTheirPlaces) {
  const TempDir folder;
  write_file(folder / "a.jsonl", "one\r\n\n  \ntwo\nthree");
  JsonlReader reader(folder / "a.jsonl");
  std::string line;
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(line, "one");
  EXPECT_EQ(reader.where(), (folder / "a.jsonl").string() + ": row 1 (byte 0)");
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(line, "two");
  EXPECT_EQ(reader.row(), 4);
  EXPECT_TRUE(reader.where().ends_with("row 4 (byte 9)"));
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(line, "three");
  EXPECT_FALSE(reader.next(line));
  EXPECT_FALSE(reader.next(line));
}

// A sparse file of one endless line: refused at the limit, not at the end of memory.
TEST(JsonlReader, EndlessLineIsRefused) {
  const TempDir folder;
  const auto path = folder / "endless.jsonl";
  write_file(path, "x");
  std::filesystem::resize_file(path, JsonlReader::max_line_bytes * 4);
  JsonlReader reader(path);
  std::string line;
  try {
    reader.next(line);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    EXPECT_NE(std::string(error.what()).find("64 MiB"), std::string::npos) << error.what();
  }
  EXPECT_LE(line.capacity(), 2 * JsonlReader::max_line_bytes);
}

}  // namespace
}  // namespace nibble::test
