use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const PACKET: usize = 1_160;
const FRAME: usize = 57 * PACKET;
const STEP: Duration = Duration::from_micros(50);
const MS: Duration = Duration::from_millis(1);
const MOST: usize = 4 << 20;

/// A path with one narrow place and a queue before it, and an association in slow start.
#[derive(Clone, Copy)]
struct Path {
    /// Bytes in a second, or as many as come.
    rate: Option<f64>,
    round_trip: Duration,
    /// Bytes that the queue holds.
    queue: usize,
}

struct World {
    path: Path,
    now: Duration,
    flow: Flow,
    pending: usize,
    in_flight: usize,
    window: usize,
    /// When each byte that waits has left the queue.
    free_at: Duration,
    acks: VecDeque<Duration>,
    /// Packets that wait for a second one to be acknowledged with.
    alone: usize,
    delivered: usize,
    dropped: usize,
    /// For how long each packet stood in queues, the association's included.
    stood: Vec<Duration>,
    frames: VecDeque<(usize, Duration)>,
}

impl World {
    fn new(path: Path) -> World {
        World {
            path,
            now: Duration::ZERO,
            flow: Flow::new(MOST, Duration::ZERO),
            pending: 0,
            in_flight: 0,
            window: 4_380,
            free_at: Duration::ZERO,
            acks: VecDeque::new(),
            alone: 0,
            delivered: 0,
            dropped: 0,
            stood: Vec::new(),
            frames: VecDeque::new(),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.take_acks();
            while self.flow.ask(FRAME, self.now) == Turn::Now {
                self.flow.sent(FRAME, self.now);
                self.pending += FRAME;
                self.frames.push_back((FRAME, self.now));
            }
            self.send_packets();
        }
    }

    fn take_acks(&mut self) {
        let mut acked = 0;
        while self.acks.front().is_some_and(|at| *at <= self.now) {
            self.acks.pop_front();
            acked += 2 * PACKET;
        }
        if acked > 0 {
            self.in_flight -= acked;
            self.delivered += acked;
            if self.pending > 0 {
                self.window += acked.min(self.window);
            }
            let under_way = self.in_flight + self.pending;
            self.flow.under_way(under_way, true, self.now);
        }
    }

    fn send_packets(&mut self) {
        while self.pending >= PACKET && self.in_flight + PACKET <= self.window {
            self.pending -= PACKET;
            self.in_flight += PACKET;
            let waits = self.free_at.saturating_sub(self.now);
            let waiting = waits.as_secs_f64() * self.path.rate.unwrap_or(0.0);
            if waiting as usize + PACKET > self.path.queue {
                // Mended, at the price of a halved window.
                self.dropped += 1;
                self.window = (self.window / 2).max(4 * PACKET);
            }
            let takes = self.path.rate.map_or(0.0, |rate| PACKET as f64 / rate);
            self.free_at = self.free_at.max(self.now) + Duration::from_secs_f64(takes);
            self.alone += 1;
            if self.alone == 2 {
                self.alone = 0;
                self.acks.push_back(self.free_at + self.path.round_trip);
            }
            if let Some((left, at)) = self.frames.front_mut() {
                *left = left.saturating_sub(PACKET);
                let stood = self.free_at.saturating_sub(*at);
                if *left == 0 {
                    self.frames.pop_front();
                }
                self.stood.push(stood);
            }
        }
    }

    /// Bytes in a second, and the time in queues that 95 of 100 packets keep below.
    fn measure(&mut self, time: Duration) -> (f64, Duration) {
        let before = self.delivered;
        self.stood.clear();
        self.run(time);
        self.stood.sort_unstable();
        let p95 = self.stood.get(self.stood.len() * 95 / 100);
        let rate = (self.delivered - before) as f64 / time.as_secs_f64();
        (rate, p95.copied().unwrap_or_default())
    }
}

const fn path(mbit: u64, round_trip: u64, queue_kib: usize) -> Path {
    Path {
        rate: Some(mbit as f64 * 125_000.0),
        round_trip: Duration::from_millis(round_trip),
        queue: queue_kib << 10,
    }
}

#[test]
fn it_fills_a_path_and_not_its_queue() {
    // The path; what of its rate is used in the first second and later, in percent; how long
    // packets then stand in queues at most, in ms: the rest of a frame, and about the target. Queues
    // that hold no more than a quarter of what the path does may overflow at the opening.
    let rows = [
        (path(200, 40, 1024), 30, 98, 10, 0),
        (path(200, 40, 256), 30, 90, 20, 250),
        (path(20, 20, 500), 80, 98, 40, 0),
        (path(20, 100, 500), 10, 98, 45, 0),
        (path(100, 200, 512), 0, 70, 130, 30),
        (path(2, 30, 128), 90, 95, 320, 5),
    ];
    for (path, first, later, stands, dropped) in rows {
        let mut world = World::new(path);
        let share = |rate: f64| rate / path.rate.unwrap() * 100.0;
        let (opening, _) = world.measure(Duration::from_secs(1));
        world.run(Duration::from_secs(1));
        let (rate, stood) = world.measure(Duration::from_secs(12));
        let what = format!(
            "{:.2} MB/s, {:?}, {} KiB: {:.1} % at first, then {:.1} %; {stood:?} in queues",
            path.rate.unwrap() / 1e6,
            path.round_trip,
            path.queue >> 10,
            share(opening),
            share(rate)
        );
        println!("{what}, {} dropped", world.dropped);
        assert!(share(opening) >= f64::from(first), "{what}");
        assert!(share(rate) >= f64::from(later), "{what}");
        assert!(stood <= MS * stands, "{what}");
        assert!(world.dropped <= dropped, "{what}");
    }
}

#[test]
fn it_takes_all_of_the_window_where_nothing_is_narrow() {
    for (round_trip, seconds) in [(2, 1), (40, 1), (100, 2)] {
        let mut world = World::new(Path {
            rate: None,
            ..path(0, round_trip, 1024)
        });
        world.run(Duration::from_secs(seconds));
        let rounds = 20;
        let (rate, _) = world.measure(world.path.round_trip * rounds);
        let share = rate * world.path.round_trip.as_secs_f64() / MOST as f64;
        assert!(share > 0.9, "{share} of the window at {round_trip} ms");
    }
}

#[test]
fn it_follows_a_path_that_becomes_narrower_wider_or_longer() {
    let mut world = World::new(path(100, 40, 4096));
    world.run(Duration::from_secs(3));
    for (path, settles) in [
        (path(20, 40, 4096), 12),
        (path(200, 40, 4096), 6),
        (path(200, 80, 4096), 12),
    ] {
        world.path = path;
        world.run(Duration::from_secs(settles));
        let (rate, stood) = world.measure(Duration::from_secs(4));
        let share = rate / path.rate.unwrap();
        assert!(share > 0.9, "{share} of {:?}", path.rate);
        assert!(stood < MS * 60, "{stood:?}");
    }
}

#[test]
fn a_voice_makes_it_stand_in_queues_for_less() {
    let slow = path(200, 100, 4096);
    let mut world = World::new(slow);
    world.run(Duration::from_secs(4));
    let (_, before) = world.measure(Duration::from_secs(4));
    world.flow.yield_to_call(true);
    world.run(Duration::from_secs(4));
    let (rate, during) = world.measure(Duration::from_secs(4));
    assert!(during + MS * 3 < before, "{during:?} and {before:?} before");
    assert!(rate > slow.rate.unwrap() * 0.9);
}

#[test]
fn what_stood_still_for_long_is_no_measure_of_queues() {
    let mut flow = Flow::new(MOST, Duration::ZERO);
    let mut now = Duration::ZERO;
    for _ in 0..100 {
        while flow.ask(FRAME, now) == Turn::Now {
            flow.sent(FRAME, now);
        }
        now += MS * 10;
        flow.under_way(0, true, now);
    }
    let (before, delay) = (flow.allowance, flow.delay());
    assert!(before > 10.0 * LEAST, "{before}");
    flow.sent(FRAME, now);
    now += STALL * 10;
    flow.under_way(0, true, now);
    assert_eq!(delay, Some(MS * 10));
    assert_eq!(flow.delay(), None, "nothing was learnt");
    assert!(flow.allowance >= before / 2.0);
    assert_eq!(flow.ask(FRAME, now + MS * 20), Turn::Now);
}

#[test]
fn small_frames_are_timed_together() {
    let mut flow = Flow::new(MOST, Duration::ZERO);
    for _ in 0..16 {
        assert_eq!(flow.ask(4_000, Duration::ZERO), Turn::Now);
        flow.sent(4_000, Duration::ZERO);
    }
    flow.under_way(60_000, true, MS * 3);
    assert_eq!(flow.delay(), None, "the first of them is not all");
    flow.under_way(0, true, MS * 9);
    assert_eq!(flow.delay(), Some(MS * 9));
    // What went out over a longer time says nothing about how long it took.
    flow.sent(4_000, MS * 10);
    flow.sent(4_000, MS * 50);
    assert_eq!(flow.piece, Some((MS * 50, 4_000)));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Send(usize),
    Look { left: f64, watched: bool },
    Pass(u64),
    Call(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..70_000usize).prop_map(Step::Send),
        (0.0..1.2f64, any::<bool>()).prop_map(|(left, watched)| Step::Look { left, watched }),
        (0..3_000_000u64).prop_map(Step::Pass),
        any::<bool>().prop_map(Step::Call),
    ]
}

proptest! {
    #[test]
    fn it_never_lets_more_go_than_it_may_nor_stops_for_good(
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        let mut flow = Flow::new(MOST, Duration::ZERO);
        let (mut now, mut under_way) = (Duration::ZERO, 0usize);
        for step in steps {
            match step {
                Step::Send(len) => if flow.ask(len, now) == Turn::Now {
                    flow.sent(len, now);
                    under_way += len;
                },
                // A little more than was sent: others send at once.
                Step::Look { left, watched } => {
                    let seen = (under_way as f64 * left) as usize;
                    under_way = under_way.min(seen);
                    flow.under_way(seen, watched, now);
                }
                Step::Pass(us) => now += Duration::from_micros(us),
                Step::Call(on) => flow.yield_to_call(on),
            }
            prop_assert!(flow.allowance.is_finite());
            prop_assert!((LEAST..=MOST as f64).contains(&flow.allowance));
            prop_assert!(under_way <= MOST.max(70_000));
            prop_assert!(flow.marks.len() <= MOST_MARKS);
        }
        flow.under_way(0, true, now);
        if let Turn::At(at) = flow.ask(FRAME, now) {
            // However slow it was: no longer than a frame took.
            now = at;
        }
        prop_assert_eq!(flow.ask(FRAME, now), Turn::Now);
    }
}
