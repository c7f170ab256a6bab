use super::*;

const MS: Duration = Duration::from_millis(1);
const CHUNK: usize = 65_592;

/// A lane on a path where so many strands carry so many bytes in a second.
struct World {
    spread: Spread,
    now: Duration,
    path: Duration,
    /// By strands in all.
    rate: fn(usize) -> f64,
    /// Whether chunks wait for room.
    waits: bool,
    /// What was wished: when, in ms, and for how many.
    wished: Vec<(u128, u8)>,
}

impl World {
    fn new(path_ms: u64, rate: fn(usize) -> f64) -> World {
        World {
            spread: Spread::new(),
            now: Duration::ZERO,
            path: Duration::from_millis(path_ms),
            rate,
            waits: true,
            wished: Vec::new(),
        }
    }

    /// Sends for so long; strands that are wished for come after `opening`, if at all.
    fn run(&mut self, seconds: u64, opening: Option<Duration>) {
        let end = self.now + Duration::from_secs(seconds);
        let mut coming: Option<(Duration, usize)> = None;
        while self.now < end {
            let rate = (self.rate)(self.spread.used() + 1);
            self.now += Duration::from_secs_f64(CHUNK as f64 / rate);
            if let Some((at, open)) = coming.filter(|(at, _)| *at <= self.now) {
                coming = None;
                self.spread.opened(open, at);
            }
            let wish = self
                .spread
                .sent(CHUNK, self.waits, Some(self.path), self.now);
            if let Some(n) = wish {
                self.wished.push((self.now.as_millis(), n));
                coming = opening.map(|after| (self.now + after, usize::from(n)));
            }
        }
    }

    fn wishes(&self) -> Vec<u8> {
        self.wished.iter().map(|(_, n)| *n).collect()
    }
}

#[test]
fn strands_are_opened_where_they_multiply_and_nowhere_else() {
    // Round trip in ms; bytes in a second over so many strands; what is wished for in 20 s; strands in
    // use beside the first then.
    type Row = (&'static str, u64, fn(usize) -> f64, &'static [u8], usize);
    let rows: [Row; 11] = [
        ("lossy", 100, |n| 0.3e6 * n as f64, &[1, 3, 7], 7),
        ("few losses", 40, |n| 4e6 * n.min(4) as f64, &[1, 3, 7], 3),
        ("short queue", 40, |n| 9e6 * n.min(4) as f64, &[1], 1),
        ("two are enough", 40, |n| 4e6 * n.min(2) as f64, &[1, 3], 1),
        ("narrow", 20, |_| 2.4e6, &[1], 0),
        ("narrow and far", 100, |_| 2.4e6, &[1], 0),
        ("deep queue", 40, |_| 21e6, &[], 0),
        ("full already", 40, |_| 70e6, &[], 0),
        ("near", 10, |n| 1e6 * n as f64, &[], 0),
        ("loopback", 0, |_| 400e6, &[], 0),
        ("harm", 60, |n| 8e6 / n as f64, &[1], 0),
    ];
    for (name, path, rate, wishes, used) in rows {
        let mut world = World::new(path, rate);
        world.run(20, Some(300 * MS));
        assert_eq!(world.wishes(), wishes, "{name}");
        assert_eq!(world.spread.used(), used, "{name}");
    }
}

#[test]
fn who_has_little_to_send_wants_no_strands() {
    let mut world = World::new(100, |n| 0.3e6 * n as f64);
    world.waits = false;
    world.run(60, Some(300 * MS));
    assert_eq!(world.wishes(), [0; 0]);
    world.waits = true;
    world.run(10, Some(300 * MS));
    assert_eq!(world.wishes(), [1, 3, MAX_STRANDS]);
}

#[test]
fn a_pause_is_no_slow_rate() {
    let mut spread = Spread::new();
    let path = Some(100 * MS);
    for second in 0..60 {
        for chunk in 0..4 {
            let now = Duration::from_secs(2 * second) + 100 * MS * chunk;
            assert_eq!(spread.sent(CHUNK, true, path, now), None);
        }
    }
}

#[test]
fn a_try_in_vain_is_made_again_ever_later() {
    let mut world = World::new(40, |_| 2e6);
    world.run(300, Some(300 * MS));
    assert_eq!(world.wishes(), [1], "it is there from then on");
    assert_eq!(world.spread.used(), 0);
    // What changed meanwhile is found out.
    world.rate = |n| 2e6 * n as f64;
    world.run(300, Some(300 * MS));
    assert_eq!(world.wishes(), [1, 3, MAX_STRANDS]);
    assert_eq!(world.spread.used(), usize::from(MAX_STRANDS));
}

#[test]
fn strands_that_never_come_are_asked_for_again_ever_later() {
    let mut world = World::new(40, |_| 2e6);
    world.run(400, None);
    let at: Vec<u128> = world.wished.iter().map(|(at, _)| *at).collect();
    let between: Vec<u128> = at.windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(world.spread.used(), 0);
    assert!((3..=5).contains(&at.len()), "{at:?}");
    assert!(between.is_sorted_by(|a, b| a < b), "{between:?}");
}

#[test]
fn a_strand_that_is_gone_is_not_used() {
    let mut world = World::new(100, |n| 0.3e6 * n as f64);
    world.run(20, Some(300 * MS));
    world.spread.lost(3);
    assert_eq!(world.spread.used(), 3);
    world.spread.lost(0);
    assert_eq!(world.spread.used(), 0);
    world.run(20, Some(300 * MS));
}
