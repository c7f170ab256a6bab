//! Kith.

pub mod rtc;
