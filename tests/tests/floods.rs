//! What a room server can make a client hold, however long it goes on.

#![cfg(target_os = "linux")] // /proc
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are worth reading: --nocapture"
)]

use kith_tests::Server;
use kith_tests::middle::{Kind, Middle, Treachery};
use kith_tests::process::Kith;

/// A flood, and one twice as long, against a process whose memory can be looked at. What a
/// client keeps of a flood must not depend on how long it goes on.
async fn does_not_fill_a_client(how: Treachery, times: u64) {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let middle = Middle::start(server.addr).await;
    let home = dir.path().join("ada");
    let url = middle.url();
    let kith = tokio::task::block_in_place(|| {
        let mut maker = Kith::start(&home, "Ada", &["invite", "--server", &url]);
        let invite = maker.wait("an invite", |v| v["invite"].as_str().map(str::to_string));
        maker.wait_end();
        let mut kith = Kith::start(&home, "Ada", &["join", &invite]);
        // A command whose very first join fails ends, and rightly so.
        kith.wait_fields("room", &[("session", "joined")]);
        kith
    });
    middle.wait_read().await;
    let before = memory(kith.pid(), "VmRSS:");
    let mut peaks = Vec::new();
    for times in [times, 2 * times] {
        middle.turn(how);
        middle.wait_meddled(times).await;
        let joins = middle.seen().joins;
        middle.behave();
        if how.kind() == Kind::Frames && how != T::Pings {
            // It has hung up, and comes back when the server does.
            middle.wait_seen("another join", |s| s.joins > joins).await;
        }
        middle.wait_read().await;
        peaks.push(memory(kith.pid(), "VmHWM:"));
    }
    let [first, last] = peaks[..] else { panic!() };
    println!("{how:?}: {before} at first, at most {first} and {last} KiB");
    assert!(first < before + 8 * 1024, "{before} → {first} KiB");
    assert!(last <= first + first / 10, "{first} → {last} KiB");
    server.stop().await;
}

macro_rules! floods {
    ($($name:ident: $how:expr, $times:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            does_not_fill_a_client($how, $times).await;
        }
    )*};
}

use Treachery as T;

floods! {
    comings_and_goings_do_not_fill_a_client: T::Comings, 3_000;
    answers_that_nobody_takes_do_not_fill_a_client: T::Deaf, 3_000;
    pings_do_not_fill_a_client: T::Pings, 9;
    fragments_do_not_fill_a_client: T::EndlessText, 3;
    empty_fragments_do_not_fill_a_client: T::EndlessEmpty, 3;
    huge_messages_do_not_fill_a_client: T::Oversize, 1;
}

/// A figure about the memory of a process, in KiB.
fn memory(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(what));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}
