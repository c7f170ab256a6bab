//! The lasting keys of an installation.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use kith_protocol::derive;
use kith_protocol::ids::{IdPk, OfferId, PeerId, RoomId, Signature};
use kith_protocol::voucher::Voucher;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::SealError;

/// Who we are: the Ed25519 key that names us and the X25519 key that Noise proves. Both last as
/// long as the profile. `Debug` shows the public side only; the keys are wiped when dropped.
#[derive(Clone)]
pub struct Identity {
    id: SigningKey,
    noise: StaticSecret,
}

impl Identity {
    /// Length of [`Identity::secret_bytes`].
    pub const SECRET_LEN: usize = 64;

    /// Makes a new identity from the system's randomness.
    pub fn generate() -> Result<Self, SealError> {
        let mut secret = Zeroizing::new([0u8; Self::SECRET_LEN]);
        getrandom::fill(secret.as_mut_slice()).map_err(|_| SealError::NoRandomness)?;
        Ok(Self::from_secret_bytes(&secret))
    }

    /// Rebuilds an identity: the Ed25519 seed, then the X25519 secret, 32 bytes each. Any bytes
    /// are valid keys, so whoever stores them guards them against damage.
    pub fn from_secret_bytes(secret: &[u8; Self::SECRET_LEN]) -> Self {
        let mut id = Zeroizing::new([0u8; 32]);
        let mut noise = Zeroizing::new([0u8; 32]);
        id.copy_from_slice(&secret[..32]);
        noise.copy_from_slice(&secret[32..]);
        Identity {
            id: SigningKey::from_bytes(&id),
            noise: StaticSecret::from(*noise),
        }
    }

    /// The secret, for the store only; see [`Identity::from_secret_bytes`].
    pub fn secret_bytes(&self) -> Zeroizing<[u8; Self::SECRET_LEN]> {
        let mut out = Zeroizing::new([0u8; Self::SECRET_LEN]);
        out[..32].copy_from_slice(self.id.as_bytes());
        out[32..].copy_from_slice(self.noise.as_bytes());
        out
    }

    /// The public key that names us.
    pub fn id_pk(&self) -> IdPk {
        IdPk(self.id.verifying_key().to_bytes())
    }

    /// Its short form.
    pub fn peer_id(&self) -> PeerId {
        self.id_pk().peer_id()
    }

    /// `sign(id, H("kith1/noise-static", noise_pk))`: ties the Noise key to the identity.
    pub fn cert(&self) -> Signature {
        let noise_pk = PublicKey::from(&self.noise).to_bytes();
        Signature(self.id.sign(&cert_message(&noise_pk)).to_bytes())
    }

    /// Signs our word on an offer of ours.
    pub fn vouch(&self, room: &RoomId, offer: &OfferId, word: &mut Voucher) {
        word.by = self.id_pk();
        word.sig = Signature(self.id.sign(&word.message(room, offer)).to_bytes());
    }

    /// The Noise static secret, for building a handshake.
    pub(super) fn noise_secret(&self) -> &[u8; 32] {
        self.noise.as_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("peer", &self.peer_id())
            .finish_non_exhaustive()
    }
}

/// Whether `cert` ties `noise_pk` to `id_pk`. Strict Ed25519 (RFC 8032 without small-order keys
/// or malleable signatures), so that one signature cannot speak for two keys.
pub(super) fn cert_holds(id_pk: &IdPk, cert: &Signature, noise_pk: &[u8; 32]) -> bool {
    is_signed(id_pk, &cert_message(noise_pk), cert)
}

/// Whether who is named in it gave this voucher, for this offer in this room.
pub(crate) fn voucher_holds(voucher: &Voucher, room: &RoomId, offer: &OfferId) -> bool {
    is_signed(&voucher.by, &voucher.message(room, offer), &voucher.sig)
}

fn is_signed(id_pk: &IdPk, message: &[u8], sig: &Signature) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&id_pk.0) else {
        return false;
    };
    let sig = ed25519_dalek::Signature::from_bytes(&sig.0);
    key.verify_strict(message, &sig).is_ok()
}

fn cert_message(noise_pk: &[u8; 32]) -> [u8; 32] {
    derive::hash(&[b"kith1/noise-static", noise_pk])
}
