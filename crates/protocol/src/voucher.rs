//! The word of who offers files on what they hash to.
//!
//! An offer's id names its manifest, but not what is in the files. Whoever has everything of an offer may
//! pass it on to people who cannot reach who offers; the voucher lets those check each file against what
//! was offered.

use serde::{Deserialize, Serialize};

use crate::derive;
use crate::ids::{Digest, IdPk, OfferId, PeerId, RoomId, Signature};
use crate::limits;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// Who offers.
    pub by: IdPk,
    /// As in [`crate::peer::PeerMessage::Offer`].
    pub name: String,
    /// As there.
    pub entries: u32,
    /// As there.
    pub total: u64,
    /// What the files hash to: see [`root`].
    pub root: Digest,
    /// To whom it was offered; empty: to the room. At most [`crate::limits::MAX_NAMED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<PeerId>,
    /// Of [`Voucher::message`], by `by`. Who takes a voucher from the wire checks it there.
    pub sig: Signature,
}

impl Voucher {
    /// What is signed: `H("kith1/voucher", room, offer, name, entries, total, root, to)`.
    pub fn message(&self, room: &RoomId, offer: &OfferId) -> [u8; 32] {
        let to: Vec<u8> = self.to.iter().flat_map(|peer| peer.0).collect();
        derive::hash(&[
            b"kith1/voucher",
            &room.0,
            &offer.0,
            self.name.as_bytes(),
            &self.entries.to_be_bytes(),
            &self.total.to_be_bytes(),
            &self.root.0,
            &to,
        ])
    }

    /// Whether another build of this version may say it.
    pub fn is_bounded(&self) -> bool {
        self.name.len() <= limits::MAX_PATH
            && (1..=limits::MAX_ENTRIES).contains(&self.entries)
            && self.to.len() <= limits::MAX_NAMED
    }

    /// Whether the offer is meant for this peer.
    pub fn is_for(&self, peer: PeerId) -> bool {
        self.to.is_empty() || self.to.contains(&peer)
    }

    /// Whether it is for everybody for whom the other is, and for more people.
    pub fn is_wider_than(&self, other: &Voucher) -> bool {
        let all_others = || !other.to.is_empty() && other.to.iter().all(|p| self.is_for(*p));
        let more = || self.to.is_empty() || self.to.iter().any(|p| !other.is_for(*p));
        all_others() && more()
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
        let (room, offer) = (RoomId([1; 16]), OfferId([2; 16]));
        let word = Voucher {
            by: IdPk([4; 32]),
            name: "photos".into(),
            entries: 3,
            total: 9,
            root: Digest([3; 32]),
            to: Vec::new(),
            sig: Signature([0; 64]),
        };
        let message = word.message(&room, &offer);
        assert_ne!(word.message(&RoomId([9; 16]), &offer), message);
        assert_ne!(word.message(&room, &OfferId([9; 16])), message);
        let changes: [fn(&mut Voucher); 5] = [
            |v| v.name.push('x'),
            |v| v.entries += 1,
            |v| v.total += 1,
            |v| v.root.0[0] ^= 1,
            |v| v.to.push(PeerId([0; 16])),
        ];
        for change in changes {
            let mut other = word.clone();
            change(&mut other);
            assert_ne!(other.message(&room, &offer), message);
        }
    }

    #[test]
    fn a_wider_one_is_for_everybody_and_for_more() {
        let to = |all: &[u8]| Voucher {
            by: IdPk([4; 32]),
            name: String::new(),
            entries: 1,
            total: 0,
            root: Digest([3; 32]),
            to: all.iter().map(|n| PeerId([*n; 16])).collect(),
            sig: Signature([0; 64]),
        };
        let wider: [(&[u8], &[u8]); 3] = [(&[1, 2], &[1]), (&[2, 3, 1], &[1, 3]), (&[], &[1])];
        for (wide, narrow) in wider {
            assert!(to(wide).is_wider_than(&to(narrow)));
            assert!(!to(narrow).is_wider_than(&to(wide)));
        }
        let others: [(&[u8], &[u8]); 4] = [
            (&[], &[]),
            (&[1], &[1]),
            (&[1, 3], &[1, 2]),
            (&[2, 1], &[1, 2]),
        ];
        for (one, other) in others {
            assert!(!to(one).is_wider_than(&to(other)));
        }
    }

    #[test]
    fn the_root_depends_on_every_hash_and_their_order() {
        let hashes = [Digest([1; 32]), Digest([2; 32])];
        let [one, two] = hashes;
        assert_ne!(root(&[one, two]), root(&[two, one]));
        assert_ne!(root(&[one]), root(&[one, Digest([0; 32])]));
    }
}
