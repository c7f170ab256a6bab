//! A member of the room that follows the protocol until told otherwise.
//!
//! It joins the real room server, seals with the real sealer and connects with the real WebRTC
//! stack: everything up to the lie is what an honest peer does.
//!
//! ```text
//! Hostile::meet     joined, sealed with the victim; may `say` anything under seal
//!   └── open        a connection whose channels are open, nobody confirmed
//!   └── link        and both have confirmed: a Link that may `say` anything
//! ```

mod member;
mod parts;
mod scene;
mod strands;

use bytes::Bytes;
use kith_peer::rtc::{Connection, IceCandidate, IceConfig, RtcContext, RtcEvent};
use kith_peer::seal::Identity;
use kith_protocol::ids::{Digest, SealTag};
use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::sealed::SealedBody;
use kith_protocol::{Invite, LinkId, OfferId, PeerId, limits};
use tokio::sync::mpsc;

use member::Member;
pub use parts::{chunk, damaged, entry, folder, root};
pub use scene::Scene;
pub use strands::Strand;

use crate::PATIENCE;

/// The hostile member, sealed with its victim.
pub struct Hostile {
    /// Who it says it is, with a key to prove it.
    pub me: PeerId,
    /// Its certificate.
    pub fp: Digest,
    /// The victim's certificate.
    pub victim_fp: Digest,
    /// The handshake with the victim.
    pub tag: SealTag,
    context: RtcContext,
    outgoing: mpsc::UnboundedSender<Say>,
    bodies: mpsc::UnboundedReceiver<SealedBody>,
}

enum Say {
    Sealed(SealedBody),
    Raw(Bytes),
}

/// A connection to the victim.
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// The connection itself.
    pub connection: Connection,
    events: mpsc::Receiver<RtcEvent>,
}

impl Hostile {
    /// Joins the room of `invite` and shakes hands with `victim`, as the side that makes the SDP
    /// offers.
    pub async fn meet(invite: &str, victim: PeerId) -> Hostile {
        // More than one TLS library may be linked; this says which one is meant.
        let context = RtcContext::new().unwrap();
        let identity = Identity::generate().unwrap();
        let invite: Invite = invite.parse().unwrap();
        let fp = Digest(context.certificate().fingerprint());
        let (outgoing, queue) = mpsc::unbounded_channel();
        let (heard, bodies) = mpsc::unbounded_channel();
        let (ready, met) = tokio::sync::oneshot::channel();
        let me = identity.peer_id();
        let member = Member::join(invite, identity, fp).await;
        tokio::spawn(member.run(victim, queue, heard, ready));
        let met = tokio::time::timeout(PATIENCE, met).await;
        let (victim_fp, tag) = met.expect("a handshake in time").unwrap();
        Hostile {
            me,
            fp,
            victim_fp,
            tag,
            context,
            outgoing,
            bodies,
        }
    }

    /// Says something under seal.
    pub fn say(&self, body: SealedBody) {
        let _ = self.outgoing.send(Say::Sealed(body));
    }

    /// Sends the victim bytes as they are.
    pub fn say_raw(&self, bytes: impl Into<Bytes>) {
        let _ = self.outgoing.send(Say::Raw(bytes.into()));
    }

    /// The next thing the victim says under seal.
    pub async fn hear(&mut self) -> SealedBody {
        let body = tokio::time::timeout(PATIENCE, self.bodies.recv()).await;
        body.expect("a sealed body in time").unwrap()
    }

    /// A connection of our own and the SDP offer for it.
    pub async fn offer(&self) -> (Link, String) {
        let (events_in, events) = mpsc::channel(64);
        let config = IceConfig {
            include_loopback: true,
            ..IceConfig::default()
        };
        let connection = Connection::open(&self.context, &config, events_in)
            .await
            .unwrap();
        let sdp = connection.create_offer(false).await.unwrap();
        let mut id = [0; 8];
        getrandom::fill(&mut id).unwrap();
        let link = Link {
            id: LinkId(id),
            connection,
            events,
        };
        (link, sdp)
    }

    /// Connects, by the book, until the channels are open; says nothing on them.
    pub async fn open(&mut self) -> Link {
        let (mut link, sdp) = self.offer().await;
        self.say(SealedBody::SdpOffer {
            link: link.id,
            restart: false,
            sdp,
        });
        tokio::time::timeout(PATIENCE, self.finish(&mut link))
            .await
            .expect("a connection in time");
        link
    }

    /// Connects by the book and confirms.
    pub async fn link(&mut self) -> Link {
        let mut link = self.open().await;
        link.say(&self.confirm()).await;
        let confirmed = |m: &PeerMessage| matches!(m, PeerMessage::Confirm { .. }).then_some(());
        link.hear("a confirmation", confirmed).await;
        // Again, as honest peers do: the first may have come before the victim's channels were up.
        link.say(&self.confirm()).await;
        link
    }

    /// The right confirmation.
    pub fn confirm(&self) -> PeerMessage {
        PeerMessage::Confirm {
            my_fp: self.fp,
            your_fp: self.victim_fp,
            session: self.tag,
        }
    }

    async fn finish(&mut self, link: &mut Link) {
        loop {
            tokio::select! {
                body = self.bodies.recv() => match body.expect("the room goes on") {
                    SealedBody::SdpAnswer { link: l, sdp } if l == link.id => {
                        link.connection.accept_answer(sdp).await.unwrap();
                    }
                    SealedBody::Candidate { link: l, candidate, mid, mline } if l == link.id => {
                        let candidate = IceCandidate {
                            candidate,
                            sdp_mid: mid,
                            sdp_mline_index: mline,
                        };
                        let _ = link.connection.add_candidate(candidate).await;
                    }
                    _ => {}
                },
                event = link.events.recv() => match event.expect("the connection lives") {
                    RtcEvent::LocalCandidate(c) => self.say(SealedBody::Candidate {
                        link: link.id,
                        candidate: c.candidate,
                        mid: c.sdp_mid,
                        mline: c.sdp_mline_index,
                    }),
                    RtcEvent::ChannelsOpen => return,
                    _ => {}
                },
            }
        }
    }
}

impl Link {
    /// Says something on `messages`.
    pub async fn say(&self, message: &PeerMessage) {
        self.say_bytes(message.to_bytes()).await;
    }

    /// Sends any bytes on `messages`; the victim may have closed already.
    pub async fn say_bytes(&self, bytes: Bytes) {
        let _ = self.connection.send_message(bytes).await;
    }

    /// Sends any bytes on `files`; the victim may have closed already.
    pub async fn frame(&self, bytes: Bytes) {
        let _ = self.connection.files().send(bytes).await;
    }

    /// Waits for a message in which `pick` finds something; others are dropped.
    pub async fn hear<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&PeerMessage) -> Option<T>,
    ) -> T {
        let next = async {
            while let Some(event) = self.events.recv().await {
                if let RtcEvent::Message(bytes) = event
                    && let Some(found) = pick(&PeerMessage::parse(&bytes).unwrap())
                {
                    return found;
                }
            }
            panic!("the connection ended before {what}");
        };
        tokio::time::timeout(PATIENCE, next)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    /// Reads and drops whatever comes, as somebody does who only wants to be sent more.
    pub fn drain(self) -> Drained {
        let Link {
            id,
            connection,
            mut events,
        } = self;
        let lane = connection.files();
        let task = tokio::spawn(async move {
            let events = async { while events.recv().await.is_some() {} };
            let frames = async { while lane.recv().await.is_some() {} };
            futures::join!(events, frames);
        });
        Drained {
            link: Link {
                id,
                connection,
                events: mpsc::channel(1).1,
            },
            task,
        }
    }

    /// Announces a manifest under this id, all of it at once.
    pub async fn announce(&self, offer_id: OfferId, name: &str, entries: &[Entry]) {
        self.say(&PeerMessage::Offer {
            offer_id,
            name: name.into(),
            entries: entries.len() as u32,
            total: entries.iter().map(|e| e.size).sum(),
            note: None,
        })
        .await;
        for (page, part) in entries.chunks(limits::MAX_ENTRIES_PER_MESSAGE).enumerate() {
            self.say(&PeerMessage::Entries {
                offer_id,
                first: (page * limits::MAX_ENTRIES_PER_MESSAGE) as u32,
                entries: part.to_vec(),
            })
            .await;
        }
    }

    /// Waits until the victim takes an offer; the number of the transfer.
    pub async fn accepted(&mut self, offer: OfferId) -> u32 {
        let pick = |m: &PeerMessage| match m {
            PeerMessage::Accept { offer_id, transfer } if *offer_id == offer => Some(*transfer),
            _ => None,
        };
        self.hear("the accept", pick).await
    }

    /// Sends a file by the book.
    pub async fn send_file(&self, offer_id: OfferId, transfer: u32, entry: u32, content: &[u8]) {
        for (index, payload) in (0u64..).zip(content.chunks(limits::CHUNK)) {
            self.frame(chunk(transfer, entry, index, payload)).await;
        }
        let hash = root(content);
        self.say(&PeerMessage::EntryDone {
            offer_id,
            entry,
            hash,
        })
        .await;
    }
}

/// A link whose incoming messages somebody reads and drops.
pub struct Drained {
    /// The link.
    pub link: Link,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.task.abort();
    }
}
