//! Sending what a peer lacks of our own log.

use kith_protocol::PeerId;
use kith_protocol::peer::PeerMessage;

use super::{Chat, ChatOut, Loading, Retry, WINDOW};
use crate::effect::Effect;
use crate::engine::Ctx;
use crate::input::JobId;
use crate::record::ChatRecord;

impl Chat {
    /// A page of our own log has been read; empty if it could not be.
    pub fn on_loaded(
        &mut self,
        job: JobId,
        entries: Vec<(u64, ChatRecord)>,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ChatOut> {
        let Some(Loading { peer, from, .. }) = self.loading.take_if(|l| l.job == job) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        if let Some(p) = self.peers.get_mut(&peer)
            && let Some(sent) = p.sent.as_mut()
        {
            // Read for where the peer was then; a new link may have started elsewhere since.
            let stale = from != *sent + 1;
            for (seq, record) in entries {
                if seq == *sent + 1 {
                    *sent = seq;
                    out.push(ChatOut::Send(peer, to_message(seq, record)));
                }
            }
            if !out.is_empty() {
                self.unread = Retry::default();
            } else if !stale {
                // A store that cannot read must not be asked in a loop.
                self.unread.failed(ctx.now.mono);
            }
        }
        // One page is read at a time; others may have waited for their turn.
        out.extend(self.pump_all(ctx));
        out
    }

    pub(super) fn pump_all(&mut self, ctx: &mut Ctx<'_>) -> Vec<ChatOut> {
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        peers
            .into_iter()
            .flat_map(|peer| self.pump(peer, ctx))
            .collect()
    }

    /// Sends what the window allows.
    pub(super) fn pump(&mut self, peer: PeerId, ctx: &mut Ctx<'_>) -> Vec<ChatOut> {
        let mut out = Vec::new();
        let Some(p) = self.peers.get_mut(&peer) else {
            return out;
        };
        let Some(sent) = p.sent.as_mut() else {
            return out;
        };
        while *sent < self.own.durable && sent.saturating_sub(p.base) < WINDOW {
            let next = *sent + 1;
            match self.tail.front().map(|(first, _)| *first) {
                Some(first) if first <= next => {
                    let (seq, record) = &self.tail[(next - first) as usize];
                    out.push(ChatOut::Send(peer, to_message(*seq, record.clone())));
                    *sent = next;
                }
                Some(_) | None => {
                    if self.loading.is_none() && self.unread.at.is_none() {
                        let job = ctx.job();
                        let (from, max) = (next, WINDOW as u32);
                        ctx.out(Effect::LoadChat {
                            job,
                            room: self.room,
                            from,
                            max,
                        });
                        self.loading = Some(Loading { job, peer, from });
                    }
                    break;
                }
            }
        }
        out
    }
}

pub(super) fn to_message(seq: u64, record: ChatRecord) -> PeerMessage {
    PeerMessage::Chat {
        seq,
        id: record.id,
        at: record.at,
        text: record.text,
    }
}
