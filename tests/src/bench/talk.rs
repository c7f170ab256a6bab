//! How long chat takes while a file saturates the link it shares: two people, a process each.
//!
//! Both write short messages that say when they were written, and note how old those of the other
//! are when a front end learns of them: the store and the pump of events are on the way as well.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kith_api::{
    Accept, Change, CreateRoom, FetchPhase, Handler as _, JoinRoom, LinkPhase, OfferFiles, SendText,
};
use kith_peer::node::Update;
use kith_protocol::{PeerId, RoomId};
use serde_json::{Value, json};

use super::{Place, Watched};
use crate::Peer;
use crate::netlab::Side;

/// Time between two messages of one person.
const EVERY: Duration = Duration::from_millis(100);
/// Words before the file has found its pace do not count.
const FIRST: Duration = Duration::from_secs(1);

/// What chat took in one direction, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// Half of the messages took no longer.
    pub p50: f64,
    /// 95 of 100.
    pub p95: f64,
    /// All.
    pub max: f64,
    /// So many were heard.
    pub count: usize,
}

/// Chat both ways, from the sender of the file and to it, at `place`. `program` is one that calls
/// [`play`] with the arguments that it was given.
pub fn chat_under_load(
    place: &impl Place,
    program: &Path,
    url: &str,
    (file, seconds): (&Path, u64),
    dir: &Path,
) -> [Latency; 2] {
    let home = |name: &str| dir.join(name).to_str().unwrap().to_string();
    let (file, ada_home, seconds) = (file.to_str().unwrap(), home("ada"), seconds.to_string());
    let command = &mut Command::new(program);
    let mut ada = place.start(
        Side::A,
        command.args(["ada", &ada_home, url, file, &seconds]),
    );
    let invite = ada.json_line(|v| v["invite"].as_str().map(str::to_string));
    let (bob_home, into) = (home("bob"), home("in"));
    let command = &mut Command::new(program);
    let mut bob = place.start(
        Side::B,
        command.args(["bob", &bob_home, &invite, &into, &seconds]),
    );
    let heard = |by: &mut Watched| latency(by.json_line(|v| v["heard"].as_array().cloned()));
    [heard(&mut bob), heard(&mut ada)]
}

fn latency(heard: Vec<Value>) -> Latency {
    let mut ms: Vec<f64> = heard.iter().filter_map(Value::as_f64).collect();
    assert!(!ms.is_empty(), "nothing was heard");
    ms.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| ms[(ms.len() * share / 100).min(ms.len() - 1)];
    Latency {
        p50: at(50),
        p95: at(95),
        max: at(100),
        count: ms.len(),
    }
}

/// Plays one of the two; says in lines of JSON what the other needs and what was heard.
pub async fn play(args: &[String]) {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ada", home, url, file, seconds] => {
            let peer = Peer::start(Path::new(home), "Ada").await;
            let server = url.to_string();
            let made = peer.node.create_room(CreateRoom { server }).await.unwrap();
            say(&json!({ "invite": made.invite }));
            let other = other(&peer).await;
            let offer = OfferFiles {
                room: made.room,
                to: vec![],
                paths: vec![file.into()],
                note: None,
                strategy: None,
            };
            peer.node.offer(offer).await.unwrap();
            let serving = |o: &kith_api::OfferView| o.receivers.iter().any(|r| r.done > 0);
            peer.wait_offer("a receiver", serving).await;
            talk(&peer, made.room, other, seconds).await;
        }
        ["bob", home, invite, into, seconds] => {
            let peer = Peer::start(Path::new(home), "Bob").await;
            let invite = invite.to_string();
            let room = peer.node.join_room(JoinRoom { invite }).await.unwrap().room;
            let other = other(&peer).await;
            let offered = |o: &kith_api::OfferView| o.phase == FetchPhase::Offered;
            let offer = peer.wait_offer("an offer", offered).await;
            let accept = Accept {
                room,
                from: other,
                offer: offer.offer,
                dir: into.into(),
            };
            peer.node.accept(accept).await.unwrap();
            peer.wait_offer("the first bytes", |o| o.done > 0).await;
            talk(&peer, room, other, seconds).await;
        }
        _ => panic!("ada HOME URL FILE SECONDS | bob HOME INVITE INTO SECONDS"),
    }
}

async fn other(peer: &Peer) -> PeerId {
    let linked = |c: &Change| match c {
        Change::Person(p) if p.link == LinkPhase::Connected => Some(p.peer),
        _ => None,
    };
    peer.wait("a link", linked).await
}

async fn talk(peer: &Peer, room: RoomId, other: PeerId, seconds: &str) {
    let time = Duration::from_secs(seconds.parse().unwrap());
    let begun = tokio::time::Instant::now();
    let mut heard = Vec::new();
    let mut clock = tokio::time::interval(EVERY);
    // The other may begin a little later.
    let end = tokio::time::sleep(FIRST + time + FIRST);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = clock.tick() => {
                let text = format!("{:.3}", now_ms());
                peer.node.send_text(SendText { room, text }).await.unwrap();
            }
            update = peer.events.next() => {
                let Some(Update::Change(change)) = update else { continue };
                let Change::Message(message) = *change else { continue };
                if message.author == other && begun.elapsed() >= FIRST {
                    heard.push(now_ms() - message.text.parse::<f64>().unwrap());
                }
            }
        }
    }
    let now = peer.node.snapshot(kith_api::Empty {}).await.unwrap();
    let over = |o: &kith_api::OfferView| o.phase == FetchPhase::Done;
    let over = now.offers.iter().any(over);
    assert!(!over, "the file was over before the talk");
    say(&json!({ "heard": heard }));
}

fn now_ms() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs_f64() * 1e3
}

#[allow(clippy::print_stdout, reason = "this is how its parent hears of it")]
fn say(line: &Value) {
    println!("{line}");
}
