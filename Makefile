# Everything that is done with this tree. `make demo` first; `make ci` is exactly what CI runs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

CACHE := $(or $(ASSAY_CACHE),$(CURDIR)/.cache)

.PHONY: setup build demo test ci bench fuzz mutants fmt lint arrows deny clean
.DEFAULT_GOAL := build

# Installs and downloads what building and testing need; touches no container daemon of the machine.
setup:
	./setup.sh

build:
	cargo build --workspace --bins --locked

# A signed image runs, an unsigned one does not: the real programs, in their own folders.
demo: setup build
	target/debug/assay-demo

# The integration tests start the programs that build made. The last line sums up all test programs.
test: setup build
	@if cargo test --workspace --locked --no-fail-fast 2>&1 | tee target/test.log; then result=passed; else result=FAILED; fi; \
	awk -v result=$$result '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8; programs++ } \
	    END { printf "test: %s: %d passed, %d failed, %d ignored, in %d programs\n", result, passed, failed, ignored, programs }' \
	    target/test.log; [ $$result = passed ]

ci: setup
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	$(MAKE) lint arrows deny
	$(MAKE) test
	$(MAKE) fuzz TIME=5
	ASSAY_CACHE=$(CACHE) ./mutants.sh change

# What Assay costs, beside its peers; docs/performance.md says how to read it.
bench: setup
	cargo build --workspace --bins --release --locked
	cargo bench --package assay-verify --bench verification --locked
	cargo bench --package assay-integration --locked

# Every parser and the whole of verification, with random changes of real inputs: TIME seconds each, TARGETS= picks some.
fuzz: setup
	fuzz/build.sh
	fuzz/run.sh $(or $(TIME),60) $(TARGETS)

# Whether a test fails wherever the code of verify/ and policy/ is changed. FILES= picks some: "--file policy/src/decide.rs".
mutants: setup
	ASSAY_CACHE=$(CACHE) ./mutants.sh whole $(FILES)

fmt:
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Which crate may depend on which.
arrows:
	./arrows.sh

# Licences, sources and duplicate versions; advisories need a database that is not to be had offline.
deny: $(CACHE)/cargo/bin/cargo-deny
	$< --workspace --locked check --hide-inclusion-graph licenses bans sources

$(CACHE)/cargo/bin/cargo-deny:
	cargo install cargo-deny --version 0.20.2 --locked --debug --quiet --root $(CACHE)/cargo

clean:
	cargo clean
