//! What workers sent and receivers have on disk.

use kith_protocol::peer::PeerMessage;
use kith_protocol::ranges::RangeSet;
use kith_protocol::{LinkId, PeerId};

use super::{Receiver, ServeOut, Serves, State, bytes_of, fits};
use crate::engine::Ctx;
use crate::input::{ServeKey, ServeNews};

impl Serves {
    /// Chunks are durable at the peer.
    pub fn on_ack(
        &mut self,
        peer: PeerId,
        link: LinkId,
        transfer: u32,
        entry: u32,
        ranges: RangeSet,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let room = self.room;
        for (id, offer) in &mut self.offers {
            let Some(r) = offer.receivers.get_mut(&peer) else {
                continue;
            };
            let State::Serving {
                link: l,
                transfer: t,
                ..
            } = r.state
            else {
                continue;
            };
            if l != link || t != transfer {
                continue;
            }
            // An ack for what was never sent is a lie or a mistake; either way it is not believed.
            // In a swarm others may have sent it.
            let sent = r.sent.get(&entry);
            let known = ranges
                .ranges()
                .iter()
                .all(|&(a, b)| sent.is_some_and(|s| s.next_missing(a) >= b));
            let known = known || offer.mode.is_swarm();
            let open = !r.verified.contains(entry.into());
            if open && known && fits(&offer.entries, entry, &ranges) {
                r.durable.entry(entry).or_default().union(&ranges);
                offer.tell(room, *id, ctx, |s| s.arrived(peer, entry, &ranges));
                return vec![ServeOut::Changed(*id)];
            }
            return Vec::new();
        }
        Vec::new()
    }

    /// News of a worker.
    pub fn handle(
        &mut self,
        key: ServeKey,
        run: u32,
        news: ServeNews,
        ctx: &mut Ctx<'_>,
    ) -> Vec<ServeOut> {
        let ServeKey {
            peer, offer: id, ..
        } = key;
        let Some((offer, r)) = self.receiver(peer, id) else {
            return Vec::new();
        };
        match r.state {
            State::Serving { run: current, .. } if current == run => {}
            State::Serving { .. }
            | State::Waiting { .. }
            | State::Offered
            | State::Stalled
            | State::Done
            | State::Declined(_)
            | State::Failed(_) => return Vec::new(),
        }
        match news {
            ServeNews::Sent(chunks) => {
                for (entry, ranges) in chunks {
                    let size = offer.entries.get(entry as usize).map_or(0, |e| e.size);
                    r.count_sent(entry, size, &ranges);
                }
                vec![ServeOut::Changed(id)]
            }
            ServeNews::EntryRead { entry, hash } => {
                let message = PeerMessage::EntryDone {
                    offer_id: id,
                    entry,
                    hash,
                };
                vec![ServeOut::Send(peer, message)]
            }
            ServeNews::Failed(code) => {
                let passed = self.passed_key(id);
                let mut out = self.give_up(peer, id, code, ctx);
                // What was somebody's offer is something else by now, or gone.
                out.extend(
                    passed
                        .into_iter()
                        .flat_map(|key| self.keep_back(key, code, ctx)),
                );
                out
            }
        }
    }
}

impl Receiver {
    /// Chunks of a file of `size` bytes are handed to the lane.
    fn count_sent(&mut self, entry: u32, size: u64, ranges: &RangeSet) {
        let bytes = bytes_of(size, ranges);
        self.traffic.sent += bytes;
        if self.verified.contains(entry.into()) {
            self.traffic.resent += bytes;
            self.traffic.resent_durable += bytes;
            return;
        }
        let sent = self.sent.entry(entry).or_default();
        self.traffic.resent += overlap(size, sent, ranges);
        if let Some(durable) = self.durable.get(&entry) {
            self.traffic.resent_durable += overlap(size, durable, ranges);
        }
        sent.union(ranges);
    }
}

pub(super) fn overlap(size: u64, known: &RangeSet, ranges: &RangeSet) -> u64 {
    let mut fresh = ranges.clone();
    for &(a, b) in known.ranges() {
        fresh.remove(a, b);
    }
    bytes_of(size, ranges) - bytes_of(size, &fresh)
}
