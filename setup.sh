#!/bin/sh
# Brings what Assay is built and tested with, on Debian 12, as root. Does nothing when all is there already.
#
# Installed by apt-get: a C compiler, make, SoftHSM and other small tools. Never a container daemon.
# Daemons and signing programs (containerd, runc, docker-registry, cosign, notation, busybox) are downloaded as Debian
# packages and unpacked below .cache/ (or $ASSAY_CACHE), so that the machine's own containerd or Docker is not touched.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${ASSAY_CACHE:-$root/.cache}
tools=$cache/tools
apt=$cache/apt

main() {
    check_machine
    install_system_packages
    if ! grep -qsx "setup $(own_checksum)" "$tools/VERSIONS"; then
        unpack_tools
    fi
    sed -n 's/^tool /setup: /p' "$tools/VERSIONS"
}

# Sentences for the three things this script cannot bring.
check_machine() {
    [ "$(id -u)" = 0 ] || fail "setup.sh must run as root: it installs packages, and the tests mount and start containers"
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
    [ "$codename" = bookworm ] || fail "this machine runs '$codename', but the tools are taken from Debian 12 (bookworm)"
    command -v cargo >/dev/null || fail "cargo is missing: install Rust $(sed -n 's/^channel = //p' "$root/rust-toolchain.toml") with rustup"
}

install_system_packages() {
    set -- gcc g++ libc6-dev make ca-certificates openssl softhsm2 opensc mount strace
    missing=
    for package; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    echo "setup: installing$missing"
    # The machine's package lists may be older than its mirror: refresh them only now that something is missing.
    apt-get -qq update || fail "apt-get update did not work: check /etc/apt/sources.list"
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null ||
        fail "apt-get could not install:$missing"
}

# Every run starts from an empty folder and moves it into place at the end, so a broken download leaves nothing half done.
unpack_tools() {
    new=$tools.new
    rm -rf "$new" "$apt"
    mkdir -p "$new/bin" "$new/cosign-2" "$new/containerd-2" "$new/containerd-1.6" "$apt/lists/partial" "$apt/archives/partial"
    write_sources
    echo "setup: reading package lists"
    private_apt -qq update || fail "the Debian mirror in use could not be read: is it reachable, and does it carry trixie and forky?"

    # package          suite    at least  goes to         files
    unpack containerd      forky    2.1     containerd-2    usr/bin/containerd usr/bin/ctr usr/bin/containerd-shim-runc-v2
    unpack containerd      bookworm 1.6.20  containerd-1.6  usr/bin/containerd usr/bin/ctr usr/bin/containerd-shim-runc-v2
    unpack runc            bookworm 1.1.5   bin             usr/sbin/runc
    unpack docker-registry bookworm 2.8     bin             usr/bin/docker-registry
    unpack busybox-static  bookworm 1.35    bin             bin/busybox
    unpack cosign          forky    3.1     bin             usr/bin/cosign
    unpack cosign          trixie   2.5     cosign-2        usr/bin/cosign
    unpack notation        forky    1.3     bin             usr/bin/notation

    echo "setup $(own_checksum)" >>"$new/VERSIONS"
    rm -rf "$apt" "$tools"
    mv "$new" "$tools"
}

# One mirror serves all suites: the one this machine's own apt takes bookworm from.
write_sources() {
    mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | awk '$2 == "bookworm" { print $1; exit }')
    [ -n "$mirror" ] || fail "apt knows no mirror for bookworm: run apt-get update, or check /etc/apt/sources.list"
    for suite in bookworm trixie forky; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$apt/sources.list"
}

# apt-get on lists of our own; the machine's sources and lists stay as they are.
private_apt() {
    apt-get -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache::archives="$apt/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@"
}

# unpack PACKAGE SUITE MINIMUM FOLDER FILE…: takes what version the suite has, and refuses one that is too old.
unpack() {
    package=$1 suite=$2 minimum=$3 folder=$4
    shift 4
    work=$apt/unpack/$package-$suite
    mkdir -p "$work/root"
    (cd "$work" && private_apt -qq download "$package/$suite") || fail "could not download $package from $suite"
    dpkg-deb -x "$work/$package"_*.deb "$work/root"
    version=$(dpkg-deb -f "$work/$package"_*.deb Version)
    # The tilde sorts before everything: Debian writes its repackaged sources as 1.6.20~ds1.
    dpkg --compare-versions "${version#*:}" ge "$minimum~" || fail "$suite has $package $version; at least $minimum is needed"
    for file; do
        [ -x "$work/root/$file" ] || fail "$package $version of $suite has no program $file"
        cp "$work/root/$file" "$new/$folder/"
    done
    rm -rf "$work"
    echo "tool $package $version ($suite) in $folder" >>"$new/VERSIONS"
}

own_checksum() { sha256sum <"$0" | cut -c1-64; }

fail() {
    echo "setup: $*" >&2
    exit 1
}

main "$@"
