//! The real `assay-keyd` over a real SoftHSM token, through the real client.

mod node;
mod signing;
mod survival;
