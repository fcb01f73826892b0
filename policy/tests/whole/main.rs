//! The policy as others use it: text, keys and real signatures in, decisions out. One program, so that it links once.

mod chains;
mod decisions;
mod examples;
mod identities;
mod language;
mod names;
mod properties;
mod scene;
mod telling;
use scene::support;
