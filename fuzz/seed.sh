#!/bin/sh
# Fills the folder $1 with a folder of seeds for each fuzz target: verify's vectors, policies, and what stands in seeds/.
set -eu

cd "$(dirname "$0")/.."
to=$1
vectors=verify/vectors

main() {
    rm -rf "$to"
    mkdir -p "$to"
    for file in "$vectors"/image/*.json "$vectors"/*/manifest.json; do seed oci_document "$file"; done
    for folder in "$vectors"/bundle-* "$vectors"/attest*; do
        for file in "$folder"/layer-*; do
            seed bundle "$file"
            seed json "$file"
            tagged verify b "$file"
            field payload "$file" | seed statement
            # Bare envelopes are all but the bundles.
            grep -q verificationMaterial "$file" || seed dsse "$file"
        done
    done
    for file in "$vectors"/keyless/statement.json "$vectors"/keyless/tiles.json "$vectors"/keyless/message.json; do
        seed bundle "$file"
        tagged verify b "$file"
    done
    seed trusted_root "$vectors/keyless/trusted_root.json"
    for folder in "$vectors"/legacy-*; do
        seed simple_signing "$folder/layer-0"
        { printf s && cat "$folder/layer-0" && printf '\0' &&
            sed 's/.*"dev.cosignproject.cosign\/signature": *"\([^"]*\)".*/\1/' "$folder/manifest.json"; } | seed verify
    done
    for folder in "$vectors"/notation-* "$vectors"/notary-*; do
        seed notary_envelope "$folder/layer-0"
        case $folder in
        *-jws*) tagged verify j "$folder/layer-0" ;;
        *) tagged verify c "$folder/layer-0" ;;
        esac
    done
    for chain in "$vectors"/keys/*.pem; do seed certificate_chain "$chain"; done
    for chain in "$vectors"/keys/*-chain.pem fuzz/seeds/notary-chain.pem; do chain_in_der "$chain" | seed certificate_chain; done
    field io.cncf.notary.timestampSignature "$vectors/notary-jws/layer-0" | seed timestamp_token
    for key in "$vectors"/keys/*.pub.pem; do
        seed public_key "$key"
        openssl pkey -pubin -in "$key" -outform DER | seed public_key
    done
    for list in "$vectors"/notary/*.crl; do seed revocation_list "$list"; done
    for answer in "$vectors"/notary/*.ocsp; do seed ocsp_answer "$answer"; done
    seed trust_policy "$vectors/notary/trustpolicy.json"
    for file in "$vectors"/tuf-python/*.json; do seed tuf_file "$file"; done
    for policy in policy-examples/*/policy.toml; do seed policy "$policy"; done
    for folder in fuzz/seeds/*/; do
        for file in "$folder"*; do seed "$(basename "$folder")" "$file"; done
    done
    rm -f "$to/new"
}

# seed TARGET [FILE]: a copy, of standard input without a FILE, named by its hash. Empty ones are none.
seed() {
    mkdir -p "$to/$1"
    cat ${2:+"$2"} >"$to/new"
    [ ! -s "$to/new" ] || mv "$to/new" "$to/$1/$(sha256sum <"$to/new" | cut -c1-16)"
}

# tagged TARGET LETTER FILE
tagged() { { printf %s "$2" && cat "$3"; } | seed "$1"; }

# field NAME FILE: the decoded base64 of a member that JSON has on one line.
field() { sed -n "s|.*\"$1\": *\"\([A-Za-z0-9+/=]*\)\".*|\1|p" "$2" | head -n 1 | base64 -d 2>/dev/null || true; }

# Every certificate of a PEM file, one behind the other in DER.
chain_in_der() {
    awk '/BEGIN CERTIFICATE/ { text = ""; next } /END CERTIFICATE/ { print text; next } { text = text $0 }' "$1" |
        while read -r one; do echo "$one" | base64 -d; done
}

main
