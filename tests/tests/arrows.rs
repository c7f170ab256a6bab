//! Who may depend on whom, read from what cargo itself resolves.

#![allow(clippy::unwrap_used, reason = "all of it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The crates of the workspace and what each may depend on. A new crate gets a line here, and the
/// picture in `ARCHITECTURE.md` a box.
const ARROWS: &[(&str, &[&str])] = &[
    ("kith-protocol", &[]),
    ("kith-api", &["kith-protocol"]),
    ("kith-core", &["kith-protocol", "kith-api"]),
    ("kith-peer", &["kith-protocol", "kith-api", "kith-core"]),
    ("kith-signaling", &["kith-protocol"]),
    (
        "kith-cli",
        &[
            "kith-protocol",
            "kith-api",
            "kith-core",
            "kith-peer",
            "kith-signaling",
        ],
    ),
    (
        "kith-desktop",
        &["kith-protocol", "kith-api", "kith-peer", "kith-signaling"],
    ),
    (
        "kith-tests",
        &[
            "kith-protocol",
            "kith-api",
            "kith-core",
            "kith-peer",
            "kith-signaling",
            "kith-cli",
        ],
    ),
];

/// Crates without IO, and what would bring some: not even through others.
const PURE: &[&str] = &["kith-protocol", "kith-api", "kith-core"];
const IMPURE: &[&str] = &["tokio", "webrtc", "sled", "tauri", "axum"];

#[test]
fn crates_depend_only_on_those_they_may() {
    let metadata = metadata(&["--no-deps"]);
    let packages = list(&metadata, "packages");
    let ours: BTreeSet<&str> = packages.iter().map(|p| text(p, "name")).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = text(package, "name");
        let Some((_, may)) = ARROWS.iter().find(|(n, _)| *n == name) else {
            wrong.push(format!("{name} has no line in ARROWS"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let to = text(dependency, "name");
            // Tests of a crate may reach further than the crate.
            let counts = dependency["kind"] != "dev" && ours.contains(to);
            if counts && !may.contains(&to) {
                wrong.push(format!("{name} must not depend on {to}; it may on {may:?}"));
            }
        }
    }
    let gone = ARROWS.iter().filter(|(n, _)| !ours.contains(n));
    wrong.extend(gone.map(|(n, _)| format!("{n} stands in ARROWS but not in the workspace")));
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}

#[test]
fn the_decisions_stay_free_of_io() {
    let host = host();
    // Only this machine's platform: others' packages may never have been downloaded.
    let metadata = metadata(&["--filter-platform", &host]);
    let names: BTreeMap<&str, &str> = list(&metadata, "packages")
        .iter()
        .map(|p| (text(p, "id"), text(p, "name")))
        .collect();
    let graph: BTreeMap<&str, Vec<&str>> = list(&metadata["resolve"], "nodes")
        .iter()
        .map(|node| (text(node, "id"), dependencies(node)))
        .collect();
    let mut wrong = Vec::new();
    for pure in PURE {
        let start = names.iter().find(|(_, name)| *name == pure);
        let (start, _) = start.unwrap_or_else(|| panic!("{pure} is not in the workspace"));
        for path in paths(start, &graph) {
            let chain: Vec<&str> = path.iter().map(|id| names[id]).collect();
            if chain.last().is_some_and(|last| IMPURE.contains(last)) {
                wrong.push(chain.join(" -> "));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these bring IO where only decisions belong:\n  {}\n",
        wrong.join("\n  ")
    );
}

/// A shortest path to everything that `start` depends on, itself left out.
fn paths<'a>(start: &'a str, graph: &BTreeMap<&'a str, Vec<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut seen = BTreeSet::from([start]);
    let mut paths = vec![vec![start]];
    let mut at = 0;
    while at < paths.len() {
        let path = paths[at].clone();
        let end = path[path.len() - 1];
        for next in &graph[end] {
            if seen.insert(next) {
                paths.push(path.iter().chain([next]).copied().collect());
            }
        }
        at += 1;
    }
    paths.remove(0);
    paths
}

/// What a package needs to be built and to run; what only its tests need does not count.
fn dependencies(node: &Value) -> Vec<&str> {
    list(node, "deps")
        .iter()
        .filter(|d| list(d, "dep_kinds").iter().any(|k| k["kind"] != "dev"))
        .map(|d| text(d, "pkg"))
        .collect()
}

fn metadata(extra: &[&str]) -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let text = output(
        Command::new(cargo)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["metadata", "--format-version", "1", "--offline"])
            .args(extra),
    );
    serde_json::from_str(&text).unwrap()
}

fn host() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = output(Command::new(rustc).arg("-vV"));
    let host = version.lines().find_map(|l| l.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value[key].as_array();
    list.unwrap_or_else(|| panic!("cargo metadata has no list {key:?} here"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    let text = value[key].as_str();
    text.unwrap_or_else(|| panic!("cargo metadata has no text {key:?} here"))
}
