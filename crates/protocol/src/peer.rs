//! Messages between two linked peers: JSON on the data channels `messages` and `presence`.
//!
//! Lenient: unknown variants are skipped, unknown fields ignored, new fields default to off.

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::ids::{CallId, Digest, MsgId, OfferId, PeerId, SealTag};
use crate::limits;
use crate::ranges::RangeSet;
use crate::voucher::Voucher;

/// One message on `messages` (reliable, ordered).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum PeerMessage {
    /// The first message each way; nothing else is read before it matches. Ties the DTLS
    /// connection to the sealed handshake.
    Confirm {
        /// The sender's certificate.
        my_fp: Digest,
        /// The receiver's certificate, as the sender knows it.
        your_fp: Digest,
        /// The handshake that the link came from.
        session: SealTag,
    },
    /// "I have your chat log up to and including number `have`; send what follows."
    ChatSync {
        /// 0: nothing yet.
        have: u64,
    },
    /// One entry of the sender's own log for this room. Numbers rise by one; a receiver ignores
    /// what it has and asks again on a gap, which makes delivery exactly once and in order.
    Chat {
        /// Position in the sender's log, from 1.
        seq: u64,
        /// The message.
        id: MsgId,
        /// When it was written, in milliseconds since 1970, by the author's clock.
        at: u64,
        /// The text.
        text: String,
    },
    /// "Your log up to `upto` is on my disk."
    ChatAck {
        /// Position in the receiver of this message's log.
        upto: u64,
    },
    /// Files to fetch. Their entries follow in `entries`.
    Offer {
        /// The offer.
        offer_id: OfferId,
        /// What the user sees first: the name of the file or folder.
        name: String,
        /// How many entries there are.
        entries: u32,
        /// Bytes of all files together.
        total: u64,
        /// A word to go with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A page of the manifest. Pages come in order, after their `offer`.
    Entries {
        /// The offer.
        offer_id: OfferId,
        /// Index of the first entry in this page.
        first: u32,
        /// At most [`limits::MAX_ENTRIES_PER_MESSAGE`].
        entries: Vec<Entry>,
    },
    /// Asks for more of a manifest. The sender of an offer sends the first
    /// [`limits::PAGES_AHEAD`] pages unasked, so most offers need no question; of longer ones the
    /// rest is asked for when the user takes them.
    Browse {
        /// The offer.
        offer_id: OfferId,
        /// First entry wanted; up to [`limits::PAGES_AHEAD`] pages follow.
        first: u32,
    },
    /// The receiver takes the offer. `verified` for complete and `have` for partly fetched entries
    /// come first.
    Accept {
        /// The offer.
        offer_id: OfferId,
        /// Number that the frames of this fetch carry; chosen by the receiver, unique on the link.
        transfer: u32,
    },
    /// The receiver does not take it, or no longer.
    Decline {
        /// The offer.
        offer_id: OfferId,
        /// Why.
        why: Code,
    },
    /// Chunks the receiver has on disk, verified. Together with `verified` of the same number it is
    /// all that counts for the `accept` that follows.
    Have {
        /// The offer.
        offer_id: OfferId,
        /// The number that `accept` is about to name.
        transfer: u32,
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: RangeSet,
    },
    /// Chunks to send (again).
    Want {
        /// The offer.
        offer_id: OfferId,
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: RangeSet,
    },
    /// The receiver ends its fetch.
    Cancel {
        /// The offer.
        offer_id: OfferId,
        /// Why.
        why: Code,
    },
    /// The sender withdraws the offer, or one transfer of it failed at the sender.
    Gone {
        /// The offer.
        offer_id: OfferId,
        /// Why.
        why: Code,
    },
    /// All chunks of the entry that were asked for are sent; its hash. It is not said of an entry whose
    /// only chunk was sent by who offers it: the hash of that chunk says as much.
    EntryDone {
        /// The offer.
        offer_id: OfferId,
        /// Which entry.
        entry: u32,
        /// Of the whole file: see [`crate::tree`].
        hash: Digest,
    },
    /// The entries are complete, their hashes match and they have their final names. To who sent the
    /// only chunk of one of them it is the acknowledgement of that, too.
    Verified {
        /// The offer.
        offer_id: OfferId,
        /// The number that `accept` named, or is about to name: what was complete for another may
        /// have been thrown away since.
        transfer: u32,
        /// Which entries, as a set of indexes.
        entries: RangeSet,
    },
    /// The receiver has everything of the offer.
    OfferDone {
        /// The offer.
        offer_id: OfferId,
    },
    /// Whoever says this, sender or receiver, holds its side of the transfer back: nothing more is
    /// to be sent until it says `resume`. Each side has a hold of its own. It does not outlive the
    /// link, so it is said again over the next one; a receiver's `accept` ends its own.
    Pause {
        /// The offer.
        offer_id: OfferId,
        /// Absent: the user wants it so. `busy`: the receiver has others to get through first.
        /// Otherwise what the receiver's disk refuses with; an `accept` follows when it is mended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Code>,
    },
    /// The side that said `pause` is ready again.
    Resume {
        /// The offer.
        offer_id: OfferId,
    },
    /// What the receiver wants at most. The sender obeys the least of all bounds there are.
    Pace {
        /// The offer.
        offer_id: OfferId,
        /// Absent: no bound. Below [`limits::MIN_PACE`] it counts as that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_per_s: Option<u64>,
    },
    /// From who offers, once a receiver is served: receivers fetch from each other too, and hashes of
    /// chunks come on `files`.
    Swarm {
        /// The offer.
        offer_id: OfferId,
        /// To whom it was offered; empty: to the room. At most [`limits::MAX_NAMED`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        to: Vec<PeerId>,
    },
    /// Between receivers: what the sender of this has of another's offer, on disk and verified. It
    /// adds to what was said before over the link.
    Holds {
        /// Whose offer it is.
        from: PeerId,
        /// The offer.
        offer_id: OfferId,
        /// The sender of this begins, and wants to hear what the other holds.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        hello: bool,
        /// Entries that it has whole.
        #[serde(default, skip_serializing_if = "RangeSet::is_empty")]
        whole: RangeSet,
        /// Chunks of others, of at most [`limits::MAX_RANGES`] ranges in all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<(u32, RangeSet)>,
    },
    /// Between receivers: asks for chunks that the other holds.
    Pull {
        /// Whose offer it is.
        from: PeerId,
        /// The offer.
        offer_id: OfferId,
        /// Number that their frames carry; chosen by who asks, unique on the link.
        transfer: u32,
        /// Which entry.
        entry: u32,
        /// Which chunks.
        ranges: RangeSet,
    },
    /// From who offers, to a receiver that has everything: with this it may pass the offer on.
    Voucher {
        /// The offer.
        offer_id: OfferId,
        /// For whoever has it from the receiver.
        voucher: Box<Voucher>,
    },
    /// From a receiver that has everything of another's offer: it serves it as who offers would, under
    /// the same id. Entries are asked for, and before its chunks come the hashes of all entries (see
    /// [`crate::frame::ROOTS`]).
    StandIn {
        /// The offer.
        offer_id: OfferId,
        /// Of who offers.
        voucher: Box<Voucher>,
    },
    /// Between receivers: the sender of this holds nothing of it any more, or does not serve it.
    LetGo {
        /// Whose offer it is.
        from: PeerId,
        /// The offer.
        offer_id: OfferId,
    },
    /// Sets up a *strand*: one more connection between the two, that carries chunks from who opens
    /// it. Strands are found, checked and closed like the link itself, and end with it.
    Strand {
        /// Which of those that the same end opens, from 0.
        n: u8,
        /// The sender of this opens it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        mine: bool,
        /// What is said of it.
        step: StrandStep,
    },
    /// Asks the receiver to join a call that its sender is in. Stands until it is answered, or
    /// [`limits::RING_TIMEOUT`] is over.
    Ring {
        /// The call.
        call: CallId,
        /// For everybody in the room, not for the two alone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        room: bool,
    },
    /// Which call the sender of this is in, of those that concern the receiver: one between the two, or
    /// of the room. Said on every link that opens, and whenever it changes. Nobody speaks for anybody
    /// else: a call is those who say that they are in it.
    InCall {
        /// The call; none if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<CallId>,
        /// As in `ring`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        room: bool,
        /// Nothing is to be heard from the sender.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        muted: bool,
    },
    /// The sender of this is in that call no longer, or will not come, or does not ask for it any more.
    OutOfCall {
        /// The call.
        call: CallId,
        /// Why.
        why: Code,
    },
    /// The sender of this leaves on purpose.
    Bye {},
    /// A message this build does not know; skipped.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// A step in the setting up of a strand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StrandStep {
    /// From who opens it.
    Offer {
        /// The description.
        sdp: String,
    },
    /// From the other.
    Answer {
        /// The description.
        sdp: String,
    },
    /// A trickled candidate of the sender's, after its description.
    Candidate {
        /// The line; empty at the end.
        candidate: String,
        /// Media section by id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mid: Option<String>,
        /// Media section by index.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mline: Option<u16>,
    },
    /// From the other: its end takes chunks. What is sent before may be lost.
    Ready {},
    /// A step this build does not know; skipped.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// One file or folder of an offer. The path is data from a stranger: see the disk layer for how a
/// name becomes safe.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Relative, `/` between components.
    pub path: String,
    /// Bytes; 0 for folders.
    #[serde(default)]
    pub size: u64,
    /// Unix permission bits.
    #[serde(default)]
    pub mode: u32,
    /// Last modification, seconds since 1970.
    #[serde(default)]
    pub mtime: i64,
    /// Nanoseconds of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mtime_ns: u32,
    /// A folder, not a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dir: bool,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One beat on `presence` (unordered, never retransmitted).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Rises by one a beat; an older beat than the newest seen is dropped.
    pub n: u64,
    /// What the peer is doing.
    pub state: PresenceState,
    /// Writing a message right now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub typing: bool,
}

/// What a peer says it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresenceState {
    /// At the machine.
    Online,
    /// Not at the machine.
    Away,
    /// In a call.
    InCall,
    /// A state this build does not know.
    #[serde(other)]
    Unknown,
}

/// Why a message of a peer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Over the channel's limit.
    #[error("message of {0} bytes is over the limit")]
    TooLarge(usize),
    /// Not JSON of a known shape.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// A field out of its bounds.
    #[error("{0} is out of bounds")]
    OutOfBounds(&'static str),
}

impl PeerMessage {
    /// Parses and bounds one message.
    pub fn parse(bytes: &[u8]) -> Result<Self, PeerError> {
        if bytes.len() > limits::MAX_PEER_MESSAGE {
            return Err(PeerError::TooLarge(bytes.len()));
        }
        let message: PeerMessage =
            serde_json::from_slice(bytes).map_err(|e| PeerError::Malformed(e.to_string()))?;
        message.check()?;
        Ok(message)
    }

    /// The bytes to send.
    pub fn to_bytes(&self) -> bytes::Bytes {
        // Without the room to grow that is left: it may wait long for somebody who does not read.
        serde_json::to_vec(self)
            .expect("peer messages hold nothing JSON cannot carry")
            .into_boxed_slice()
            .into()
    }

    fn check(&self) -> Result<(), PeerError> {
        let bound = |ok: bool, what| {
            if ok {
                Ok(())
            } else {
                Err(PeerError::OutOfBounds(what))
            }
        };
        match self {
            PeerMessage::Chat { seq, text, .. } => {
                bound(*seq > 0, "seq")?;
                bound(!text.is_empty() && text.len() <= limits::MAX_TEXT, "text")
            }
            PeerMessage::Offer {
                name,
                entries,
                note,
                ..
            } => {
                bound(name.len() <= limits::MAX_PATH, "name")?;
                bound((1..=limits::MAX_ENTRIES).contains(entries), "entries")?;
                bound(
                    note.as_ref().is_none_or(|n| n.len() <= limits::MAX_NOTE),
                    "note",
                )
            }
            PeerMessage::Entries { entries, .. } => {
                let n = entries.len();
                bound(
                    (1..=limits::MAX_ENTRIES_PER_MESSAGE).contains(&n),
                    "entries",
                )?;
                entries.iter().try_for_each(|e| {
                    bound(
                        !e.path.is_empty() && e.path.len() <= limits::MAX_PATH,
                        "path",
                    )?;
                    bound(e.size <= limits::MAX_FILE && !(e.dir && e.size > 0), "size")?;
                    bound(e.mtime_ns < 1_000_000_000, "mtime_ns")
                })
            }
            PeerMessage::Swarm { to, .. } => bound(to.len() <= limits::MAX_NAMED, "to"),
            PeerMessage::Voucher { voucher, .. } | PeerMessage::StandIn { voucher, .. } => {
                bound(voucher.is_bounded(), "voucher")
            }
            PeerMessage::Holds { parts, .. } => {
                let ranges: usize = parts.iter().map(|(_, r)| r.ranges().len()).sum();
                bound(
                    ranges <= limits::MAX_RANGES && parts.len() <= limits::MAX_RANGES,
                    "parts",
                )
            }
            PeerMessage::Strand { n, step, .. } => {
                bound(*n < limits::MAX_STRANDS, "n")?;
                match step {
                    StrandStep::Offer { sdp } | StrandStep::Answer { sdp } => {
                        bound(sdp.len() <= limits::MAX_SDP, "sdp")
                    }
                    StrandStep::Candidate { candidate, mid, .. } => {
                        let long = |m: &String| m.len() > limits::MAX_CANDIDATE;
                        bound(candidate.len() <= limits::MAX_CANDIDATE, "candidate")?;
                        bound(!mid.as_ref().is_some_and(long), "mid")
                    }
                    StrandStep::Ready {} | StrandStep::Unknown => Ok(()),
                }
            }
            PeerMessage::Confirm { .. }
            | PeerMessage::ChatSync { .. }
            | PeerMessage::ChatAck { .. }
            | PeerMessage::Browse { .. }
            | PeerMessage::Accept { .. }
            | PeerMessage::Decline { .. }
            | PeerMessage::Have { .. }
            | PeerMessage::Want { .. }
            | PeerMessage::Cancel { .. }
            | PeerMessage::Gone { .. }
            | PeerMessage::EntryDone { .. }
            | PeerMessage::Verified { .. }
            | PeerMessage::OfferDone { .. }
            | PeerMessage::Pause { .. }
            | PeerMessage::Resume { .. }
            | PeerMessage::Pace { .. }
            | PeerMessage::Pull { .. }
            | PeerMessage::LetGo { .. }
            | PeerMessage::Ring { .. }
            | PeerMessage::InCall { .. }
            | PeerMessage::OutOfCall { .. }
            | PeerMessage::Bye {}
            | PeerMessage::Unknown => Ok(()),
        }
    }
}

impl Beat {
    /// Parses one beat.
    pub fn parse(bytes: &[u8]) -> Result<Self, PeerError> {
        if bytes.len() > limits::MAX_PRESENCE {
            return Err(PeerError::TooLarge(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(|e| PeerError::Malformed(e.to_string()))
    }

    /// The bytes to send.
    pub fn to_bytes(&self) -> bytes::Bytes {
        serde_json::to_vec(self)
            .expect("a beat holds nothing JSON cannot carry")
            .into()
    }
}

/// Makes a display name fit to show: no control or bidirectional formatting characters, no
/// surrounding space, at most [`limits::MAX_NAME`] bytes; `fallback` if nothing is left.
pub fn clean_name(name: &str, fallback: &str) -> String {
    let kept: String = name.chars().filter(|c| !is_unprintable(*c)).collect();
    let mut end = kept.len().min(limits::MAX_NAME);
    while !kept.is_char_boundary(end) {
        end -= 1;
    }
    let trimmed = kept[..end].trim();
    if trimmed.is_empty() {
        fallback.to_string()
    } else {
        trimmed.to_string()
    }
}

/// Characters that must not reach a terminal or a window from a stranger: controls, and the
/// formatting characters that reorder or hide text.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_enforced() {
        let bad = [
            r#"{"type":"chat","seq":0,"id":"AAAAAAAAAAAAAAAAAAAAAA","at":1,"text":"x"}"#,
            r#"{"type":"chat","seq":1,"id":"AAAAAAAAAAAAAAAAAAAAAA","at":1,"text":""}"#,
            r#"{"type":"chat","seq":1,"id":"AAAA","at":1,"text":"x"}"#,
            r#"{"type":"offer","offer_id":"AAAAAAAAAAAAAAAAAAAAAA","name":"x","entries":0,"total":1}"#,
            r#"{"type":"offer","offer_id":"AAAAAAAAAAAAAAAAAAAAAA","name":"x","entries":4000000000,"total":1}"#,
            r#"{"type":"entries","offer_id":"AAAAAAAAAAAAAAAAAAAAAA","first":0,"entries":[]}"#,
            r#"{"type":"entries","offer_id":"AAAAAAAAAAAAAAAAAAAAAA","first":0,"entries":[{"path":""}]}"#,
            r#"{"type":"entries","offer_id":"AAAAAAAAAAAAAAAAAAAAAA","first":0,"entries":[{"path":"x","size":9223372036854775808}]}"#,
            r#"{"type":"want","offer_id":"AAAAAAAAAAAAAAAAAAAAAA","entry":0,"ranges":[[3,1]]}"#,
            r#"{"type":"strand","n":7,"step":{"kind":"answer","sdp":""}}"#,
            r#"{"type":"strand","n":0,"step":{"kind":"answer"}}"#,
        ];
        for text in bad {
            assert!(PeerMessage::parse(text.as_bytes()).is_err(), "{text}");
        }
        let strand = |step| PeerMessage::Strand {
            n: 0,
            mine: true,
            step,
        };
        let sdp = |len| StrandStep::Offer {
            sdp: "x".repeat(len),
        };
        let candidate = |len: usize, mid: usize| StrandStep::Candidate {
            candidate: "x".repeat(len),
            mid: Some("x".repeat(mid)),
            mline: None,
        };
        let (most, line) = (limits::MAX_SDP, limits::MAX_CANDIDATE);
        let rows = [
            (sdp(most), true),
            (sdp(most + 1), false),
            (candidate(line, line), true),
            (candidate(line + 1, 0), false),
            (candidate(0, line + 1), false),
        ];
        for (step, fits) in rows {
            let message = strand(step);
            assert_eq!(PeerMessage::parse(&message.to_bytes()).is_ok(), fits);
        }
    }

    #[test]
    fn unknown_messages_and_fields_are_skipped() {
        assert_eq!(
            PeerMessage::parse(br#"{"type":"from-2031","a":{}}"#),
            Ok(PeerMessage::Unknown)
        );
        let m = PeerMessage::parse(br#"{"type":"chat-ack","upto":3,"new":true}"#);
        assert_eq!(m, Ok(PeerMessage::ChatAck { upto: 3 }));
        let strand = PeerMessage::Strand {
            n: 1,
            mine: false,
            step: StrandStep::Unknown,
        };
        let m = PeerMessage::parse(br#"{"type":"strand","n":1,"step":{"kind":"knot","ends":2}}"#);
        assert_eq!(m, Ok(strand));
    }

    #[test]
    fn names_are_made_fit_to_show() {
        assert_eq!(clean_name("  Ada \u{202e}\x1b[31m", "x"), "Ada [31m");
        assert_eq!(clean_name("\u{200b}\n", "Quiet Otter"), "Quiet Otter");
        assert!(clean_name(&"é".repeat(100), "x").len() <= limits::MAX_NAME);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(v in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = PeerMessage::parse(&v);
            let _ = Beat::parse(&v);
        }

        #[test]
        fn chat_round_trips(seq in 1u64.., id: [u8; 16], at: u64, text in "\\PC{1,200}") {
            let m = PeerMessage::Chat { seq, id: MsgId(id), at, text };
            prop_assert_eq!(PeerMessage::parse(&m.to_bytes()), Ok(m));
        }

        #[test]
        fn any_name_becomes_fit(name in any::<String>()) {
            let clean = clean_name(&name, "x");
            prop_assert!(!clean.is_empty() && clean.len() <= limits::MAX_NAME);
            prop_assert!(!clean.chars().any(is_unprintable));
        }
    }
}
