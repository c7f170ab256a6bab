//! Names are data: what a peer calls a file is made into a path that is safe everywhere.
//!
//! Refused ([`NameError`]): an empty path or component, an absolute path, `.` or `..`, NUL, more
//! than [`MAX_DEPTH`] components, more than [`MAX_PATH`] bytes.
//!
//! Repaired, per component, in this order:
//! 1. Unicode NFC.
//! 2. Each of `\ < > : " | ? *`, control characters, line and paragraph separators, bidirectional
//!    controls and invisible formatting becomes `_`. A joiner (ZWJ, ZWNJ) stays: scripts and emoji
//!    need it.
//! 3. A leading `~`, and each dot or space at the end, becomes `_`.
//! 4. A Windows device name, with whatever extension, gets `_` in front.
//! 5. At most [`MAX_NAME`] bytes, cut at a character boundary before the extension.
//! 6. A name that looks like one of our own part files loses its leading dot to `_`.

use std::fmt;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

/// Longest component, in bytes of UTF-8.
pub const MAX_NAME: usize = 240;
/// Longest path, in bytes of UTF-8, before and after repair.
pub const MAX_PATH: usize = 4096;
/// Most components in one path. Deep enough for real trees, and each costs one open handle only
/// while it is walked through.
pub const MAX_DEPTH: usize = 512;

/// An extension longer than this is no extension, only a name with a dot.
const MAX_EXTENSION: usize = 32;
/// Bytes of the final name that a part file's name repeats, for whoever looks into the folder.
const PART_STEM: usize = 96;
const PART_SUFFIX: &str = ".part";
const TAG_DIGITS: usize = 16;

/// Why a peer's path has no safe form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("the file has an empty name")]
    Empty,
    /// Begins with a separator.
    #[error("the file's name is an absolute path")]
    Absolute,
    /// Holds a zero byte.
    #[error("the file's name holds a zero byte")]
    Nul,
    /// Two separators in a row, or one at the end.
    #[error("the file's path has an empty part")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("the file's path points to another folder")]
    Dots,
    /// More than [`MAX_DEPTH`] components.
    #[error("the file's path is too deep")]
    TooDeep,
    /// More than [`MAX_PATH`] bytes.
    #[error("the file's path is too long")]
    TooLong,
}

/// A relative path whose every component is harmless: see the rules above.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafePath(String);

impl SafePath {
    /// Makes a peer's path safe, or says why that cannot be. A second pass changes nothing.
    pub fn from_wire(wire: &str) -> Result<Self, NameError> {
        if wire.is_empty() {
            return Err(NameError::Empty);
        }
        if wire.len() > MAX_PATH {
            return Err(NameError::TooLong);
        }
        if wire.contains('\0') {
            return Err(NameError::Nul);
        }
        if wire.starts_with('/') {
            return Err(NameError::Absolute);
        }
        let mut safe = String::with_capacity(wire.len());
        for (index, component) in wire.split('/').enumerate() {
            match component {
                "" => return Err(NameError::EmptyComponent),
                "." | ".." => return Err(NameError::Dots),
                _ if index == MAX_DEPTH => return Err(NameError::TooDeep),
                name => {
                    if index > 0 {
                        safe.push('/');
                    }
                    safe.push_str(&repair(name));
                }
            }
        }
        if safe.len() > MAX_PATH {
            return Err(NameError::TooLong);
        }
        Ok(Self(safe))
    }

    /// The path with `/` between components, as shown to the user.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, outermost first; there is at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Everything before the last component, if there is anything.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The same folder, another (already safe) last component.
    pub(super) fn with_file_name(&self, name: &str) -> Self {
        match self.0.rsplit_once('/') {
            Some((parent, _)) => Self(format!("{parent}/{name}")),
            None => Self(name.to_owned()),
        }
    }

    /// Where this is under `root`, for messages; opening goes through the folder's capability.
    pub(super) fn under(&self, root: &Path) -> PathBuf {
        self.components()
            .fold(root.to_path_buf(), |path, name| path.join(name))
    }
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `name (n).ext`, within the length limit.
pub(super) fn numbered(name: &str, n: u32) -> String {
    let (stem, extension) = split_extension(name);
    let counter = format!(" ({n})");
    let room = MAX_NAME.saturating_sub(counter.len() + extension.len());
    format!("{}{counter}{extension}", cut(stem, room))
}

/// The name of the part file for `name`; at most 119 bytes.
pub(super) fn part_name(name: &str, tag: u64) -> String {
    format!(".{}.{tag:016x}{PART_SUFFIX}", part_stem(name))
}

/// What the name of a part file of ours says: the beginning of the final name, and the tag.
pub(super) fn parse_part(name: &str) -> Option<(&str, u64)> {
    let (stem, tag) = name
        .strip_prefix('.')?
        .strip_suffix(PART_SUFFIX)?
        .rsplit_once('.')?;
    let tag = u64::from_str_radix(tag, 16).ok()?;
    // Only what is written exactly as we write it.
    (part_name(stem, tag) == name).then_some((stem, tag))
}

/// The beginning of a final name, as its part files repeat it.
pub(super) fn part_stem(name: &str) -> &str {
    cut(name, PART_STEM)
}

/// Equal for names that some filesystem holds to be one: case and composition are ignored.
pub(super) fn fold(name: &str) -> String {
    // Up and down again, so that letters with several lower-case forms meet.
    let upper: String = name.nfd().flat_map(char::to_uppercase).collect();
    upper.chars().flat_map(char::to_lowercase).nfc().collect()
}

/// Whether this could be the name of a part file, on any filesystem.
pub(super) fn is_part_name(name: &str) -> bool {
    let Some(rest) = name.strip_prefix('.') else {
        return false;
    };
    let Some(at) = rest
        .len()
        .checked_sub(PART_SUFFIX.len())
        .filter(|at| rest.is_char_boundary(*at))
    else {
        return false;
    };
    let (rest, suffix) = rest.split_at(at);
    suffix.eq_ignore_ascii_case(PART_SUFFIX)
        && rest.rsplit_once('.').is_some_and(|(_, tag)| {
            tag.len() == TAG_DIGITS && tag.bytes().all(|b| b.is_ascii_hexdigit())
        })
}

fn repair(name: &str) -> String {
    let mut safe: String = name
        .nfc()
        .map(|c| if is_hostile(c) { '_' } else { c })
        .collect();
    if safe.starts_with('~') {
        safe.replace_range(..1, "_");
    }
    mend_end(&mut safe);
    if is_device(&safe) {
        safe.insert(0, '_');
    }
    if safe.len() > MAX_NAME {
        let (stem, extension) = split_extension(&safe);
        safe = format!("{}{extension}", cut(stem, MAX_NAME - extension.len()));
        mend_end(&mut safe);
    }
    if is_part_name(&safe) {
        safe.replace_range(..1, "_");
    }
    safe
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*')
        // Line and paragraph separators, bidirectional marks, embeddings, overrides, isolates.
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        // Invisible: soft hyphen, zero-width space, word joiner and its kin, byte order mark.
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Windows drops dots and spaces at the end of a name, and so would open another file.
fn mend_end(name: &mut String) {
    let kept = name.trim_end_matches(['.', ' ']).len();
    let cut = name.len() - kept;
    name.truncate(kept);
    name.extend(std::iter::repeat_n('_', cut));
}

fn is_device(name: &str) -> bool {
    let base = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end_matches(' ');
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
        .iter()
        .any(|device| base.eq_ignore_ascii_case(device))
    {
        return true;
    }
    let Some((port, number)) = base.split_at_checked(3) else {
        return false;
    };
    let mut number = number.chars();
    let digit = matches!(number.next(), Some('1'..='9' | '¹' | '²' | '³'));
    digit
        && number.next().is_none()
        && (port.eq_ignore_ascii_case("COM") || port.eq_ignore_ascii_case("LPT"))
}

/// Stem and extension with its dot (`.tar.gz` counts as one); a leading dot starts a stem.
fn split_extension(name: &str) -> (&str, &str) {
    let at = match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MAX_EXTENSION => at,
        _ => return (name, ""),
    };
    match name[..at].strip_suffix(".tar") {
        Some(stem) if !stem.is_empty() => name.split_at(stem.len()),
        _ => name.split_at(at),
    }
}

/// The longest beginning of at most `room` bytes that ends between characters.
fn cut(name: &str, room: usize) -> &str {
    &name[..name.floor_char_boundary(room)]
}

#[cfg(test)]
mod tests;
