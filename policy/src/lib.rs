//! Policy document to decision. A policy's text and the keys it names go in once; then cases of images with their facts
//! go in, and decisions with their reasons come out. Pure and total: no files, clock, environment or network.

mod case;
mod compile;
mod count;
mod decide;
mod decision;
mod document;
mod errors;
mod index;
mod policy;
mod reading;
mod scope;
mod succession;

pub use case::{AskedChain, Case, CaseImage, Collection, ImageState};
pub use compile::Material;
pub use decision::{Decision, ImageDecision};
pub use document::{PolicyDocument, TokenKey};
pub use errors::PolicyErrors;
pub use policy::Policy;
pub use scope::{Scope, ScopeError};
