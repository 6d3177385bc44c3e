// The 99 hostile and edge inputs of docs/formats.md ("Hostile inputs"), built in code, and what
// the strict reader says to each.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <iterator>
#include <string>

#include "core/error.h"
#include "files/safetensors.h"
#include "support/data.h"

namespace nibble::test {
namespace {

using std::string;

string zeros(size_t count) { return string(count, '\0'); }

string T(const string& dtype, const string& shape, const string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

const string kT = T("F32", "[2]", "[0,8]");
const string kH = R"({"a":)" + kT + "}";

// The 8 bytes of N, which need not be the header's length; the header; the data.
string safetensors_bytes(uint64_t n, const string& header, const string& data) {
  string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(n >> (8 * i));
  return bytes + header + data;
}

// A file of `header` and `data`, N being the header's length.
string file(const string& header, const string& data = zeros(8)) {
  return safetensors_bytes(header.size(), header, data);
}
// One tensor "a" whose value is `tensor`.
string one(const string& tensor, const string& data = zeros(8)) {
  return file(R"({"a":)" + tensor + "}", data);
}
// One tensor T with the raw bytes `name` between the quotes.
string named(const string& name) { return file("{\"" + name + "\":" + kT + "}"); }
// `metadata` and one tensor T.
string with_metadata(const string& metadata) {
  return file(R"({"__metadata__":)" + metadata + R"(,"a":)" + kT + "}");
}
string shaped(const string& shape) { return one(T("F32", shape, "[0,8]")); }
string at(const string& offsets) { return one(T("F32", "[2]", offsets)); }
string ones_and_two(size_t ones) {
  string shape = "[";
  for (size_t i = 0; i < ones; ++i) shape += "1,";
  return shape + "2]";
}
string many_tensors(size_t count, const string& tensor, const string& data) {
  string header = "{";
  for (size_t i = 0; i < count; ++i) {
    header += (i ? ",\"w" : "\"w") + std::to_string(i) + "\":" + tensor;
  }
  return file(header + "}", data);
}
string eight_huge() {
  constexpr uint64_t size = (uint64_t{1} << 61) - 1;
  string header = "{";
  for (uint64_t k = 0; k < 8; ++k) {
    header += (k ? ",\"t" : "\"t") + std::to_string(k) + "\":" +
              T("U8", "[" + std::to_string(size) + "]",
                "[" + std::to_string(k * size) + "," + std::to_string((k + 1) * size) + "]");
  }
  return file(header + "}", "");
}

constexpr bool A = true, R = false;  // accepted, refused

struct Row {
  const char* name;
  bool accepted;
  std::function<string()> build;
};

const Row rows[] = {
    {"empty_file", R, [] { return string(); }},
    {"7_bytes", R, [] { return zeros(7); }},
    {"8_bytes_n0", R, [] { return zeros(8); }},
    {"n_zero_with_data", R, [] { return zeros(16); }},
    {"n_greater_than_file", R, [] { return safetensors_bytes(1000, kH, zeros(8)); }},
    {"n_2e63", R, [] { return safetensors_bytes(uint64_t{1} << 63, kH, zeros(8)); }},
    {"n_u64max", R, [] { return safetensors_bytes(~uint64_t{0}, kH, zeros(8)); }},
    {"n_u64max_minus7_wraps", R, [] { return safetensors_bytes(~uint64_t{0} - 7, kH, zeros(8)); }},
    {"n_100000001", R, [] { return safetensors_bytes(100'000'001, kH, zeros(8)); }},
    {"valid_baseline", A, [] { return file(kH); }},
    {"valid_no_tensors", A, [] { return file("{}", ""); }},
    {"hdr_empty_metadata_only", A, [] { return file(R"({"__metadata__":{}})", ""); }},
    {"trailing_bytes_polyglot", R, [] { return file(kH, zeros(8) + "PK\x03\x04zip"); }},
    {"truncated_by_1", R, [] { return file(kH, zeros(7)); }},
    {"n_short_by_1", R, [] { return safetensors_bytes(kH.size() - 1, kH, zeros(8)); }},
    {"n_long_by_1_eats_data", A,
     [] { return safetensors_bytes(kH.size() + 1, kH, " " + zeros(8)); }},
    {"nul_padding_in_header", R, [] { return file(kH + zeros(3)); }},
    {"leading_space", A, [] { return file(" " + kH); }},
    {"leading_BOM", R, [] { return file("\xEF\xBB\xBF" + kH); }},
    {"trailing_tab_lf", A, [] { return file(kH + "\t\n\r "); }},
    {"two_json_docs", R, [] { return file(kH + "{}"); }},
    {"top_level_array", R, [] { return file("[" + kT + "]"); }},
    {"top_level_null", R, [] { return file("null", ""); }},
    {"invalid_utf8_name", R, [] { return named("\xFF\xFE"); }},
    {"overlong_utf8_name", R, [] { return named("\xC0\xAF"); }},
    {"utf8_surrogate_name", R, [] { return named("\xED\xA0\x80"); }},
    {"lone_surrogate_escape", R, [] { return named("\\ud800"); }},
    {"nul_escape_in_name", R, [] { return named("a\\u0000b"); }},
    {"empty_name", R, [] { return named(""); }},
    {"name_path_traversal", A, [] { return named("../../etc/passwd"); }},
    {"name_1MB", R, [] { return named(string(1'000'000, 'x')); }},
    {"raw_control_char_in_name", R,
     [] {
       return named(
           "a\x01"
           "b");
     }},
    {"dup_tensor_same_offsets_diff_dtype", R,
     [] { return file(R"({"a":)" + kT + R"(,"a":)" + T("I64", "[1]", "[0,8]") + "}"); }},
    {"dup_tensor_diff_offsets", R,
     [] {
       return file(R"({"a":)" + kT + R"(,"a":)" + T("F32", "[2]", "[8,16]") + "}", zeros(16));
     }},
    {"dup_via_escape", R,
     [] { return file(R"({"a":)" + kT + R"(,"\u0061":)" + T("I64", "[1]", "[0,8]") + "}"); }},
    {"dup_metadata_key", R,
     [] { return file(R"({"__metadata__":{},"__metadata__":{},"a":)" + kT + "}"); }},
    {"dup_key_inside_metadata", R, [] { return with_metadata(R"({"x":"1","x":"2"})"); }},
    {"dup_field_dtype", R,
     [] { return one(R"({"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]})"); }},
    {"unknown_field_in_tensor", R,
     [] { return one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"evil":{"k":[1,2]}})"); }},
    {"missing_dtype", R, [] { return one(R"({"shape":[2],"data_offsets":[0,8]})"); }},
    {"missing_shape", R, [] { return one(R"({"dtype":"F32","data_offsets":[0,8]})"); }},
    {"missing_offsets", R, [] { return one(R"({"dtype":"F32","shape":[2]})"); }},
    {"metadata_nonstring_value", R, [] { return with_metadata(R"({"x":1})"); }},
    {"metadata_nested_object", R, [] { return with_metadata(R"({"x":{"y":"z"}})"); }},
    {"metadata_null", R, [] { return with_metadata("null"); }},
    {"metadata_is_tensor", R, [] { return with_metadata(kT); }},
    {"tensor_as_json_array", R, [] { return one(R"(["F32",[2],[0,8]])"); }},
    {"dtype_as_object", R,
     [] { return one(R"({"dtype":{"F32":null},"shape":[2],"data_offsets":[0,8]})"); }},
    {"dtype_lowercase", R, [] { return one(T("f32", "[2]", "[0,8]")); }},
    {"dtype_unknown_Q4", R, [] { return one(T("Q4_0", "[2]", "[0,8]")); }},
    {"dtype_as_int", R, [] { return one(R"({"dtype":17,"shape":[2],"data_offsets":[0,8]})"); }},
    {"shape_negative", R, [] { return shaped("[-2]"); }},
    {"shape_float_2.0", R, [] { return shaped("[2.0]"); }},
    {"shape_exp_2e0", R, [] { return shaped("[2e0]"); }},
    {"shape_leading_zero", R, [] { return shaped("[02]"); }},
    {"shape_string", R, [] { return shaped(R"(["2"])"); }},
    {"shape_neg_zero", R, [] { return one(T("F32", "[-0]", "[0,0]"), ""); }},
    {"shape_2^64", R, [] { return shaped("[18446744073709551616]"); }},
    {"shape_mul_overflow", R, [] { return shaped("[4294967296,4294967296,2]"); }},
    {"shape_wraps_to_2", R, [] { return shaped("[9223372036854775809,2]"); }},
    {"shape_zero_times_huge", R,
     [] { return one(T("F32", "[0,18446744073709551615,18446744073709551615]", "[0,0]"), ""); }},
    {"shape_huge_times_zero", R,
     [] { return one(T("F32", "[18446744073709551615,18446744073709551615,0]", "[0,0]"), ""); }},
    {"shape_bits_overflow_only", R,
     [] { return one(T("U8", "[2305843009213693952]", "[0,2305843009213693952]")); }},
    {"rank_1000_ones", R, [] { return shaped(ones_and_two(999)); }},
    {"rank_1e6_ones", R, [] { return shaped(ones_and_two(999'999)); }},
    {"shape_scalar", A, [] { return one(T("F32", "[]", "[0,4]"), zeros(4)); }},
    {"shape_not_array", R, [] { return shaped("2"); }},
    {"offsets_reversed", R, [] { return at("[8,0]"); }},
    {"offsets_three", R, [] { return at("[0,8,8]"); }},
    {"offsets_one", R, [] { return at("[8]"); }},
    {"offsets_negative", R, [] { return at("[-8,0]"); }},
    {"offsets_start_gap", R, [] { return one(T("F32", "[2]", "[4,12]"), zeros(12)); }},
    {"offsets_past_eof", R, [] { return one(T("F32", "[4]", "[0,16]")); }},
    {"offsets_u64max", R, [] { return at("[18446744073709551607,18446744073709551615]"); }},
    {"size_mismatch", R, [] { return shaped("[3]"); }},
    {"overlap_exact", R, [] { return file(R"({"a":)" + kT + R"(,"b":)" + kT + "}"); }},
    {"overlap_partial", R,
     [] {
       return file(R"({"a":)" + kT + R"(,"b":)" + T("F32", "[2]", "[4,12]") + "}", zeros(12));
     }},
    {"hole_between", R,
     [] {
       return file(R"({"a":)" + kT + R"(,"b":)" + T("F32", "[2]", "[16,24]") + "}", zeros(24));
     }},
    {"unordered_keys_ok", A,
     [] {
       return file(R"({"b":)" + T("F32", "[2]", "[8,16]") + R"(,"a":)" + kT + "}", zeros(16));
     }},
    {"zero_size_in_middle", A,
     [] {
       return file(R"({"a":)" + kT + R"(,"e":)" + T("F32", "[0]", "[8,8]") + R"(,"b":)" +
                       T("F32", "[2]", "[8,16]") + "}",
                   zeros(16));
     }},
    {"zero_size_inside_other", R,
     [] { return file(R"({"a":)" + kT + R"(,"e":)" + T("F32", "[0]", "[4,4]") + "}"); }},
    {"misaligned_F32_at_1", A,
     [] {
       return file(
           R"({"a":)" + T("U8", "[1]", "[0,1]") + R"(,"b":)" + T("F32", "[1]", "[1,5]") + "}",
           zeros(5));
     }},
    {"header_len_not_mult8", A, [] { return file(kH + string((11 - kH.size() % 8) % 8, ' ')); }},
    {"F4_odd_count", R, [] { return one(T("F4", "[3]", "[0,2]"), zeros(2)); }},
    {"F4_even", A, [] { return one(T("F4", "[4]", "[0,2]"), zeros(2)); }},
    {"bool_value_2", A, [] { return one(T("BOOL", "[1]", "[0,1]"), "\x02"); }},
    {"nan_payload", A, [] { return file(kH, string(8, '\xFF')); }},
    {"deep_nest_200_in_unknown", R,
     [] {
       return one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"evil":)" + string(200, '[') +
                  string(200, ']') + "}");
     }},
    {"deep_nest_100k", R, [] { return one(string(100'000, '[') + string(100'000, ']')); }},
    {"trailing_comma", R, [] { return file(R"({"a":)" + kT + ",}"); }},
    {"comment", R, [] { return file(R"({/*x*/"a":)" + kT + "}"); }},
    {"single_quotes", R, [] { return file("{'a':" + kT + "}"); }},
    {"NaN_literal", R, [] { return shaped("[NaN]"); }},
    {"100k_overlapping_dos", R, [] { return many_tensors(100'000, kT, zeros(8)); }},
    {"1M_zero_size_tensors", R,
     [] { return many_tensors(1'000'000, T("F32", "[0]", "[0,0]"), ""); }},
    {"99MB_whitespace_header", A, [] { return file("{}" + string(99'000'000, ' '), ""); }},
    {"99MB_number", A,
     [] { return file(R"({"__metadata__":{"x":")" + string(99'000'000, '1') + "\"}}", ""); }},
    {"shape_int_99MB", R, [] { return shaped("[" + string(50'000'000, '1') + "]"); }},
    {"8_huge_sum_to_2^64_wrap", R, eight_huge},
};
static_assert(std::size(rows) == 99);

class SafetensorsInputs : public testing::TestWithParam<int> {};

TEST_P(SafetensorsInputs, IsAcceptedOrRefusedAsListed) {
  const Row& row = rows[GetParam() - 1];
  const TempDir folder;
  write_file(folder / "input.safetensors", row.build());
  if (row.accepted) {
    EXPECT_NO_THROW(SafetensorsFile(folder / "input.safetensors"));
    return;
  }
  try {
    SafetensorsFile file(folder / "input.safetensors");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), ErrorKind::bad_input) << message;
    EXPECT_NE(message.find("input.safetensors"), message.npos) << message;
    EXPECT_EQ(message.find('\n'), message.npos) << message;
    EXPECT_LT(message.size(), 600u) << message;
    RecordProperty("message", message);
  }
}

INSTANTIATE_TEST_SUITE_P(All, SafetensorsInputs, testing::Range(1, 100), [](const auto& input) {
  std::string name = std::to_string(input.param) + "_" + rows[input.param - 1].name;
  for (char& c : name) {
    if (c == '.' || c == '^') c = '_';
  }
  return name;
});

// What the accepted inputs hold, beyond being accepted.
TEST(SafetensorsInputs, AcceptedInputsReadBack) {
  const TempDir folder;
  const auto open = [&](int number) {
    write_file(folder / "input.safetensors", rows[number - 1].build());
    return SafetensorsFile(folder / "input.safetensors");
  };
  EXPECT_TRUE(open(11).tensors().empty());
  EXPECT_TRUE(open(10).warnings().empty());
  EXPECT_EQ(open(18).warnings().size(), 1u);
  EXPECT_NE(open(30).find("../../etc/passwd"), nullptr);
  EXPECT_TRUE(open(66).find("a")->shape.empty());
  EXPECT_EQ(open(66).find("a")->bytes(), 4u);
  EXPECT_EQ(open(79).tensors()[0].name, "a");  // sorted by offset, not by place in the header
  EXPECT_EQ(open(80).find("e")->bytes(), 0u);
  EXPECT_EQ(open(82).find("b")->begin, 1u);
  EXPECT_EQ(open(85).find("a")->dtype, "F4");
  EXPECT_EQ(open(97).metadata().at("x").size(), 99'000'000u);
}

TEST(SafetensorsInputs, MessagesSayWhatIsWrong) {
  const auto message = [](int number) -> std::string {
    const TempDir folder;
    write_file(folder / "input.safetensors", rows[number - 1].build());
    try {
      SafetensorsFile file(folder / "input.safetensors");
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto expect = [&](int number, const std::string& part) {
    EXPECT_NE(message(number).find(part), std::string::npos) << message(number);
  };
  expect(14, "the file is 1 byte short; incomplete download?");
  expect(13, "7 bytes follow the last tensor");
  expect(19, "byte order mark");
  expect(28, "\"a\\x00b\" has a control character in its name");
  expect(33, "tensor \"a\" is there twice");
  expect(34, "tensor \"a\" is there twice");
  expect(50, "tensor \"a\" has dtype \"Q4_0\"");
  expect(77, "tensor \"b\" begins at byte 4, expected 8 (overlap)");
  expect(78, "tensor \"b\" begins at byte 16, expected 8 (hole)");
  expect(95, "more than 262144 tensors");
  expect(98, "a number longer than 20 characters");
}

}  // namespace
}  // namespace nibble::test
