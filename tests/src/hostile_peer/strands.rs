//! Connections beside that of a link, by the book until told otherwise.

use bytes::Bytes;
use kith_peer::rtc::{Connection, IceCandidate, RtcEvent};
use kith_protocol::peer::{PeerMessage, StrandStep};
use tokio::sync::mpsc;

use super::{Hostile, Link};
use crate::PATIENCE;

/// One that the hostile member has opened.
pub struct Strand {
    /// Which.
    pub n: u8,
    /// The connection itself.
    pub connection: Connection,
    events: mpsc::Receiver<RtcEvent>,
}

impl Hostile {
    /// A strand of our own and the SDP offer for it.
    pub async fn offer_strand(&self, n: u8) -> (Strand, String) {
        let (
            Link {
                connection, events, ..
            },
            sdp,
        ) = self.offer().await;
        let strand = Strand {
            n,
            connection,
            events,
        };
        (strand, sdp)
    }
}

impl Link {
    /// Says something of a strand that is ours.
    pub async fn say_of(&self, n: u8, step: StrandStep) {
        self.say(&PeerMessage::Strand {
            n,
            mine: true,
            step,
        })
        .await;
    }

    /// Opens a strand by the book, until the victim takes chunks on it.
    pub async fn open_strand(&mut self, hostile: &Hostile, n: u8) -> Strand {
        let (mut strand, sdp) = hostile.offer_strand(n).await;
        self.say_of(n, StrandStep::Offer { sdp }).await;
        tokio::time::timeout(PATIENCE, self.finish_strand(&mut strand))
            .await
            .expect("a strand in time");
        strand
    }

    async fn finish_strand(&mut self, strand: &mut Strand) {
        loop {
            tokio::select! {
                event = self.events.recv() => {
                    let RtcEvent::Message(bytes) = event.expect("the link lives") else { continue };
                    let message = PeerMessage::parse(&bytes).unwrap();
                    let PeerMessage::Strand { n, mine: false, step } = message else { continue };
                    assert_eq!(n, strand.n);
                    match step {
                        StrandStep::Answer { sdp } => {
                            strand.connection.accept_answer(sdp).await.unwrap();
                        }
                        StrandStep::Candidate { candidate, mid, mline } => {
                            let candidate = IceCandidate {
                                candidate,
                                sdp_mid: mid,
                                sdp_mline_index: mline,
                            };
                            let _ = strand.connection.add_candidate(candidate).await;
                        }
                        StrandStep::Ready {} => return,
                        StrandStep::Offer { .. } | StrandStep::Unknown => {
                            panic!("{step:?} of a strand of ours");
                        }
                    }
                }
                event = strand.events.recv() => {
                    let event = event.expect("the strand lives");
                    if let RtcEvent::LocalCandidate(c) = event {
                        self.say_of(strand.n, StrandStep::Candidate {
                            candidate: c.candidate,
                            mid: c.sdp_mid,
                            mline: c.sdp_mline_index,
                        }).await;
                    }
                }
            }
        }
    }
}

impl Strand {
    /// Sends any bytes on `files`; the victim may have closed already.
    pub async fn frame(&self, bytes: Bytes) {
        let _ = self.connection.files().send(bytes).await;
    }
}
