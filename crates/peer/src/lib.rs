//! Kith.

pub mod seal;
pub mod store;
