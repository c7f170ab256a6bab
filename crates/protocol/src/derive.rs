//! The two derivations everything else is built from.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};

/// `H(..)`: SHA-256 over the parts, each prefixed by its length as 8 big-endian bytes, so that no
/// two lists of parts hash alike.
pub fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut h = Sha256::new();
    for part in parts {
        h.update((part.len() as u64).to_be_bytes());
        h.update(part);
    }
    h.finalize().into()
}

/// `X(key, label)`: HKDF-SHA256 (RFC 5869) with salt `"kith1"`, 32 bytes out.
pub fn expand(key: &[u8], label: &[u8]) -> [u8; 32] {
    let mut out = [0u8; 32];
    Hkdf::<Sha256>::new(Some(b"kith1"), key)
        .expand(label, &mut out)
        .expect("32 bytes is a legal HKDF-SHA256 output length");
    out
}

/// The first `N` bytes of a hash.
pub fn truncate<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    let mut out = [0u8; N];
    out.copy_from_slice(&hash[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_length_prefixed() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"ab"]), hash(&[b"ab", b""]));
    }

    #[test]
    fn labels_separate_keys() {
        assert_ne!(expand(b"secret", b"a"), expand(b"secret", b"b"));
    }
}
