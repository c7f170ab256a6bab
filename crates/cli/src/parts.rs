//! `kith parts`: unfinished files that belong to no transfer, listed and removed.

use std::collections::HashSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use kith_peer::disk::{Leftover, Removed};
use kith_peer::node::Node;
use kith_protocol::Code;
use serde::Serialize;

use crate::args::{Global, Parts};
use crate::exit::Failure;
use crate::output::Out;
use crate::receive::lines::is_yes;
use crate::signals::Stop;
use crate::stdin::Lines;
use crate::text;

const DAY: u64 = 24 * 60 * 60;
const QUESTION: &str = "Remove them? [y/N]";

/// An unfinished file, for programs.
#[derive(Serialize)]
struct Part<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    path: &'a str,
    bytes: u64,
    /// Seconds since something was written to it.
    age: u64,
}

/// What was found and done, for programs.
#[derive(Default, Serialize)]
struct Summary {
    files: u64,
    bytes: u64,
    removed: u64,
    freed: u64,
    /// Not everything below the folders was looked at.
    cut: bool,
}

/// `kith parts`.
pub async fn run(
    options: Parts,
    global: &Global,
    stop: &mut Stop,
    out: &mut Out,
) -> Result<u8, Failure> {
    if options.remove && !options.yes && !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "There is no terminal to ask on: use --yes to remove them all.",
        ));
    }
    if let Some(dir) = options.dirs.iter().find(|dir| !dir.is_dir()) {
        let dir = text::name(&dir.display().to_string());
        return Err(Failure::usage(format!("{dir:?} is no folder.")));
    }
    let node = global.start(stop).await?;
    let mut summary = Summary::default();
    let result = stop.or(work(&options, &node, &mut summary, out)).await;
    node.shutdown().await;
    let closing = closing(&summary);
    Ok(out.finish(result, summary, &closing))
}

async fn work(
    options: &Parts,
    node: &Node,
    summary: &mut Summary,
    out: &mut Out,
) -> Result<(), Failure> {
    let named = !options.dirs.is_empty();
    let dirs = match named {
        true => options.dirs.clone(),
        false => node.part_folders(Vec::new()).await?,
    };
    let mut all = Vec::new();
    for dir in dirs {
        let found = match node.leftovers(dir.clone()).await {
            Ok(found) => found,
            Err(error) if named => return Err(error.into()),
            Err(error) => {
                out.note(&error.message);
                continue;
            }
        };
        summary.cut |= found.cut;
        all.push((dir, found.parts));
    }
    // A folder that is named twice, or below another, shows what is in it once.
    let mut seen = HashSet::new();
    for (_, parts) in &mut all {
        parts.retain(|part| seen.insert(part.path.clone()));
        for part in parts {
            show(part, out)?;
            summary.files += 1;
            summary.bytes += part.bytes;
        }
    }
    if summary.cut {
        out.note("There is too much in these folders to look at all of it.");
    }
    if options.remove && summary.files > 0 && (options.yes || confirm(summary, out).await) {
        remove(node, all, summary).await?;
    }
    Ok(())
}

async fn confirm(summary: &Summary, out: &mut Out) -> bool {
    let what = counted(summary.files, summary.bytes);
    out.ask(&format!("{what}. {QUESTION}"));
    is_yes(Lines::default().next().await.as_ref())
}

/// Only what was shown.
async fn remove(
    node: &Node,
    all: Vec<(PathBuf, Vec<Leftover>)>,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let mut kept = 0;
    for (dir, parts) in all.into_iter().filter(|(_, parts)| !parts.is_empty()) {
        let only = parts.into_iter().map(|part| part.path).collect();
        let removed: Removed = node.remove_leftovers(dir, Some(only)).await?;
        summary.removed += removed.files;
        summary.freed += removed.bytes;
        kept += removed.kept;
    }
    if kept > 0 {
        let text = format!(
            "{} could not be removed: change the permissions of their folders.",
            files(kept)
        );
        return Err(Failure::with(Code::DiskDenied, text));
    }
    Ok(())
}

fn show(part: &Leftover, out: &mut Out) -> Result<(), Failure> {
    out.line(&format!(
        "{:>9}  {:>10}  {}",
        text::size(part.bytes),
        age(part.age),
        text::escaped(&part.path.display().to_string())
    ))?;
    out.object(&Part {
        kind: "part",
        path: &part.path.display().to_string(),
        bytes: part.bytes,
        age: part.age.as_secs(),
    })
}

fn closing(summary: &Summary) -> String {
    match (summary.files, summary.removed) {
        (0, _) => "There are no unfinished files that belong to no transfer.".to_owned(),
        (_, 0) => format!(
            "{} to no transfer, {} in all: --remove removes them.",
            belong(summary.files),
            text::size(summary.bytes)
        ),
        (_, removed) => format!("Removed {}.", counted(removed, summary.freed)),
    }
}

fn belong(count: u64) -> String {
    let verb = if count == 1 { "belongs" } else { "belong" };
    format!("{} {verb}", files(count))
}

fn counted(count: u64, bytes: u64) -> String {
    format!("{}, {}", files(count), text::size(bytes))
}

fn files(count: u64) -> String {
    text::count(count, "unfinished file", "unfinished files")
}

fn age(age: Duration) -> String {
    match age.as_secs() / DAY {
        0 => text::duration(Duration::from_secs(age.as_secs())),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_what_there_is_or_what_was_removed() {
        let mut summary = Summary::default();
        assert_eq!(
            closing(&summary),
            "There are no unfinished files that belong to no transfer."
        );
        (summary.files, summary.bytes) = (2, 3_000_000);
        assert_eq!(
            closing(&summary),
            "2 unfinished files belong to no transfer, 3.0 MB in all: --remove removes them."
        );
        (summary.removed, summary.freed) = (1, 2_000_000);
        assert_eq!(closing(&summary), "Removed 1 unfinished file, 2.0 MB.");
    }

    #[test]
    fn ages_are_short() {
        for (seconds, want) in [
            (0, "0 s"),
            (90, "1 min 30 s"),
            (DAY, "1 day"),
            (9 * DAY, "9 days"),
        ] {
            assert!(age(Duration::from_secs(seconds)).ends_with(want), "{want}");
        }
    }
}
