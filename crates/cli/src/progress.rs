//! How far transfers are: bars on a terminal, a line at each tenth elsewhere.

use std::collections::BTreeMap;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use kith_protocol::{OfferId, PeerId};

use crate::output::Out;
use crate::text;

const BAR: &str = "{prefix} [{bar:24}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";

/// One offer and the other side of it.
pub type Key = (PeerId, OfferId);

/// The transfers that run.
#[derive(Debug, Default)]
pub struct Progress {
    tracks: BTreeMap<Key, Track>,
}

#[derive(Debug)]
struct Track {
    bar: Option<ProgressBar>,
    since: Instant,
    /// What was there when it began.
    first: u64,
    tenths: u64,
}

impl Progress {
    /// A transfer has come this far.
    pub fn update(&mut self, key: Key, label: &str, done: u64, total: u64, out: &mut Out) {
        if out.is_json() {
            return;
        }
        let track = self.tracks.entry(key).or_insert_with(|| Track {
            bar: out.bars().map(|bars| bars.add(bar(label, done, total))),
            since: Instant::now(),
            first: done,
            tenths: tenths(done, total),
        });
        if let Some(bar) = &track.bar {
            bar.set_position(done);
            return;
        }
        let reached = tenths(done, total);
        if reached > track.tenths && reached < 10 {
            track.tenths = reached;
            let moved = done.saturating_sub(track.first);
            let rate = text::rate(moved, track.since.elapsed());
            out.note(&line(label, reached, done, total, rate.as_deref()));
        }
    }

    /// A transfer has ended, or waits.
    pub fn end(&mut self, key: Key) {
        if let Some(bar) = self.tracks.remove(&key).and_then(|t| t.bar) {
            bar.finish_and_clear();
        }
    }
}

fn bar(label: &str, done: u64, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style.progress_chars("=> "));
    bar.with_prefix(label.to_owned()).with_position(done)
}

/// Full tenths of the way.
fn tenths(done: u64, total: u64) -> u64 {
    match total {
        0 => 10,
        _ => (u128::from(done.min(total)) * 10 / u128::from(total)) as u64,
    }
}

fn line(label: &str, tenths: u64, done: u64, total: u64, rate: Option<&str>) -> String {
    let (done, total) = (text::size(done), text::size(total));
    let rate = rate.map_or_else(String::new, |r| format!(", {r}"));
    format!("{label}: {} % ({done} of {total}{rate})", tenths * 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ADA, Shared};

    #[test]
    fn tenths_are_full_and_never_overflow() {
        for (done, total, want) in [
            (0, 0, 10),
            (0, 100, 0),
            (9, 100, 0),
            (10, 100, 1),
            (100, 100, 10),
            (200, 100, 10),
            (u64::MAX, u64::MAX, 10),
        ] {
            assert_eq!(tenths(done, total), want, "{done} of {total}");
        }
    }

    #[test]
    fn each_tenth_is_said_once_and_the_end_by_somebody_else() {
        let (stdout, stderr) = (Shared::default(), Shared::default());
        let mut out = Out::to(false, Box::new(stdout.clone()), Box::new(stderr.clone()));
        let mut progress = Progress::default();
        let key = (ADA, OfferId([0; 16]));
        for done in [0, 5_000, 12_000, 13_000, 55_000, 100_000] {
            progress.update(key, "Ada", done, 100_000, &mut out);
        }
        let text = stderr.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("Ada: 10 % (12 kB of 100 kB"), "{text}");
        assert!(lines[1].starts_with("Ada: 50 % (55 kB of 100 kB"), "{text}");
        assert_eq!(stdout.text(), "");
    }

    #[test]
    fn a_line_has_the_rate_where_it_is_known() {
        let text = line("Ada", 3, 90_000_000, 300_000_000, Some("250 MB/s"));
        assert_eq!(text, "Ada: 30 % (90 MB of 300 MB, 250 MB/s)");
        assert_eq!(line("Ada", 3, 1, 2, None), "Ada: 30 % (1 byte of 2 bytes)");
    }
}
