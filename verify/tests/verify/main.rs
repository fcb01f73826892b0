//! What verification accepts and refuses, against real signatures and against crafted ones. One test binary: linking is slow.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod asn1;
mod attestations;
mod bound_entries;
mod bundles;
mod certificates;
mod cose;
mod images;
mod issuing_authorities;
mod jws;
mod keyless;
mod keyless_real;
mod levels;
mod limbo;
mod messages;
mod mutation;
mod notary;
mod notary_real;
mod oci_types;
mod predicates;
mod real;
mod revocation;
mod signing;
mod sigstore_world;
mod simple_signing;
mod stamps_of_others;
mod support;
mod timestamps;
mod tuf;
mod tuf_world;
