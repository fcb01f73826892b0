#!/bin/sh
# Builds every fuzz target with the project's own toolchain. libFuzzer sees what code a run reaches by LLVM's coverage pass, which a stable
# compiler has too; sanitizers, which it has not, are left out: no crate below the targets has unsafe code of ours. The folder is laid
# out for cargo-fuzz (`cargo fuzz run -s none bundle`), which sets the same flags.
set -eu

cd "$(dirname "$0")"
RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-$option"
done
export RUSTFLAGS
# A target of its own, so that build scripts and macros are built without all this.
exec cargo build --release --locked --bins --target x86_64-unknown-linux-gnu --target-dir ../target/fuzz "$@"
