//! Which paths the page may name.
//!
//! The page is told paths of what the user picked or dropped, and only those may come back. So a
//! page that was taken over cannot offer other files of this machine, or write elsewhere.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Paths that are remembered; the oldest make way.
const MOST: usize = 10_000;

/// What the user has given to the page.
#[derive(Debug, Default)]
pub struct Grants {
    /// Locked for one look or one change.
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    known: HashSet<PathBuf>,
    order: VecDeque<PathBuf>,
}

impl Grants {
    /// The user picked or dropped these.
    pub fn give(&self, paths: &[PathBuf]) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        for path in paths {
            if given.known.insert(path.clone()) {
                given.order.push_back(path.clone());
            }
            if given.order.len() > MOST
                && let Some(oldest) = given.order.pop_front()
            {
                given.known.remove(&oldest);
            }
        }
    }

    /// Whether the user gave exactly this path.
    pub fn has(&self, path: &Path) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.known.contains(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_there() {
        let grants = Grants::default();
        grants.give(&["/home/ada/a".into()]);
        assert!(grants.has(Path::new("/home/ada/a")));
        assert!(!grants.has(Path::new("/home/ada")));
        assert!(!grants.has(Path::new("/home/ada/a/b")));
        assert!(!grants.has(Path::new("/home/ada/a/../b")));
    }

    #[test]
    fn the_oldest_make_way() {
        let grants = Grants::default();
        let path = |n: usize| PathBuf::from(format!("/{n}"));
        grants.give(&(0..=MOST).map(path).collect::<Vec<_>>());
        assert!(!grants.has(&path(0)));
        assert!(grants.has(&path(1)));
        assert!(grants.has(&path(MOST)));
    }
}
