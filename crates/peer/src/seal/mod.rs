//! Sealing between two members, through a server that must not read along.
//!
//! `Noise_XXpsk0_25519_ChaChaPoly_SHA256` with the room's secret as the pre-shared key: three
//! handshake messages, of which 2 and 3 carry a [`Hello`], then transport messages with strict
//! counters. Synchronous and free of IO; deadlines and repeats are the caller's.
//!
//! ```text
//! initiator (smaller sid)                responder
//!   begin ── 1 ─────────────────────────▶ read: Send(2), old keys stay
//!   read: Send(3), Ready ◀────────── 2 ──
//!         ── 3 ─────────────────────────▶ read: Ready
//!   seal  ── transport ─────────────────▶ read: Body
//!   read: AskedAgain ◀─── rehandshake ─── ask_again
//! ```
//!
//! A [`Sealer`] has at most one set of keys, one handshake under way beside them, and the tag of
//! the keys before. A failed message never ends working keys: the room server could otherwise
//! cut two members apart with one byte. What does not fit is refused, and the caller agrees on
//! new keys.

mod error;
mod identity;
mod shake;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use kith_protocol::ids::{Digest, PeerId, RoomId, SealTag, Sid};
use kith_protocol::limits;
use kith_protocol::sealed::{Envelope, Hello, SealedBody};
use zeroize::Zeroizing;

pub use error::SealError;
pub use identity::Identity;
pub(crate) use identity::voucher_holds;
use shake::{Keys, Setup, Shake};

/// What a seal is bound to, and what our `Hello` says.
pub struct SealContext {
    /// The room's pre-shared key; see [`kith_protocol::invite::RoomKeys::psk`].
    pub psk: Zeroizing<[u8; 32]>,
    /// The room.
    pub room_id: RoomId,
    /// Our session.
    pub my_sid: Sid,
    /// Theirs.
    pub their_sid: Sid,
    /// SHA-256 of our DTLS certificate.
    pub fp: Digest,
    /// Our display name.
    pub name: String,
    /// Our optional features.
    pub caps: Vec<String>,
}

/// What reading a message led to, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealNews {
    /// Pass this body on to the other side.
    Send(Bytes),
    /// A handshake is complete; sealing and opening use its keys from now on.
    Ready {
        /// Who the other side is.
        peer: PeerId,
        /// What it said about itself; its certificate holds.
        hello: Hello,
        /// Names the handshake in envelopes.
        tag: SealTag,
        /// The Noise handshake hash: equal on both sides, and on no other pair.
        hash: [u8; 32],
    },
    /// A body from the other side.
    Body(SealedBody),
    /// The other side asks for a new handshake. Unauthenticated, so a caller limits how often
    /// it follows; only the initiator can, with [`Sealer::begin`].
    AskedAgain,
    /// Left over from a handshake that is not the current one; ignored.
    Stale,
    /// Under the keys before the current ones, and ignored: it was on its way when they changed, or
    /// the other side never learnt that they did. Unauthenticated, as [`SealNews::AskedAgain`].
    Superseded,
}

/// The sealing between our session and one other, in one room.
pub struct Sealer {
    setup: Setup,
    /// The handshake that may replace `keys`.
    shake: Option<Shake>,
    keys: Option<Keys>,
    /// The tag of the keys before, whose messages may still be on their way.
    before: Option<SealTag>,
}

impl Sealer {
    /// Binds `me` and `context` together. The side with the smaller sid is the initiator.
    ///
    /// Fails with [`SealError::SameSid`], or [`SealError::OwnHello`] where name or caps are
    /// beyond what the other side accepts.
    pub fn new(me: &Identity, context: SealContext) -> Result<Self, SealError> {
        let (mine, theirs) = (context.my_sid, context.their_sid);
        if mine == theirs {
            return Err(SealError::SameSid);
        }
        let initiator = mine < theirs;
        let (first, second) = if initiator {
            (mine, theirs)
        } else {
            (theirs, mine)
        };
        let hello = Hello {
            id_pk: me.id_pk(),
            cert: me.cert(),
            fp: context.fp,
            name: context.name,
            caps: context.caps,
        }
        .to_bytes();
        Hello::parse(&hello).map_err(|_| SealError::OwnHello)?;
        let prologue = shake::prologue(&context.room_id, &first, &second);
        Ok(Sealer {
            setup: Setup::new(me, context.psk, prologue, hello, initiator),
            shake: None,
            keys: None,
            before: None,
        })
    }

    /// Whether we are the side that begins.
    pub fn is_initiator(&self) -> bool {
        self.setup.initiator
    }

    /// Whether [`Sealer::seal`] works.
    pub fn is_ready(&self) -> bool {
        self.keys.is_some()
    }

    /// Starts a new attempt and gives message 1. A handshake under way is given up; keys in use
    /// stay until the new ones are agreed. [`SealError::NotInitiator`] on the other side.
    pub fn begin(&mut self) -> Result<Bytes, SealError> {
        let mut attempt = [0u8; 4];
        getrandom::fill(&mut attempt).map_err(|_| SealError::NoRandomness)?;
        self.begin_attempt(u32::from_be_bytes(attempt))
    }

    /// Asks the other side for a new handshake: for the responder, which cannot begin one, or
    /// for either side after an error.
    pub fn ask_again(&self) -> Bytes {
        Envelope::Rehandshake.to_bytes()
    }

    /// Reads a `signal` body of the other side.
    ///
    /// An error means that the message was refused. Keys in use stay; a handshake step that
    /// fails ends its attempt. The caller begins anew (or asks) and limits how often it does.
    pub fn read(&mut self, body: Bytes) -> Result<Vec<SealNews>, SealError> {
        match Envelope::parse(body).map_err(|_| SealError::NotAnEnvelope)? {
            Envelope::Handshake {
                step,
                attempt,
                noise,
            } => match (step, self.setup.initiator) {
                (1, false) => self.read_first(attempt, &noise),
                (2, true) => self.read_second(attempt, &noise),
                (3, false) => self.read_third(attempt, &noise),
                (step, _) => Err(SealError::WrongStep(step)),
            },
            Envelope::Transport {
                tag,
                counter,
                noise,
            } => self.read_transport(tag, counter, &noise),
            Envelope::Rehandshake => Ok(vec![SealNews::AskedAgain]),
        }
    }

    /// Seals a body for the other side.
    ///
    /// [`SealError::NotReady`] before the first handshake is complete; [`SealError::Unsendable`]
    /// for a body over [`limits::MAX_SEALED`] or of an unknown kind.
    pub fn seal(&mut self, body: &SealedBody) -> Result<Bytes, SealError> {
        let keys = self.keys.as_mut().ok_or(SealError::NotReady)?;
        if matches!(body, SealedBody::Unknown) {
            return Err(SealError::Unsendable);
        }
        let plain = body.to_bytes();
        if plain.len() > limits::MAX_SEALED {
            return Err(SealError::Unsendable);
        }
        let (counter, noise) = keys.write(&plain)?;
        Ok(Envelope::Transport {
            tag: keys.tag,
            counter,
            noise,
        }
        .to_bytes())
    }

    fn begin_attempt(&mut self, attempt: u32) -> Result<Bytes, SealError> {
        if !self.setup.initiator {
            return Err(SealError::NotInitiator);
        }
        let (shake, noise) = Shake::begin(&self.setup, attempt)?;
        self.shake = Some(shake);
        Ok(step(1, attempt, noise))
    }

    /// Responder: somebody who knows the room's secret wants a handshake.
    fn read_first(&mut self, attempt: u32, noise: &[u8]) -> Result<Vec<SealNews>, SealError> {
        // A copy of the message that this attempt began with: answering it again would forget
        // the ephemeral key that the first answer carried.
        let known = self.shake.as_ref().map(|s| s.attempt);
        let done = self.keys.as_ref().map(|k| k.attempt);
        if known == Some(attempt) || done == Some(attempt) {
            return Ok(vec![SealNews::Stale]);
        }
        // An attempt under way is given up only for one that proves the secret.
        let (shake, noise) = Shake::answer(&self.setup, attempt, noise)?;
        self.shake = Some(shake);
        Ok(vec![SealNews::Send(step(2, attempt, noise))])
    }

    fn read_second(&mut self, attempt: u32, noise: &[u8]) -> Result<Vec<SealNews>, SealError> {
        let Some(shake) = self.shake.take_if(|s| s.attempt == attempt) else {
            return Ok(vec![SealNews::Stale]);
        };
        let (keys, hello, noise) = shake.conclude(&self.setup, noise)?;
        let ready = self.switch_to(keys, hello);
        Ok(vec![SealNews::Send(step(3, attempt, noise)), ready])
    }

    fn read_third(&mut self, attempt: u32, noise: &[u8]) -> Result<Vec<SealNews>, SealError> {
        let Some(shake) = self.shake.take_if(|s| s.attempt == attempt) else {
            return Ok(vec![SealNews::Stale]);
        };
        let (keys, hello) = shake.accept(&self.setup, noise)?;
        Ok(vec![self.switch_to(keys, hello)])
    }

    fn read_transport(
        &mut self,
        tag: SealTag,
        counter: u64,
        noise: &[u8],
    ) -> Result<Vec<SealNews>, SealError> {
        if self.before == Some(tag) {
            return Ok(vec![SealNews::Superseded]);
        }
        let keys = self
            .keys
            .as_mut()
            .filter(|k| k.tag == tag)
            .ok_or(SealError::UnknownTag)?;
        let plain = keys.read(counter, noise)?;
        let body = SealedBody::parse(&plain).map_err(|_| SealError::Malformed)?;
        Ok(vec![SealNews::Body(body)])
    }

    fn switch_to(&mut self, keys: Keys, hello: Hello) -> SealNews {
        let ready = SealNews::Ready {
            peer: hello.id_pk.peer_id(),
            hello,
            tag: keys.tag,
            hash: keys.hash,
        };
        tracing::debug!(tag = %keys.tag, again = self.keys.is_some(), "sealed");
        self.before = self.keys.replace(keys).map(|old| old.tag);
        ready
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("initiator", &self.setup.initiator)
            .field("shaking", &self.shake.as_ref().map(|s| s.attempt))
            .field("tag", &self.keys.as_ref().map(|k| k.tag))
            .finish_non_exhaustive()
    }
}

fn step(step: u8, attempt: u32, noise: Bytes) -> Bytes {
    Envelope::Handshake {
        step,
        attempt,
        noise,
    }
    .to_bytes()
}
