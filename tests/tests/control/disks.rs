//! Disks that take no more in the middle, and files that change under the transfer: what both ends
//! show, and how it goes on.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use kith_api::{FetchPhase, Handler as _, OfferView, ServePhase};
use kith_protocol::Code;
use kith_tests::random_file;
use kith_tests::tmpfs::Tmpfs;

use super::pair::{Pair, SIZE, restart};

/// A small disk for Bob's files. Its folder is dropped after it.
struct Disk {
    tmpfs: Tmpfs,
    _dir: tempfile::TempDir,
}

impl Disk {
    fn new(size: &str) -> Option<Disk> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("cannot run: mounting a small tmpfs needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let tmpfs = Tmpfs::mount(&dir.path().join("in"), size);
        Some(Disk { tmpfs, _dir: dir })
    }
}

impl Pair {
    /// Both ends show that Bob's disk does not take it, and why.
    async fn blocked(&self, why: Code) -> OfferView {
        let blocked = |o: &OfferView| o.phase == FetchPhase::Blocked && o.why == Some(why);
        let told = |o: &OfferView| {
            let mut all = o.receivers.iter();
            all.any(|r| r.phase == ServePhase::Blocked && r.why == Some(why))
        };
        // Both at once, as it may not last.
        let (shown, _) = tokio::join!(
            self.bob.wait_offer("the refusal", blocked),
            self.ada.wait_offer("the sender to see it", told),
        );
        assert!(!self.target.join("film.bin").exists(), "it has no name yet");
        shown
    }

    /// The part file that Bob writes.
    fn part(&self) -> PathBuf {
        let all = fs::read_dir(&self.target).unwrap();
        let all: Vec<PathBuf> = all.map(|e| e.unwrap().path()).collect();
        let [part] = &all[..] else { panic!("{all:?}") };
        assert_eq!(part.extension().unwrap(), "part");
        part.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_from_the_start_says_how_much_is_missing() {
    let Some(disk) = Disk::new("64k") else { return };
    let mut pair = Pair::start().await;
    pair.target = disk.tmpfs.0.clone();
    pair.take().await;
    let shown = pair.blocked(Code::DiskFull).await;
    let missing = shown.missing.unwrap();
    assert!((SIZE - 65_536..=SIZE).contains(&missing), "{missing}");
    assert_eq!(shown.done, 0);
    disk.tmpfs.resize("100m");
    pair.unbounded().await;
    pair.whole().await;
}

/// Bob's disk has room for so much of the file, as it turns out on the way.
async fn fills_at(percent: u64) {
    let Some(disk) = Disk::new("100m") else {
        return;
    };
    let mut pair = Pair::start().await;
    pair.target = disk.tmpfs.0.clone();
    pair.accept().await;
    disk.tmpfs.resize(&(SIZE * percent / 100).to_string());
    pair.unbounded().await;
    let shown = pair.blocked(Code::DiskFull).await;
    assert!(shown.missing.is_some(), "{shown:?}");
    disk.tmpfs.resize("100m");
    pair.whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_half_way_loses_nothing() {
    fills_at(50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_just_before_the_end_loses_nothing() {
    fills_at(99).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_read_only_after_a_restart_is_waited_for() {
    let Some(disk) = Disk::new("100m") else {
        return;
    };
    let mut pair = Pair::start().await;
    pair.target = disk.tmpfs.0.clone();
    pair.accept().await;
    // The kernel lets nobody take away a disk that is being written to.
    pair.bob.node.shutdown().await;
    disk.tmpfs.remount("ro");
    pair.bob = restart(pair.bob, "Bob").await;
    pair.blocked(Code::DiskReadOnly).await;
    disk.tmpfs.remount("rw");
    pair.unbounded().await;
    pair.bob.node.resume(pair.transfer()).await.unwrap();
    pair.whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_cut_short_ends_the_transfer_and_can_be_offered_anew() {
    let mut pair = Pair::start().await;
    pair.accept().await;
    let source = pair.dir.path().join("film.bin");
    let file = OpenOptions::new().write(true).open(&source).unwrap();
    file.set_len(SIZE / 2).unwrap();
    drop(file);
    pair.unbounded().await;
    let changed =
        |o: &OfferView| o.phase == FetchPhase::Withdrawn && o.why == Some(Code::SourceChanged);
    pair.bob.wait_offer("the word of it", changed).await;
    let failed = |o: &OfferView| {
        let mut all = o.receivers.iter();
        all.any(|r| r.phase == ServePhase::Failed && r.why == Some(Code::SourceChanged))
    };
    pair.ada.wait_offer("the sender to see it", failed).await;
    // What the file is now is another offer.
    random_file(&source, SIZE);
    pair.offer("film.bin").await;
    pair.take().await;
    pair.unbounded().await;
    pair.whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_file_that_is_removed_is_missed_and_begins_again_by_itself() {
    let pair = Pair::start().await;
    pair.accept().await;
    fs::remove_file(pair.part()).unwrap();
    // Still bounded, so that it is missed on the way.
    let shown = pair.blocked(Code::DiskGone).await;
    assert_eq!(shown.missing, None, "space is not what lacks");
    pair.unbounded().await;
    pair.whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_planted_as_the_part_file_is_never_followed() {
    let pair = Pair::start().await;
    pair.accept().await;
    let victim = pair.dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let part = pair.part();
    fs::remove_file(&part).unwrap();
    std::os::unix::fs::symlink(&victim, &part).unwrap();
    pair.unbounded().await;
    pair.blocked(Code::DiskDenied).await;
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    fs::remove_file(&part).unwrap();
    pair.bob.node.resume(pair.transfer()).await.unwrap();
    pair.whole().await;
}
