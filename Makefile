# make build   the release program, build/nibble
# make demo    fine-tunes the embedded model and shows it before and after
# make test    builds and passes the tests
# make asan    the same under the address and undefined-behaviour sanitizers
# make conformance   tokenizers, templates, labels: how many vectors are equal to the reference's
# make bench   the benchmarks' programs

JOBS ?= $(shell nproc)

.PHONY: build demo test asan conformance bench dependencies

build: dependencies
	@cmake --preset release > build.log 2>&1 || { cat build.log; exit 1; }
	@cmake --build --preset release -j $(JOBS) --target nibble
	@rm -f build.log

demo: build
	@demo/run.sh

test: dependencies
	cmake --preset release
	cmake --build --preset release -j $(JOBS)
	ctest --preset release -j $(JOBS)

asan: dependencies
	cmake --preset asan
	cmake --build --preset asan -j $(JOBS)
	ctest --preset asan -j $(JOBS)

conformance: dependencies
	@cmake --preset release > build.log 2>&1 || { cat build.log; exit 1; }
	@cmake --build --preset release -j $(JOBS) --target nibble test_text test_data test_cli
	@rm -f build.log
	@build/test_text --gtest_brief=1 --gtest_filter='Jinja*:Template*:RealTokenizers*:Tokenizer*'
	@build/test_data --gtest_brief=1 --gtest_filter='RowEncoder*:GenerationTags*:*Alpaca*'
	@build/test_cli --gtest_brief=1 --gtest_filter='ThirtyFaults*:*CleanPairs*'

bench: dependencies
	cmake --preset release -DNIBBLE_BENCH=ON
	cmake --build --preset release -j $(JOBS)

dependencies:
	@tools/install_dependencies.sh
