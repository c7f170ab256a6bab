//! The headless engine of Kith: WebRTC, sockets, disk and store around [`kith_core`].

pub mod disk;
pub mod node;
pub mod rtc;
pub mod seal;
pub mod store;
