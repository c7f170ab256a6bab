//! Identifiers. Random or derived bytes, printed and carried as unpadded base64url.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::derive;

/// A text that is not an identifier of the expected length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct IdError(pub &'static str);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                decode::<$len>(text).map(Self).ok_or(IdError(stringify!($name)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "ts")]
        impl ts_rs::TS for $name {
            type WithoutGenerics = Self;
            type OptionInnerType = Self;

            fn name(_: &ts_rs::Config) -> String {
                stringify!($name).into()
            }

            fn inline(_: &ts_rs::Config) -> String {
                // Two kinds of id are never taken for one another.
                concat!("string & { readonly id: \"", stringify!($name), "\" }").into()
            }

            fn decl(cfg: &ts_rs::Config) -> String {
                format!("type {} = {};", Self::name(cfg), Self::inline(cfg))
            }
        }
    };
}

id!(
    /// One connection of one client to the room server; chosen at random by the client.
    Sid, 16
);
id!(
    /// A room: `H("kith1/room-id", access_pk)[..16]`, so a join proves itself without server state.
    RoomId, 16
);
id!(
    /// Short form of an identity: `H("kith1/id", id_pk)[..16]`. The `I` of an invite.
    PeerId, 16
);
id!(
    /// Ed25519 public key of an installation's lasting identity.
    IdPk, 32
);
id!(
    /// A set of files somebody shares. Derived from who shares what, where: offering the same
    /// unchanged files again gives the same id, which is what makes a resume after a restart work.
    OfferId, 16
);
id!(
    /// One chat message.
    MsgId, 16
);
id!(
    /// One call.
    CallId, 16
);
id!(
    /// One peer connection between two app sessions; chosen by the side that makes the SDP offer.
    LinkId, 8
);
id!(
    /// First bytes of a Noise handshake hash: tells which handshake a sealed body belongs to.
    SealTag, 8
);
id!(
    /// A SHA-256 digest: of a DTLS certificate, a chunk or a file.
    Digest, 32
);
id!(
    /// Ed25519 signature.
    Signature, 64
);
id!(
    /// Ed25519 public key that a room's invite secret derives; proves the right to join.
    AccessPk, 32
);
id!(
    /// Challenge of the room server.
    Nonce, 32
);

impl IdPk {
    /// The short form that rosters, stores and invites use.
    pub fn peer_id(&self) -> PeerId {
        let h = derive::hash(&[b"kith1/id", &self.0]);
        PeerId(derive::truncate(&h))
    }
}

impl AccessPk {
    /// The room this key opens.
    pub fn room_id(&self) -> RoomId {
        let h = derive::hash(&[b"kith1/room-id", &self.0]);
        RoomId(derive::truncate(&h))
    }
}

/// Bytes carried as unpadded base64url inside JSON.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Blob(pub bytes::Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(v: Vec<u8>) -> Self {
        Blob(v.into())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(text.as_bytes())
            .map_err(|_| serde::de::Error::custom("not base64url"))?;
        Ok(Blob(bytes.into()))
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0u8; N];
    // The estimate of base64's slice decoder is rounded up, so give it room to spare.
    let mut buf = [0u8; 72];
    let n = URL_SAFE_NO_PAD
        .decode_slice(text.as_bytes(), &mut buf)
        .ok()?;
    if n != N {
        return None;
    }
    out.copy_from_slice(&buf[..N]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text() {
        let sid = Sid([7; 16]);
        assert_eq!(sid.to_string().parse::<Sid>(), Ok(sid));
        let sig = Signature([9; 64]);
        assert_eq!(sig.to_string().parse::<Signature>(), Ok(sig));
    }

    #[test]
    fn a_wrong_length_or_alphabet_is_refused() {
        for text in [
            "",
            "AAAA",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "!!!!!!!!!!!!!!!!!!!!!!",
            &"A".repeat(500),
        ] {
            assert!(text.parse::<Sid>().is_err(), "{text}");
        }
    }
}
