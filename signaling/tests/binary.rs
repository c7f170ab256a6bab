//! The program itself: starts, says what is wrong, stops when asked.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)] // A test may just fail.
#![cfg(unix)]

mod client;

use std::process::Stdio;
use std::time::Duration;

use client::within;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

fn start(flags: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kith-room-server"))
        .args(flags)
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits for the line with the address, and returns the address.
async fn listening(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = within(lines.next_line()).await.unwrap().expect("a line");
        if let Some((_, addr)) = line.split_once("addr=") {
            // The rest must go somewhere, or the server would block on a full pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return addr.trim().to_owned();
        }
    }
}

#[tokio::test]
async fn it_stops_gracefully_when_asked() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = start(&["--listen", "127.0.0.1:0"]);
        let addr = listening(&mut server).await;
        tokio::net::TcpStream::connect(&addr).await.unwrap();
        let pid = server.id().and_then(|id| Pid::from_raw(id as i32)).unwrap();
        kill_process(pid, signal).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), server.wait()).await;
        assert!(ended.unwrap().unwrap().success(), "{signal:?}");
    }
}

#[tokio::test]
async fn it_says_in_one_sentence_why_it_cannot_start() {
    let mut first = start(&["--listen", "127.0.0.1:0"]);
    let taken = listening(&mut first).await;
    let cases: [(&[&str], &str); 3] = [
        (&["--listen", &taken], "is already in use"),
        (&["--listen", "nowhere"], "is not an address"),
        (
            &["--listen", "127.0.0.1:0", "--turn", "turn:a"],
            "TURN needs both",
        ),
    ];
    for (flags, want) in cases {
        let mut server = start(flags);
        let mut said = String::new();
        let mut stderr = server.stderr.take().unwrap();
        within(stderr.read_to_string(&mut said)).await.unwrap();
        assert!(!within(server.wait()).await.unwrap().success());
        assert!(said.contains(want), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
