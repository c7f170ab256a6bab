//! One attempt of the handshake: Noise, with a `Hello` each way.

use std::cmp::Ordering;

use bytes::Bytes;
use kith_protocol::derive;
use kith_protocol::ids::{IdPk, RoomId, SealTag, Sid};
use kith_protocol::limits;
use kith_protocol::sealed::{Hello, NOISE_PATTERN};
use snow::{Builder, HandshakeState, TransportState};
use zeroize::Zeroizing;

use super::SealError;
use super::identity::{Identity, cert_holds};

/// Bytes that Noise adds to a message at most: an ephemeral key, a static key, two tags.
const NOISE_OVERHEAD: usize = 32 + 32 + 16 + 16;

/// What every attempt between these two starts from.
pub(super) struct Setup {
    pub(super) noise_secret: Zeroizing<[u8; 32]>,
    pub(super) psk: Zeroizing<[u8; 32]>,
    pub(super) prologue: Vec<u8>,
    pub(super) hello: Bytes,
    pub(super) id_pk: IdPk,
    pub(super) initiator: bool,
    /// Pins the ephemeral key, so that a known answer exists.
    #[cfg(test)]
    pub(super) ephemeral: Option<[u8; 32]>,
}

/// A handshake under way. The initiator waits for message 2, the responder for message 3.
pub(super) struct Shake {
    pub(super) attempt: u32,
    noise: HandshakeState,
}

/// A finished handshake: the keys and who holds the other end.
pub(super) struct Keys {
    pub(super) attempt: u32,
    pub(super) tag: SealTag,
    pub(super) hash: [u8; 32],
    /// Counts both directions itself; its nonces are the counters of the envelopes.
    pub(super) noise: TransportState,
}

/// `"kith1" ‖ version ‖ room_id ‖ sid_i ‖ sid_r`: 5 bytes of ASCII, the version as 2 bytes big
/// endian, then three times 16 raw bytes; 55 in all. Every field has a fixed width, so no two
/// contexts give the same bytes.
pub(super) fn prologue(room: &RoomId, initiator: &Sid, responder: &Sid) -> Vec<u8> {
    let mut out = Vec::with_capacity(55);
    out.extend_from_slice(b"kith1");
    out.extend_from_slice(&limits::VERSION.to_be_bytes());
    out.extend_from_slice(&room.0);
    out.extend_from_slice(&initiator.0);
    out.extend_from_slice(&responder.0);
    out
}

impl Setup {
    pub(super) fn new(
        me: &Identity,
        psk: Zeroizing<[u8; 32]>,
        prologue: Vec<u8>,
        hello: Bytes,
        initiator: bool,
    ) -> Self {
        Setup {
            noise_secret: Zeroizing::new(*me.noise_secret()),
            psk,
            prologue,
            hello,
            id_pk: me.id_pk(),
            initiator,
            #[cfg(test)]
            ephemeral: None,
        }
    }

    fn noise(&self) -> Result<HandshakeState, SealError> {
        let params = NOISE_PATTERN.parse().map_err(|_| SealError::Noise)?;
        let builder = Builder::new(params)
            .local_private_key(self.noise_secret.as_slice())
            .and_then(|b| b.psk(0, &self.psk))
            .and_then(|b| b.prologue(&self.prologue))
            .map_err(|_| SealError::Noise)?;
        #[cfg(test)]
        let builder = match &self.ephemeral {
            Some(key) => builder.fixed_ephemeral_key_for_testing_only(key),
            None => builder,
        };
        if self.initiator {
            builder.build_initiator()
        } else {
            builder.build_responder()
        }
        .map_err(|_| SealError::Noise)
    }
}

impl Shake {
    /// Initiator: starts an attempt and gives message 1.
    pub(super) fn begin(setup: &Setup, attempt: u32) -> Result<(Self, Bytes), SealError> {
        let mut noise = setup.noise()?;
        let first = write(&mut noise, &[])?;
        Ok((Shake { attempt, noise }, first))
    }

    /// Responder: takes message 1 and gives message 2.
    pub(super) fn answer(
        setup: &Setup,
        attempt: u32,
        first: &[u8],
    ) -> Result<(Self, Bytes), SealError> {
        let mut noise = setup.noise()?;
        if !read(&mut noise, first)?.is_empty() {
            return Err(SealError::Malformed);
        }
        let second = write(&mut noise, &setup.hello)?;
        Ok((Shake { attempt, noise }, second))
    }

    /// Initiator: takes message 2, gives message 3 and the keys.
    pub(super) fn conclude(
        mut self,
        setup: &Setup,
        second: &[u8],
    ) -> Result<(Keys, Hello, Bytes), SealError> {
        let hello = self.read_hello(setup, second)?;
        let third = write(&mut self.noise, &setup.hello)?;
        Ok((self.into_keys()?, hello, third))
    }

    /// Responder: takes message 3, gives the keys.
    pub(super) fn accept(
        mut self,
        setup: &Setup,
        third: &[u8],
    ) -> Result<(Keys, Hello), SealError> {
        let hello = self.read_hello(setup, third)?;
        Ok((self.into_keys()?, hello))
    }

    /// Reads the message that carries the other side's `Hello` and checks who it is.
    fn read_hello(&mut self, setup: &Setup, message: &[u8]) -> Result<Hello, SealError> {
        let payload = read(&mut self.noise, message)?;
        let hello = Hello::parse(&payload).map_err(|_| SealError::Malformed)?;
        let noise_pk = self
            .noise
            .get_remote_static()
            .and_then(|k| <&[u8; 32]>::try_from(k).ok())
            .ok_or(SealError::Noise)?;
        if hello.id_pk == setup.id_pk {
            return Err(SealError::OwnIdentity);
        }
        if !cert_holds(&hello.id_pk, &hello.cert, noise_pk) {
            return Err(SealError::BadCert);
        }
        Ok(hello)
    }

    fn into_keys(self) -> Result<Keys, SealError> {
        let hash: [u8; 32] = self
            .noise
            .get_handshake_hash()
            .try_into()
            .map_err(|_| SealError::Noise)?;
        Ok(Keys {
            attempt: self.attempt,
            tag: SealTag(derive::truncate(&hash)),
            hash,
            noise: self
                .noise
                .into_transport_mode()
                .map_err(|_| SealError::Noise)?,
        })
    }
}

impl Keys {
    /// Seals the next message; gives its counter too.
    pub(super) fn write(&mut self, plain: &[u8]) -> Result<(u64, Bytes), SealError> {
        let counter = self.noise.sending_nonce();
        let mut out = vec![0u8; plain.len() + NOISE_OVERHEAD];
        let len = self
            .noise
            .write_message(plain, &mut out)
            .map_err(|_| SealError::Noise)?;
        out.truncate(len);
        Ok((counter, out.into()))
    }

    /// Opens the message that carries `counter`, which must be exactly the next one.
    pub(super) fn read(&mut self, counter: u64, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let want = self.noise.receiving_nonce();
        match counter.cmp(&want) {
            Ordering::Less => return Err(SealError::Replay { got: counter, want }),
            Ordering::Greater => return Err(SealError::Gap { got: counter, want }),
            Ordering::Equal => {}
        }
        let mut plain = vec![0u8; sealed.len()];
        let len = self
            .noise
            .read_message(sealed, &mut plain)
            .map_err(|_| SealError::Decrypt)?;
        plain.truncate(len);
        Ok(plain)
    }
}

fn write(noise: &mut HandshakeState, payload: &[u8]) -> Result<Bytes, SealError> {
    let mut out = vec![0u8; payload.len() + NOISE_OVERHEAD];
    let len = noise
        .write_message(payload, &mut out)
        .map_err(|_| SealError::Noise)?;
    out.truncate(len);
    Ok(out.into())
}

fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut payload = vec![0u8; message.len()];
    let len = noise
        .read_message(message, &mut payload)
        .map_err(|_| SealError::Decrypt)?;
    payload.truncate(len);
    Ok(payload)
}
