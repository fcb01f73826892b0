#!/bin/sh
# Runs every fuzz target, or those that are named, for $1 seconds each, two at a time. What one fails on is left in fuzz/found/TARGET,
# from where it is a seed; the target's name, the reason and the command to try it again are printed.
set -eu

cd "$(dirname "$0")/.."
seconds=$1
shift
programs=target/fuzz/x86_64-unknown-linux-gnu/release
corpus=target/fuzz/corpus
[ $# -gt 0 ] || set -- $(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"/\1/p' fuzz/Cargo.toml)

fuzz/seed.sh target/fuzz/seeds
mkdir -p target/fuzz/logs
export seconds programs corpus
printf '%s\n' "$@" | xargs -n 1 -P 2 sh -c '
    target=$0
    mkdir -p "$corpus/$target" "fuzz/found/$target" "target/fuzz/seeds/$target"
    log=target/fuzz/logs/$target
    if "$programs/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="fuzz/found/$target/" "$corpus/$target" "fuzz/found/$target" "target/fuzz/seeds/$target" >"$log" 2>&1
    then
        echo "fuzz: $target: $(sed -n "s/^stat::number_of_executed_units: *//p" "$log") runs, $(ls "$corpus/$target" | wc -l) inputs"
    else
        grep -hE "panicked|ERROR|assert|left:|right:" -A 1 "$log" | head -n 8 >&2
        echo "fuzz: $target FAILED: $log; try $programs/$target fuzz/found/$target/*" >&2
        exit 1
    fi
' && result=0 || result=1
find fuzz/found -type d -empty -delete
[ $result = 0 ] || echo "fuzz: a target failed" >&2
exit $result
