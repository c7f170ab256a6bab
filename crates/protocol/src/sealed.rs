//! What two members say to each other through the room server.
//!
//! A `signal` body is an [`Envelope`]: a step of the Noise handshake, or a Noise transport message
//! that holds a padded [`SealedBody`]. The server sees sizes and times, nothing else.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::ids::{Digest, IdPk, LinkId, SealTag, Signature};
use crate::limits;

/// `Noise_XXpsk0_25519_ChaChaPoly_SHA256`: mutual authentication with identities that stay hidden
/// from the server, gated by the room's secret.
pub const NOISE_PATTERN: &str = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";

const ENVELOPE_VERSION: u8 = 1;

/// A `signal` body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// Handshake message `step` (1 to 3) of the attempt that the initiator numbered at random.
    Handshake {
        /// 1, 2 or 3.
        step: u8,
        /// Tells messages of one attempt from those of another.
        attempt: u32,
        /// The Noise message.
        noise: Bytes,
    },
    /// A transport message of a finished handshake.
    Transport {
        /// Which handshake.
        tag: SealTag,
        /// Position in the stream of this direction, from 0, without gaps.
        counter: u64,
        /// The Noise message.
        noise: Bytes,
    },
    /// "I cannot read you: let us shake hands again." Unauthenticated, so it never ends anything
    /// that works: the old keys stay until the new handshake is complete.
    Rehandshake,
}

/// Bytes that are not an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sealed envelope of this version")]
pub struct EnvelopeError;

impl Envelope {
    /// Parses a `signal` body.
    pub fn parse(mut body: Bytes) -> Result<Self, EnvelopeError> {
        if body.len() < 2 || body.len() > limits::MAX_SIGNAL || body.get_u8() != ENVELOPE_VERSION {
            return Err(EnvelopeError);
        }
        match body.get_u8() {
            step @ 1..=3 if body.len() >= 4 => Ok(Envelope::Handshake {
                step,
                attempt: body.get_u32(),
                noise: body,
            }),
            4 if body.len() >= 16 => {
                let mut tag = [0u8; 8];
                body.copy_to_slice(&mut tag);
                let counter = body.get_u64();
                Ok(Envelope::Transport {
                    tag: SealTag(tag),
                    counter,
                    noise: body,
                })
            }
            5 if body.is_empty() => Ok(Envelope::Rehandshake),
            _ => Err(EnvelopeError),
        }
    }

    /// The bytes for `signal`.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(ENVELOPE_VERSION);
        match self {
            Envelope::Handshake {
                step,
                attempt,
                noise,
            } => {
                out.put_u8(*step);
                out.put_u32(*attempt);
                out.put_slice(noise);
            }
            Envelope::Transport {
                tag,
                counter,
                noise,
            } => {
                out.put_u8(4);
                out.put_slice(&tag.0);
                out.put_u64(*counter);
                out.put_slice(noise);
            }
            Envelope::Rehandshake => out.put_u8(5),
        }
        out.freeze()
    }
}

/// Who somebody is, inside handshake messages 2 and 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Lasting identity.
    pub id_pk: IdPk,
    /// `sign(id, H("kith1/noise-static", noise_pk))`: ties this handshake's static key to it.
    pub cert: Signature,
    /// SHA-256 of the DTLS certificate of this app session.
    pub fp: Digest,
    /// Display name, as its owner wrote it; see [`crate::peer::clean_name`].
    pub name: String,
    /// Optional features; one both name may be used.
    #[serde(default)]
    pub caps: Vec<String>,
}

/// Text under seal. Lenient: unknown variants are skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum SealedBody {
    /// SDP offer for a new link, or for an ICE restart of the one named.
    SdpOffer {
        /// The link.
        link: LinkId,
        /// Whether the link exists and only changes its path.
        #[serde(default)]
        restart: bool,
        /// See [`crate::sdp::check`].
        sdp: String,
    },
    /// Answer to `sdp-offer`.
    SdpAnswer {
        /// The link.
        link: LinkId,
        /// See [`crate::sdp::check`].
        sdp: String,
    },
    /// A trickled ICE candidate (RFC 8838).
    Candidate {
        /// The link.
        link: LinkId,
        /// The candidate line; empty: no more will come.
        candidate: String,
        /// Media section by id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mid: Option<String>,
        /// Media section by index.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mline: Option<u16>,
    },
    /// After a new handshake: the link we had still stands, let us keep it.
    Keep {
        /// The link.
        link: LinkId,
    },
    /// To the offering side: I have no such link, make a new one.
    Fresh {},
    /// To the offering side: the link does not work for me, restart its ICE.
    Restart {
        /// The link.
        link: LinkId,
    },
    /// A body this build does not know; skipped.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// Why bytes under seal cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Padding or length is wrong.
    #[error("sealed body has a wrong length")]
    Length,
    /// Not JSON of a known shape, or out of bounds.
    #[error("sealed body is malformed: {0}")]
    Malformed(String),
}

impl Hello {
    /// Parses and bounds a `Hello`. The signature is checked by the sealing code, which knows the
    /// Noise key it must cover.
    pub fn parse(bytes: &[u8]) -> Result<Self, SealedError> {
        let hello: Hello = from_padded(bytes)?;
        if hello.name.len() > limits::MAX_NAME {
            return Err(SealedError::Malformed("name too long".into()));
        }
        crate::room::check_caps(&hello.caps).map_err(|e| SealedError::Malformed(e.to_string()))?;
        Ok(hello)
    }

    /// The bytes for a handshake message, padded.
    pub fn to_bytes(&self) -> Bytes {
        to_padded(self)
    }
}

impl SealedBody {
    /// Parses a decrypted body.
    pub fn parse(bytes: &[u8]) -> Result<Self, SealedError> {
        from_padded(bytes)
    }

    /// The bytes to encrypt, padded to a multiple of [`limits::SEAL_PADDING`].
    pub fn to_bytes(&self) -> Bytes {
        to_padded(self)
    }
}

fn to_padded<T: Serialize>(value: &T) -> Bytes {
    let json = serde_json::to_vec(value).expect("sealed bodies hold nothing JSON cannot carry");
    let total = (json.len() + 4).next_multiple_of(limits::SEAL_PADDING);
    let mut out = BytesMut::with_capacity(total);
    out.put_u32(json.len() as u32);
    out.put_slice(&json);
    out.put_bytes(0, total - 4 - json.len());
    out.freeze()
}

fn from_padded<T: serde::de::DeserializeOwned>(mut bytes: &[u8]) -> Result<T, SealedError> {
    if bytes.len() < 4 || bytes.len() > limits::MAX_SEALED + limits::SEAL_PADDING {
        return Err(SealedError::Length);
    }
    let len = bytes.get_u32() as usize;
    let json = bytes.get(..len).ok_or(SealedError::Length)?;
    serde_json::from_slice(json).map_err(|e| SealedError::Malformed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bodies_are_padded_alike() {
        let a = SealedBody::Fresh {}.to_bytes();
        let b = SealedBody::Keep {
            link: LinkId([1; 8]),
        }
        .to_bytes();
        assert_eq!(a.len(), b.len());
        assert!(a.len().is_multiple_of(limits::SEAL_PADDING));
        assert_eq!(
            SealedBody::parse(&b),
            Ok(SealedBody::Keep {
                link: LinkId([1; 8])
            })
        );
    }

    #[test]
    fn a_length_beyond_the_message_is_refused() {
        let mut v = SealedBody::Fresh {}.to_bytes().to_vec();
        v[0] = 0xff;
        assert_eq!(SealedBody::parse(&v), Err(SealedError::Length));
    }

    #[test]
    fn unknown_bodies_are_skipped() {
        let mut out = BytesMut::new();
        let json = br#"{"type":"from-2031","x":1}"#;
        out.put_u32(json.len() as u32);
        out.put_slice(json);
        assert_eq!(SealedBody::parse(&out), Ok(SealedBody::Unknown));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(v in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = SealedBody::parse(&v);
            let _ = Hello::parse(&v);
            let _ = Envelope::parse(v.into());
        }

        #[test]
        fn envelopes_round_trip(step in 1u8..=3, attempt: u32, counter: u64, tag: [u8; 8], v in prop::collection::vec(any::<u8>(), 0..300)) {
            for e in [
                Envelope::Handshake { step, attempt, noise: v.clone().into() },
                Envelope::Transport { tag: SealTag(tag), counter, noise: v.into() },
                Envelope::Rehandshake,
            ] {
                prop_assert_eq!(Envelope::parse(e.to_bytes()), Ok(e));
            }
        }
    }
}
