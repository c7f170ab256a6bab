//! Every decision of Kith, without IO.
//!
//! ```text
//! Engine::new(config, saved, seed, now)
//! engine.handle(input, now)          one mutation …
//! engine.poll() -> Option<Effect>    … then drain until None
//! engine.deadline() -> Option<Deadline { at, why }>
//! ```
//!
//! The engine never reads a clock, rolls a die, hashes a file or waits. Effects are its only
//! verbs; an effect that takes time comes back as an [`Input`]. File bytes never pass through it.
//!
//! | module | decides |
//! |---|---|
//! | [`engine`] | which room an input belongs to; views and replies |
//! | [`room`] | who is here, who links to whom |
//! | [`session`] | us and the room server |
//! | [`member`] | the sealing handshake with one member |
//! | [`link`] | the peer connection with one person |
//! | [`chat`] | logs: what to send, what to acknowledge |
//! | [`serve`] | our offers and their receivers |
//! | [`fetch`] | others' offers and our receiving of them |
//! | [`queue`] | which fetches run |
//! | [`policy`] | what is taken without asking |
//! | [`pace`] | how long to wait before the next byte |
//! | [`call`] | who rings whom, and who talks with whom |
//! | [`audio`] | which sample of a voice is heard next |

// A test picks the case it is about.
#![cfg_attr(test, allow(clippy::wildcard_enum_match_arm))]

pub mod audio;
pub mod call;
pub mod chat;
pub mod effect;
pub mod engine;
pub mod fetch;
pub mod input;
pub mod link;
pub mod member;
pub mod offer;
pub mod pace;
pub mod policy;
pub mod queue;
pub mod record;
pub mod room;
pub mod serve;
pub mod session;
pub mod time;

pub use effect::Effect;
pub use engine::{Config, Engine};
pub use input::Input;
pub use time::{Deadline, Mono, Now};

#[cfg(test)]
mod testing;
