//! Several receivers of one offer.

use super::*;

const CY: PeerId = PeerId([7; 16]);
const DEE: PeerId = PeerId([8; 16]);

/// Three receivers of a file of 600 chunks.
struct Scene {
    world: World,
    serves: Serves,
    id: OfferId,
}

impl Scene {
    fn new(to: &[PeerId], strategy: Option<Strategy>) -> Self {
        let (mut world, mut serves) = (World::new(), Serves::new(ROOM, ME));
        let linked = [BOB, CY, DEE];
        for peer in linked {
            serves.on_open(peer, FP);
        }
        let new = NewOffer {
            entries: vec![entry("a", 600 * CHUNK)],
            strategy,
            ..offer(to.to_vec())
        };
        let (id, _) = serves.add(new, &linked, &mut world.ctx()).unwrap();
        world.drain();
        Scene { world, serves, id }
    }

    fn hear(&mut self, peer: PeerId, message: PeerMessage) -> Vec<ServeOut> {
        self.serves
            .on_message(peer, link(peer), message, &mut self.world.ctx())
    }

    fn accept(&mut self, peer: PeerId) -> Vec<ServeOut> {
        let offer_id = self.id;
        let transfer = 1;
        self.hear(peer, PeerMessage::Accept { offer_id, transfer })
    }

    fn ack(&mut self, peer: PeerId, ranges: &RangeSet) {
        let ranges = ranges.clone();
        self.serves
            .on_ack(peer, link(peer), 1, 0, ranges, &mut self.world.ctx());
    }

    /// What is to be sent to whom, and who is started.
    fn effects(&mut self) -> (Wants, Starts) {
        let (mut wants, mut starts) = (Vec::new(), Vec::new());
        for effect in self.world.drain() {
            match effect {
                Effect::Serve(key, _, ServeEffect::Want { ranges, .. }) => {
                    wants.push((key.peer, ranges));
                }
                Effect::Serve(key, _, ServeEffect::Start { pull, .. }) => {
                    starts.push((key.peer, pull));
                }
                _ => {}
            }
        }
        (wants, starts)
    }

    fn phases(&self) -> Vec<ServePhase> {
        let view = self.serves.view(self.id, |_| "x".into()).unwrap();
        view.receivers.iter().map(|r| r.phase).collect()
    }
}

type Wants = Vec<(PeerId, RangeSet)>;
/// And whether they are sent only what they ask for.
type Starts = Vec<(PeerId, bool)>;

fn link(peer: PeerId) -> LinkId {
    LinkId([peer.0[0]; 8])
}

fn count(of: &[(PeerId, RangeSet)]) -> u64 {
    of.iter().map(|(_, r)| r.count()).sum()
}

#[test]
fn the_number_of_receivers_chooses_unless_the_user_does() {
    let cases = [
        (&[][..], None, true),
        (&[BOB, CY, DEE], None, true),
        (&[BOB, CY], None, false),
        (&[BOB, CY], Some(Strategy::Swarm), true),
        // There is nobody else to fetch from.
        (&[BOB], Some(Strategy::Swarm), false),
        (&[], Some(Strategy::Parallel), false),
    ];
    for (to, strategy, swarm) in cases {
        let mut s = Scene::new(to, strategy);
        let out = s.accept(BOB);
        assert_eq!(s.effects().1, [(BOB, swarm)], "{to:?} {strategy:?}");
        let told = out.iter().find_map(|o| match o {
            ServeOut::Send(BOB, PeerMessage::Swarm { to, .. }) => Some(to.clone()),
            _ => None,
        });
        let others = to.iter().filter(|p| **p != BOB).copied();
        assert_eq!(told, swarm.then(|| others.collect()));
    }
}

#[test]
fn a_small_offer_is_no_swarm() {
    let (mut world, mut serves) = (World::new(), Serves::new(ROOM, ME));
    let linked = [BOB, CY, DEE];
    let (id, _) = serves
        .add(offer(vec![]), &linked, &mut world.ctx())
        .unwrap();
    world.drain();
    let mut s = Scene { world, serves, id };
    s.accept(BOB);
    assert_eq!(s.effects().1, [(BOB, false)]);
}

#[test]
fn a_swarm_sends_each_chunk_to_one_and_again_only_what_is_lost_or_asked_for() {
    let mut s = Scene::new(&[], None);
    let mut way = Vec::new();
    for peer in [BOB, CY, DEE] {
        s.accept(peer);
        way.extend(s.effects().0);
    }
    let mut sent = count(&way);
    assert_eq!(sent, 3 * UNDER_WAY);
    let mut got: BTreeMap<PeerId, RangeSet> = BTreeMap::new();
    while let Some((peer, ranges)) = way.pop() {
        got.entry(peer).or_default().union(&ranges);
        s.ack(peer, &ranges);
        let (more, _) = s.effects();
        sent += count(&more);
        way.extend(more);
    }
    assert_eq!(sent, 600);
    // Bob has told the others nothing yet, and is gone.
    s.serves.on_closed(BOB, &mut s.world.ctx());
    let (again, _) = s.effects();
    assert!(again.iter().all(|(peer, _)| *peer != BOB));
    assert_eq!(count(&again), got[&BOB].count());
    let offer_id = s.id;
    let ranges = got[&CY].clone();
    s.hear(
        DEE,
        PeerMessage::Want {
            offer_id,
            entry: 0,
            ranges,
        },
    );
    let (asked, _) = s.effects();
    assert!(count(&asked) <= UNDER_WAY && asked.iter().all(|(peer, _)| *peer == DEE));
}

#[test]
fn what_somebody_silent_was_to_have_goes_to_others_too() {
    let mut s = Scene::new(&[], None);
    let mut way: BTreeMap<PeerId, RangeSet> = BTreeMap::new();
    for peer in [BOB, CY, DEE] {
        s.accept(peer);
        for (to, ranges) in s.effects().0 {
            way.entry(to).or_default().union(&ranges);
        }
    }
    s.serves.on_silent(DEE, true, &mut s.world.ctx());
    assert!(s.effects().0.is_empty(), "the others have enough to do");
    s.ack(BOB, &way[&BOB]);
    let (more, _) = s.effects();
    assert_eq!(count(&more), UNDER_WAY);
    assert!(more.iter().all(|(peer, _)| *peer == BOB));
    let mut dees = RangeSet::new();
    more.iter().for_each(|(_, ranges)| dees.union(ranges));
    subtract(&mut dees, &way[&DEE]);
    assert!(dees.count() <= 600 - 3 * UNDER_WAY, "what Dee was to have");
    // She has as much to do as before, and her word still counts.
    s.serves.on_silent(DEE, false, &mut s.world.ctx());
    assert!(s.effects().0.is_empty());
    s.ack(DEE, &way[&DEE]);
    let (rest, _) = s.effects();
    assert!(count(&rest) <= 600 - 3 * UNDER_WAY);
}

#[test]
fn who_was_silent_when_we_left_the_room_is_served_when_we_are_back() {
    let mut s = Scene::new(&[], Some(Strategy::Swarm));
    s.accept(DEE);
    s.effects();
    s.serves.on_silent(DEE, true, &mut s.world.ctx());
    s.serves.stop(&mut s.world.ctx());
    s.serves.on_open(DEE, FP);
    s.accept(DEE);
    let (wants, starts) = s.effects();
    assert_eq!((count(&wants), starts), (UNDER_WAY, vec![(DEE, true)]));
}

#[test]
fn in_sequence_one_is_served_at_a_time_in_the_order_of_acceptance() {
    let mut s = Scene::new(&[], Some(Strategy::Sequential));
    for peer in [CY, BOB, DEE] {
        s.accept(peer);
    }
    assert_eq!(s.effects().1, [(CY, false)]);
    assert_eq!(
        s.phases(),
        [
            ServePhase::Waiting,
            ServePhase::Serving,
            ServePhase::Waiting
        ]
    );
    // Who waits may leave, and does not come before the others when it is back.
    s.serves.on_closed(BOB, &mut s.world.ctx());
    s.serves.on_open(BOB, FP);
    s.accept(BOB);
    assert!(s.effects().1.is_empty());
    let offer_id = s.id;
    s.hear(CY, PeerMessage::OfferDone { offer_id });
    assert_eq!(s.effects().1, [(DEE, false)]);
    s.serves.on_closed(DEE, &mut s.world.ctx());
    assert_eq!(s.effects().1, [(BOB, false)]);
}
