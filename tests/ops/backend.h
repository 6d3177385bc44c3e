// The backends under test, and operands in their memory. The case tables of this folder know
// backends only by this header: a new one is a new branch of make_backend().
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/device.h"
#include "ops/ops.h"
#include "reference/matrix.h"

namespace nibble::test {

// Exact values of any dtype.
using Values = reference::Matrix<double>;

// Set where a tool looks for reads of memory that nobody wrote (compute-sanitizer's initcheck,
// whose time goes with the arena's size): a small arena, and nothing written for the sake of a
// test.
inline bool under_initcheck() { return std::getenv("NIBBLE_TEST_INITCHECK") != nullptr; }

class Backend {
 public:
  virtual ~Backend() = default;
  virtual Ops& ops() = 0;

  // Whether operations can compute in the dtype on this machine.
  bool computes(DType compute);
};

class CpuBackend final : public Backend {
 public:
  Ops& ops() override { return ops_; }

 private:
  static constexpr size_t capacity = size_t{512} << 20;
  Buffer buffer_ = Buffer::host(capacity);
  Arena arena_{buffer_.data(), capacity};
  // Two threads, to test their division of work; one for a forced instruction set, which is about
  // the kernels (isa_test.cpp).
  CpuOps ops_{arena_, std::getenv("NIBBLE_ISA") ? 1 : 2};
};

class CudaBackend final : public Backend {
 public:
  Ops& ops() override { return *ops_; }

 private:
  const size_t capacity_ = static_cast<size_t>(under_initcheck() ? 256 : 1024) << 20;
  Device device_ = choose_device("cuda", 1);
  Buffer buffer_ = reserve(device_, capacity_);
  Arena arena_{buffer_.data(), capacity_};
  std::unique_ptr<Ops> ops_ = make_ops(device_, arena_);
};

// The GPU's when there is one that this program can use.
inline std::vector<std::string> backend_names() {
  static const bool cuda = choose_device("auto", 1).is_cuda();
  return cuda ? std::vector<std::string>{"cpu", "cuda"} : std::vector<std::string>{"cpu"};
}

inline std::unique_ptr<Backend> make_backend(const std::string& name) {
  if (name == "cpu") return std::make_unique<CpuBackend>();
  if (name == "cuda") return std::make_unique<CudaBackend>();
  throw std::invalid_argument("no backend " + name);
}

// One instance of each, for all tests of the program.
inline Backend& shared_backend(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Backend>> backends;
  auto& backend = backends[name];
  if (!backend) backend = make_backend(name);
  return *backend;
}

enum class Layout { dense, strided };

// The value of one element of a dtype, exactly; and its bytes.
inline double element_value(const std::byte* bytes, DType dtype) {
  const auto read = [&]<typename T>(T element) {
    std::memcpy(&element, bytes, sizeof element);
    return element;
  };
  switch (dtype) {
    case DType::f32:
      return static_cast<double>(read(float{}));
    case DType::bf16:
      return static_cast<double>(to_float(read(bf16{})));
    case DType::f16:
      return static_cast<double>(to_float(read(f16{})));
    case DType::u8:
      return read(uint8_t{});
    case DType::i32:
      return read(int32_t{});
  }
  return 0;
}

inline void write_element(std::byte* bytes, double value, DType dtype) {
  const auto write = [&](auto element) { std::memcpy(bytes, &element, sizeof element); };
  switch (dtype) {
    case DType::f32:
      write(static_cast<float>(value));
      break;
    case DType::bf16:
      write(to_bf16(static_cast<float>(value)));
      break;
    case DType::f16:
      write(to_f16(static_cast<float>(value)));
      break;
    case DType::u8:
      write(static_cast<uint8_t>(value));
      break;
    case DType::i32:
      write(static_cast<int32_t>(value));
      break;
  }
}

// A tensor in a backend's memory with guard zones before, after and (strided) between its rows.
// Its memory is the arena's: make it within an Arena::Scope.
class Operand {
 public:
  // Poisoned: NaN in every element, or the guard's bytes in integers.
  Operand(Ops& ops, int64_t rows, int64_t cols, DType dtype, Layout layout = Layout::dense)
      : Operand(ops, nullptr, rows, cols, dtype, layout) {}
  // values must be exact in the dtype.
  Operand(Ops& ops, const Values& values, DType dtype, Layout layout = Layout::dense)
      : Operand(ops, &values, values.rows(), values.cols(), dtype, layout) {}

  const Tensor& tensor() const { return view_; }
  operator Tensor() const { return view_; }

  // Checks as well that the guard zones hold what they held.
  Values read() const {
    std::vector<std::byte> bytes(static_cast<size_t>(memory_.size()));
    ops_.download(bytes, memory_);
    Values values(view_.rows, view_.cols);
    for (int64_t i = 0; i < view_.rows; ++i) {
      for (int64_t j = 0; j < view_.cols; ++j) {
        std::byte* element = &bytes[position(i, j)];
        values(i, j) = element_value(element, view_.dtype);
        std::memset(element, guard, size_of(view_.dtype));
      }
    }
    size_t written = 0;
    for (const std::byte byte : bytes) written += byte != std::byte{guard} ? 1 : 0;
    EXPECT_EQ(written, 0u) << "bytes written outside of the tensor";
    return values;
  }

 private:
  static constexpr unsigned char guard = 0xFF;  // NaN in every float, so that reads show, too
  static constexpr int64_t guard_bytes = 512;   // keeps dense tensors aligned as the arena does

  Operand(Ops& ops, const Values* values, int64_t rows, int64_t cols, DType dtype, Layout layout)
      : ops_(ops) {
    const auto size = static_cast<int64_t>(size_of(dtype));
    const int64_t left = layout == Layout::strided ? 3 : 0;
    const int64_t right = layout == Layout::strided ? 2 : 0;
    const int64_t stride = left + cols + right;
    memory_ = ops.arena().tensor(1, 2 * guard_bytes + rows * stride * size, DType::u8,
                                 MemoryUse::working_set, "operand");
    view_ = {memory_.raw() + guard_bytes + left * size, rows, cols, stride, dtype};

    const bool integers = dtype == DType::u8 || dtype == DType::i32;
    std::vector<std::byte> bytes(static_cast<size_t>(memory_.size()), std::byte{guard});
    if (values || !integers)
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < cols; ++j)
          write_element(&bytes[position(i, j)],
                        values ? (*values)(i, j) : std::numeric_limits<double>::quiet_NaN(), dtype);
    ops.upload(memory_, bytes);
  }

  size_t position(int64_t i, int64_t j) const {
    const auto size = static_cast<int64_t>(size_of(view_.dtype));
    return static_cast<size_t>(view_.raw() - memory_.raw() + (i * view_.stride + j) * size);
  }

  Ops& ops_;
  Tensor memory_;  // u8, with the guard zones
  Tensor view_;
};

// The documents with their offsets in the backend's memory.
inline Documents on_device(Ops& ops, Documents documents) {
  Values offsets(2, std::ssize(documents.query_offsets));
  for (int64_t i = 0; i < offsets.cols(); ++i) {
    offsets(0, i) = documents.query_offsets[static_cast<size_t>(i)];
    offsets(1, i) = documents.key_offsets[static_cast<size_t>(i)];
  }
  documents.offsets = Operand(ops, offsets, DType::i32);
  return documents;
}

inline bool Backend::computes(DType compute) {
  if (compute == DType::f32) return true;
  const Arena::Scope scope(ops().arena());
  const Values one(1, 1);
  Operand y(ops(), 1, 1, DType::f32);
  try {
    ops().logits(y, Operand(ops(), one, compute), Operand(ops(), one, compute));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) return false;
    throw;
  }
  return true;
}

}  // namespace nibble::test
