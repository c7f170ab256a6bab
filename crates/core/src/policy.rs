//! What is taken without asking.

use kith_api::{AcceptPolicy, ApiError, TransferSettings};
use kith_protocol::peer::Entry;
use kith_protocol::{Code, PeerId, limits};

/// Most people, and most kinds of files, that a policy names.
const MOST_NAMED: usize = 1_000;
/// Longest ending of a file's name, in bytes.
const LONGEST_KIND: usize = 32;

/// Whether these are settings that can be kept.
pub fn check(new: &TransferSettings) -> Result<(), ApiError> {
    let bad = |text: &str| Err(ApiError::with(Code::BadRequest, text));
    if !(1..=TransferSettings::MOST_AT_ONCE).contains(&new.at_once) {
        return bad("Let between 1 and 64 transfers run at a time.");
    }
    if [new.up, new.down]
        .into_iter()
        .flatten()
        .any(|b| b < limits::MIN_PACE)
    {
        return bad("The limit is too low: allow at least 1 kB/s.");
    }
    let AcceptPolicy {
        from, kinds, dir, ..
    } = &new.accept;
    if !from.is_empty() && dir.is_empty() {
        return bad("Choose a folder for what is taken without asking.");
    }
    let kind = |k: &String| !k.is_empty() && k.len() <= LONGEST_KIND;
    if from.len() > MOST_NAMED || kinds.len() > MOST_NAMED || !kinds.iter().all(kind) {
        return bad("That is too much, or too long, for a list of people or of kinds of files.");
    }
    Ok(())
}

/// Whether all of an offer, with all its entries known, is taken without asking.
pub fn takes(policy: &AcceptPolicy, from: PeerId, total: u64, entries: &[Entry]) -> bool {
    let kinds: Vec<String> = policy
        .kinds
        .iter()
        .map(|k| format!(".{}", k.to_lowercase()))
        .collect();
    let ends = |e: &Entry| {
        let path = e.path.to_lowercase();
        kinds.iter().any(|k| path.ends_with(k))
    };
    !policy.dir.is_empty()
        && policy.from.contains(&from)
        && policy.most.is_none_or(|most| total <= most)
        && (policy.kinds.is_empty() || entries.iter().all(|e| e.dir || ends(e)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entry;

    const ADA: PeerId = PeerId([1; 16]);

    fn policy() -> AcceptPolicy {
        AcceptPolicy {
            from: vec![ADA],
            most: Some(100),
            kinds: vec!["jpg".into(), "Tar.GZ".into()],
            dir: "/in".into(),
        }
    }

    #[test]
    fn only_what_fits_in_every_way_is_taken() {
        let (jpg, exe) = (entry("a/b.JPG", 1), entry("a/b.jpg.exe", 1));
        assert!(takes(&policy(), ADA, 1, &[entry("logs.tar.gz", 1)]));
        let folder = Entry {
            dir: true,
            ..entry("a", 0)
        };
        let files = [folder, jpg.clone()];
        assert!(takes(&policy(), ADA, 100, &files));
        assert!(!takes(&policy(), ADA, 101, &files), "too large");
        assert!(
            !takes(&policy(), PeerId([2; 16]), 1, &files),
            "somebody else"
        );
        assert!(
            !takes(&policy(), ADA, 1, &[jpg, exe]),
            "one of another kind"
        );
        assert!(
            !takes(&policy(), ADA, 1, &[entry("jpg", 1)]),
            "a name without ending"
        );
        assert!(!takes(&AcceptPolicy::default(), ADA, 1, &files), "off");
        let any = AcceptPolicy {
            kinds: vec![],
            most: None,
            ..policy()
        };
        assert!(takes(&any, ADA, u64::MAX, &[entry("x", 1)]));
    }

    #[test]
    fn nonsense_is_not_kept() {
        let good = TransferSettings {
            accept: policy(),
            ..TransferSettings::default()
        };
        assert!(check(&good).is_ok() && check(&TransferSettings::default()).is_ok());
        let with = |f: &dyn Fn(&mut TransferSettings)| {
            let mut s = good.clone();
            f(&mut s);
            check(&s).is_err()
        };
        assert!(with(&|s| s.at_once = 0));
        assert!(with(&|s| s.at_once = 65));
        assert!(with(&|s| s.up = Some(0)));
        assert!(with(&|s| s.down = Some(1023)));
        assert!(with(&|s| s.accept.dir.clear()));
        assert!(with(&|s| s.accept.kinds.push(String::new())));
        assert!(with(&|s| s.accept.kinds.push("x".repeat(33))));
        assert!(with(&|s| s.accept.from = vec![ADA; 1_001]));
    }
}
