//! The word of who offers files on what they hash to.
//!
//! An offer's id names its manifest, but not what is in the files. Whoever has everything of an offer may
//! pass it on to people who cannot reach who offers; the voucher lets those check each file against what
//! was offered.

use serde::{Deserialize, Serialize};

use crate::derive;
use crate::ids::{Digest, IdPk, OfferId, PeerId, RoomId, Signature};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// Who offers.
    pub by: IdPk,
    /// What the files hash to: see [`root`].
    pub root: Digest,
    /// To whom it was offered; empty: to the room. At most [`crate::limits::MAX_NAMED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<PeerId>,
    /// Of [`Voucher::message`], by `by`. Who takes a voucher from the wire checks it there.
    pub sig: Signature,
}

impl Voucher {
    /// What is signed: `H("kith1/voucher", room, offer, root, to)`.
    pub fn message(room: &RoomId, offer: &OfferId, root: &Digest, to: &[PeerId]) -> [u8; 32] {
        let to: Vec<u8> = to.iter().flat_map(|peer| peer.0).collect();
        derive::hash(&[b"kith1/voucher", &room.0, &offer.0, &root.0, &to])
    }

    /// Whether the offer is meant for this peer.
    pub fn is_for(&self, peer: PeerId) -> bool {
        self.to.is_empty() || self.to.contains(&peer)
    }
}

/// `H("kith1/roots", hashes)` of the whole-file hashes of all entries in the manifest's order (see
/// [`crate::tree`]); of a folder 32 zero bytes.
pub fn root(hashes: &[Digest]) -> Digest {
    let all: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
    Digest(derive::hash(&[b"kith1/roots", &all]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_changes_with_everything_that_matters() {
        let (room, offer, root) = (RoomId([1; 16]), OfferId([2; 16]), Digest([3; 32]));
        let message = Voucher::message(&room, &offer, &root, &[]);
        let others = [
            Voucher::message(&RoomId([9; 16]), &offer, &root, &[]),
            Voucher::message(&room, &OfferId([9; 16]), &root, &[]),
            Voucher::message(&room, &offer, &Digest([9; 32]), &[]),
            Voucher::message(&room, &offer, &root, &[PeerId([0; 16])]),
        ];
        assert!(!others.contains(&message));
    }

    #[test]
    fn the_root_depends_on_every_hash_and_their_order() {
        let hashes = [Digest([1; 32]), Digest([2; 32])];
        let [one, two] = hashes;
        assert_ne!(root(&[one, two]), root(&[two, one]));
        assert_ne!(root(&[one]), root(&[one, Digest([0; 32])]));
    }
}
