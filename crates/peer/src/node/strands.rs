//! The strands of one link: effects in, news out.

use std::collections::HashMap;
use std::sync::Arc;

use kith_core::effect::StrandEffect;
use kith_core::input::{LinkNews, StrandId, StrandNews};
use kith_protocol::Code;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::links::{Key, Links, core_candidate, ice_candidate};
use crate::rtc::{Connection, IceConfig, Lane, LinkState, RtcError, RtcEvent};

/// Events of one strand that wait for the core.
const EVENTS: usize = 8;

/// Those of a link.
pub(super) struct Strands {
    links: Links,
    key: Key,
    config: IceConfig,
    lane: Lane,
    all: HashMap<StrandId, Arc<Connection>>,
    /// The link's end, and that of who watches its strands.
    over: CancellationToken,
}

impl Strands {
    /// None as yet, of a link with this lane, which is looked for as `config` says.
    pub fn new(
        links: Links,
        key: Key,
        config: IceConfig,
        lane: Lane,
        over: CancellationToken,
    ) -> Self {
        Strands {
            links,
            key,
            config,
            lane,
            all: HashMap::new(),
            over,
        }
    }

    /// Carries out an effect. What fails is that strand's end, and not the link's.
    pub async fn act(&mut self, id: StrandId, effect: StrandEffect) {
        if let Err(error) = self.try_act(id, effect).await {
            tracing::debug!(peer = %self.key.peer, ?id, %error, "strand effect failed");
            self.news(id, StrandNews::Lost { lossy: false }).await;
        }
    }

    /// Closes all.
    pub async fn close(&mut self) {
        let all = std::mem::take(&mut self.all);
        futures::future::join_all(all.values().map(|strand| strand.close())).await;
    }

    async fn try_act(&mut self, id: StrandId, effect: StrandEffect) -> Result<(), RtcError> {
        match effect {
            StrandEffect::Offer => {
                let (connection, events) = self.open(id).await?;
                let sdp = connection.create_offer(false).await?;
                self.described(id, sdp, connection, events).await;
            }
            StrandEffect::AcceptOffer(sdp) => {
                let (connection, events) = self.open(id).await?;
                let sdp = connection.accept_offer(sdp).await?;
                self.described(id, sdp, connection, events).await;
            }
            StrandEffect::AcceptAnswer(sdp) => {
                if let Some(connection) = self.all.get(&id) {
                    connection.accept_answer(sdp).await?;
                }
            }
            StrandEffect::AddCandidate(c) => {
                if let Some(connection) = self.all.get(&id)
                    && let Err(error) = connection.add_candidate(ice_candidate(c)).await
                {
                    tracing::debug!(peer = %self.key.peer, ?id, %error, "candidate refused");
                }
            }
            StrandEffect::Carry => {
                if let Some(connection) = self.all.get(&id) {
                    connection.carry();
                }
            }
            StrandEffect::Close => {
                if let Some(connection) = self.all.remove(&id) {
                    connection.carry_no_more().await;
                    connection.close().await;
                }
            }
        }
        Ok(())
    }

    async fn open(
        &mut self,
        id: StrandId,
    ) -> Result<(Arc<Connection>, mpsc::Receiver<RtcEvent>), RtcError> {
        let (events, incoming) = mpsc::channel(EVENTS);
        let (rtc, lane) = (&self.links.rtc, &self.lane);
        let connection = Connection::open_strand(rtc, &self.config, events, lane).await?;
        let connection = Arc::new(connection);
        self.all.insert(id, Arc::clone(&connection));
        Ok((connection, incoming))
    }

    /// Says the description, and only then the candidates that belong to it.
    async fn described(
        &self,
        id: StrandId,
        sdp: String,
        connection: Arc<Connection>,
        events: mpsc::Receiver<RtcEvent>,
    ) {
        self.news(id, StrandNews::LocalSdp(sdp)).await;
        let (links, key, over) = (self.links.clone(), self.key, self.over.clone());
        self.links.tasks.spawn("strand events", async move {
            tokio::select! {
                () = watch(links, key, id, &connection, events) => {}
                () = over.cancelled() => {}
            }
        });
    }

    async fn news(&self, id: StrandId, news: StrandNews) {
        self.links.news(self.key, LinkNews::Strand(id, news)).await;
    }
}

async fn watch(
    links: Links,
    key: Key,
    id: StrandId,
    connection: &Connection,
    mut events: mpsc::Receiver<RtcEvent>,
) {
    while let Some(event) = events.recv().await {
        let news = match event {
            RtcEvent::LocalCandidate(c) => StrandNews::LocalCandidate(core_candidate(c)),
            RtcEvent::ChannelsOpen => StrandNews::Open,
            RtcEvent::GatheringComplete
            | RtcEvent::StateChanged(
                LinkState::Checking | LinkState::Connected | LinkState::Disconnected,
            ) => continue,
            RtcEvent::StateChanged(LinkState::Failed | LinkState::Closed)
            | RtcEvent::ChannelClosed { .. } => StrandNews::Lost {
                lossy: connection.carry_no_more().await,
            },
            RtcEvent::Message(_) | RtcEvent::Presence(_) => {
                tracing::warn!(peer = %key.peer, ?id, "a message on a strand");
                return links.news(key, LinkNews::Broken(Code::PeerProtocol)).await;
            }
        };
        let lost = matches!(news, StrandNews::Lost { .. });
        links.news(key, LinkNews::Strand(id, news)).await;
        if lost {
            return;
        }
    }
}

/// Passes on how many strands would make chunks go faster, until the link is `over`.
pub(super) async fn strain(
    links: Links,
    key: Key,
    mut wanted: watch::Receiver<u8>,
    over: CancellationToken,
) {
    loop {
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = over.cancelled() => return,
        }
        let most = *wanted.borrow_and_update();
        links.news(key, LinkNews::Strained(most)).await;
    }
}
