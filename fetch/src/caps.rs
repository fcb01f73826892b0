//! Every limit on what a registry can make the fetcher do, each with its reason. Values only, no code.

use std::time::Duration;

/// A registry redirects a blob once to its storage, and a geo-balanced one once more; five is generous, a loop is not.
pub(crate) const MAX_REDIRECTS: usize = 5;
/// Headers of real registries have about 2 KiB; the longest part is a signed storage URL.
pub(crate) const MAX_HEADER_BYTES: usize = 16 << 10;
/// Real registries send about 20 header lines.
pub(crate) const MAX_HEADERS: usize = 64;
/// Manifest, index, config, envelope: registries accept manifests up to 4 MiB, and so does containerd.
pub(crate) const MAX_DOCUMENT_BYTES: usize = assay_admission::MAX_DOCUMENT_BYTES;
/// What may be read of a signature before the image's own documents are on their way; a usual one has 20 KiB.
pub(crate) const SMALL_DOCUMENT_BYTES: u64 = 64 << 10;
/// A bearer token with many claims has 10 KiB.
pub(crate) const MAX_TOKEN_BYTES: usize = 64 << 10;
/// Of an error answer only its code is read.
pub(crate) const MAX_ERROR_BYTES: usize = 8 << 10;
/// A docker `config.json` with a thousand registries has 200 KiB; so has a large bundle of certificates.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 20;
/// What a credential helper may print: one token and three keys.
pub(crate) const MAX_HELPER_BYTES: usize = 64 << 10;
/// A credential helper asks a local key ring or one cloud end point.
pub(crate) const HELPER_TIMEOUT: Duration = Duration::from_secs(5);
/// Registries list 100 or more referrers a page, so 16 pages hold far more than is ever looked at.
pub(crate) const MAX_REFERRER_PAGES: usize = 16;
/// Signature manifests of one collection. Ten signers in two formats on index and manifest make 40.
pub(crate) const MAX_SIGNATURES: usize = 64;
/// Signatures in one manifest: cosign's legacy tag holds one layer for each signer.
pub(crate) const MAX_LAYERS: usize = 64;
/// Digests whose signatures one request may ask for: an image has an index and a manifest; some indexes share a manifest.
pub(crate) const MAX_SUBJECTS: usize = 8;
/// A file of a TUF repository, whatever is asked for: the largest are the targets, of which real ones have 50 KiB.
pub(crate) const MAX_REPOSITORY_FILE_BYTES: usize = 4 << 20;
/// The path of such a file: 64 hex digits and a name.
pub(crate) const MAX_REPOSITORY_PATH: usize = 256;
/// All bytes of one collection: three documents of the largest size, and 64 signatures of a usual 20 KiB, with room.
pub(crate) const MAX_TOTAL_BYTES: usize = 32 << 20;
/// All requests of one collection: a manifest and a layer for each of 64 signatures, doubled for tokens and redirects.
pub(crate) const MAX_TOTAL_REQUESTS: usize = 256;
/// Longest collection, whatever the agent asks for.
pub(crate) const MAX_DEADLINE: Duration = Duration::from_secs(60);
/// One request with its body; a document of 4 MiB needs 400 KB/s.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// One TCP connection: after three seconds the next address deserves its chance.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Addresses of one host that are tried.
pub(crate) const MAX_ADDRESSES: usize = 8;
/// Requests in flight in one collection: what a registry's rate limit bears and a small node's memory too.
pub(crate) const CONCURRENCY: usize = 4;
/// Collections at a time: 8 times 32 MiB is what the fetcher may hold at worst.
pub(crate) const MAX_COLLECTIONS: usize = 8;
/// Collections that wait for one of the above; the agent asks once for an image, so more means that something loops.
pub(crate) const MAX_WAITING: usize = 64;
/// Problems in one summary; after 32 more of them explain nothing.
pub(crate) const MAX_PROBLEMS: usize = 32;
/// Characters of one problem's text.
pub(crate) const MAX_DETAIL: usize = 400;
/// Mirrors in one `hosts.toml`.
pub(crate) const MAX_MIRRORS: usize = 16;
/// TLS set-ups (system roots, one for each mirror with a CA of its own) that are kept ready.
pub(crate) const MAX_TLS_PROFILES: usize = 16;
/// An idle connection is worth keeping between two collections of one pod's images, not longer: memory at rest.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts to add a referrer to the fallback tag's index when others write it at the same time.
pub(crate) const MAX_INDEX_ATTEMPTS: usize = 12;
/// After it, who had read that index before has written it, unless its registry takes longer for two requests. Up to a quarter of a
/// second more, so that writers part.
pub(crate) const INDEX_PAUSE: Duration = Duration::from_millis(150);
/// A revocation list of 4 MiB has about 100,000 entries; the verifier reads no larger one.
pub(crate) const MAX_LIST_BYTES: usize = 4 << 20;
/// OCSP answers have 0.5 to 3 KiB.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Lists lie where the certificate says, or once removed.
pub(crate) const MAX_REVOCATION_REDIRECTS: usize = 3;
/// Addresses in certificates have 30 to 200 characters.
pub(crate) const MAX_URL_BYTES: usize = 2048;
