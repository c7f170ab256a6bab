//! Kith.

pub mod disk;
