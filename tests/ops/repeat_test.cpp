// Work that comes again under its key, on other contents of the same tensors.
#include <gtest/gtest.h>

#include "core/error.h"
#include "ops/op_test.h"

namespace nibble::test {
namespace {

class Repeat : public OpTest {
 protected:
  Tensor make(int64_t rows, int64_t cols) const {
    return ops.arena().tensor(rows, cols, c, MemoryUse::working_set, "operand");
  }
  // Both leave the arena as it was, on which a recording depends.
  void write(Tensor x, const Values& values) const {
    const Arena::Scope scope(ops.arena());
    ops.copy(x, Operand(ops, values, c));
  }
  Values read(Tensor x) const {
    const Arena::Scope scope(ops.arena());
    const Operand y(ops, x.rows, x.cols, c);
    ops.copy(y, x);
    return y.read();
  }

  // A backend of its own: one records only once.
  const std::unique_ptr<Backend> own_ = make_backend(GetParam().backend);
  Ops& ops = own_->ops();
  const Arena::Scope scope_{ops.arena()};
};

TEST_P(Repeat, SeesWhatLiesThereNow) {
  // More kinds of work than a backend records, each of several operations.
  constexpr int kinds = 6, rounds = 4;
  Random random(5);
  std::vector<Tensor> gates, ups, ys;
  for (int kind = 0; kind < kinds; ++kind)
    for (std::vector<Tensor>* all : {&gates, &ups, &ys}) all->push_back(make(3 + kind, 40));
  std::vector<int64_t> order;  // each several times in a row, then all in turn
  for (int kind = 0; kind < kinds; ++kind) order.insert(order.end(), rounds, kind);
  for (int i = 0; i < rounds * kinds; ++i) order.push_back(i % kinds);
  for (const int64_t kind : order) {
    const auto k = static_cast<size_t>(kind);
    const Tensor gate = gates[k], up = ups[k], y = ys[k];
    write(gate, random_values(random, gate.rows, gate.cols, c));
    write(up, random_values(random, gate.rows, gate.cols, c));
    const auto work = [&] {
      ops.zero(y);
      const Arena::Scope scope(ops.arena());
      const Tensor between = make(gate.rows, gate.cols);
      ops.gated_silu_forward(between, gate, up);
      ops.gated_silu_forward(y, between, up);
    };
    work();
    const Values expected = read(y);
    ops.zero(y);
    ops.repeat({kind}, work);
    expect_equal(read(y), expected, fmt::format("kind {}", kind));
  }
}

TEST_P(Repeat, RefusesWhatPassesTheHost) {
  const Tensor x = make(1, 8);
  std::vector<std::byte> bytes(static_cast<size_t>(x.bytes()));
  ops.upload(x, bytes);
  for (int i = 0; i < 2; ++i) EXPECT_THROW(ops.repeat({200}, [&] { ops.upload(x, bytes); }), Error);
  for (int i = 0; i < 2; ++i)
    EXPECT_THROW(ops.repeat({201}, [&] { ops.download(bytes, x); }), Error);
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
  ops.repeat({100}, work);
  EXPECT_THROW(ops.repeat({100}, work), Error);
  for (int i = 0; i < 3; ++i) {
    ops.zero(y);
    ops.repeat({100}, work);
    expect_equal(read(y), values, "after the error");
  }
}

NIBBLE_OP_TESTS(Repeat);

}  // namespace
}  // namespace nibble::test
