//! The real `assay-keyd` over a real SoftHSM token, through the real client.

mod node;
mod odd_modules;
mod peers;
mod process;
mod signing;
mod token;
