//! Kith.

pub mod seal;
