#!/bin/sh
# Checks which crate depends on which, as docs/design.md draws it, and that nothing below verify and policy waits or talks.
# Reads cargo's own dependency graph; dev-dependencies do not count. Ends with 1 and a sentence for every wrong arrow.
set -eu
cd "$(dirname "$0")"
wrong=0

main() {
    # crate      may use
    allow admission
    allow proto      admission
    allow verify     admission
    allow policy     admission verify
    allow audit      admission policy
    allow hsm
    allow fetch      proto admission
    allow agent      proto admission verify policy audit hsm
    allow shim       proto admission
    allow cli        proto admission verify policy audit fetch

    # No runtime, no HTTP and no protocol buffers where a verdict is reached.
    forbid verify 'tokio|hyper|reqwest|h2|http|tower|tonic|prost|async-std|smol|mio|socket2'
    forbid policy 'tokio|hyper|reqwest|h2|http|tower|tonic|prost|async-std|smol|mio|socket2'

    [ "$wrong" = 0 ] || exit 1
    echo "arrows: every crate depends on what it may"
}

allow() {
    crate=$1
    shift
    names=$(tree --depth 1) || exit 1
    for used in $(echo "$names" | sed -n 's/^assay-//p'); do
        [ "$used" = "$crate" ] && continue
        case " $* " in
        *" $used "*) ;;
        *) complain "assay-$crate depends on assay-$used; it may depend on: ${*:-nothing of ours}" ;;
        esac
    done
}

forbid() {
    crate=$1
    names=$(tree) || exit 1
    for used in $(echo "$names" | grep -Ex "($2)(-.*)?"); do
        complain "assay-$crate depends on $used, directly or through another crate (cargo tree -p assay-$crate -i $used shows how)"
    done
}

# The names of the crates that $crate is built with.
tree() {
    listed=$(cargo tree --quiet --locked --package "assay-$crate" --edges normal,build --prefix none --format '{p}' "$@") ||
        { echo "arrows: cargo tree does not know assay-$crate" >&2; exit 1; }
    echo "$listed" | cut -d' ' -f1 | sort -u
}

complain() {
    echo "arrows: $*" >&2
    wrong=1
}

main
