//! The transfers of a room as lines, and finding one by what is typed.

use kith_api::{FetchPhase, OfferView, ReceiverView, ServePhase};
use kith_protocol::{Code, OfferId, PeerId};

use crate::exit::Failure;
use crate::text;
use crate::watch::Room;

/// Least characters of an id that are shown.
const SHORTEST: usize = 4;

/// A line for each transfer, and below what we send one for each receiver.
pub fn lines(room: &Room) -> Vec<String> {
    let mut all: Vec<&OfferView> = room.offers.values().collect();
    all.sort_by_key(|o| (o.at, o.from, o.offer));
    let mut lines = Vec::new();
    for offer in all {
        lines.push(format!("{}  {}", short(room, offer), line(room, offer)));
        let of = offer.receivers.iter();
        lines.extend(of.map(|r| format!("      {}", receiver_line(r, offer.total))));
    }
    if lines.is_empty() {
        lines.push("There are no transfers.".to_owned());
    }
    lines
}

/// The transfer whose id begins so.
pub fn find<'a>(room: &'a Room, id: &str) -> Result<&'a OfferView, Failure> {
    let mut found = room.offers.iter().filter(|(k, _)| full(k).starts_with(id));
    let shown = text::name(id);
    match (found.next(), found.next()) {
        (Some((_, one)), None) => Ok(one),
        (None, _) => Err(Failure::with(
            Code::BadRequest,
            format!("No transfer has an id that begins with {shown:?}: see /transfers."),
        )),
        (Some(_), Some(_)) => Err(Failure::with(
            Code::BadRequest,
            format!("More than one id begins with {shown:?}: type more of it, see /transfers."),
        )),
    }
}

/// The id of an offer, and who makes it: anybody may offer with an id that is another's too.
fn full((from, offer): &(PeerId, OfferId)) -> String {
    format!("{offer}{from}")
}

/// As much of the id as it takes to be the only one.
fn short(room: &Room, of: &OfferView) -> String {
    let key = (of.from, of.offer);
    let id = full(&key);
    let others = room.offers.keys().filter(|k| **k != key);
    let shared = others.map(|k| {
        let pairs = full(k).into_bytes().into_iter().zip(id.bytes());
        pairs.take_while(|(a, b)| a == b).count()
    });
    let length = shared.max().map_or(0, |n| n + 1).max(SHORTEST);
    id.chars().take(length).collect()
}

fn line(room: &Room, o: &OfferView) -> String {
    let (name, size) = (text::name(&o.name), text::size(o.total));
    let cap = o
        .cap
        .map_or_else(String::new, |cap| format!(", {}", text::bound(Some(cap))));
    if o.mine {
        let word = if o.phase == FetchPhase::Withdrawn {
            "no longer offered"
        } else if o.paused.here {
            "paused by you"
        } else {
            "offered by you"
        };
        return format!("{name}, {size}: {word}{cap}");
    }
    let from = room.name_of(o.from);
    let far = if o.phase == FetchPhase::Done {
        String::new()
    } else {
        far(o.done, o.total)
    };
    let word = fetch_word(o, &from);
    format!("{name}, {size} from {from}: {word}{far}{cap}")
}

fn fetch_word(o: &OfferView, from: &str) -> String {
    match o.phase {
        FetchPhase::Seen => "its list of files is still coming".to_owned(),
        FetchPhase::Offered => "offered".to_owned(),
        FetchPhase::Accepted => "about to begin".to_owned(),
        FetchPhase::Queued => o.queued.map_or_else(
            || "waits for its turn".to_owned(),
            |n| format!("number {n} of those that wait"),
        ),
        FetchPhase::Fetching => "on its way".to_owned(),
        FetchPhase::Paused => text::paused(o.paused, from),
        FetchPhase::Stalled => "waits for the connection".to_owned(),
        FetchPhase::Done => "complete and checked".to_owned(),
        FetchPhase::Declined => "declined".to_owned(),
        FetchPhase::Withdrawn => "no longer offered".to_owned(),
        FetchPhase::Blocked => text::why(o.why, Code::DiskError),
        FetchPhase::Failed => text::why(o.why, Code::Unknown),
    }
}

fn receiver_line(r: &ReceiverView, total: u64) -> String {
    let name = text::name(&r.name);
    let word = match r.phase {
        ServePhase::Offered => "has not decided".to_owned(),
        ServePhase::Queued => "has others to get first".to_owned(),
        ServePhase::Waiting => "waits for the others".to_owned(),
        ServePhase::Serving => "on its way".to_owned(),
        ServePhase::Paused => text::paused(r.paused, "them"),
        ServePhase::Stalled => "waits for the connection".to_owned(),
        ServePhase::Done => return format!("{name}: has everything, checked"),
        ServePhase::Declined => "does not want it".to_owned(),
        ServePhase::Blocked => text::why(r.why, Code::DiskError),
        ServePhase::Failed => text::why(r.why, Code::LinkLost),
    };
    let cap = r
        .cap
        .map_or_else(String::new, |c| format!(", wants {}", text::bound(Some(c))));
    format!("{name}: {word}{}{cap}", far(r.done, total))
}

/// `, 45 % (135 MB of 300 MB)`; nothing at the beginning.
fn far(done: u64, total: u64) -> String {
    if done == 0 || total == 0 {
        return String::new();
    }
    let percent = u128::from(done.min(total)) * 100 / u128::from(total);
    let (done, total) = (text::size(done), text::size(total));
    format!(", {percent} % ({done} of {total})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ADA, BOB, ME, ROOM, offer, receiver};
    use kith_api::{Change, Paused};

    fn room(offers: Vec<OfferView>) -> Room {
        let mut room = Room::new(ME, ROOM);
        for offer in offers {
            room.apply(&Change::Offer(Box::new(offer)));
        }
        room
    }

    fn with_id(from: PeerId, id: [u8; 16]) -> OfferView {
        let mut o = offer("film", &[("film", 300_000_000)]);
        (o.from, o.offer) = (from, OfferId(id));
        o
    }

    #[test]
    fn ids_are_short_and_nobody_can_make_one_unreachable() {
        let mut near = [9; 16];
        near[15] = 8;
        // The last one has the id of the first, but not its maker.
        let all = [
            with_id(ADA, [9; 16]),
            with_id(ADA, near),
            with_id(ADA, [1; 16]),
            with_id(BOB, [9; 16]),
        ];
        let room = room(all.to_vec());
        for o in &all {
            let id = short(&room, o);
            assert_eq!(find(&room, &id).unwrap(), o, "{id}");
        }
        assert_eq!(short(&room, &all[2]).len(), SHORTEST);
        let id = all[0].offer.to_string();
        for (id, says) in [
            (id.as_str(), "More than one"),
            ("", "More than one"),
            ("?", "No "),
        ] {
            let failure = find(&room, id).unwrap_err();
            assert_eq!(failure.name, "bad-request");
            assert!(failure.message.starts_with(says), "{failure}");
        }
    }

    #[test]
    fn each_transfer_has_a_line_and_each_receiver_too() {
        assert_eq!(lines(&room(vec![])), ["There are no transfers."]);
        let mut taken = with_id(ADA, [1; 16]);
        (taken.phase, taken.done) = (FetchPhase::Paused, 150_000_000);
        taken.paused = Paused {
            here: true,
            there: true,
        };
        taken.cap = Some(5_000_000);
        let mut waits = with_id(ADA, [2; 16]);
        (waits.phase, waits.queued, waits.at) = (FetchPhase::Queued, Some(2), 1);
        let mut own = with_id(ME, [3; 16]);
        (own.mine, own.phase, own.at) = (true, FetchPhase::Seen, 2);
        let mut r = receiver(BOB, ServePhase::Paused, None);
        (r.done, r.paused.there) = (3_000_000, true);
        own.receivers = vec![r, receiver(ADA, ServePhase::Done, None)];
        assert_eq!(
            lines(&room(vec![waits, own, taken])),
            [
                "AQEB  film, 300 MB from Somebody: paused by you and Somebody, 50 % (150 MB of 300 MB), at most 5.0 MB/s",
                "AgIC  film, 300 MB from Somebody: number 2 of those that wait",
                "AwMD  film, 300 MB: offered by you",
                "      Ada: paused by them, 1 % (3.0 MB of 300 MB)",
                "      Ada: has everything, checked",
            ]
        );
    }
}
