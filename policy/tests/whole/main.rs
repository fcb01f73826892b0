//! The policy as others use it: text, keys and real signatures in, decisions out. One program, so that it links once.

mod decisions;
mod examples;
mod language;
mod properties;
mod scene;
