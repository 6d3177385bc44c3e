# make build   the release program, build/nibble
# make demo    fine-tunes the embedded model and shows it before and after
# make test    builds and passes the tests
# make asan    the same under the address and undefined-behaviour sanitizers
# make bench   the benchmarks' programs

JOBS ?= $(shell nproc)

.PHONY: build demo test asan bench dependencies

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

bench: dependencies
	cmake --preset release -DNIBBLE_BENCH=ON
	cmake --build --preset release -j $(JOBS)

dependencies:
	@tools/install_dependencies.sh
