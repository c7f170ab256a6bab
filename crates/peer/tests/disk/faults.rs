//! Planted links, full and read-only disks, parts that disappear.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use kith_peer::disk::{CHUNK, DiskFault, Target};

use super::{MTIME, bytes, finish, held, list, part, receive, safe, write_all};

/// A download folder beside a folder that nothing may ever reach.
struct Scene {
    temp: tempfile::TempDir,
    target: Target,
}

impl Scene {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        fs::write(temp.path().join("outside/secret"), "secret").unwrap();
        let target = Target::open(&temp.path().join("inside")).unwrap();
        Self { temp, target }
    }

    fn outside(&self) -> std::path::PathBuf {
        self.temp.path().join("outside")
    }

    fn assert_outside_untouched(&self) {
        assert_eq!(list(&self.outside()), ["secret"]);
        assert_eq!(fs::read(self.outside().join("secret")).unwrap(), b"secret");
    }
}

#[test]
fn a_link_planted_as_a_folder_is_not_followed() {
    let scene = Scene::new();
    let root = scene.target.root();
    symlink(scene.outside(), root.join("away")).unwrap();
    symlink(".", root.join("here")).unwrap();
    fs::create_dir(root.join("real")).unwrap();
    symlink("../../outside", root.join("real/away")).unwrap();
    for dir in ["away", "here", "real/away"] {
        for wire in [format!("{dir}/f"), format!("{dir}/sub/f")] {
            let error = part(&scene.target, &wire, 1, 1).unwrap_err();
            assert_eq!(error.kind(), DiskFault::Obstructed, "{wire}: {error}");
            let error = scene.target.create_dir(&safe(&wire)).unwrap_err();
            assert_eq!(error.kind(), DiskFault::Obstructed, "{wire}: {error}");
        }
        let error = scene
            .target
            .finish_dir(&safe(dir), 0o700, MTIME)
            .unwrap_err();
        assert_eq!(error.kind(), DiskFault::Obstructed, "{dir}: {error}");
    }
    scene.assert_outside_untouched();
}

#[test]
fn a_link_planted_as_the_final_name_is_kept_and_not_followed() {
    let scene = Scene::new();
    symlink(
        scene.outside().join("secret"),
        scene.target.root().join("f"),
    )
    .unwrap();
    symlink(scene.outside().join("new"), scene.target.root().join("g")).unwrap();
    assert_eq!(receive(&scene.target, "f", b"x").unwrap(), "f (1)");
    assert_eq!(receive(&scene.target, "g", b"x").unwrap(), "g (1)");
    // Also when it appears after the folder was read.
    let part = part(&scene.target, "h", 1, 1).unwrap();
    part.write_chunk(0, b"x").unwrap();
    symlink(scene.outside().join("new"), scene.target.root().join("h")).unwrap();
    assert_eq!(finish(part, 0o644, MTIME).unwrap().as_str(), "h (1)");
    scene.assert_outside_untouched();
}

/// Puts something at the first path, made of the folder at the second.
type Plant = fn(&Path, &Path);

#[test]
fn whatever_is_planted_as_the_part_name_is_refused() {
    let scene = Scene::new();
    let name = scene.target.root().join(".f.0000000000000001.part");
    let plants: [(&str, Plant); 5] = [
        ("link", |name, outside| {
            symlink(outside.join("secret"), name).unwrap()
        }),
        ("dangling link", |name, outside| {
            symlink(outside.join("new"), name).unwrap()
        }),
        ("hard link", |name, outside| {
            fs::hard_link(outside.join("secret"), name).unwrap()
        }),
        ("folder", |name, _| fs::create_dir(name).unwrap()),
        ("pipe", |name, _| {
            assert!(Command::new("mkfifo").arg(name).status().unwrap().success())
        }),
    ];
    for (what, plant) in plants {
        plant(&name, &scene.outside());
        let error = part(&scene.target, "f", 1, 1).unwrap_err();
        assert_eq!(error.kind(), DiskFault::Obstructed, "{what}: {error}");
        assert!(error.to_string().contains(".part"), "{error}");
        if what == "folder" {
            fs::remove_dir(&name).unwrap();
        } else {
            fs::remove_file(&name).unwrap();
        }
        scene.assert_outside_untouched();
    }
}

#[test]
fn a_link_that_replaces_folder_or_part_in_mid_transfer_is_not_followed() {
    let scene = Scene::new();
    let root = scene.target.root();
    let one = part(&scene.target, "d/f", 1, 1).unwrap();
    fs::rename(root.join("d"), root.join("moved")).unwrap();
    symlink(scene.outside(), root.join("d")).unwrap();
    one.write_chunk(0, b"x").unwrap();
    finish(one, 0o644, MTIME).unwrap();
    assert_eq!(fs::read(root.join("moved/f")).unwrap(), b"x");

    let two = part(&scene.target, "g", 1, 1).unwrap();
    two.write_chunk(0, b"x").unwrap();
    let name = root.join(".g.0000000000000001.part");
    fs::rename(&name, root.join("elsewhere")).unwrap();
    symlink(scene.outside().join("secret"), &name).unwrap();
    assert_eq!(
        finish(two, 0o644, MTIME).unwrap_err().kind(),
        DiskFault::Gone
    );
    assert!(!root.join("g").exists());
    scene.assert_outside_untouched();
}

#[test]
fn a_folder_that_keeps_turning_into_a_link_never_leads_outside() {
    let scene = Scene::new();
    let root = scene.target.root().to_path_buf();
    let (real, link) = (root.join("d"), root.join("link"));
    symlink(scene.outside(), &link).unwrap();
    fs::create_dir(&real).unwrap();
    let done = AtomicBool::new(false);
    let (mut arrived, mut refused, mut wrong) = (0, 0, None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &real, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for index in 0..2_000 {
            let part = part(&scene.target, "d/f", index, 1);
            match part.and_then(|part| part.write_chunk(0, b"x").and(part.discard())) {
                Ok(()) => arrived += 1,
                Err(error) if error.kind() == DiskFault::Obstructed => refused += 1,
                // Not here: the other thread would turn for ever.
                Err(error) => wrong = Some(error),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(wrong.is_none(), "{wrong:?}");
    eprintln!("{arrived} arrived, {refused} refused");
    scene.assert_outside_untouched();
}

#[test]
fn a_removed_part_is_noticed_and_begins_again() {
    let scene = Scene::new();
    let name = scene.target.root().join(".f.0000000000000001.part");
    let data = bytes(2 * CHUNK);
    let size = data.len() as u64;
    let one = part(&scene.target, "f", 1, size).unwrap();
    write_all(&one, &data).unwrap();
    fs::remove_file(&name).unwrap();
    assert_eq!(one.sync().unwrap_err().kind(), DiskFault::Gone);
    assert_eq!(
        finish(one, 0o644, MTIME).unwrap_err().kind(),
        DiskFault::Gone
    );

    let two = part(&scene.target, "f", 1, size).unwrap();
    assert_eq!(two.existing_len(), 0);
    write_all(&two, &data).unwrap();
    fs::File::options()
        .write(true)
        .open(&name)
        .unwrap()
        .set_len(10)
        .unwrap();
    let held = held(&scene.target, "f", 1, &two);
    assert_eq!(held.read_chunk(0, 0).unwrap_err().kind(), DiskFault::Gone);
    fs::remove_file(&name).unwrap();
    two.discard().unwrap();
    assert_eq!(receive(&scene.target, "f", &data).unwrap(), "f");
}

#[test]
fn a_file_where_a_folder_belongs_is_in_the_way() {
    let scene = Scene::new();
    fs::write(scene.target.root().join("f"), "x").unwrap();
    assert_eq!(
        part(&scene.target, "f/g", 1, 1).unwrap_err().kind(),
        DiskFault::Obstructed
    );
    let error = Target::open(&scene.target.root().join("f")).unwrap_err();
    assert_eq!(error.kind(), DiskFault::Obstructed);
}

#[test]
fn a_folder_without_permission_is_refused_before_the_first_byte() {
    if rustix::process::geteuid().is_root() {
        eprintln!("could not run: root may write everywhere");
        return;
    }
    let scene = Scene::new();
    fs::set_permissions(scene.target.root(), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(
        part(&scene.target, "f", 1, 1).unwrap_err().kind(),
        DiskFault::Denied
    );
}

#[test]
fn a_file_beyond_the_filesystems_limit_is_too_large() {
    let scene = Scene::new();
    let size: u64 = 20 << 40;
    let part = part(&scene.target, "f", 1, size).unwrap();
    match part.write_chunk(size / CHUNK as u64 - 1, &bytes(CHUNK)) {
        Ok(()) => eprintln!("could not run: this filesystem takes files of 20 TiB"),
        Err(error) => assert_eq!(error.kind(), DiskFault::TooLarge, "{error}"),
    }
}

/// A small filesystem of its own, for as long as the test runs.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(options: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("could not run: mounting a small filesystem needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", options, "tmpfs"], dir.path());
        if !mounted {
            eprintln!("could not run: mounting is not allowed here");
        }
        mounted.then(|| Self(dir))
    }

    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], self.0.path()));
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(args: &[&str], at: &Path) -> bool {
    Command::new("mount")
        .args(args)
        .arg(at)
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_says_so_and_the_part_goes_on_after_there_is_room() {
    let Some(disk) = Tmpfs::new("size=1m") else {
        return;
    };
    let target = Target::open(&disk.0.path().join("d")).unwrap();
    let data = bytes(3 << 20);
    let size = data.len() as u64;
    assert_eq!(
        target.check_space(size).unwrap_err().kind(),
        DiskFault::Full
    );
    let one = part(&target, "f", 1, size).unwrap();
    let error = write_all(&one, &data).unwrap_err();
    assert_eq!(error.kind(), DiskFault::Full, "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert!(finish(one, 0o644, MTIME).is_err());
    assert_eq!(list(target.root()), [".f.0000000000000001.part"]);

    disk.remount("size=4m");
    let two = part(&target, "f", 1, size).unwrap();
    let whole_chunks = two.existing_len() as usize / CHUNK;
    assert!(whole_chunks > 0);
    for (index, chunk) in data.chunks(CHUNK).enumerate().skip(whole_chunks) {
        two.write_chunk(index as u64, chunk).unwrap();
    }
    finish(two, 0o644, MTIME).unwrap();
    assert_eq!(fs::read(target.root().join("f")).unwrap(), data);
}

#[test]
fn a_disk_without_inodes_is_full() {
    let Some(disk) = Tmpfs::new("size=1m,nr_inodes=8") else {
        return;
    };
    let target = Target::open(&disk.0.path().join("d")).unwrap();
    let error = (0..8)
        .find_map(|i| receive(&target, &format!("f{i}"), b"x").err())
        .unwrap();
    assert_eq!(error.kind(), DiskFault::Full, "{error}");
}

#[test]
fn a_read_only_disk_says_so() {
    let Some(disk) = Tmpfs::new("size=1m") else {
        return;
    };
    let target = Target::open(&disk.0.path().join("d")).unwrap();
    drop(part(&target, "f", 1, 1).unwrap());
    disk.remount("ro");
    for wire in ["f", "g", "new/g"] {
        let error = part(&target, wire, 1, 1).unwrap_err();
        assert_eq!(error.kind(), DiskFault::ReadOnly, "{error}");
    }
    disk.remount("rw");
    receive(&target, "f", b"x").unwrap();
}
