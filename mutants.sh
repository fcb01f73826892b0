#!/bin/sh
# Changes the code of verify/ and policy/ in one place after the other, and expects a test to fail each time (cargo-mutants).
#   mutants.sh whole [OPTION…]   every place; OPTIONs go to cargo-mutants, such as `--file policy/src/decide.rs`
#   mutants.sh change            what the last commit changed, for at most ten minutes; what no test noticed is told, and fails nothing
# docs/mutants.md explains what is known to go unnoticed.
set -eu

cd "$(dirname "$0")"
cache=${ASSAY_CACHE:-$PWD/.cache}
program=$cache/cargo/bin/cargo-mutants
out=target/mutants.out
# Of its own, and kept: the copy that is changed lies elsewhere each time.
export CARGO_TARGET_DIR="$PWD/target/mutants"
# Each place costs a build, which is shorter without line numbers.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0

main() {
    what=$1
    shift
    case $what in
    whole)
        [ $# -gt 0 ] || set -- --package assay-verify --package assay-policy
        install_it && run "$@"
        ;;
    change) change ;;
    *) fail "what is to be changed: whole or change?" ;;
    esac
}

change() {
    mkdir -p target
    git diff HEAD~1 --output target/change.diff -- verify/src policy/src 2>/dev/null ||
        { echo "mutants: there is no commit before this one to compare with" && return; }
    [ -s target/change.diff ] ||
        { echo "mutants: the last commit changed nothing in verify/src and policy/src" && return; }
    install_it
    code=0
    run --in-diff target/change.diff --baseline skip --timeout 300 || code=$?
    case $code in
    # 2 and 3: some went unnoticed, or ran too long. 124, 130 and 137: stopped here; what was judged until then is judged.
    0 | 2 | 3) ;;
    124 | 130 | 137) echo "mutants: stopped after ten minutes; $(grep -c . "$out/caught.txt" || true) were noticed until then" ;;
    *) fail "cargo-mutants ended with $code" ;;
    esac
    [ ! -s "$out/missed.txt" ] || { echo "mutants: no test noticed these:" && cat "$out/missed.txt"; }
}

# nextest stops at the first test that fails, and takes half the time.
run() {
    tool=cargo
    ! cargo nextest --version >/dev/null 2>&1 || tool=nextest
    limit=
    [ "$what" = whole ] || limit="timeout --signal=INT --kill-after=30s 10m"
    # shellcheck disable=SC2086 # two words or none
    # Stopped at its limit, the tool would tell where it was in its own code.
    RUST_BACKTRACE=0 $limit "$program" mutants --test-tool "$tool" --output target "$@"
}

install_it() {
    [ -x "$program" ] || cargo install cargo-mutants --version 27.1.0 --locked --debug --quiet --root "$cache/cargo"
}

fail() {
    echo "mutants: $*" >&2
    exit 1
}

main "$@"
