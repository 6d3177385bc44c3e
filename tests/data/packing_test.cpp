// Best-fit decreasing against its definition, carried out without any data structure; and how full
// packs of real rows are.
#include "data/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "core/error.h"
#include "files/json.h"
#include "support/data.h"
#include "support/random.h"
#include "text/tokenizer.h"

namespace nibble::test {
namespace {

using Lengths = std::vector<int64_t>;
using Groups = std::vector<std::vector<int64_t>>;

Groups groups_of(const Packs& packs) {
  Groups groups;
  for (int64_t pack = 0; pack < packs.count(); ++pack)
    groups.emplace_back(packs[pack].begin(), packs[pack].end());
  return groups;
}

// The definition: every pack is looked at for every document.
Groups plain_best_fit(const Lengths& lengths, int64_t capacity) {
  struct Pack {
    std::vector<int64_t> documents;
    int64_t room;
    size_t filled;  // when last
  };
  std::vector<Pack> packs;
  std::vector<int64_t> waiting(lengths.size());
  std::iota(waiting.begin(), waiting.end(), int64_t{0});
  for (size_t turn = 0; !waiting.empty(); ++turn) {
    const auto longest =  // the first of the longest
        std::ranges::max_element(waiting, {}, [&](int64_t d) { return lengths[size_t(d)]; });
    const int64_t document = *longest, length = lengths[static_cast<size_t>(document)];
    waiting.erase(longest);
    Pack* best = nullptr;
    for (Pack& pack : packs)
      if (pack.room >= length && (!best || pack.room < best->room ||
                                  (pack.room == best->room && pack.filled > best->filled)))
        best = &pack;
    if (!best) best = &packs.emplace_back(Pack{{}, capacity, 0});
    best->documents.push_back(document);
    best->room -= length;
    best->filled = turn;
  }
  Groups groups;
  for (Pack& pack : packs) {
    std::ranges::sort(pack.documents);
    groups.push_back(pack.documents);
  }
  std::ranges::sort(groups);  // by their first documents
  return groups;
}

Lengths random_lengths(Random& random, int64_t count, int64_t longest) {
  Lengths lengths;
  for (int64_t i = 0; i < count; ++i) lengths.push_back(random.integer(1, longest));
  return lengths;
}

// Lengths as rows have them: many short ones, a long tail, at most `longest`.
Lengths skewed_lengths(Random& random, int64_t count, int64_t longest) {
  Lengths lengths;
  for (int64_t i = 0; i < count; ++i) {
    const double length = static_cast<double>(longest) / 20 * std::exp(random.normal());
    lengths.push_back(std::clamp(static_cast<int64_t>(length), int64_t{1}, longest));
  }
  return lengths;
}

void expect_sound(const Packs& packs, const Lengths& lengths, int64_t capacity) {
  EXPECT_EQ(packs.capacity, capacity);
  Lengths seen;
  int64_t tokens = 0, last_first = -1;
  for (int64_t pack = 0; pack < packs.count(); ++pack) {
    ASSERT_FALSE(packs[pack].empty());
    ASSERT_TRUE(std::ranges::is_sorted(packs[pack]));
    ASSERT_GT(packs[pack].front(), last_first);
    last_first = packs[pack].front();
    int64_t in_pack = 0;
    for (const int64_t document : packs[pack]) {
      in_pack += lengths[static_cast<size_t>(document)];
      seen.push_back(document);
    }
    ASSERT_LE(in_pack, capacity) << "pack " << pack;
    tokens += in_pack;
  }
  std::ranges::sort(seen);
  Lengths every(lengths.size());
  std::iota(every.begin(), every.end(), int64_t{0});
  EXPECT_TRUE(seen == every);
  EXPECT_EQ(packs.tokens, tokens);
  EXPECT_EQ(tokens, std::reduce(lengths.begin(), lengths.end()));
}

TEST(Packing, IsBestFitDecreasing) {
  for (uint64_t draw = 0; draw < 200; ++draw) {
    Random random(draw);
    const int64_t capacity = random.integer(1, draw % 2 ? 40 : 3000);
    const int64_t count = random.integer(1, 250);
    const Lengths lengths = draw % 3 == 0 ? skewed_lengths(random, count, capacity)
                                          : random_lengths(random, count, capacity);
    SCOPED_TRACE(testing::Message() << "seed " << test_seed() << " draw " << draw << ": " << count
                                    << " documents, capacity " << capacity);
    const Packs packs = pack_best_fit(lengths, capacity);
    expect_sound(packs, lengths, capacity);
    EXPECT_EQ(groups_of(packs), plain_best_fit(lengths, capacity));
  }
}

// By hand: 7 and 6 start packs, 5 and 5 fill one, 4 goes to the 6 (room 4, not 3), 3 to the 7.
TEST(Packing, ByHand) {
  const Packs packs = pack_best_fit(Lengths{4, 6, 5, 5, 7, 3}, 10);
  EXPECT_EQ(groups_of(packs), (Groups{{0, 1}, {2, 3}, {4, 5}}));
  EXPECT_EQ(packs.fill(), 1.0);
}

TEST(Packing, Edges) {
  EXPECT_EQ(pack_best_fit({}, 8).count(), 0);
  EXPECT_EQ(groups_of(pack_best_fit(Lengths{1}, 1)), (Groups{{0}}));
  EXPECT_EQ(groups_of(pack_best_fit(Lengths{8, 8, 8}, 8)), (Groups{{0}, {1}, {2}}));
  EXPECT_EQ(groups_of(pack_best_fit(Lengths{5, 5, 5}, 8)), (Groups{{0}, {1}, {2}}));
  EXPECT_EQ(groups_of(pack_best_fit(Lengths(8, 1), 4)), (Groups{{0, 1, 2, 3}, {4, 5, 6, 7}}));
  const Packs huge = pack_best_fit(Lengths{1, 2}, int64_t{1} << 40);  // no memory by capacity
  EXPECT_EQ(groups_of(huge), (Groups{{0, 1}}));
  EXPECT_DOUBLE_EQ(huge.fill(), 3 * 0x1p-40);
}

TEST(Packing, RefusesWhatNoPackHolds) {
  for (const int64_t length : {int64_t{0}, int64_t{-1}, int64_t{9}})
    EXPECT_THROW(pack_best_fit(Lengths{8, length}, 8), Error) << length;
}

// The lengths alone decide how full packs are, not the order of rows.
TEST(Packing, OrderOfRowsChangesNoPacksLengths) {
  Random random(0);
  Lengths lengths = skewed_lengths(random, 3000, 512);
  const auto contents = [&] {
    Groups result = groups_of(pack_best_fit(lengths, 512));
    for (auto& pack : result) {
      for (int64_t& document : pack) document = lengths[static_cast<size_t>(document)];
      std::ranges::sort(pack);
    }
    std::ranges::sort(result);
    return result;
  };
  const Groups before = contents();
  for (size_t i = lengths.size(); i > 1; --i)
    std::swap(lengths[i - 1], lengths[static_cast<size_t>(random.integer(0, int64_t(i) - 1))]);
  EXPECT_TRUE(contents() == before);
}

TEST(Packing, HundredThousandDocuments) {
  Random random(0);
  const Lengths lengths = skewed_lengths(random, 100'000, 2048);
  const Packs packs = pack_best_fit(lengths, 2048);
  expect_sound(packs, lengths, 2048);
  EXPECT_GT(packs.fill(), 0.999);
}

// Rows in the template that the dataset came with, an end token each.
TEST(Packing, AlpacaFillsItsPacks) {
  NIBBLE_NEEDS_SHARED_DATA();
  const auto rows = read_json_file(shared_data() / "datasets/alpaca/alpaca_5000.json", "alpaca");
  ASSERT_EQ(rows.size(), 5000u);
  for (const char* model :
       {"Llama-3.1-8B-Instruct/tokenizer.json", "Llama-2-7b/tokenizer.hf-original.json"}) {
    const auto path = shared_data() / "models" / model;
    const Tokenizer tokenizer = Tokenizer::from_json(read_json_file(path, model), model);
    Lengths lengths;
    for (const auto& row : rows) {
      const std::string input = row.at("input");
      const std::string text =
          "Below is an instruction that describes a task. Write a response that appropriately "
          "completes the request.\n\n### Instruction:\n" +
          row.at("instruction").get<std::string>() +
          (input.empty() ? "" : "\n\n### Input:\n" + input) + "\n\n### Response:\n" +
          row.at("output").get<std::string>();
      lengths.push_back(std::ssize(tokenizer.encode(text, true).ids) + 1);
    }
    const Packs packs = pack_best_fit(lengths, 2048);
    expect_sound(packs, lengths, 2048);
    EXPECT_GE(packs.fill(), 0.98) << model;
    std::printf("%s: %zu rows in %ld packs of 2048, %.2f %% full\n", model, lengths.size(),
                static_cast<long>(packs.count()), 100 * packs.fill());
  }
}

}  // namespace
}  // namespace nibble::test
