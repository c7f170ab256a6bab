//! What the user has chosen, in `window.json` of the profile.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use kith_api::{Settings, Theme};
use serde::{Deserialize, Serialize};

/// Rooms that may have names of the user's.
const MOST_NAMES: usize = 1_000;
/// Bytes of such a name.
const LONGEST_NAME: usize = 256;

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What the page knows of.
    #[serde(flatten)]
    pub settings: Settings,
    /// Where the room server inside the app listened last: invites name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_server: Option<u16>,
}

/// Why settings cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// They are not what a page of ours would send.
    #[error("These settings are not valid: {0}.")]
    Invalid(&'static str),
    /// The disk does not take them.
    #[error("The settings cannot be saved ({0}).")]
    Disk(#[from] std::io::Error),
}

/// The file.
#[derive(Debug)]
pub struct SettingsFile {
    path: PathBuf,
}

impl SettingsFile {
    /// The one of this profile.
    pub fn of(home: &Path) -> Self {
        SettingsFile {
            path: home.join("window.json"),
        }
    }

    /// What was kept, or what a new installation starts with.
    pub fn read(&self, downloads: &Path) -> Kept {
        let fresh = || Kept {
            settings: Settings {
                welcomed: false,
                theme: Theme::System,
                downloads: downloads.display().to_string(),
                room_names: Default::default(),
            },
            room_server: None,
        };
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                // Kept aside: somebody may want to look at it.
                let aside = self.path.with_extension("json.broken");
                tracing::warn!(%error, "the settings cannot be read; they start anew");
                if let Err(error) = std::fs::rename(&self.path, aside) {
                    tracing::warn!(%error, "the old settings cannot be put aside");
                }
                fresh()
            }),
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    tracing::warn!(%error, "the settings cannot be read; they start anew");
                }
                fresh()
            }
        }
    }

    /// Keeps them: all or, if the machine stops, what was there before.
    ///
    /// # Errors
    ///
    /// See [`KeepError`]. Nothing was changed then.
    pub fn write(&self, kept: &Kept) -> Result<(), KeepError> {
        check(&kept.settings)?;
        let bytes = serde_json::to_vec_pretty(kept).map_err(std::io::Error::from)?;
        let new = self.path.with_extension("json.new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        Ok(())
    }
}

fn check(settings: &Settings) -> Result<(), KeepError> {
    if !Path::new(&settings.downloads).is_absolute() {
        return Err(KeepError::Invalid("the folder is not an absolute path"));
    }
    if settings.room_names.len() > MOST_NAMES {
        return Err(KeepError::Invalid("too many rooms have names"));
    }
    if settings.room_names.values().any(|n| n.len() > LONGEST_NAME) {
        return Err(KeepError::Invalid("a room's name is too long"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = SettingsFile::of(dir.path());
        let mut kept = file.read(Path::new("/home/ada/Downloads"));
        assert!(!kept.settings.welcomed);
        assert_eq!(kept.settings.downloads, "/home/ada/Downloads");
        kept.settings.theme = Theme::Dark;
        kept.room_server = Some(7400);
        file.write(&kept).unwrap();
        assert_eq!(file.read(Path::new("/elsewhere")), kept);
    }

    #[test]
    fn a_broken_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("window.json"), "{\"theme\":").unwrap();
        let kept = SettingsFile::of(dir.path()).read(Path::new("/d"));
        assert_eq!(kept.settings.downloads, "/d");
        assert!(dir.path().join("window.json.broken").exists());
    }

    #[test]
    fn nonsense_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = SettingsFile::of(dir.path());
        let mut kept = file.read(Path::new("/d"));
        kept.settings.downloads = "d".into();
        assert!(matches!(file.write(&kept), Err(KeepError::Invalid(_))));
        assert!(!dir.path().join("window.json").exists());
    }
}
