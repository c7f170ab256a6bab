//! What `kith receive` says.

use std::time::Duration;

use kith_api::{FetchPhase, OfferView, Traffic};
use kith_protocol::Code;

use crate::exit::Failure;
use crate::stdin::Line;
use crate::text;

/// Why a fetch failed, and how to go on.
pub fn failure(code: Code) -> Failure {
    if code.is_final() {
        return Failure::of(code);
    }
    let text = code.text();
    Failure::with(code, format!("{text} Run the same command again to go on."))
}

/// Whether the user said yes; anything else is a no.
pub fn is_yes(line: Option<&Line>) -> bool {
    match line {
        Some(Line::Text(text)) => {
            matches!(text.trim().to_lowercase().as_str(), "y" | "yes")
        }
        Some(Line::TooLong | Line::NotText) | None => false,
    }
}

/// What somebody offers, before anything is written.
pub fn show(from: &str, offer: &OfferView) -> Vec<String> {
    let (name, size) = (text::name(&offer.name), text::size(offer.total));
    let mut lines = vec![format!(
        "{from} offers {name}: {}, {size}",
        text::contents(offer)
    )];
    if let Some(note) = &offer.note {
        lines.push(format!("  \"{}\"", text::escaped(note)));
    }
    // A single file has said its name already.
    if offer.entries > 1 {
        lines.extend(offer.preview.iter().map(|f| {
            let path = text::name(&f.path);
            match f.dir {
                true => format!("  {path}/"),
                false => format!("  {path}  {}", text::size(f.size)),
            }
        }));
        let more = u64::from(offer.entries).saturating_sub(offer.preview.len() as u64);
        if more > 0 {
            lines.push(format!("  … and {more} more"));
        }
    }
    lines
}

/// What to say when an offer comes to stand otherwise.
pub fn step_line(from: &str, before: &OfferView, now: &OfferView) -> Option<String> {
    let was = before.phase;
    if was == now.phase && (was != FetchPhase::Paused || before.paused == now.paused) {
        return None;
    }
    let name = text::name(&now.name);
    match now.phase {
        FetchPhase::Fetching if before.done > now.traffic.resumed => {
            Some(format!("{name}: going on at {}.", text::size(now.done)))
        }
        FetchPhase::Fetching if now.traffic.resumed > 0 => {
            let had = text::size(now.traffic.resumed);
            Some(format!("{name}: {had} are here already; going on."))
        }
        FetchPhase::Stalled if was == FetchPhase::Fetching => Some(format!(
            "{name}: the connection to {from} is lost; going on when it is back."
        )),
        FetchPhase::Queued => Some(format!("{name} waits until others are through.")),
        FetchPhase::Paused => Some(format!("{name}: {}.", text::paused(now.paused, from))),
        FetchPhase::Blocked => now.why.map(|code| {
            let lacks = now
                .missing
                .map_or_else(String::new, |m| format!(" {} lack.", text::size(m)));
            format!("{name}: {}{lacks}", code.text())
        }),
        FetchPhase::Done => Some(format!("{name} is complete and checked.")),
        FetchPhase::Failed => now.why.map(|code| format!("{name}: {}", code.text())),
        FetchPhase::Withdrawn => Some(format!("{from} no longer offers {name}.")),
        FetchPhase::Seen
        | FetchPhase::Offered
        | FetchPhase::Accepted
        | FetchPhase::Fetching
        | FetchPhase::Stalled
        | FetchPhase::Declined => None,
    }
}

/// The traffic of several offers.
pub fn sum(all: impl Iterator<Item = Traffic>) -> Traffic {
    all.fold(Traffic::default(), |a, b| Traffic {
        sent: a.sent + b.sent,
        resent: a.resent + b.resent,
        resent_durable: a.resent_durable + b.resent_durable,
        received: a.received + b.received,
        received_durable: a.received_durable + b.received_durable,
        resumed: a.resumed + b.resumed,
    })
}

/// `Received 3 files, 300 MB in 1.2 s (250 MB/s) into /home/ada.`
pub fn closing(done: &[&OfferView], took: Duration, dir: &str) -> String {
    let what = match done {
        [one] => text::contents(one),
        all => text::count(all.len() as u64, "offer", "offers"),
    };
    let total = text::size(done.iter().map(|o| o.total).sum());
    let moved = sum(done.iter().map(|o| o.traffic)).received;
    let rate = text::rate(moved, took).map_or_else(String::new, |r| format!(" ({r})"));
    let (time, dir) = (text::duration(took), text::escaped(dir));
    format!("Received {what}, {total} in {time}{rate} into {dir}.")
}
