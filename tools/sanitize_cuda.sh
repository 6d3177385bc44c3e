#!/bin/bash
# Runs compute-sanitizer on the tests of the operations on a GPU, in shards side by side, and prints for each tool how
# many tests passed, and what was found by kind and kernel.
#
#     tools/sanitize_cuda.sh [PROGRAM=build/test_ops] [SHARDS=12] [TOOL...=memcheck racecheck initcheck]
set -u
program=${1:-build/test_ops}
shards=${2:-12}
tools=("${@:3}")
[ ${#tools[@]} -gt 0 ] || tools=(memcheck racecheck initcheck)
filter='*cuda*:AttentionInBlocks*:*Repeat*:-*isa*:*Isa*'
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

export NIBBLE_TEST_INITCHECK=1 GTEST_TOTAL_SHARDS=$shards
for tool in "${tools[@]}"; do
  for ((shard = 0; shard < shards; ++shard)); do
    GTEST_SHARD_INDEX=$shard compute-sanitizer --tool "$tool" --print-limit 100000 --show-backtrace no \
      "$program" \
      "--gtest_filter=$filter" >"$logs/$tool-$shard" 2>&1 &
  done
  wait
  passed=$(cat "$logs/$tool"-* | grep -c '^\[       OK \]')
  failed=$(cat "$logs/$tool"-* | grep -c '^\[  FAILED  \].*(.* ms)$')
  finished=$(cat "$logs/$tool"-* | grep -cE '^=+ (ERROR|RACECHECK) SUMMARY: ')
  echo "$tool: $passed tests passed, $failed failed, $finished of $shards shards finished"
  cat "$logs/$tool"-* |
    grep -oE '(Invalid|Uninitialized|Misaligned) .*| at (void )?[A-Za-z_][^(+]*|(Read|Write) access at [^(+]*' |
    sort | uniq -c | sort -rn | head -20
done
