// The safetensors reader and writer on well-formed files; hostile ones are in
// safetensors_hostile_test.cpp.
#include "files/safetensors.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "support/data.h"

namespace nibble::test {
namespace {

using Infos = std::vector<SafetensorsInfo>;

// A file that lives in memory: quick to make by the thousand.
SafetensorsFile in_memory(const std::string& bytes) {
  FileDescriptor file(memfd_create("input", MFD_CLOEXEC));
  write_all(file, as_bytes(bytes), "input");
  return SafetensorsFile(std::move(file), "input");
}

std::vector<std::byte> read(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsInfo* info = file.find(name);
  if (!info) throw std::runtime_error("no tensor " + name);
  std::vector<std::byte> bytes(info->bytes());
  file.read(*info, 0, bytes);
  return bytes;
}

template <typename T>
std::vector<T> values(const SafetensorsFile& file, const std::string& name) {
  const auto bytes = read(file, name);
  std::vector<T> out(bytes.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

// Element i of a golden (tools/make_file_goldens.py).
int numerator(size_t i) { return static_cast<int>((i * 7) % 23); }
float element(size_t i) { return static_cast<float>(numerator(i) - 11) / 8; }

template <typename T>
void expect_floats(const SafetensorsFile& file, const std::string& name, size_t count) {
  const auto got = values<T>(file, name);
  ASSERT_EQ(got.size(), count);
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(to_float(got[i]), element(i)) << name << i;
}

TEST(Safetensors, ReadsWhatThePythonLibraryWrites) {
  const SafetensorsFile file(golden("files/python.safetensors"));
  EXPECT_TRUE(file.warnings().empty());
  EXPECT_EQ(file.tensors().size(), 10u);
  EXPECT_EQ(file.metadata().at("format"), "a\n\t\"\\\xC3\xBC\x01");
  expect_floats<float>(file, "model.f32", 12);
  expect_floats<f16>(file, "model.f16", 5);
  expect_floats<bf16>(file, "model.bf16", 12);
  expect_floats<float>(file, "scalar", 1);
  expect_floats<float>(file, "empty", 0);
  expect_floats<float>(file, "n\xC3\xA4me \"with\" \\ and /", 1);
  EXPECT_EQ(file.find("model.bf16")->shape, (std::vector<uint64_t>{2, 3, 2}));
  EXPECT_EQ(file.find("empty")->shape, (std::vector<uint64_t>{0, 4}));
  EXPECT_TRUE(file.find("scalar")->shape.empty());
  EXPECT_EQ(file.find("model.i64")->dtype, "I64");
  const auto u8 = values<uint8_t>(file, "model.u8");
  const auto i32 = values<int32_t>(file, "model.i32");
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(u8[i], numerator(i));
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(i32[i], numerator(i));
  EXPECT_EQ(file.find("model.f3"), nullptr);
  EXPECT_EQ(file.find(""), nullptr);
  file.check_unchanged();
}

// The writer lays out and spells the header as the reference does, so the bytes are the same.
TEST(Safetensors, WritesWhatThePythonLibraryWrites) {
  const SafetensorsFile source(golden("files/python.safetensors"));
  const TempDir folder;
  Infos infos = source.tensors();
  std::reverse(infos.begin(), infos.end());
  SafetensorsWriter writer(folder / "copy.safetensors", infos, source.metadata());
  for (const auto& info : writer.order()) {
    const auto bytes = read(source, info.name);
    const size_t half = bytes.size() / 2;
    writer.write(info.name, std::span(bytes).first(half));
    writer.write(info.name, std::span(bytes).subspan(half));
  }
  writer.finish();
  EXPECT_EQ(read_file(folder / "copy.safetensors"), read_file(golden("files/python.safetensors")));
}

TEST(Safetensors, ReadsPiecesAndRefusesToReadOutside) {
  const SafetensorsFile file(golden("files/python.safetensors"));
  const SafetensorsInfo& info = *file.find("model.f32");
  float piece[2];
  file.read(info, 4 * 5, std::as_writable_bytes(std::span(piece)));
  EXPECT_EQ(piece[0], element(5));
  EXPECT_EQ(piece[1], element(6));
  EXPECT_THROW(file.read(info, 4 * 11, std::as_writable_bytes(std::span(piece))), Error);
  EXPECT_THROW(file.read(info, 49, {}), Error);
  EXPECT_THROW(file.read(info, ~uint64_t{0}, std::as_writable_bytes(std::span(piece))), Error);
}

TEST(Safetensors, NoticesAFileThatChangesWhileRead) {
  const TempDir folder;
  const std::string bytes = read_file(golden("files/python.safetensors"));
  write_file(folder / "a.safetensors", bytes);
  const SafetensorsFile file(folder / "a.safetensors");
  file.check_unchanged();
  std::filesystem::resize_file(folder / "a.safetensors", bytes.size() / 2);
  try {
    read(file, file.tensors().back().name);  // no SIGBUS: an error
    ADD_FAILURE() << "read from a truncated file";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    EXPECT_NE(std::string(error.what()).find("changed while being read"), std::string::npos);
  }
  EXPECT_THROW(file.check_unchanged(), Error);
}

TEST(Safetensors, EveryTruncationOfAFileIsRefused) {
  const std::string bytes = read_file(golden("files/python.safetensors"));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(in_memory(bytes.substr(0, size)), Error) << size;
  }
  EXPECT_THROW(in_memory(bytes + "x"), Error);
}

// No flip in the header may crash; what is still accepted must still tile the data.
TEST(Safetensors, HeaderBitFlipsAreRefusedOrStayConsistent) {
  const std::string bytes = read_file(golden("files/python.safetensors"));
  const size_t header_end =
      8 + static_cast<unsigned char>(bytes[0]) + 256u * static_cast<unsigned char>(bytes[1]);
  for (size_t bit = 0; bit < header_end * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    try {
      const SafetensorsFile file = in_memory(flipped);
      uint64_t end = 0;
      for (const auto& info : file.tensors()) {
        EXPECT_EQ(info.begin, end);
        end = info.end;
        std::vector<std::byte> out(info.bytes());
        file.read(info, 0, out);
      }
      EXPECT_EQ(end, file.data_bytes());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_input);
    }
  }
}

TEST(Safetensors, SaysWhatAForeignFileIs) {
  const TempDir folder;
  const auto message = [&](const std::string& bytes) -> std::string {
    write_file(folder / "model.safetensors", bytes);
    try {
      SafetensorsFile file(folder / "model.safetensors");
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto expect = [&](const std::string& bytes, const std::string& part) {
    EXPECT_NE(message(bytes).find(part), std::string::npos) << message(bytes);
  };
  expect("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer");
  expect("<!DOCTYPE html><html></html>", "HTML");
  expect("<html>\n<body>", "HTML");
  expect("PK\x03\x04 torch.save", "zip");
  expect(std::string("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 ", 10), "pickle");
  expect(std::string("GGUF\x03\0\0\0", 8) + "more", "GGUF");
}

TEST(Safetensors, KnowsTheTypesItComputesWith) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::u8, DType::i32}) {
    EXPECT_EQ(dtype_of_safetensors(safetensors_name_of(type)), type);
  }
  EXPECT_EQ(safetensors_name_of(DType::bf16), "BF16");
  EXPECT_EQ(dtype_of_safetensors("F64"), std::nullopt);
  EXPECT_EQ(dtype_of_safetensors("f32"), std::nullopt);
}

TEST(SafetensorsWriter, AlignsTheHeaderAndTakesEmptyFiles) {
  const TempDir folder;
  for (size_t length = 1; length <= 9; ++length) {
    const auto path = folder / (std::string(length, 'n') + ".safetensors");
    SafetensorsWriter writer(path, Infos{{std::string(length, 'n'), "F32", {0}}}, {});
    writer.finish();
    EXPECT_EQ(std::filesystem::file_size(path) % 8, 0u);
    EXPECT_EQ(SafetensorsFile(path).tensors().size(), 1u);
  }
  SafetensorsWriter(folder / "none.safetensors", {}).finish();
  EXPECT_EQ(SafetensorsFile(folder / "none.safetensors").metadata().at("format"), "pt");
}

TEST(SafetensorsWriter, RefusesWhatTheReaderWould) {
  const TempDir folder;
  const auto refused = [&](Infos infos, std::map<std::string, std::string> metadata = {}) {
    try {
      SafetensorsWriter writer(folder / "x.safetensors", std::move(infos), metadata);
    } catch (const Error& error) {
      return error.kind() == ErrorKind::usage && !std::filesystem::exists(folder / "x.safetensors");
    }
    return false;
  };
  EXPECT_TRUE(refused({{"a", "F32", {1}}, {"a", "F16", {1}}}));
  EXPECT_TRUE(refused({{"", "F32", {1}}}));
  EXPECT_TRUE(refused({{"a\nb", "F32", {1}}}));
  EXPECT_TRUE(refused({{"\xFF", "F32", {1}}}));
  EXPECT_TRUE(refused({{"a", "float32", {1}}}));
  EXPECT_TRUE(refused({{"a", "F32", {uint64_t{1} << 48}}}));
  EXPECT_TRUE(refused({{"a", "F32", {uint64_t{1} << 40, uint64_t{1} << 40}}}));
  EXPECT_TRUE(refused({{"a", "F32", {1, 1, 1, 1, 1, 1, 1, 1, 1}}}));
  EXPECT_TRUE(refused({{"a", "F4", {3}}}));
  EXPECT_TRUE(refused({{"__metadata__", "F32", {1}}}));
  EXPECT_TRUE(refused({{"a", "F32", {1}}}, {{"key", "\xFF"}}));
}

TEST(SafetensorsWriter, TakesTensorsInAnyOrderInterleaved) {
  const TempDir folder;
  const Infos infos{{"b", "F32", {2}}, {"a", "F32", {2}}, {"w", "U8", {3}}};
  const std::string data = "aaaaAAAAbbbbBBBBwWw";
  const auto bytes = [&](size_t begin, size_t count) {
    return as_bytes(std::string_view(data).substr(begin, count));
  };
  SafetensorsWriter in_order(folder / "in_order.safetensors", infos);
  in_order.write("a", bytes(0, 8));
  in_order.write("b", bytes(8, 8));
  in_order.write("w", bytes(16, 3));
  in_order.finish();
  SafetensorsWriter mixed(folder / "mixed.safetensors", infos);
  mixed.write("w", bytes(16, 1));
  mixed.write("b", bytes(8, 4));
  mixed.write("a", bytes(0, 8));
  EXPECT_THROW(mixed.finish(), Error);
  mixed.write("w", bytes(17, 2));
  mixed.write("b", bytes(12, 4));
  mixed.finish();
  EXPECT_EQ(read_file(folder / "mixed.safetensors"), read_file(folder / "in_order.safetensors"));
  EXPECT_TRUE(read_file(folder / "mixed.safetensors").ends_with(data));
}

TEST(SafetensorsWriter, HoldsTheCallerToTheNamesAndTheSizes) {
  const TempDir folder;
  const std::vector<std::byte> four(4), five(5);
  SafetensorsWriter writer(folder / "x.safetensors",
                           Infos{{"b", "F32", {1}}, {"a", "F32", {1}}, {"w", "U8", {1}}});
  EXPECT_EQ(writer.order()[0].name, "a");
  EXPECT_EQ(writer.order()[2].name, "w");
  EXPECT_THROW(writer.write("a", five), Error);
  writer.write("a", four);
  EXPECT_THROW(writer.write("a", std::span(four).first(1)), Error);
  EXPECT_THROW(writer.write("zz", four), Error);
}

TEST(SafetensorsWriter, DoesNotFinishAnIncompleteFileNorOverwriteOne) {
  const TempDir folder;
  SafetensorsWriter writer(folder / "x.safetensors", Infos{{"a", "F32", {1}}});
  EXPECT_THROW(writer.finish(), Error);
  EXPECT_THROW(SafetensorsWriter(folder / "x.safetensors", Infos{{"a", "F32", {1}}}), Error);
}

}  // namespace
}  // namespace nibble::test
