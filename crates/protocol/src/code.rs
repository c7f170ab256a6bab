//! The one table of error and close codes.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $final:literal, $text:literal;)*) => {
        /// Something that went wrong, as both ends and the user know it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
            /// A code this build does not know.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        #[cfg(feature = "ts")]
        impl ts_rs::TS for Code {
            type WithoutGenerics = Self;
            type OptionInnerType = Self;

            fn name(_: &ts_rs::Config) -> String {
                "Code".into()
            }

            fn inline(_: &ts_rs::Config) -> String {
                let name = |c: &Code| format!("{:?}", c.name());
                Code::ALL.iter().map(name).collect::<Vec<_>>().join(" | ")
            }

            fn decl(cfg: &ts_rs::Config) -> String {
                format!("type Code = {};", Self::inline(cfg))
            }
        }

        impl Code {
            /// Every code of this build, in table order.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)* Code::Unknown];

            /// The stable number, for logs and metrics.
            pub fn number(self) -> u16 {
                match self { $(Code::$variant => $number,)* Code::Unknown => 0 }
            }

            /// The stable name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* Code::Unknown => "unknown" }
            }

            /// Whether trying again without changing anything is pointless.
            pub fn is_final(self) -> bool {
                match self { $(Code::$variant => $final,)* Code::Unknown => false }
            }

            /// What the user reads: what happened and what to do.
            pub fn text(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)*
                    Code::Unknown => "Something went wrong that this version of Kith does not know. Try again, or update.",
                }
            }
        }
    };
}

codes! {
    // 100: the room server
    /// A message the server could not parse.
    BadMessage = 100, "bad-message", true, "The room server did not understand this app. Update Kith.";
    /// A message over the size limit.
    TooLarge = 101, "too-large", true, "That is too large to send through the room server.";
    /// A message that needs a joined connection.
    NotJoined = 102, "not-joined", false, "You are not in this room any more. Join it again.";
    /// The addressed member is not in the room.
    NoSuchMember = 103, "no-such-member", false, "That person has left the room.";
    /// The room has no free place.
    RoomFull = 104, "room-full", false, "The room is full. Ask its owner to make space, or try later.";
    /// The room's owner has locked it.
    RoomLocked = 105, "room-locked", true, "The room is locked. Ask its owner to let you in.";
    /// Too many messages or connections.
    RateLimited = 106, "rate-limited", false, "The room server asks to go slower. Wait a moment and try again.";
    /// The other side's queue is full, or the person is in a call.
    Busy = 107, "busy", false, "The other side is busy. Try again in a moment.";
    /// The proof of membership does not hold.
    BadProof = 108, "bad-proof", true, "The room server refused the join. Check that the invite is complete and meant for this server.";
    /// The other end speaks another protocol version.
    UnsupportedVersion = 109, "unsupported-version", true, "The room server speaks another version. Update Kith or the server.";
    /// The server is going down and will be back.
    Restarting = 110, "restarting", false, "The room server restarts. Kith reconnects by itself.";
    /// Nobody answered at the server's address.
    ServerUnreachable = 111, "server-unreachable", false, "The room server cannot be reached. Check the address and your network.";
    /// What answered is not a room server.
    NotARoomServer = 112, "not-a-room-server", true, "What answers at this address is not a Kith room server. Check the address.";

    // 200: sealing and links
    /// The sealing handshake failed.
    SealFailed = 200, "seal-failed", false, "A secure connection could not be agreed. Somebody may be interfering; Kith tries again.";
    /// The peer's identity differs from the one known.
    IdentityChanged = 201, "identity-changed", true, "This person's identity has changed. Verify with them before you go on.";
    /// An SDP broke the rule.
    BadSdp = 202, "bad-sdp", true, "The connection offer was not valid and was refused.";
    /// The first message did not confirm the fingerprints.
    ConfirmMismatch = 203, "confirm-mismatch", true, "The connection does not belong to the person it claims. It was closed.";
    /// No path between the two.
    NoRoute = 204, "no-route", false, "No network path to this person was found. Both may be behind strict firewalls.";
    /// The link was lost and could not be recovered.
    LinkLost = 205, "link-lost", false, "The connection to this person was lost.";
    /// A peer broke the peer protocol.
    PeerProtocol = 206, "peer-protocol", true, "The other side sent something that is not allowed. The connection was closed.";

    // 300: files
    /// The receiver said no.
    Declined = 300, "declined", true, "The receiver declined the files.";
    /// Either side cancelled.
    Cancelled = 301, "cancelled", true, "The transfer was cancelled.";
    /// The file changed while it was being sent.
    SourceChanged = 302, "source-changed", true, "A file changed while it was being sent. Send it again.";
    /// The file is gone or unreadable.
    SourceGone = 303, "source-gone", true, "A file to be sent is missing or cannot be read.";
    /// No space at the receiver.
    DiskFull = 304, "disk-full", false, "The disk is full. Make space; the transfer goes on from where it stopped.";
    /// The target cannot be written.
    DiskDenied = 305, "disk-denied", true, "The target folder cannot be written. Choose another or change its permissions.";
    /// Another disk error.
    DiskError = 306, "disk-error", false, "The disk reported an error.";
    /// Three bad checksums in a row.
    Corrupt = 307, "corrupt", true, "The data arrived damaged again and again. The transfer was ended.";
    /// The whole-file hash does not match.
    HashMismatch = 308, "hash-mismatch", false, "A file arrived different from what was sent. It was discarded.";
    /// The sender withdrew the offer or left.
    OfferGone = 309, "offer-gone", true, "The sender no longer offers these files.";
    /// A name that cannot be made safe.
    BadName = 310, "bad-name", true, "The offer contains a file name that is not allowed. It was refused.";
    /// More offers than a peer may have open.
    TooManyOffers = 311, "too-many-offers", false, "Too many offers are open. Finish or decline some first.";
    /// The target's disk is mounted read-only.
    DiskReadOnly = 312, "disk-read-only", false, "The disk is read-only. Make it writable; the transfer goes on from where it stopped.";
    /// The user's share of the disk is used up.
    DiskQuota = 313, "disk-quota", false, "Your share of the disk is used up. Delete something; the transfer goes on from where it stopped.";
    /// What was unfinished, or its folder, was removed by somebody else.
    DiskGone = 314, "disk-gone", false, "The folder or the unfinished files in it were removed. Put the folder back, or choose another.";

    // 400: this installation
    /// Another process uses the same home.
    HomeInUse = 400, "home-in-use", false, "Another Kith uses this profile. Close it, or choose another with --home.";
    /// The store cannot be read.
    StoreBroken = 401, "store-broken", true, "The profile's data cannot be read.";
    /// A command that is not possible now.
    NotNow = 402, "not-now", false, "That is not possible right now.";
    /// A request that is not valid.
    BadRequest = 403, "bad-request", true, "That request is not valid.";

    // 500: calls
    /// The called person said no.
    CallDeclined = 500, "call-declined", false, "The call was declined.";
    /// The called person is in another call.
    CallBusy = 501, "call-busy", false, "That person is in another call. Try again later.";
    /// It rang until nobody was expected to answer any more.
    NoAnswer = 502, "no-answer", false, "Nobody answered the call.";
    /// Who called thought better of it.
    CallCancelled = 503, "call-cancelled", false, "The call was cancelled before it was answered.";
    /// Somebody left the call on purpose.
    HungUp = 504, "hung-up", false, "The call was ended.";
    /// We are in a call ourselves.
    InACall = 505, "in-a-call", false, "You are in a call already. End it first.";
    /// There is no microphone.
    MicMissing = 510, "mic-missing", false, "No microphone was found. Connect one, or choose another in the settings.";
    /// The system does not let us use it.
    MicDenied = 511, "mic-denied", false, "The system does not allow Kith to use the microphone. Allow it in the system's privacy settings.";
    /// Another program uses it alone.
    MicBusy = 512, "mic-busy", false, "Another program uses the microphone. Close it, or choose another microphone.";
    /// It was there, and is gone.
    MicLost = 513, "mic-lost", false, "The microphone was disconnected. You are muted until there is one again.";
    /// There is nothing to hear with.
    SpeakerMissing = 514, "speaker-missing", false, "No speaker or headset was found. Connect one, or choose another in the settings.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_and_names_are_unique_and_texts_are_sentences() {
        let mut numbers = HashSet::new();
        let mut names = HashSet::new();
        for code in Code::ALL {
            assert!(numbers.insert(code.number()), "{code:?}");
            assert!(names.insert(code.name()), "{code:?}");
            assert!(code.text().ends_with('.'), "{code:?}");
            assert_eq!(
                serde_json::to_string(code).unwrap(),
                format!("{:?}", code.name())
            );
        }
    }

    #[test]
    fn a_code_from_the_future_is_unknown() {
        assert_eq!(
            serde_json::from_str::<Code>("\"from-2031\"").unwrap(),
            Code::Unknown
        );
    }
}
