//! What crosses the network in Kith: identifiers, messages, frames, limits and error codes.
//!
//! Everything here is data and parsing. A value that exists has been checked: the decoders are
//! the only way from bytes to types, and they accept any input without panicking.
//!
//! | module | what it holds |
//! |---|---|
//! | [`limits`] | every number both ends must agree on |
//! | [`ids`] | identifiers as newtypes |
//! | [`derive`](mod@derive) | the hash and key derivations all secrets come from |
//! | [`invite`] | the invite link and the room keys derived from it |
//! | [`room`] | client ↔ room server messages |
//! | [`sealed`] | what two members say to each other through the server |
//! | [`sdp`] | the rule an SDP must pass before it is used |
//! | [`peer`] | messages on the data channels `messages` and `presence` |
//! | [`frame`] | binary frames on the data channel `files` |
//! | [`ranges`] | sets of chunk indexes |
//! | [`tree`] | the hash of a whole file, from those of its chunks |
//! | [`code`] | the one table of error and close codes |

pub mod code;
pub mod derive;
pub mod frame;
pub mod ids;
pub mod invite;
pub mod limits;
pub mod peer;
pub mod ranges;
pub mod room;
pub mod sdp;
pub mod sealed;
pub mod tree;
pub mod voucher;

pub use code::Code;
pub use ids::{CallId, IdPk, LinkId, MsgId, OfferId, PeerId, RoomId, Sid};
pub use invite::Invite;
