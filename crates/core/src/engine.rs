//! The root: which room an input belongs to, replies and views. Decisions live in the machines.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kith_api::{ApiError, Change, Event, Me, Snapshot, TransferSettings};
use kith_protocol::ids::Digest;
use kith_protocol::{Code, IdPk, PeerId, RoomId, limits};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::effect::{Bound, Effect};
use crate::fetch;
use crate::input::{Command, Input, JobId, Reply, ReqId};
use crate::policy;
use crate::queue::{self, Turn};
use crate::record::{FetchKey, PeerRecord, Put, RoomRecord, Saved};
use crate::room::Room;
use crate::time::{Deadline, Now};

/// Who we are in this app session.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our lasting identity.
    pub id_pk: IdPk,
    /// Our display name.
    pub name: String,
    /// SHA-256 of this app session's DTLS certificate.
    pub fp: Digest,
    /// Whether transfers outlive the process: fetches go on by themselves after a restart, and our
    /// offers stand again.
    pub keep: bool,
    /// What the user has chosen for all transfers; at the start, what the store kept counts.
    pub transfers: TransferSettings,
}

/// What a machine may use while it handles one input.
pub struct Ctx<'a> {
    /// The moment.
    pub now: Now,
    /// Who we are.
    pub config: &'a Config,
    /// So many fetches may begin now.
    pub turns: u32,
    out: &'a mut VecDeque<Effect>,
    rng: &'a mut ChaCha8Rng,
    jobs: &'a mut u64,
}

impl<'a> Ctx<'a> {
    pub(crate) fn new(
        now: Now,
        out: &'a mut VecDeque<Effect>,
        rng: &'a mut ChaCha8Rng,
        jobs: &'a mut u64,
        config: &'a Config,
    ) -> Self {
        Ctx {
            now,
            config,
            turns: config.transfers.at_once,
            out,
            rng,
            jobs,
        }
    }

    /// Asks for an effect.
    pub fn out(&mut self, effect: Effect) {
        self.out.push_back(effect);
    }

    /// A number for a slow effect.
    pub fn job(&mut self) -> JobId {
        *self.jobs += 1;
        *self.jobs
    }

    /// Random bytes, for an id.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A random duration from zero to `most`.
    pub fn random_up_to(&mut self, most: Duration) -> Duration {
        let span = most.as_millis() as u64 + 1;
        Duration::from_millis(self.rng.next_u64() % span)
    }
}

/// The engine: every room we know, and the views of them.
pub struct Engine {
    config: Config,
    me: PeerId,
    rooms: BTreeMap<RoomId, Room>,
    known: BTreeMap<PeerId, PeerRecord>,
    saved: Saved,
    out: VecDeque<Effect>,
    rng: ChaCha8Rng,
    jobs: u64,
    rev: u64,
    /// Our name is another one since the last event.
    renamed: bool,
    /// So is what holds for all transfers.
    retuned: bool,
    /// So many fetches may begin at once.
    turns: u32,
}

impl Engine {
    /// Wakes up with what the store kept. No room is entered before it is asked for with
    /// [`Command::Join`]; the caller finds in `saved.rooms` which were open.
    pub fn new(config: Config, saved: Saved, seed: [u8; 32]) -> Self {
        let known = saved
            .peers
            .iter()
            .map(|p| (p.id_pk.peer_id(), p.clone()))
            .collect();
        let mut config = config;
        config.transfers = saved.transfers.clone();
        let mut out = VecDeque::new();
        if config.transfers.up.is_some() {
            out.push_back(Effect::Bound(Bound::Up, config.transfers.up));
        }
        Engine {
            me: config.id_pk.peer_id(),
            turns: config.transfers.at_once,
            config,
            rooms: BTreeMap::new(),
            known,
            saved,
            out,
            rng: ChaCha8Rng::from_seed(seed),
            jobs: 0,
            rev: 0,
            renamed: false,
            retuned: false,
        }
    }

    /// Handles one input. Drain [`Engine::poll`] before the next.
    pub fn handle(&mut self, input: Input, now: Now) {
        let mut ctx = Ctx::new(
            now,
            &mut self.out,
            &mut self.rng,
            &mut self.jobs,
            &self.config,
        );
        ctx.turns = self.turns;
        match input {
            Input::Command(req, command) => match self.on_command(req, command, now) {
                Ok(None) => {}
                Ok(Some(reply)) => self.out.push_back(Effect::Reply(req, Ok(reply))),
                Err(error) => self.out.push_back(Effect::Reply(req, Err(error))),
            },
            Input::Session(room, sid, news) => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.on_session(sid, news, &mut ctx);
                }
            }
            Input::Seal {
                room,
                me,
                them,
                news,
            } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.on_seal(me, them, news, &mut self.known, &mut ctx);
                }
            }
            Input::Link {
                room,
                peer,
                link,
                news,
            } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.on_link(peer, link, news, &mut ctx);
                }
            }
            Input::Serve(key, run, news) => {
                if let Some(room) = self.rooms.get_mut(&key.room) {
                    room.on_serve(key, run, news, &mut ctx);
                }
            }
            Input::Fetch(key, run, news) => {
                if let Some(room) = self.rooms.get_mut(&key.room) {
                    room.on_fetch(key, run, news, &mut ctx);
                }
            }
            Input::Hold(key, run, news) => {
                if let Some(room) = self.rooms.get_mut(&key.fetch.room) {
                    room.on_hold(key, run, news, &mut ctx);
                }
            }
            Input::Vouched(room, offer, voucher) => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.on_vouched(offer, voucher, &mut ctx);
                }
            }
            Input::Stored(job) => {
                if let Some(room) = self.rooms.values_mut().find(|r| r.owns(job)) {
                    room.on_stored(job, &mut ctx);
                }
            }
            Input::StoreFailed(job, code) => {
                tracing::warn!(job, code = code.name(), "the store failed");
                if let Some(room) = self.rooms.values_mut().find(|r| r.owns(job)) {
                    room.on_store_failed(job, code, &mut ctx);
                }
            }
            Input::ChatLoaded(job, entries) => {
                if let Some(room) = self.rooms.values_mut().find(|r| r.owns(job)) {
                    room.on_chat_loaded(job, entries, &mut ctx);
                }
            }
            Input::AddressesChanged => {
                self.rooms
                    .values_mut()
                    .for_each(|r| r.on_addresses_changed(&mut ctx));
            }
            Input::Timeout => self.rooms.values_mut().for_each(|r| r.on_time(&mut ctx)),
            Input::Shutdown => self.rooms.values_mut().for_each(|r| r.leave(&mut ctx)),
        }
        self.give_turns(now);
        self.show();
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self) -> Option<Effect> {
        self.out.pop_front()
    }

    /// When to call [`Engine::handle`] with [`Input::Timeout`].
    pub fn deadline(&self) -> Option<Deadline> {
        self.rooms
            .values()
            .map(Room::deadline)
            .fold(None, Deadline::earliest)
    }

    /// Everything front ends see, but messages.
    pub fn snapshot(&self) -> Snapshot {
        let open = || self.rooms.values().filter(|r| r.is_open());
        Snapshot {
            rev: self.rev,
            me: self.me(),
            rooms: open().map(Room::view).collect(),
            people: open().flat_map(Room::people).collect(),
            offers: open().flat_map(Room::offers).collect(),
            transfers: self.config.transfers.clone(),
        }
    }

    /// Us.
    pub fn me(&self) -> Me {
        Me {
            peer: self.me,
            name: self.config.name.clone(),
        }
    }

    /// The name of somebody once met, for history of those who are away.
    pub fn name_of(&self, peer: PeerId) -> String {
        name_of((self.me, &self.config.name), &self.known, peer)
    }

    /// Who of the room has our message `seq` on disk.
    pub fn delivered(&self, room: RoomId, seq: u64) -> Vec<PeerId> {
        self.rooms
            .get(&room)
            .map_or_else(Vec::new, |r| r.delivered(seq))
    }

    /// `Ok(None)`: the reply follows when the store has answered.
    fn on_command(
        &mut self,
        req: ReqId,
        command: Command,
        now: Now,
    ) -> Result<Option<Reply>, ApiError> {
        if let Command::Rename(name) = command {
            self.renamed |= self.config.name != name;
            self.config.name = name;
            return Ok(Some(Reply::Done));
        }
        if let Command::Transfers(new) = command {
            self.retune(*new, now)?;
            return Ok(Some(Reply::Done));
        }
        let Engine {
            config,
            me,
            rooms,
            saved,
            out,
            rng,
            jobs,
            turns,
            ..
        } = self;
        let mut ctx = Ctx::new(now, out, rng, jobs, config);
        ctx.turns = *turns;
        let ctx = &mut ctx;
        match command {
            Command::Join(invite) => {
                let room = invite.keys().room_id();
                let record = RoomRecord {
                    room,
                    invite: invite.link(),
                    open: true,
                };
                let job = ctx.job();
                ctx.out(Effect::Store(job, vec![Put::Room(record)]));
                rooms
                    .entry(room)
                    .or_insert_with(|| Room::new(invite, *me, saved, ctx.config.keep, ctx.now))
                    .enter(ctx);
                Ok(Some(Reply::Joined(room)))
            }
            Command::Leave(id) => {
                let room = open_room(rooms, id)?;
                room.leave(ctx);
                let record = RoomRecord {
                    room: id,
                    invite: room.invite_link(),
                    open: false,
                };
                let job = ctx.job();
                ctx.out(Effect::Store(job, vec![Put::Room(record)]));
                Ok(Some(Reply::Done))
            }
            Command::SendText(id, text) => {
                open_room(rooms, id)?.write(text, req, ctx)?;
                Ok(None)
            }
            Command::Offer(new) => {
                let offer = open_room(rooms, new.room)?.offer(new, ctx)?;
                Ok(Some(Reply::Offered(offer)))
            }
            Command::Accept(key, dir) => {
                open_room(rooms, key.room)?.accept(key, dir, ctx)?;
                Ok(Some(Reply::Done))
            }
            Command::Decline(key) => {
                open_room(rooms, key.room)?.decline(key, ctx)?;
                Ok(Some(Reply::Done))
            }
            Command::Withdraw(id, offer) => {
                open_room(rooms, id)?.withdraw(offer, ctx)?;
                Ok(Some(Reply::Done))
            }
            Command::Pause(key, peer) => {
                open_room(rooms, key.room)?.hold(key, peer, true, ctx)?;
                Ok(Some(Reply::Done))
            }
            Command::Resume(key, peer) => {
                open_room(rooms, key.room)?.hold(key, peer, false, ctx)?;
                Ok(Some(Reply::Done))
            }
            Command::Limit(key, cap) => {
                if cap.is_some_and(|c| c < limits::MIN_PACE) {
                    return Err(bad("The limit is too low: allow at least 1 kB/s."));
                }
                open_room(rooms, key.room)?.limit(key, cap, ctx)?;
                Ok(Some(Reply::Done))
            }
            Command::Reorder(key, before) => {
                open_room(rooms, key.room)?.may_move(key)?;
                let mut all = Vec::new();
                for room in rooms.values_mut() {
                    all.extend(room.standings(ctx));
                }
                if before.is_some_and(|b| !all.iter().any(|s| s.key == b)) {
                    return Err(ApiError::new(Code::NotNow));
                }
                for (key, place) in queue::shift(&all, key, before) {
                    if let Some(room) = rooms.get_mut(&key.room) {
                        room.set_place(key, place, ctx);
                    }
                }
                Ok(Some(Reply::Done))
            }
            Command::Restore(record, files) => {
                open_room(rooms, record.room)?.restore(*record, files, ctx);
                Ok(Some(Reply::Done))
            }
            // Done above: they are no matter of rooms.
            Command::Rename(_) | Command::Transfers(_) => Ok(Some(Reply::Done)),
        }
    }

    /// Takes what the user chose for all transfers.
    fn retune(&mut self, new: TransferSettings, now: Now) -> Result<(), ApiError> {
        policy::check(&new)?;
        if new == self.config.transfers {
            return Ok(());
        }
        if new.up != self.config.transfers.up {
            self.out.push_back(Effect::Bound(Bound::Up, new.up));
        }
        self.config.transfers = new.clone();
        self.retuned = true;
        self.jobs += 1;
        let puts = vec![Put::Transfers(new)];
        self.out.push_back(Effect::Store(self.jobs, puts));
        self.settle(now);
        Ok(())
    }

    /// Gives turns to the fetches that wait for them, where that may have changed.
    fn give_turns(&mut self, now: Now) {
        let rooms = self.rooms.values_mut();
        if rooms.fold(false, |any, room| room.take_unsettled() | any) {
            self.settle(now);
        }
    }

    fn settle(&mut self, now: Now) {
        let Engine {
            config,
            rooms,
            out,
            rng,
            jobs,
            ..
        } = self;
        let ctx = &mut Ctx::new(now, out, rng, jobs, config);
        let at_once = ctx.config.transfers.at_once;
        let all = |rooms: &mut BTreeMap<RoomId, Room>, ctx: &mut Ctx<'_>| {
            let mut all = Vec::new();
            for room in rooms.values_mut() {
                all.extend(room.standings(ctx));
            }
            all
        };
        let mut standings = all(rooms, ctx);
        for i in 0..standings.len() {
            if standings[i].place == 0 {
                let place = queue::last(&standings);
                let key = standings[i].key;
                standings[i].place = place;
                if let Some(room) = rooms.get_mut(&key.room) {
                    room.set_place(key, place, ctx);
                }
            }
        }
        for key in queue::grant(&standings, at_once) {
            if let Some(room) = rooms.get_mut(&key.room) {
                room.begin(key, ctx);
            }
        }
        let standings = all(rooms, ctx);
        let running = standings.iter().filter(|s| s.turn == Turn::Has).count();
        let waiting: Vec<FetchKey> = queue::waiting(&standings).collect();
        let share = fetch::share(ctx.config.transfers.down, running);
        for room in rooms.values_mut() {
            room.settle(&waiting, share, ctx);
            // What this brought about is settled with it.
            room.take_unsettled();
        }
        self.turns = match waiting.is_empty() {
            true => at_once.saturating_sub(u32::try_from(running).unwrap_or(u32::MAX)),
            false => 0,
        };
    }

    /// Turns what the machines marked as changed into events.
    fn show(&mut self) {
        if std::mem::take(&mut self.renamed) {
            self.rev += 1;
            let change = Change::Me(self.me());
            let event = Event {
                rev: self.rev,
                change,
            };
            self.out.push_back(Effect::Event(Box::new(event)));
        }
        if std::mem::take(&mut self.retuned) {
            self.rev += 1;
            let change = Change::Transfers(self.config.transfers.clone());
            let rev = self.rev;
            self.out
                .push_back(Effect::Event(Box::new(Event { rev, change })));
        }
        let me = (self.me, &*self.config.name);
        for room in self.rooms.values_mut() {
            for change in room.take_changes(|peer| name_of(me, &self.known, peer)) {
                self.rev += 1;
                let rev = self.rev;
                self.out
                    .push_back(Effect::Event(Box::new(Event { rev, change })));
            }
        }
    }
}

fn bad(text: &str) -> ApiError {
    ApiError::with(Code::BadRequest, text)
}

/// A name for somebody who gave none.
pub fn fallback_name(peer: &PeerId) -> String {
    format!("Peer {}", &peer.to_string()[..6])
}

fn name_of(
    (me, name): (PeerId, &str),
    known: &BTreeMap<PeerId, PeerRecord>,
    peer: PeerId,
) -> String {
    if peer == me {
        return name.to_owned();
    }
    known
        .get(&peer)
        .map_or_else(|| fallback_name(&peer), |p| p.name.clone())
}

fn open_room(rooms: &mut BTreeMap<RoomId, Room>, id: RoomId) -> Result<&mut Room, ApiError> {
    rooms
        .get_mut(&id)
        .filter(|r| r.is_open())
        .ok_or_else(|| ApiError::new(Code::NotJoined))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;

    #[test]
    fn another_name_is_told_once() {
        let mut engine = Engine::new(config(), Saved::default(), [3; 32]);
        let mut rename = |name: &str| {
            let command = Command::Rename(name.into());
            engine.handle(Input::Command(1, command), Now::default());
            let effects: Vec<Effect> = std::iter::from_fn(|| engine.poll()).collect();
            (effects, engine.snapshot())
        };
        let (effects, snapshot) = rename("Mia");
        assert_eq!(snapshot.me.name, "Mia");
        let event = Event {
            rev: 1,
            change: Change::Me(snapshot.me),
        };
        let [Effect::Reply(1, Ok(Reply::Done)), Effect::Event(told)] = &effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(**told, event);
        let (effects, snapshot) = rename("Mia");
        assert_eq!(effects.len(), 1, "the same name is no news");
        assert_eq!(snapshot.rev, 1);
    }
}
