//! The room server: introduces peers to each other and reads nothing of what they say.
//!
//! | module | what it holds |
//! |---|---|
//! | [`hub`] | every decision, without IO: inputs and a clock go in, effects come out |
//! | [`config`] | what an operator can choose, with defaults that work |
//! | [`serve`] | the listener: sockets in, tasks owned, graceful stop |
//! | [`args`] | the same choices as command line flags and environment variables |
//!
//! ```text
//! TCP ─ gate ─ HTTP (header timeout) ─ upgrade ─ WebSocket pump ─┐ inputs
//!                                                  ▲  bounded    ▼
//!                                                outbox ◄─────  hub  ◄─ clock
//! ```

pub mod args;
pub mod config;
pub mod hub;
pub mod serve;

mod gate;
mod http;
mod memory;
mod outbox;
mod shared;
mod socket;
mod wire;

pub use args::{MainError, ServerArgs, main_with};
pub use config::Config;
pub use serve::{RunError, run};
