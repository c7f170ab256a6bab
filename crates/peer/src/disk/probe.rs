//! A cheap look whether a folder takes what is to be written.

use std::io::Write as _;
use std::path::Path;

use super::{DiskError, Target};

/// Bytes that are written to see whether any are taken: quotas and read-only disks do not tell
/// otherwise.
const TRY: usize = 4096;

/// Refuses as writing so many bytes there would, as far as that can be seen. Leaves nothing
/// behind.
///
/// # Errors
/// As [`Target::open`] and [`Target::check_space`], and those of writing.
pub fn probe(dir: &Path, needed: u64) -> Result<(), DiskError> {
    let target = Target::open(dir)?;
    target.check_space(needed)?;
    let fail = |e: std::io::Error| DiskError::target(target.root(), e);
    let mut file = tempfile_in(target.root()).map_err(fail)?;
    file.write_all(&[0; TRY]).map_err(fail)?;
    file.sync_data().map_err(fail)
}

/// A file without a name, or with one for a moment.
fn tempfile_in(dir: &Path) -> std::io::Result<std::fs::File> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let name = format!(".kith-{:016x}", u64::from_be_bytes(random));
    let path = dir.join(name);
    let file = std::fs::File::create_new(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
