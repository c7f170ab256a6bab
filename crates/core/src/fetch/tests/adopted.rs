//! Chunks that another fetch left.

use super::*;

const CY: PeerId = PeerId([7; 16]);

/// Attached, with chunks 0 to 4 of the large file adopted; and what was stored, and said then.
fn adopting() -> (Receiver, Vec<Put>, Vec<FetchOut>) {
    let mut r = Receiver::new(&[]);
    r.accept();
    r.news(FetchNews::Prepared {
        roots: vec![],
        lost: vec![],
        adopted: vec![
            (0, set(&[(0, 4)])),
            (1, set(&[(0, 9)])),
            (7, set(&[(0, 1)])),
        ],
    });
    let (mut all, mut out) = (Vec::new(), Vec::new());
    for (job, puts) in r.jobs() {
        all.extend(puts);
        out.extend(r.fetches.on_stored(job, &mut r.world.ctx()));
    }
    (r, all, out)
}

#[test]
fn they_are_recorded_before_the_sender_hears_of_them() {
    let (r, puts, out) = adopting();
    let kept = |put: &Put| matches!(put, Put::Fetch(record) if record.adopted == [0].into());
    assert!(puts.iter().any(kept), "and only what fits: {puts:?}");
    assert!(
        puts.contains(&Put::Ranges(KEY, 0, set(&[(0, 4)]))),
        "{puts:?}"
    );
    assert_eq!(haves(&out), [(0, set(&[(0, 4)]))]);
    assert!(r.view().traffic.resumed > 0);
}

#[test]
fn a_wrong_one_is_not_the_senders_mistake() {
    let (mut r, ..) = adopting();
    let out = r.news(FetchNews::Mismatch {
        transfer: 1,
        entry: 0,
    });
    let again = |o: &FetchOut| matches!(o, FetchOut::Send(BOB, PeerMessage::Want { entry: 0, .. }));
    assert!(out.iter().any(again), "{out:?}");
    let puts = r.stored_puts();
    let cleared = |put: &Put| matches!(put, Put::Fetch(record) if record.adopted.is_empty());
    assert!(puts.iter().any(cleared), "{puts:?}");
    // From now on it is.
    r.news(FetchNews::Mismatch {
        transfer: 1,
        entry: 0,
    });
    assert_eq!(r.phase(), FetchPhase::Fetching);
    r.news(FetchNews::Mismatch {
        transfer: 1,
        entry: 0,
    });
    assert_eq!(r.phase(), FetchPhase::Failed);
}

#[test]
fn other_receivers_hear_of_them_only_when_the_whole_is_right() {
    let (mut r, ..) = adopting();
    let to_cy = LinkId([7; 8]);
    r.fetches.on_open(CY, to_cy, &mut r.world.ctx());
    let to = vec![CY];
    r.hear(PeerMessage::Swarm { offer_id: ID, to });
    let told = |out: &[FetchOut]| {
        out.iter().any(|o| match o {
            FetchOut::Send(CY, PeerMessage::Holds { whole, parts, .. }) => {
                !whole.is_empty() || !parts.is_empty()
            }
            _ => false,
        })
    };
    let asks = PeerMessage::Holds {
        from: BOB,
        offer_id: ID,
        hello: true,
        whole: RangeSet::new(),
        parts: vec![],
    };
    let from_cy =
        |r: &mut Receiver, message| r.fetches.on_message(CY, to_cy, message, &mut r.world.ctx());
    assert!(!told(&from_cy(&mut r, asks)));
    let out = r.durable(0, &[(4, 5)]);
    assert!(!told(&out) && !told(&r.stored()));
    let pull = PeerMessage::Pull {
        from: BOB,
        offer_id: ID,
        transfer: 70,
        entry: 0,
        ranges: set(&[(0, 2)]),
    };
    let out = from_cy(&mut r, pull);
    assert!(
        matches!(out[..], [FetchOut::Send(CY, PeerMessage::LetGo { .. })]),
        "{out:?}"
    );
    r.news(finished(0, "a"));
    assert!(told(&r.stored()));
}
