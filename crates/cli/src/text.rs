//! Texts for people: sizes, times, and what strangers wrote made fit for a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kith_api::{OfferView, Paused};
use kith_protocol::Code;
use kith_protocol::peer::is_unprintable;

/// Most characters of a name that are shown.
const LONGEST_NAME: usize = 80;

/// A stranger's text on one line: control and bidirectional characters are spelled out, so that
/// it can neither steer the terminal nor pretend to be a line of ours.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unprintable(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// A stranger's name for something: [`escaped`], and shortened in the middle where it is long.
pub fn name(text: &str) -> String {
    let text = escaped(text);
    let length = text.chars().count();
    if length <= LONGEST_NAME {
        return text;
    }
    let half = LONGEST_NAME / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(length - half + 1).collect();
    format!("{head}…{tail}")
}

/// Hides the secret of every invite in a text.
pub fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("#v") {
        let (before, secret) = rest.split_at(at);
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '#' | '.' | '-' | '_');
        let end = secret.find(|c| !inside(c)).unwrap_or(secret.len());
        out.push_str(before);
        // `#v1.` alone, as in the form an invite should have, is no secret.
        let bare = secret[..end]
            .split_once('.')
            .is_some_and(|(_, s)| s.is_empty());
        out.push_str(if bare { &secret[..end] } else { "#…" });
        rest = &secret[end..];
    }
    out.push_str(rest);
    out
}

/// A number of bytes in decimal units: `512 bytes`, `3.2 MB`, `300 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        1 => String::from("1 byte"),
        0..1000 => format!("{bytes} bytes"),
        _ => {
            let mut value = bytes as f64;
            for unit in ["kB", "MB", "GB", "TB", "PB"] {
                value /= 1000.0;
                if value < 9.95 {
                    return format!("{value:.1} {unit}");
                }
                if value < 999.5 {
                    return format!("{value:.0} {unit}");
                }
            }
            format!("{:.0} EB", value / 1000.0)
        }
    }
}

/// Bytes per second over a time; `None` where the time is too short to tell.
pub fn rate(bytes: u64, time: Duration) -> Option<String> {
    let seconds = time.as_secs_f64();
    (bytes > 0 && seconds >= 0.001)
        .then(|| format!("{}/s", size((bytes as f64 / seconds).round() as u64)))
}

/// What a bound is: `at most 5.0 MB/s`.
pub fn bound(rate: Option<u64>) -> String {
    rate.map_or_else(
        || String::from("without a bound"),
        |rate| format!("at most {}/s", size(rate)),
    )
}

/// Who holds a transfer back; `them` is the other side.
pub fn paused(paused: Paused, them: &str) -> String {
    match (paused.here, paused.there) {
        (true, true) => format!("paused by you and {them}"),
        (true, false) => String::from("paused by you"),
        (false, _) => format!("paused by {them}"),
    }
}

/// Why something does not go on, within a sentence.
pub fn why(code: Option<Code>, otherwise: Code) -> String {
    let text = code.unwrap_or(otherwise).text();
    text.trim_end_matches('.').to_owned()
}

/// A span of time: `0.4 s`, `12 s`, `2 min 5 s`, `1 h 3 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1 receiver`, `2 receivers`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// How many files an offer holds, as exactly as its view tells.
pub fn contents(offer: &OfferView) -> String {
    let all = u64::from(offer.entries);
    if offer.preview.len() as u64 != all {
        return count(all, "file or folder", "files and folders");
    }
    let folders = offer.preview.iter().filter(|f| f.dir).count() as u64;
    let files = count(all - folders, "file", "files");
    match (all - folders, folders) {
        (_, 0) => files,
        (0, _) => count(folders, "folder", "folders"),
        (_, _) => format!("{files} in {}", count(folders, "folder", "folders")),
    }
}

/// The time of day of a message, hours and minutes.
pub fn clock(unix_ms: u64, zone: &TimeZone) -> String {
    let stamp = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match stamp {
        Some(stamp) => {
            let local = stamp.to_zoned(zone.clone());
            format!("{:02}:{:02}", local.hour(), local.minute())
        }
        // A stranger's clock may say anything.
        None => String::from("--:--"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proptest::prelude::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, want) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (3_210_000, "3.2 MB"),
            (9_949_999, "9.9 MB"),
            (9_960_000, "10 MB"),
            (300_000_000, "300 MB"),
            (999_600_000, "1.0 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }

    #[test]
    fn times_and_rates_read_well() {
        let ms = Duration::from_millis;
        for (time, want) in [
            (ms(0), "0.0 s"),
            (ms(420), "0.4 s"),
            (ms(1240), "1.2 s"),
            (ms(12_400), "12 s"),
            (ms(125_000), "2 min 5 s"),
            (ms(3_780_000), "1 h 3 min"),
        ] {
            assert_eq!(duration(time), want);
        }
        assert_eq!(rate(300_000_000, ms(1200)).unwrap(), "250 MB/s");
        assert_eq!(rate(5, ms(0)), None);
        assert_eq!(rate(0, ms(1000)), None);
    }

    #[test]
    fn the_time_of_day_is_that_of_the_zone() {
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(clock(43_380_000, &TimeZone::UTC), "12:03");
        assert_eq!(clock(43_380_000, &east), "14:03");
        assert_eq!(clock(u64::MAX, &east), "--:--");
    }

    #[test]
    fn contents_are_counted_as_far_as_known() {
        let mut offer = testing::offer("x", &[("a", 1), ("b", 2)]);
        assert_eq!(contents(&offer), "2 files");
        offer.preview[0].dir = true;
        assert_eq!(contents(&offer), "1 file in 1 folder");
        offer.preview[1].dir = true;
        assert_eq!(contents(&offer), "2 folders");
        offer.entries = 1200;
        assert_eq!(contents(&offer), "1200 files and folders");
    }

    #[test]
    fn strangers_cannot_steer_the_terminal() {
        assert_eq!(
            escaped("a\x1b[31m\u{202e}b\n* Bob"),
            "a\\u{1b}[31m\\u{202e}b\\n* Bob"
        );
        assert_eq!(escaped("déjà \"vu\" \\o/ 🦦"), "déjà \"vu\" \\o/ 🦦");
        let long = name(&"é".repeat(500));
        assert_eq!(long.chars().count(), LONGEST_NAME);
        assert!(long.contains('…'));
    }

    #[test]
    fn secrets_are_cut_out() {
        let text = "bad 'kith://a/j#v1.abc.def' and https://b/j#v1.x.y";
        assert_eq!(redacted(text), "bad 'kith://a/j#…' and https://b/j#…");
        assert_eq!(redacted("nothing # here"), "nothing # here");
        assert_eq!(redacted("kith://server/j#v1.…"), "kith://server/j#v1.…");
    }

    proptest! {
        #[test]
        fn anything_fits_on_one_line(text in any::<String>()) {
            prop_assert!(!escaped(&text).chars().any(is_unprintable));
            prop_assert!(name(&text).chars().count() <= LONGEST_NAME);
        }

        #[test]
        fn sizes_never_fail(bytes: u64, ms: u64) {
            let time = Duration::from_millis(ms);
            let _ = (size(bytes), rate(bytes, time), duration(time));
        }
    }
}
