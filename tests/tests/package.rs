//! The Debian package: what is in it and what it says of itself. `./dev bundle --try` installs it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use kith_tests::process::kith_bin;
use kith_tests::window::desktop_bin;

/// All it puts on a machine.
const FILES: &[&str] = &[
    "usr/bin/kith",
    "usr/bin/kith-desktop",
    "usr/share/applications/kith-desktop.desktop",
    "usr/share/doc/kith/changelog.gz",
    "usr/share/doc/kith/copyright",
    "usr/share/doc/kith/third-parties.gz",
    "usr/share/icons/hicolor/128x128/apps/kith-desktop.png",
    "usr/share/icons/hicolor/32x32/apps/kith-desktop.png",
    "usr/share/icons/hicolor/512x512/apps/kith-desktop.png",
    "usr/share/icons/hicolor/scalable/apps/kith-desktop.svg",
];

#[test]
fn the_package_holds_what_it_should_and_says_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let package = pack(dir.path());
    let name = package.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("kith_0."), "{name}");
    let root = dir.path().join("root");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root));

    assert_eq!(
        files(&root, &root),
        FILES.iter().map(|f| f.to_string()).collect()
    );
    let listed = run(Command::new("dpkg-deb").arg("-c").arg(&package));
    for line in listed.lines() {
        let right = if line.starts_with('d') {
            "drwxr-xr-x root/root"
        } else if line.contains("./usr/bin/") {
            "-rwxr-xr-x root/root"
        } else {
            "-rw-r--r-- root/root"
        };
        assert!(line.starts_with(right), "{line}");
    }

    let field = |name: &str| run(Command::new("dpkg-deb").arg("-f").arg(&package).arg(name));
    assert_eq!(field("Package").trim(), "kith");
    assert_eq!(field("Version").trim(), env!("CARGO_PKG_VERSION"));
    let needs = field("Depends");
    for library in ["libc6", "libwebkit2gtk-4.1-0", "libgtk-3-0"] {
        assert!(needs.contains(library), "{library} is not in {needs}");
    }
    let scripts = run(Command::new("dpkg-deb").arg("-I").arg(&package));
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        assert!(!scripts.contains(script), "installing runs nothing of ours");
    }

    let version = run(Command::new(root.join("usr/bin/kith")).arg("--version"));
    assert_eq!(
        version.trim(),
        concat!("kith ", env!("CARGO_PKG_VERSION")),
        "it still runs when stripped"
    );
    let copyright = read(&root, "usr/share/doc/kith/copyright");
    assert!(copyright.contains("The Kith contributors"), "{copyright}");
    assert!(copyright.contains("Permission is hereby granted"));
    let thirds = run(Command::new("zcat").arg(root.join("usr/share/doc/kith/third-parties.gz")));
    for name in ["webrtc", "tauri", "sled", "snow", "svelte"] {
        let of = |line: &str| line.starts_with("==== ") && line.split(' ').any(|n| n == name);
        assert!(thirds.lines().any(of), "no licence text of {name}");
    }
}

#[test]
fn the_menu_entry_opens_invites_with_the_app() {
    let entry = read(&packaging(), "kith-desktop.desktop");
    let value = |key: &str| {
        let line = entry.lines().find_map(|l| l.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key} in {entry}"))
    };
    assert_eq!(value("Exec="), "kith-desktop %u");
    assert_eq!(value("Icon="), "kith-desktop");
    assert_eq!(value("MimeType="), "x-scheme-handler/kith;");
}

/// Packs the programs under test, uncompressed, which is quick.
fn pack(into: &Path) -> PathBuf {
    let said = run(Command::new(packaging().join("deb"))
        .args([kith_bin(), desktop_bin(), into.to_path_buf()])
        .arg("none"));
    PathBuf::from(said.trim())
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn read(root: &Path, file: &str) -> String {
    std::fs::read_to_string(root.join(file)).unwrap()
}

fn files(root: &Path, dir: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(root, &path));
        } else {
            let name = path.strip_prefix(root).unwrap();
            all.insert(name.to_str().unwrap().to_owned());
        }
    }
    all
}
