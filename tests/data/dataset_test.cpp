// Rows of JSONL -> documents, with the demo's byte-level tokenizer: what is trained, what is cut,
// and that no hostile file passes without its row and byte.
#include "data/dataset.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "support/data.h"
#include "support/demo_run.h"
#include "train/tokenizer_source.h"

namespace nibble::test {
namespace {

const TokenizerSource& source() {
  static const TokenizerSource tokens = TokenizerSource::open(demo_model());
  return tokens;
}

Dataset load(const std::string& bytes, const DatasetOptions& options = {}) {
  const TempDir folder;
  write_file(folder / "data.jsonl", bytes);
  return load_dataset(folder / "data.jsonl", source().tokenizer, source().special, options);
}

std::string text_of(const std::vector<int32_t>& ids) {
  return source().tokenizer.decode(ids, false);
}

// What the loss is taken over: the labels without -100.
std::string trained_text(const Document& document) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < document.labels.size(); ++i)
    if (document.labels[i] >= 0) {
      EXPECT_EQ(document.labels[i], document.ids[i]);
      ids.push_back(document.ids[i]);
    }
  return text_of(ids);
}

TEST(Dataset, TextIsTrainedWhole) {
  const Dataset data = load(R"({"text": "A town by the river."})"
                            "\n");
  ASSERT_EQ(data.documents.size(), 1u);
  EXPECT_EQ(text_of(data.documents[0].ids), "<|begin_of_text|>A town by the river.<|end_of_text|>");
  EXPECT_EQ(data.documents[0].labels, data.documents[0].ids);
  EXPECT_EQ(data.tokens, static_cast<int64_t>(data.documents[0].ids.size()));
  EXPECT_EQ(data.trained_tokens, data.tokens - 1);  // the first token is never predicted
}

TEST(Dataset, OnlyTheCompletionIsTrained) {
  const Dataset data =
      load(R"({"prompt": "Who lives here?\nAnswer:", "completion": " A potter."})");
  EXPECT_EQ(text_of(data.documents[0].ids),
            "<|begin_of_text|>Who lives here?\nAnswer: A potter.<|end_of_text|>");
  EXPECT_EQ(trained_text(data.documents[0]), " A potter.<|end_of_text|>");
  EXPECT_EQ(data.straddling_rows, 0);
  DatasetOptions all;
  all.completion_only_loss = false;
  const Dataset whole =
      load(R"({"prompt": "Who lives here?\nAnswer:", "completion": " A potter."})", all);
  EXPECT_EQ(whole.documents[0].ids, data.documents[0].ids);
  EXPECT_EQ(whole.documents[0].labels, whole.documents[0].ids);
}

// The prompt's end is found by offsets in the text tokenized as one: "riv" + "er" is one token,
// which spans the border and is not trained.
TEST(Dataset, TokenAcrossTheBorderIsNotTrained) {
  const Dataset data = load(R"({"prompt": "Down by the riv", "completion": "er, she said."})");
  EXPECT_EQ(text_of(data.documents[0].ids),
            "<|begin_of_text|>Down by the river, she said.<|end_of_text|>");
  EXPECT_EQ(data.straddling_rows, 1);
  EXPECT_EQ(trained_text(data.documents[0]), ", she said.<|end_of_text|>");
}

// Offsets are bytes of UTF-8; characters of several bytes and tokens must not move the border.
TEST(Dataset, BorderBehindLongCharacters) {
  const Dataset data = load(R"({"prompt": "Größe 💡 \u65e5\u672c:", "completion": " 𝔸 ja."})");
  EXPECT_EQ(trained_text(data.documents[0]), " 𝔸 ja.<|end_of_text|>");
}

TEST(Dataset, EndOfTextIsAppendedOnce) {
  const Dataset data = load(
      "{\"text\": \"One.<|end_of_text|>\"}\n"
      "{\"prompt\": \"Q\", \"completion\": \" A<|end_of_text|>\"}\n"
      "{\"text\": \"One.\"}\n");
  EXPECT_EQ(text_of(data.documents[0].ids), "<|begin_of_text|>One.<|end_of_text|>");
  EXPECT_EQ(data.documents[2].ids, data.documents[0].ids);
  EXPECT_EQ(trained_text(data.documents[1]), " A<|end_of_text|>");
}

TEST(Dataset, LongRowsKeepTheirStartAndAreCounted) {
  DatasetOptions options;
  options.max_length = 5;
  const Dataset full = load(R"({"text": "one two three four five six seven"})");
  const Dataset cut = load(R"({"text": "one two three four five six seven"})"
                           "\n"
                           R"({"text": "a"})",
                           options);
  EXPECT_EQ(cut.documents[0].ids,
            std::vector<int32_t>(full.documents[0].ids.begin(), full.documents[0].ids.begin() + 5));
  EXPECT_EQ(cut.truncated_rows, 1);
  EXPECT_EQ(cut.truncated_tokens, full.tokens - 5);
  EXPECT_EQ(cut.longest, 5);
  EXPECT_EQ(full.truncated_rows, 0);
}

TEST(Dataset, HarmlessOddities) {
  const std::string row = R"({"text": "A row."})";
  for (const auto& [name, bytes, rows] : std::vector<std::tuple<const char*, std::string, size_t>>{
           {"no final newline", row, 1},
           {"CRLF", row + "\r\n" + row + "\r\n", 2},
           {"blank lines", "\n \n\t\n" + row + "\n\n" + row + "\n\n", 2},
           {"byte order mark", "\xEF\xBB\xBF" + row + "\n", 1},
           {"other fields", R"({"id": 7, "text": "A row.", "tags": [1, {"a": null}]})", 1},
           {"spaces around", "  " + row + " \t\n", 1},
           {"escapes", R"({"text": "\ud83d\ude00 \u00e9 \n \\ \""})", 1},
           {"empty prompt", R"({"prompt": "", "completion": "x"})", 1},
           {"right to left, zero width", "{\"text\": \"\xd7\xa9\xe2\x80\x8f\xe2\x80\x8b\"}", 1},
           {"100,000 blank lines", std::string(100000, '\n') + row, 1}}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(load(bytes).documents.size(), rows);
  }
}

struct Hostile {
  const char* name;
  std::string bytes;
  const char* where;  // row and byte that the message must name
  const char* words;
};

TEST(Dataset, HostileRowsAreRefusedByRowAndByte) {
  const std::string good = "{\"text\": \"A row.\"}\n";  // 19 bytes
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  const std::vector<Hostile> cases = {
      {"empty file", "", "", "no rows"},
      {"only newlines", "\n\n\r\n", "", "no rows"},
      {"lone CR", "{\"text\": \"a\"}\r{\"text\": \"b\"}\n", "row 1 (byte 0)", ""},
      {"UTF-16", std::string("\xFF\xFE{\0\"\0", 6), "row 1 (byte 0)", "UTF-16"},
      {"gzip", "\x1F\x8B\x08\x04zzzz", "row 1 (byte 0)", "gzip"},
      {"Parquet", "PAR1\x15\x04", "row 1 (byte 0)", "Parquet"},
      {"NUL byte", good + std::string("{\"text\": \"a\0b\"}", 15), "row 2 (byte 19)", ""},
      {"invalid UTF-8", good + "{\"text\": \"a\xFF\"}", "row 2 (byte 19)", "UTF-8"},
      {"overlong UTF-8", good + "{\"text\": \"\xC0\xAF\"}", "row 2 (byte 19)", "UTF-8"},
      {"surrogate in UTF-8", good + "{\"text\": \"\xED\xA0\x80\"}", "row 2 (byte 19)", "UTF-8"},
      {"lone surrogate", good + R"({"text": "\ud800"})", "row 2 (byte 19)", ""},
      {"deep nesting", good + deep, "row 2 (byte 19)", ""},
      {"deep nesting in a field", good + "{\"text\": \"a\", \"x\": " + deep + "}",
       "row 2 (byte 19)", ""},
      {"duplicate key", good + R"({"text": "a", "text": "b"})", "row 2 (byte 19)", "text"},
      {"trailing comma", good + R"({"text": "a",})", "row 2 (byte 19)", ""},
      {"NaN", good + R"({"text": "a", "x": NaN})", "row 2 (byte 19)", ""},
      {"huge exponent", good + R"({"text": "a", "x": 1e400})", "row 2 (byte 19)", ""},
      {"top-level array", good + "[1]", "row 2 (byte 19)", "array"},
      {"top-level string", good + "\"a\"", "row 2 (byte 19)", "string"},
      {"null", good + "null", "row 2 (byte 19)", "null"},
      {"two objects in a line", good + R"({"text": "a"}{"text": "b"})", "row 2 (byte 19)", ""},
      {"object over two lines", good + "{\"text\":\n\"a\"}\n", "row 2 (byte 19)", ""},
      {"half a line at the end", good + good + "{\"text\": \"A ro", "row 3 (byte 38)", ""},
      {"no text", good + R"({"content": "a", "id": 1})", "row 2 (byte 19)", "content, id"},
      {"prompt alone", good + R"({"prompt": "a"})", "row 2 (byte 19)", "completion"},
      {"completion alone", good + R"({"completion": "a"})", "row 2 (byte 19)", "prompt"},
      {"text and prompt", good + R"({"text": "a", "prompt": "b", "completion": "c"})",
       "row 2 (byte 19)", ""},
      {"messages", good + R"({"messages": []})", "row 2 (byte 19)", "messages"},
      {"text null", good + R"({"text": null})", "row 2 (byte 19)", "null"},
      {"text number", good + R"({"text": 5})", "row 2 (byte 19)", "number"},
      {"text list", good + R"({"text": ["a"]})", "row 2 (byte 19)", "array"},
      {"prompt number", good + R"({"prompt": 5, "completion": "a"})", "row 2 (byte 19)", "prompt"},
      {"empty text", good + R"({"text": ""})", "row 2 (byte 19)", "no text"},
      {"empty completion", good + R"({"prompt": "a", "completion": ""})", "row 2 (byte 19)",
       "\"completion\" is empty"},
      {"blank lines are counted", "\n\n" + good + "{}", "row 4 (byte 21)", ""},
      {"CRLF is counted", "{\"text\": \"A row.\"}\r\n{}", "row 2 (byte 20)", ""},
      {"byte order mark is counted", "\xEF\xBB\xBF" + good + "{}", "row 2 (byte 22)", ""},
  };
  for (const Hostile& hostile : cases) {
    SCOPED_TRACE(hostile.name);
    try {
      load(hostile.bytes);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.kind(), ErrorKind::bad_input) << message;
      EXPECT_NE(message.find("data.jsonl"), std::string::npos) << message;
      EXPECT_NE(message.find(hostile.where), std::string::npos) << message;
      EXPECT_NE(message.find(hostile.words), std::string::npos) << message;
      EXPECT_LT(message.size(), 600u);
    }
  }
}

TEST(Dataset, CompletionCutAwayIsRefused) {
  DatasetOptions options;
  options.max_length = 4;
  try {
    load(R"({"prompt": "one two three four five six", "completion": " x"})", options);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("max_length 4"), std::string::npos) << error.what();
  }
}

// 10^6 combining marks and a long row of one word: linear time, no crash.
TEST(Dataset, Floods) {
  std::string marks = "{\"text\": \"a";
  for (int i = 0; i < 100000; ++i) marks += "\xCC\x81";
  EXPECT_EQ(load(marks + "\"}").documents.size(), 1u);
  EXPECT_EQ(load("{\"text\": \"" + std::string(1000000, 'a') + "\"}").truncated_rows, 1);
}

TEST(Dataset, HashIsOfTheRows) {
  const std::string a = "{\"text\": \"a\"}\n", b = "{\"text\": \"b\"}\n";
  EXPECT_EQ(load(a + b).sha256, load(a + b).sha256);
  EXPECT_NE(load(a + b).sha256, load(b + a).sha256);
  EXPECT_NE(load(a + b).sha256, load(a).sha256);
}

TEST(Dataset, MissingFileAndFolder) {
  const TempDir folder;
  for (const auto& path : {folder.path(), folder / "none.jsonl"}) try {
      load_dataset(path, source().tokenizer, source().special, {});
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    }
}

}  // namespace
}  // namespace nibble::test
