// Work that comes again under its key, on other contents of the same tensors.
#include <gtest/gtest.h>

#include "core/error.h"
#include "ops/op_test.h"

namespace nibble::test {
namespace {

class Repeat : public OpTest {
 protected:
  Repeat() : scope_(ops.arena()) {}

  // The backend is other tests', too.
  Ops::Key key(int64_t kind) const { return {static_cast<int64_t>(c), kind}; }
  Tensor make(int64_t rows, int64_t cols) const {
    return ops.arena().tensor(rows, cols, c, MemoryUse::working_set, "operand");
  }
  void write(Tensor x, const Values& values) const { ops.copy(x, Operand(ops, values, c)); }
  Values read(Tensor x) const {
    const Operand y(ops, x.rows, x.cols, c);
    ops.copy(y, x);
    return y.read();
  }

  const Arena::Scope scope_;
};

TEST_P(Repeat, SeesWhatLiesThereNow) {
  // More kinds of work than a backend records, each of several operations.
  constexpr int kinds = 6, rounds = 4;
  Random random(5);
  std::vector<Tensor> gates, ups, ys;
  for (int kind = 0; kind < kinds; ++kind)
    for (std::vector<Tensor>* all : {&gates, &ups, &ys}) all->push_back(make(3 + kind, 40));
  for (int round = 0; round < rounds; ++round) {
    for (int kind = 0; kind < kinds; ++kind) {
      const auto k = static_cast<size_t>(kind);
      const Tensor gate = gates[k], up = ups[k], y = ys[k];
      const Values a = random_values(random, gate.rows, gate.cols, c),
                   b = random_values(random, gate.rows, gate.cols, c);
      write(gate, a);
      write(up, b);
      const auto work = [&] {
        ops.zero(y);
        const Arena::Scope scope(ops.arena());
        const Tensor between = make(gate.rows, gate.cols);
        ops.gated_silu_forward(between, gate, up);
        ops.gated_silu_forward(y, between, up);
      };
      work();
      const Values expected = read(y);
      ops.repeat(key(kind), work);
      expect_equal(read(y), expected, fmt::format("kind {} round {}", kind, round));
    }
  }
}

TEST_P(Repeat, RefusesWhatPassesTheHost) {
  const Tensor x = make(1, 8);
  std::vector<std::byte> bytes(static_cast<size_t>(x.bytes()));
  ops.upload(x, bytes);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THROW(ops.repeat(key(200), [&] { ops.upload(x, bytes); }), Error);
    EXPECT_THROW(ops.repeat(key(201), [&] { ops.download(bytes, x); }), Error);
  }
  ops.download(bytes, x);
}

TEST_P(Repeat, AnErrorEndsTheRecording) {
  const Tensor x = make(4, 8), y = make(4, 8);
  Random random(6);
  const Values values = random_values(random, 4, 8, c);
  write(x, values);
  int round = 0;
  const auto work = [&] {
    ops.copy(y, x);
    if (++round == 2) fail(ErrorKind::bad_input, "planted");
  };
  ops.repeat(key(100), work);
  EXPECT_THROW(ops.repeat(key(100), work), Error);
  for (int i = 0; i < 3; ++i) {
    ops.zero(y);
    ops.repeat(key(100), work);
    expect_equal(read(y), values, "after the error");
  }
}

NIBBLE_OP_TESTS(Repeat);

}  // namespace
}  // namespace nibble::test
