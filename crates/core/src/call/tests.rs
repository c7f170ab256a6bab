//! People who call each other, each with a machine of their own, and the links between them.

use std::collections::{BTreeSet, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::*;
use crate::testing::World;

const ROOM: RoomId = RoomId([1; 16]);
const REQ: ReqId = 7;

/// Everybody, in one room.
struct Town {
    world: World,
    people: Vec<Calls>,
    links: BTreeSet<(usize, usize)>,
    mail: VecDeque<(usize, usize, PeerMessage)>,
    /// Devices that are being opened.
    opening: Vec<(usize, u32)>,
    /// Whom each speaks to.
    talks: Vec<BTreeSet<PeerId>>,
    /// Whose devices are open.
    open: BTreeSet<usize>,
    replies: Vec<(usize, Result<(), Code>)>,
}

fn peer(n: usize) -> PeerId {
    PeerId([n as u8 + 1; 16])
}

fn who(n: usize) -> Who {
    Who {
        room: ROOM,
        peer: peer(n),
    }
}

/// As a room would pass it on.
fn hear(to: &mut Calls, from: Who, message: &PeerMessage, ctx: &mut Ctx<'_>) -> Vec<CallOut> {
    match *message {
        PeerMessage::Ring { call, room } => to.on_ring(from, call, room, ctx),
        PeerMessage::InCall { call, room, muted } => {
            let said = call.map(|call| Said { call, room, muted });
            to.on_said(from, said, ctx)
        }
        PeerMessage::OutOfCall { call, why } => to.on_out(from, call, why, ctx),
        _ => panic!("not about calls: {message:?}"),
    }
}

impl Town {
    /// Of so many people, all linked.
    fn new(people: usize) -> Self {
        let mut town = Town {
            world: World::new(),
            people: (0..people).map(|_| Calls::default()).collect(),
            links: BTreeSet::new(),
            mail: VecDeque::new(),
            opening: Vec::new(),
            talks: vec![BTreeSet::new(); people],
            open: BTreeSet::new(),
            replies: Vec::new(),
        };
        for a in 0..people {
            for b in 0..a {
                town.link(b, a);
            }
        }
        town.settle();
        town
    }

    fn link(&mut self, a: usize, b: usize) {
        if a == b || !self.links.insert((a.min(b), a.max(b))) {
            return;
        }
        for (a, b) in [(a, b), (b, a)] {
            let out = self.people[a].on_open(who(b));
            self.apply(a, out);
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        if !self.links.remove(&(a.min(b), a.max(b))) {
            return;
        }
        self.mail
            .retain(|(from, to, _)| (from.min(to), from.max(to)) != (&a.min(b), &a.max(b)));
        for (a, b) in [(a, b), (b, a)] {
            let out = self.people[a].on_closed(who(b), &mut self.world.ctx());
            self.apply(a, out);
        }
    }

    /// The process ends; the links of others do when they notice.
    fn crash(&mut self, n: usize) {
        let others: Vec<usize> = (0..self.people.len()).filter(|o| *o != n).collect();
        let linked: Vec<usize> = others
            .into_iter()
            .filter(|o| self.links.contains(&(n.min(*o), n.max(*o))))
            .collect();
        self.people[n] = Calls::default();
        self.talks[n].clear();
        self.open.remove(&n);
        self.opening.retain(|(of, _)| *of != n);
        for other in linked {
            self.links.remove(&(n.min(other), n.max(other)));
            self.mail
                .retain(|(from, to, _)| (*from, *to) != (n, other) && (*from, *to) != (other, n));
            let out = self.people[other].on_closed(who(n), &mut self.world.ctx());
            self.apply(other, out);
        }
    }

    fn apply(&mut self, n: usize, out: Vec<CallOut>) {
        for out in out {
            match out {
                CallOut::Send(to, message) => {
                    let to = usize::from(to.peer.0[0] - 1);
                    if self.links.contains(&(n.min(to), n.max(to))) {
                        self.mail.push_back((n, to, message));
                    }
                }
                CallOut::Audio(run, AudioEffect::Open) => self.opening.push((n, run)),
                CallOut::Audio(_, AudioEffect::Talk(who)) => {
                    self.talks[n].insert(who.peer);
                }
                CallOut::Audio(_, AudioEffect::Part(who)) => {
                    self.talks[n].remove(&who.peer);
                }
                CallOut::Audio(run, AudioEffect::Close) => {
                    self.talks[n].clear();
                    self.open.remove(&n);
                    self.opening.retain(|o| *o != (n, run));
                }
                CallOut::Audio(_, AudioEffect::Mute(_) | AudioEffect::Deafen(_)) => {}
                CallOut::Reply(_, reply) => {
                    self.replies.push((n, reply.map_err(|e| e.code)));
                }
                CallOut::Book(..) | CallOut::Changed => {}
            }
        }
    }

    /// One message arrives, or one device opens.
    fn step(&mut self) -> bool {
        if let Some((n, run)) = self.opening.pop() {
            self.open.insert(n);
            let news = AudioNews::Opened;
            let out = self.people[n].on_audio(run, news, &mut self.world.ctx());
            self.apply(n, out);
            return true;
        }
        let Some((from, to, message)) = self.mail.pop_front() else {
            return false;
        };
        let out = hear(
            &mut self.people[to],
            who(from),
            &message,
            &mut self.world.ctx(),
        );
        self.apply(to, out);
        true
    }

    fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 10_000, "they talk for ever: {:?}", self.mail);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.world.now.mono = self.world.now.mono + time;
        for n in 0..self.people.len() {
            let out = self.people[n].on_time(&mut self.world.ctx());
            self.apply(n, out);
        }
        self.settle();
    }

    fn place(&mut self, n: usize, to: Option<usize>) -> Result<(), Code> {
        let out = self.people[n].place(ROOM, to.map(peer), REQ);
        let out = out.map_err(|e| e.code)?;
        self.apply(n, out);
        Ok(())
    }

    fn answer(&mut self, n: usize, from: usize) -> Result<(), Code> {
        let out = self.people[n].answer(who(from), REQ).map_err(|e| e.code)?;
        self.apply(n, out);
        Ok(())
    }

    fn decline(&mut self, n: usize, from: usize) {
        let out = self.people[n].decline(who(from), &mut self.world.ctx());
        self.apply(n, out.unwrap());
    }

    fn hang_up(&mut self, n: usize) {
        let out = self.people[n].hang_up(&mut self.world.ctx());
        self.apply(n, out.unwrap_or_default());
    }

    /// Two in a call of their own.
    fn talking() -> Self {
        let mut town = Town::new(3);
        town.place(0, Some(1)).unwrap();
        town.settle();
        town.answer(1, 0).unwrap();
        town.settle();
        assert_eq!((town.with(0), town.with(1)), (vec![1], vec![0]));
        town
    }

    fn call(&self, n: usize) -> Option<&Call> {
        match &self.people[n].at {
            At::On(call) => Some(call),
            At::Quiet | At::Opening { .. } => None,
        }
    }

    /// With whom one is in a call.
    fn with(&self, n: usize) -> Vec<usize> {
        let with = self.call(n).map(|c| c.with.keys());
        let with = with.into_iter().flatten();
        with.map(|p| usize::from(p.0[0]) - 1).collect()
    }

    fn rings(&self, n: usize) -> usize {
        self.people[n].rings.len()
    }

    /// Who ended it, and why, as `n` has it.
    fn ended(&self, n: usize) -> (Option<usize>, Code) {
        let ended = self.people[n].ended.as_ref().expect("a call ended");
        let by = ended.by.map(|p| usize::from(p.0[0]) - 1);
        (by, ended.why)
    }

    fn is_quiet(&self, n: usize) -> bool {
        matches!(self.people[n].at, At::Quiet) && !self.open.contains(&n)
    }
}

#[test]
fn a_call_rings_is_answered_and_ends_for_both_with_its_cause() {
    let mut town = Town::talking();
    assert_eq!(town.talks[0], [peer(1)].into());
    assert_eq!(town.talks[1], [peer(0)].into());
    assert_eq!(town.rings(2), 0, "it is none of the third's business");
    town.hang_up(1);
    town.settle();
    assert!((0..3).all(|n| town.is_quiet(n)));
    assert_eq!(town.ended(1), (None, Code::HungUp));
    assert_eq!(town.ended(0), (Some(1), Code::HungUp));
    // The next call works.
    town.place(1, Some(2)).unwrap();
    town.settle();
    town.answer(2, 1).unwrap();
    town.settle();
    assert_eq!(town.with(1), [2]);
}

#[test]
fn nobody_rings_before_the_microphone_is_open() {
    let mut town = Town::new(2);
    town.place(0, Some(1)).unwrap();
    let (n, run) = town.opening.pop().unwrap();
    let news = AudioNews::Failed(Code::MicDenied);
    let out = town.people[n].on_audio(run, news, &mut town.world.ctx());
    town.apply(n, out);
    town.settle();
    assert_eq!(town.replies, [(0, Err(Code::MicDenied))]);
    assert_eq!(town.rings(1), 0);
    assert!(town.is_quiet(0));
    town.place(0, Some(1)).unwrap();
    town.settle();
    assert_eq!(town.rings(1), 1);
}

#[test]
fn who_is_called_declines_is_busy_or_does_not_answer() {
    let mut town = Town::new(2);
    town.place(0, Some(1)).unwrap();
    town.settle();
    town.decline(1, 0);
    town.settle();
    assert_eq!(town.ended(0), (Some(1), Code::CallDeclined));
    assert_eq!(town.rings(1), 0);
    // Somebody who insists is not heard for a while.
    town.place(0, Some(1)).unwrap();
    town.settle();
    assert_eq!(town.rings(1), 0);
    assert_eq!(town.ended(0), (Some(1), Code::CallDeclined));
    town.pass(DECLINED_FOR);
    town.place(0, Some(1)).unwrap();
    town.settle();
    assert_eq!(town.rings(1), 1);
    town.pass(limits::RING_TIMEOUT);
    assert_eq!(town.rings(1), 0);
    assert_eq!(town.ended(0), (Some(1), Code::NoAnswer));
    assert!(town.is_quiet(0) && town.is_quiet(1));
    let mut town = Town::talking();
    town.place(2, Some(0)).unwrap();
    town.settle();
    assert_eq!(town.ended(2), (Some(0), Code::CallBusy));
    assert_eq!(town.with(0), [1], "they talk on");
    assert_eq!(town.place(0, Some(2)), Err(Code::InACall));
}

#[test]
fn a_caller_who_thinks_better_of_it_stops_the_ringing() {
    let mut town = Town::new(2);
    town.place(0, Some(1)).unwrap();
    town.settle();
    town.hang_up(0);
    town.settle();
    assert_eq!(town.rings(1), 0);
    assert_eq!(town.answer(1, 0), Err(Code::NotNow));
    // While the other opens its devices to answer.
    town.place(0, Some(1)).unwrap();
    town.settle();
    town.answer(1, 0).unwrap();
    let opening = std::mem::take(&mut town.opening);
    town.hang_up(0);
    town.settle();
    town.opening = opening;
    town.settle();
    assert!(town.is_quiet(0) && town.is_quiet(1));
    assert_eq!(town.ended(1), (Some(0), Code::CallCancelled));
}

#[test]
fn two_who_ring_each_other_are_in_one_call() {
    // While both open their devices, and while both ring.
    for opened_first in [false, true] {
        let mut town = Town::new(2);
        town.place(0, Some(1)).unwrap();
        if opened_first {
            town.step();
            town.place(1, Some(0)).unwrap();
            town.step();
        } else {
            town.place(1, Some(0)).unwrap();
        }
        town.settle();
        assert_eq!((town.with(0), town.with(1)), (vec![1], vec![0]));
        assert_eq!(town.call(0).unwrap().id, town.call(1).unwrap().id);
        assert_eq!(town.rings(0) + town.rings(1), 0);
    }
}

#[test]
fn a_call_of_the_room_rings_everybody_and_may_be_joined_later() {
    let mut town = Town::new(4);
    town.place(0, None).unwrap();
    town.settle();
    assert_eq!((1..4).map(|n| town.rings(n)).sum::<usize>(), 3);
    town.answer(1, 0).unwrap();
    town.answer(2, 0).unwrap();
    town.decline(3, 0);
    town.settle();
    assert_eq!(town.with(0), [1, 2]);
    assert_eq!(town.with(1), [0, 2]);
    assert_eq!(town.talks[2], [peer(0), peer(1)].into());
    // Who declined may think better of it, and who began it may leave.
    town.place(3, None).unwrap();
    town.settle();
    assert_eq!(town.with(3), [0, 1, 2]);
    town.hang_up(0);
    town.settle();
    assert_eq!(town.with(3), [1, 2]);
    town.hang_up(1);
    town.hang_up(2);
    town.settle();
    assert!(town.is_quiet(3), "nobody is left in a call alone");
    assert!(matches!(town.ended(3), (Some(1 | 2), Code::HungUp)));
}

#[test]
fn two_calls_of_a_room_that_hear_of_each_other_become_one() {
    let mut town = Town::new(4);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        town.cut(a, b);
    }
    town.place(0, None).unwrap();
    town.place(2, None).unwrap();
    town.settle();
    town.answer(1, 0).unwrap();
    town.answer(3, 2).unwrap();
    town.settle();
    assert_eq!((town.with(0), town.with(2)), (vec![1], vec![3]));
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        town.link(a, b);
    }
    town.settle();
    for n in 0..4 {
        assert_eq!(town.with(n).len(), 3, "{n}");
        assert_eq!(town.talks[n].len(), 3, "{n}");
    }
}

#[test]
fn a_lost_link_is_waited_for_and_a_crash_is_no_ghost() {
    let mut town = Town::talking();
    town.cut(0, 1);
    assert_eq!(town.with(0), [1]);
    assert!(town.talks[0].is_empty());
    town.pass(LOST_FOR / 2);
    town.link(0, 1);
    town.settle();
    assert_eq!(town.talks[0], [peer(1)].into());
    town.pass(LOST_FOR);
    assert_eq!(town.with(0), [1], "it is back for good");
    town.cut(0, 1);
    town.pass(LOST_FOR);
    assert!(town.is_quiet(0) && town.is_quiet(1));
    assert_eq!(town.ended(0), (Some(1), Code::LinkLost));
    // The other crashed, and says so as soon as it is back.
    let mut town = Town::talking();
    town.crash(1);
    town.link(0, 1);
    town.settle();
    assert!(town.is_quiet(0));
    // The caller crashed while it rang.
    town.place(0, Some(1)).unwrap();
    town.settle();
    assert_eq!(town.rings(1), 1);
    town.crash(0);
    town.link(0, 1);
    town.settle();
    assert_eq!(town.rings(1), 0);
}

#[test]
fn muting_is_told_to_those_in_the_call() {
    let mut town = Town::talking();
    let out = town.people[0].mute(true).unwrap();
    town.apply(0, out);
    town.settle();
    assert!(town.call(1).unwrap().with[&peer(0)].muted);
    town.cut(0, 1);
    town.link(0, 1);
    town.settle();
    assert!(town.call(1).unwrap().with[&peer(0)].muted, "also anew");
    assert!(town.people[2].mute(true).is_err());
}

#[test]
fn a_stranger_to_a_call_is_not_heard_in_it() {
    let mut town = Town::talking();
    let call = town.call(0).unwrap().id;
    let lies = [
        PeerMessage::OutOfCall {
            call,
            why: Code::HungUp,
        },
        PeerMessage::Ring { call, room: false },
        PeerMessage::InCall {
            call: Some(call),
            room: true,
            muted: false,
        },
    ];
    for lie in lies {
        let out = hear(&mut town.people[0], who(2), &lie, &mut town.world.ctx());
        town.apply(0, out);
        town.settle();
        assert_eq!(town.with(0), [1]);
    }
}

/// What holds once everybody has heard everybody, and time has passed.
fn is_sound(town: &Town) {
    for a in 0..town.people.len() {
        assert_eq!(town.rings(a), 0, "{a} rings for ever");
        assert_eq!(town.open.contains(&a), town.call(a).is_some(), "{a}");
        let with = town.with(a);
        let talks: Vec<usize> = town.talks[a]
            .iter()
            .map(|p| usize::from(p.0[0]) - 1)
            .collect();
        assert_eq!(with, talks, "{a} talks to those it is with");
        for b in with {
            assert!(town.with(b).contains(&a), "{a} has a ghost: {b}");
            let ids = (town.call(a).map(|c| c.id), town.call(b).map(|c| c.id));
            assert_eq!(ids.0, ids.1, "{a} and {b}");
        }
        if let Some(c) = town.call(a) {
            assert!(!c.with.is_empty(), "{a} is in a call alone");
            let all = town.people.len() - 1;
            let heard = town.people[a].linked.values().flatten();
            let same = heard.filter(|s| s.call == c.id).count();
            assert_eq!((town.people[a].linked.len(), same), (all, c.with.len()));
        }
    }
}

#[test]
fn whatever_happens_rosters_agree_after_healing_and_nobody_rings_for_ever() {
    let mut talking = 0;
    for seed in 0..5_000u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |n: usize| (rng.next_u32() as usize) % n;
        let people = 2 + below(4);
        let mut town = Town::new(people);
        for _ in 0..40 {
            let (a, b) = (below(people), below(people));
            match below(12) {
                0 | 1 if a != b => drop(town.place(a, Some(b))),
                2 => drop(town.place(a, None)),
                3..=5 => {
                    let ringing: Vec<PeerId> =
                        town.people[a].rings.keys().map(|w| w.peer).collect();
                    if let Some(from) = ringing.first() {
                        let from = usize::from(from.0[0]) - 1;
                        match below(4) {
                            0 => town.decline(a, from),
                            _ => drop(town.answer(a, from)),
                        }
                    }
                }
                6 if below(2) == 0 => town.hang_up(a),
                7 => town.cut(a, b),
                8 => town.link(a, b),
                9 if below(3) == 0 => town.crash(a),
                10 => town.pass(Duration::from_secs(below(20) as u64)),
                _ => {
                    for _ in 0..below(6) {
                        town.step();
                    }
                }
            }
        }
        for a in 0..people {
            for b in 0..a {
                town.link(a, b);
            }
        }
        town.settle();
        town.pass(limits::RING_TIMEOUT);
        town.pass(LOST_FOR);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| is_sound(&town)));
        assert!(result.is_ok(), "seed {seed}");
        talking += (0..people).filter(|n| town.call(*n).is_some()).count();
    }
    assert!(talking > 3_000, "only {talking} talk in the end");
}
