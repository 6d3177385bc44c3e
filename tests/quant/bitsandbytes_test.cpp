// The definition in src/quant against what bitsandbytes made of the same tensors
// (tests/goldens/quant, made by tools/make_quant_goldens.py): its CUDA kernels, which are the
// reference, and its pure PyTorch code, whose files must be read as well.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "files/safetensors.h"
#include "quant/block_quant.h"
#include "quant/double_quant.h"
#include "support/data.h"
#include "support/quantized.h"

namespace nibble {
namespace {

class Golden {
 public:
  Golden()
      : cuda_(test::golden("quant/cuda.safetensors")),
        torch_(test::golden("quant/default.safetensors")),
        index(nlohmann::json::parse(std::ifstream(test::golden("quant/index.json")))) {}

  // The pure PyTorch file holds only what differs from the CUDA one.
  template <typename T>
  std::vector<T> read(const std::string& name, bool torch = false) const {
    const bool differs = torch && torch_.find(name) != nullptr;
    const SafetensorsFile& file = differs ? torch_ : cuda_;
    const SafetensorsInfo* info = file.find(name);
    if (!info) throw std::runtime_error("no golden " + name);
    std::vector<T> values(info->bytes() / sizeof(T));
    file.read(*info, 0, std::as_writable_bytes(std::span(values)));
    return values;
  }
  bool has(const std::string& name) const { return cuda_.find(name) != nullptr; }
  DType dtype(const std::string& name) const {
    return *dtype_of_safetensors(cuda_.find(name)->dtype);
  }
  std::vector<float> source(const std::string& name) const {
    const std::string key = name + ".source";
    std::vector<float> values;
    switch (dtype(key)) {
      case DType::bf16:
        for (const bf16 x : read<bf16>(key)) values.push_back(to_float(x));
        return values;
      case DType::f16:
        for (const f16 x : read<f16>(key)) values.push_back(to_float(x));
        return values;
      default:
        return read<float>(key);
    }
  }

 private:
  SafetensorsFile cuda_, torch_;

 public:
  const nlohmann::json index;
};

const Golden& golden() {
  static const Golden instance;
  return instance;
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& [name, unused] : golden().index["cases"].items()) names.push_back(name);
  return names;
}

const char* name_of(QuantType type) { return type == QuantType::nf4 ? "nf4" : "fp4"; }

class Bitsandbytes : public testing::TestWithParam<std::string> {
 protected:
  const std::string name = GetParam();
  const std::vector<float> source = golden().source(name);
  const DType dtype = golden().dtype(name + ".source");
  const std::vector<float> absmax = golden().read<float>(name + ".absmax");
  double quotient(size_t i) const { return double{source[i]} / double{absmax[i / 64]}; }
};

TEST(BitsandbytesTables, HaveEqualBits) {
  for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
    const auto& bits = golden().index["tables"][name_of(type)]["bits"];
    ASSERT_EQ(bits.size(), 16u);
    for (size_t code = 0; code < 16; ++code)
      EXPECT_EQ(fmt::format("{:08x}", std::bit_cast<uint32_t>(code_map_of(type)[code])),
                bits[code].get<std::string>());
  }
  const auto& thresholds = golden().index["tables"]["fp4"]["cuda_thresholds"];
  for (size_t k = 0; k < 7; ++k)
    EXPECT_EQ(fmt::format("{:08x}", std::bit_cast<uint32_t>(fp4_thresholds[k])),
              thresholds[k]["bits"].get<std::string>());
}

// The kernel scales by an approximate reciprocal (1 ulp) and rounds the product, so it may decide
// otherwise than the definition where x / absmax lies within 2 ulps of a threshold.
bool near_threshold(QuantType type, double quotient) {
  const auto near = [](double x, float threshold) {
    return std::fabs(x - double{threshold}) <= 0x1p-22 * std::fabs(double{threshold});
  };
  const bool nf4 = type == QuantType::nf4;
  for (const float t : nf4 ? std::span<const float>(nf4_thresholds) : fp4_thresholds)
    if (near(nf4 ? quotient : std::fabs(quotient), t)) return true;
  return false;
}

// No bfloat16 quotient is near an NF4 threshold, so these bytes are all equal. FP4 has thresholds
// at simple fractions, which bfloat16 quotients hit.
TEST_P(Bitsandbytes, CodesAndScales) {
  for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
    const bool exact = dtype == DType::bf16 && type == QuantType::nf4;
    const QuantSpec spec{type, false, 64};
    const test::HostQuantized q(source, 1, static_cast<int64_t>(source.size()), spec, dtype);
    EXPECT_EQ(q.absmax, absmax);
    const auto codes = golden().read<uint8_t>(name + "." + name_of(type) + ".codes");
    if (exact) {
      EXPECT_EQ(q.codes, codes);
      continue;
    }
    ASSERT_EQ(q.codes.size(), codes.size());
    for (size_t i = 0; i < source.size(); ++i) {
      const auto index = static_cast<int64_t>(i);
      EXPECT_TRUE(unpack(q.codes.data(), index) == unpack(codes.data(), index) ||
                  near_threshold(type, quotient(i)))
          << name_of(type) << " " << i;
    }
  }
}

// Where absmax is 1 scaling is exact, and the codes at the thresholds show the comparison itself.
TEST(BitsandbytesThresholds, AreCrossedAtTheSameFloats) {
  for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
    const std::string name = fmt::format("{}_thresholds_f32", name_of(type));
    const std::vector<float> source = golden().source(name);
    const auto codes = golden().read<uint8_t>(fmt::format("{}.{}.codes", name, name_of(type)));
    for (size_t i = 0; i < source.size(); ++i)
      EXPECT_EQ(encode(type, source[i]), unpack(codes.data(), static_cast<int64_t>(i)))
          << name_of(type) << " " << source[i];
  }
}

// The offset is a mean, summed in another order: n additions of positive numbers.
TEST_P(Bitsandbytes, Offset) {
  const float offset = golden().read<float>(name + ".offset")[0];
  EXPECT_NEAR(scale_offset(absmax), offset,
              static_cast<double>(absmax.size() + 1) * 0x1p-24 * static_cast<double>(offset));
}

// From the same offset on, the 8-bit codes are equal.
TEST_P(Bitsandbytes, NestedCodes) {
  std::vector<float> differences = absmax;
  const float offset = golden().read<float>(name + ".offset")[0];
  for (float& value : differences) value -= offset;
  const auto codes = golden().read<uint8_t>(name + ".nested_codes");
  const auto nested_absmax = golden().read<float>(name + ".nested_absmax");
  for (size_t begin = 0; begin < differences.size(); begin += 256) {
    const size_t count = std::min<size_t>(256, differences.size() - begin);
    uint8_t got[256];
    const float largest = encode_8bit_block(
        got, std::span<const float>(differences).subspan(begin, count), dynamic_map_signed());
    EXPECT_EQ(largest, nested_absmax[begin / 256]);
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(got[i], codes[begin + i]) << begin + i;
  }
}

// A matrix of what bitsandbytes wrote for a case.
class Written {
 public:
  Written(const std::string& name, QuantType type, bool nested, bool torch)
      : codes_(golden().read<uint8_t>(fmt::format("{}.{}.codes", name, name_of(type)), torch)),
        absmax_(golden().read<float>(name + ".absmax", torch)),
        scale_codes_(golden().read<uint8_t>(name + ".nested_codes", torch)),
        nested_absmax_(golden().read<float>(name + ".nested_absmax", torch)),
        offset_(golden().read<float>(name + ".offset", torch)),
        code_map_(code_map_of(type)),
        nested_map_(dynamic_map_signed()) {
    view_.rows = 1;
    view_.cols = static_cast<int64_t>(golden().source(name).size());
    view_.spec = {type, nested, 64};
    view_.source_dtype = DType::f32;
    view_.codes = row(codes_, DType::u8);
    view_.code_map = row(code_map_, DType::f32);
    view_.absmax = row(absmax_, DType::f32);
    view_.scale_codes = row(scale_codes_, DType::u8);
    view_.nested_absmax = row(nested_absmax_, DType::f32);
    view_.nested_map = row(nested_map_, DType::f32);
    view_.offset = row(offset_, DType::f32);
  }
  Written(const Written&) = delete;
  Written& operator=(const Written&) = delete;

  float decoded(size_t i, DType source) const {
    QuantizedMatrix q = view_;
    q.source_dtype = source;
    return decode(q, static_cast<int64_t>(i));
  }
  float scale(size_t block) const { return block_scale(view_, static_cast<int64_t>(block)); }

 private:
  template <typename Container>
  static Tensor row(Container& values, DType dtype) {
    return dense_tensor(values.data(), 1, static_cast<int64_t>(values.size()), dtype);
  }
  std::vector<uint8_t> codes_;
  std::vector<float> absmax_;
  std::vector<uint8_t> scale_codes_;
  std::vector<float> nested_absmax_, offset_;
  std::array<float, 16> code_map_;
  DynamicMap nested_map_;
  QuantizedMatrix view_;
};

// What the CUDA kernels wrote is decoded to the numbers that they read from it. (Not to the same
// bits: FP4's second zero is -0 in the kernel and +0 in bitsandbytes' own table.)
TEST_P(Bitsandbytes, Decoded) {
  for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
    for (const bool nested : {false, true}) {
      const Written written(name, type, nested, false);
      const std::string what = fmt::format("{}.{}.{}", name, name_of(type),
                                           nested ? "double_dequantized" : "dequantized");
      if (golden().has(what + "_f32")) {
        const auto expected = golden().read<float>(what + "_f32");
        for (size_t i = 0; i < expected.size(); ++i)
          ASSERT_EQ(written.decoded(i, DType::f32), expected[i]) << what << " " << i;
      }
      if (golden().has(what + "_bf16")) {
        const auto expected = golden().read<bf16>(what + "_bf16");
        for (size_t i = 0; i < expected.size(); ++i)
          ASSERT_EQ(written.decoded(i, DType::bf16), to_float(expected[i])) << what << " " << i;
      }
    }
  }
}

TEST_P(Bitsandbytes, DecodedScales) {
  for (const bool torch : {false, true}) {
    const Written written(name, QuantType::nf4, true, torch);
    const auto expected = golden().read<float>(name + ".scales", torch);
    for (size_t block = 0; block < expected.size(); ++block)
      EXPECT_EQ(written.scale(block), expected[block]) << (torch ? "torch" : "cuda");
  }
}

// The two backends write zeros differently (code 0 of scale 0, or code 7): both are read as zeros.
TEST_P(Bitsandbytes, PureTorchCodesDecodeToTheSameNumbers) {
  const Written cuda(name, QuantType::nf4, false, false);
  const Written torch(name, QuantType::nf4, false, true);
  for (size_t i = 0; i < source.size(); ++i)
    EXPECT_TRUE(torch.decoded(i, DType::f32) == cuda.decoded(i, DType::f32) ||
                (dtype != DType::bf16 && near_threshold(QuantType::nf4, quotient(i))))
        << i;
}

INSTANTIATE_TEST_SUITE_P(Cases, Bitsandbytes, testing::ValuesIn(case_names()),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace nibble
