// Counts of what the checks found, and their way through JSON.
#include "data/findings.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"

namespace nibble::test {
namespace {

using Json = nlohmann::ordered_json;

TEST(Findings, TheFirstOfEachGuardIsKept) {
  Findings findings;
  findings.add("a: row 1", {{Guard::truncated, "by 5 tokens"}});
  findings.add("a: row 2", {{Guard::truncated, "by 7 tokens"}});
  findings.add("a: row 3", {{Guard::bad_row, "no JSON"}});
  EXPECT_EQ(findings.of(Guard::truncated).count, 2);
  EXPECT_EQ(findings.of(Guard::truncated).first_place, "a: row 1");
  EXPECT_EQ(findings.of(Guard::truncated).first_detail, "by 5 tokens");
  EXPECT_EQ(findings.of(Guard::bad_row).count, 1);
  EXPECT_EQ(findings.of(Guard::double_bos).count, 0);
  EXPECT_EQ(findings.to_json().dump(),
            R"({"truncated":{"count":2,"first_place":"a: row 1","first_detail":"by 5 tokens"},)"
            R"("bad-row":{"count":1,"first_place":"a: row 3","first_detail":"no JSON"}})");
}

// Two turns, or two documents of a row that is split, are one row.
TEST(Findings, ARowCountsOnce) {
  Findings findings;
  findings.add("a: row 1", {});
  findings.add("a: row 2", {{Guard::history_rewritten, "message 1"},
                            {Guard::double_bos, "twice"},
                            {Guard::history_rewritten, "message 3"}});
  findings.add("a: row 3", {{Guard::history_rewritten, "message 5"}});
  EXPECT_EQ(findings.of(Guard::history_rewritten).count, 2);
  EXPECT_EQ(findings.of(Guard::history_rewritten).first_place, "a: row 2");
  EXPECT_EQ(findings.of(Guard::history_rewritten).first_detail, "message 1");
  EXPECT_EQ(findings.of(Guard::double_bos).count, 1);
}

TEST(Findings, EveryGuardHasItsName) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < static_cast<size_t>(Guard::count); ++i) {
    const auto guard = static_cast<Guard>(i);
    EXPECT_TRUE(names.insert(guard_name(guard)).second);
    EXPECT_FALSE(guard_name(guard).empty());
    Findings findings;
    findings.add("place", {{guard, "detail"}});
    const Findings again = Findings::from_json(findings.to_json());
    EXPECT_EQ(again.of(guard).count, 1);
    EXPECT_EQ(again.to_json(), findings.to_json());
  }
  EXPECT_EQ(guard_name(Guard::nothing_trained), "nothing-trained");
  EXPECT_EQ(guard_name(Guard::bad_row), "bad-row");
}

TEST(Findings, WhatIsNoFindingsIsRefused) {
  for (const char* text :
       {"[]", "5", R"({"unknown":{"count":1,"first_place":"","first_detail":""}})",
        R"({"bad-row":{"count":0,"first_place":"","first_detail":""}})",
        R"({"bad-row":{"count":"1","first_place":"","first_detail":""}})",
        R"({"bad-row":{"count":1,"first_place":5,"first_detail":""}})",
        R"({"bad-row":{"count":1}})", R"({"bad-row":5})"})
    EXPECT_THROW(Findings::from_json(Json::parse(text)), Error) << text;
}

}  // namespace
}  // namespace nibble::test
