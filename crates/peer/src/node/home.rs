//! Where a profile is.

use std::path::PathBuf;

/// Folder of the profile: what the user named, else `kith` in the XDG data folder, else the same
/// in the user's own; `None` where the environment names no folder at all.
pub fn profile_home(named: Option<PathBuf>) -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    first(named, var("XDG_DATA_HOME"), var("HOME"))
}

fn first(named: Option<PathBuf>, data: Option<PathBuf>, user: Option<PathBuf>) -> Option<PathBuf> {
    // The XDG rules say to ignore what is not absolute.
    let absolute = |dir: Option<PathBuf>| dir.filter(|d| d.is_absolute());
    let named = named.filter(|p| !p.as_os_str().is_empty());
    named
        .or_else(|| absolute(data).map(|d| d.join("kith")))
        .or_else(|| absolute(user).map(|u| u.join(".local/share/kith")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_has_one_place() {
        let p = |s: &str| Some(PathBuf::from(s));
        assert_eq!(first(p("x"), p("/d"), p("/u")), p("x"));
        assert_eq!(first(None, p("/d"), p("/u")), p("/d/kith"));
        assert_eq!(first(p(""), p("d"), p("/u")), p("/u/.local/share/kith"));
        assert_eq!(first(None, None, None), None);
    }
}
