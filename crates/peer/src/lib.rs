//! The headless engine of Kith: WebRTC, sockets, disk and store around [`kith_core`].
//!
//! | module | what it does |
//! |---|---|
//! | [`node`] | one app session: runs the core, owns every task |
//! | [`rtc`] | peer connections with Kith's channels, tuned |
//! | [`seal`] | the Noise handshake between two members |
//! | [`disk`] | reading what is sent, writing what is received |
//! | [`store`] | identity, rooms, history and progress, durably |
//! | [`memory`] | what the allocator keeps |
//! | [`threads`] | what tasks run on |

pub mod disk;
pub mod memory;
pub mod node;
pub mod rtc;
pub mod seal;
pub mod store;
pub mod threads;
