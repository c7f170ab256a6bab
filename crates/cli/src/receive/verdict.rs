//! When a run of `kith receive` is over, and how it ended.

use kith_api::FetchPhase;
use kith_protocol::Code;

use super::{Answer, Standing};

/// What the offers mean for the run.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Wait,
    Done,
    Failed(Code),
    /// Nothing was wanted.
    Declined,
}

/// A failed fetch ends the run unless others still flow; a run is done when something is complete
/// and nothing is under way or waits for an answer.
pub(super) fn verdict<'a>(
    offers: impl Iterator<Item = &'a Standing>,
    stay: bool,
    wait: bool,
) -> Verdict {
    let (mut flows, mut waits, mut done, mut refused) = (false, false, false, false);
    let (mut failed, mut gone) = (None, None);
    for offer in offers {
        let taken = matches!(offer.answer, Answer::Yes | Answer::Accepted);
        match offer.view.phase {
            // What somebody offered who is away may never be offered again.
            FetchPhase::Offered if offer.answer == Answer::Refused => refused = true,
            FetchPhase::Seen | FetchPhase::Offered => waits |= offer.linked || taken,
            FetchPhase::Accepted | FetchPhase::Fetching => flows = true,
            FetchPhase::Queued | FetchPhase::Paused | FetchPhase::Stalled => waits = true,
            FetchPhase::Blocked if wait => flows = true,
            FetchPhase::Blocked => {
                failed = failed.or(Some(offer.view.why.unwrap_or(Code::DiskError)));
            }
            FetchPhase::Done => done = true,
            FetchPhase::Failed if taken => {
                failed = failed.or(Some(offer.view.why.unwrap_or(Code::Unknown)));
            }
            FetchPhase::Withdrawn if taken => {
                gone = gone.or(Some(offer.view.why.unwrap_or(Code::OfferGone)));
            }
            FetchPhase::Declined => refused = true,
            FetchPhase::Failed | FetchPhase::Withdrawn => {}
        }
    }
    match (failed, gone) {
        _ if stay || flows => Verdict::Wait,
        (Some(code), _) => Verdict::Failed(code),
        (None, _) if waits => Verdict::Wait,
        (None, _) if done => Verdict::Done,
        (None, Some(code)) => Verdict::Failed(code),
        (None, None) if refused => Verdict::Declined,
        (None, None) => Verdict::Wait,
    }
}
