//! Whatever the room server does: no link with the wrong one, no altered word, nothing that ends
//! or fills up, and a state that a user can read. Left alone again, people find each other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are worth reading: --nocapture"
)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one change it waits for"
)]

use kith_api::{
    Change, CreateRoom, Empty, Handler as _, HistoryPage, JoinRoom, LinkPhase, PersonView,
    Presence, RoomView, SendText, SessionPhase,
};
use kith_peer::node::Update;
use kith_protocol::{Code, RoomId};
use kith_tests::middle::{Middle, Treachery};
use kith_tests::{Peer, Server};
use tempfile::TempDir;

/// A server behind a middle, and a room with somebody in it.
struct Stage {
    server: Server,
    middle: Middle,
    dir: TempDir,
    ada: Peer,
    room: RoomId,
    invite: String,
}

impl Stage {
    async fn set(first: Option<Treachery>) -> Stage {
        let server = Server::start().await;
        let middle = Middle::start(server.addr).await;
        if let Some(how) = first {
            middle.turn(how);
        }
        let dir = tempfile::tempdir().unwrap();
        let ada = Peer::start(&dir.path().join("ada"), "Ada").await;
        let server_url = middle.url();
        let made = ada
            .node
            .create_room(CreateRoom { server: server_url })
            .await
            .unwrap();
        Stage {
            server,
            middle,
            dir,
            ada,
            room: made.room,
            invite: made.invite,
        }
    }

    async fn newcomer(&self, name: &str) -> Peer {
        let peer = Peer::start(&self.dir.path().join(name), name).await;
        let invite = self.invite.clone();
        peer.node.join_room(JoinRoom { invite }).await.unwrap();
        peer
    }

    async fn strike(self, others: Vec<Peer>) {
        for peer in others.iter().chain([&self.ada]) {
            peer.node.shutdown().await;
        }
        self.server.stop().await;
    }
}

/// Everybody is linked to everybody, says something, and it arrives once, as it was said, under
/// the name of who said it.
async fn all_talk(room: RoomId, peers: &[&Peer], word: &str) {
    for a in peers {
        for b in peers.iter().filter(|b| b.id() != a.id()) {
            a.wait_linked(b.id()).await;
        }
    }
    for speaker in peers {
        let text = format!("{word}, says {}", speaker.node.me().name);
        let said = SendText {
            room,
            text: text.clone(),
        };
        speaker.node.send_text(said).await.unwrap();
        for hearer in peers.iter().filter(|p| p.id() != speaker.id()) {
            // Newcomers first hear what was said before.
            let pick = |c: &Change| match c {
                Change::Message(m) if m.author == speaker.id() && m.text == text => Some(()),
                _ => None,
            };
            hearer.wait(&text, pick).await;
        }
    }
    for peer in peers {
        let now = peer.node.snapshot(Empty {}).await.unwrap();
        let mut want: Vec<_> = peers.iter().map(|p| p.id()).collect();
        want.retain(|id| *id != peer.id());
        want.sort_unstable();
        let mut people: Vec<_> = now.people.iter().map(|p| p.peer).collect();
        people.sort_unstable();
        assert_eq!(people, want, "nobody else is there: {now:#?}");
        let page = HistoryPage {
            room,
            before: None,
            max: 500,
        };
        let history = peer.node.history(page).await.unwrap();
        for m in &history.messages {
            let author = peers.iter().find(|p| p.id() == m.author).unwrap();
            let mark = format!(", says {}", author.node.me().name);
            assert!(m.text.ends_with(&mark), "as it was said: {m:?}");
        }
        let mut texts: Vec<_> = history.messages.iter().map(|m| &m.text).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), history.messages.len(), "each word once");
    }
}

async fn room_now(peer: &Peer) -> RoomView {
    let now = peer.node.snapshot(Empty {}).await.unwrap();
    now.rooms.into_iter().next().unwrap()
}

async fn people_now(peer: &Peer) -> Vec<PersonView> {
    peer.node.snapshot(Empty {}).await.unwrap().people
}

/// While the middle lies `times` times, nobody is linked to anybody.
async fn no_links_while_it_lies(stage: &Stage, peers: &[&Peer], times: u64) {
    let mut lies = Box::pin(stage.middle.wait_meddled(times));
    let [ada, ..] = peers else { panic!() };
    loop {
        tokio::select! {
            () = &mut lies => break,
            change = ada.events.next() => {
                if let Some(Update::Change(change)) = change
                    && let Change::Person(p) = *change
                {
                    assert_ne!(p.link, LinkPhase::Connected);
                }
            }
        }
    }
    for peer in peers {
        let people = people_now(peer).await;
        assert!(
            people.iter().all(|p| p.link != LinkPhase::Connected),
            "{people:#?}"
        );
        // The room is there, the people are not connected: that is what a user sees. A machine
        // that wakes or moves may just be dialling anew.
        let joined = |r: &RoomView| r.session == SessionPhase::Joined;
        peer.wait_room(stage.room, "the room is there", joined)
            .await;
    }
}

/// A server that does this keeps people apart; and never comes between them.
async fn keeps_apart(how: Treachery, names: &[&str], times: u64) {
    let stage = Stage::set(Some(how)).await;
    let mut others = Vec::new();
    for name in names {
        others.push(stage.newcomer(name).await);
    }
    let all: Vec<&Peer> = others.iter().chain([&stage.ada]).collect();
    no_links_while_it_lies(&stage, &all, times).await;
    stage.middle.behave();
    all_talk(stage.room, &all, "at last").await;
    stage.strike(others).await;
}

/// A server that does this may or may not keep people apart.
async fn does_no_harm(how: Treachery) {
    let stage = Stage::set(Some(how)).await;
    let bob = stage.newcomer("Bob").await;
    stage.middle.wait_meddled(6).await;
    stage.middle.behave();
    all_talk(stage.room, &[&stage.ada, &bob], "at last").await;
    stage.strike(vec![bob]).await;
}

/// A server that does this achieves nothing at all: people link under its eyes.
async fn achieves_nothing(how: Treachery) {
    let stage = Stage::set(Some(how)).await;
    let bob = stage.newcomer("Bob").await;
    all_talk(stage.room, &[&stage.ada, &bob], "under its eyes").await;
    assert!(stage.middle.meddled() > 0, "it did lie");
    stage.middle.behave();
    let cleo = stage.newcomer("Cleo").await;
    all_talk(stage.room, &[&stage.ada, &bob, &cleo], "afterwards").await;
    stage.strike(vec![bob, cleo]).await;
}

/// A server that starts to do this when people are linked does not touch their link, and a user
/// sees in the room `phase` for it. When it behaves again, newcomers are found, if need be after
/// a restart of the server.
async fn touches_no_link(how: Treachery, times: u64, phase: SessionPhase, restart: bool) {
    let stage = Stage::set(None).await;
    let bob = stage.newcomer("Bob").await;
    all_talk(stage.room, &[&stage.ada, &bob], "before").await;
    stage.middle.turn(how);
    stage.middle.wait_meddled(times).await;
    let clear = |r: &RoomView| {
        r.session == phase && (phase != Waiting || r.why == Some(Code::NotARoomServer))
    };
    stage
        .ada
        .wait_room(stage.room, "a word about the server", clear)
        .await;
    for peer in [&stage.ada, &bob] {
        let people = people_now(peer).await;
        let [person] = &people[..] else {
            panic!("{people:#?}")
        };
        assert_eq!(person.link, LinkPhase::Connected);
        assert_eq!(person.presence, Presence::Online);
    }
    all_talk(stage.room, &[&stage.ada, &bob], "meanwhile").await;
    stage.middle.behave();
    if restart {
        stage.middle.cut();
    }
    let cleo = stage.newcomer("Cleo").await;
    all_talk(stage.room, &[&stage.ada, &bob, &cleo], "afterwards").await;
    stage.strike(vec![bob, cleo]).await;
}

macro_rules! treacheries {
    ($($name:ident: $run:ident($($arg:expr),*);)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $run($($arg),*).await;
        }
    )*};
}

use SessionPhase::{Joined, Waiting};
use Treachery as T;

treacheries! {
    a_changed_byte_gives_no_link: keeps_apart(T::Flip, &["Bob"], 4);
    a_changed_tag_gives_no_link: keeps_apart(T::FlipTag, &["Bob"], 4);
    half_a_message_gives_no_link: keeps_apart(T::Truncate, &["Bob"], 4);
    a_step_out_of_turn_gives_no_link: keeps_apart(T::WrongStep, &["Bob"], 4);
    a_replay_gives_no_link: keeps_apart(T::Replay, &["Bob"], 4);
    our_own_words_give_no_link: keeps_apart(T::Reflect, &["Bob"], 4);
    silence_gives_no_link: keeps_apart(T::DropAll, &["Bob"], 3);
    a_forged_sender_of_two_gives_no_link: keeps_apart(T::ForgeFrom, &["Bob"], 4);
    a_forged_sender_of_three_gives_no_link: keeps_apart(T::ForgeFrom, &["Bob", "Cleo"], 20);
    bodies_swapped_between_two_give_no_link: keeps_apart(T::SwapBodies, &["Bob"], 4);
    bodies_swapped_between_three_give_no_link: keeps_apart(T::SwapBodies, &["Bob", "Cleo"], 20);

    signals_twice_achieve_nothing: achieves_nothing(T::Twice);
    signals_out_of_order_do_no_harm: does_no_harm(T::Reorder);
    a_loss_of_every_other_signal_does_no_harm: does_no_harm(T::DropSome);
    a_list_with_doubles_and_ourselves_achieves_nothing: achieves_nothing(T::Doubles);
    a_thousand_invented_members_achieve_nothing: achieves_nothing(T::Crowd);
    a_thousand_servers_of_junk_achieve_nothing: achieves_nothing(T::JunkIce);
    invented_members_and_their_words_achieve_nothing: achieves_nothing(T::Invent);
    errors_about_nothing_achieve_nothing: achieves_nothing(T::Errors);

    lies_about_who_left_touch_no_link: touches_no_link(T::LeftLies, 3, Joined, false);
    errors_about_nothing_touch_no_link: touches_no_link(T::Errors, 10, Joined, false);
    invented_members_touch_no_link: touches_no_link(T::Invent, 20, Joined, false);
    members_without_end_touch_no_link: touches_no_link(T::Comings, 8_000, Joined, true);
    a_server_that_does_not_read_touches_no_link: touches_no_link(T::Deaf, 8_000, Joined, true);
    no_json_touches_no_link: touches_no_link(T::NotJson, 2, Waiting, false);
    json_of_great_depth_touches_no_link: touches_no_link(T::Nested, 2, Waiting, false);
    a_binary_message_touches_no_link: touches_no_link(T::Binary, 2, Waiting, false);
    bad_utf8_touches_no_link: touches_no_link(T::NotUtf8, 2, Waiting, false);
    reserved_bits_touch_no_link: touches_no_link(T::Reserved, 2, Waiting, false);
    a_huge_message_touches_no_link: touches_no_link(T::Oversize, 2, Waiting, false);
    an_announced_monster_touches_no_link: touches_no_link(T::HugeHeader, 2, Waiting, false);
    fragments_without_end_touch_no_link: touches_no_link(T::EndlessText, 2, Waiting, false);
    empty_fragments_without_end_touch_no_link: touches_no_link(T::EndlessEmpty, 2, Waiting, false);
    pings_without_end_touch_no_link: touches_no_link(T::Pings, 10, Joined, true);
}

/// Two rooms with two people each, of which one is in both: what is said in one room is of no
/// use in the other, and who is in one is not in the other.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_cannot_be_crossed() {
    for how in [T::CrossRooms, T::SwapBodies] {
        let stage = Stage::set(Some(how)).await;
        let mallory = Peer::start(&stage.dir.path().join("mallory"), "Mallory").await;
        let server = stage.middle.url();
        let made = mallory.node.create_room(CreateRoom { server }).await;
        let invite = made.unwrap().invite;
        let other = stage.ada.node.join_room(JoinRoom { invite }).await;
        let other = other.unwrap().room;
        let bob = stage.newcomer("Bob").await;
        stage.middle.wait_meddled(20).await;
        stage.middle.behave();
        stage.middle.cut();
        bob.wait_linked(stage.ada.id()).await;
        mallory.wait_linked(stage.ada.id()).await;
        for (peer, stranger) in [(&bob, &mallory), (&mallory, &bob)] {
            let people = people_now(peer).await;
            assert!(people.iter().all(|p| p.peer != stranger.id()));
        }
        let linked = |p: &PersonView| p.peer == mallory.id() && p.link == LinkPhase::Connected;
        let pick = |c: &Change| matches!(c, Change::Person(p) if linked(p)).then_some(());
        if !people_now(&stage.ada).await.iter().any(linked) {
            stage.ada.wait("Mallory", pick).await;
        }
        for person in people_now(&stage.ada).await {
            let home = if person.peer == bob.id() {
                stage.room
            } else {
                other
            };
            assert_eq!(person.room, home, "{how:?}: {person:#?}");
        }
        stage.strike(vec![bob, mallory]).await;
    }
}

/// What passes the server shows neither keys nor names nor words nor addresses.
#[tokio::test(flavor = "multi_thread")]
async fn it_overhears_nothing() {
    let stage = Stage::set(None).await;
    let bob = stage.newcomer("Bob the Builder").await;
    all_talk(stage.room, &[&stage.ada, &bob], "secret").await;
    let seen = stage.middle.seen();
    assert!(seen.bodies.len() >= 6, "there was something to hear");
    for body in &seen.bodies {
        for word in [
            "Bob",
            "secret",
            "fingerprint",
            "candidate",
            "127.0.0.1",
            "v=0",
        ] {
            let found = body.windows(word.len()).any(|w| w == word.as_bytes());
            assert!(!found, "{word} in {body:?}");
        }
    }
    stage.strike(vec![bob]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_sid_is_not_joined() {
    let stage = Stage::set(Some(T::WrongYou)).await;
    let clear = |r: &RoomView| r.session == Waiting && r.why == Some(Code::NotARoomServer);
    stage
        .ada
        .wait_room(stage.room, "a word about it", clear)
        .await;
    stage.middle.behave();
    let bob = stage.newcomer("Bob").await;
    all_talk(stage.room, &[&stage.ada, &bob], "at last").await;
    stage.strike(vec![bob]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_members_are_not_believed() {
    let stage = Stage::set(Some(T::Multitude)).await;
    let clear = |r: &RoomView| r.session == Waiting && r.why == Some(Code::NotARoomServer);
    stage
        .ada
        .wait_room(stage.room, "a word about it", clear)
        .await;
    assert!(stage.middle.seen().addressed.is_empty());
    stage.middle.behave();
    let bob = stage.newcomer("Bob").await;
    all_talk(stage.room, &[&stage.ada, &bob], "at last").await;
    stage.strike(vec![bob]).await;
}

/// Who is invented costs us a handshake message at most, and only so many at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_invented_members_are_mostly_ignored() {
    let stage = Stage::set(Some(T::Crowd)).await;
    stage
        .middle
        .wait_seen("handshakes", |s| !s.addressed.is_empty())
        .await;
    stage.middle.behave();
    let bob = stage.newcomer("Bob").await;
    stage.ada.wait_linked(bob.id()).await;
    let people = people_now(&stage.ada).await;
    assert_eq!(people.len(), 1, "nobody is invented into the room");
    // Two rooms full: those of Ada and, if he came before it behaved, of Bob.
    let addressed = stage.middle.seen().addressed.len();
    assert!(addressed <= 2 * 256, "{addressed} of 1000 were addressed");
    stage.strike(vec![bob]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_challenges_gets_one_proof() {
    let stage = Stage::set(Some(T::Challenges)).await;
    stage.middle.wait_seen("a proof", |s| s.proofs > 0).await;
    stage.middle.wait_meddled(1).await;
    let seen = stage.middle.seen();
    assert!(
        seen.proofs <= seen.dials,
        "{} of {}",
        seen.proofs,
        seen.dials
    );
    stage.middle.behave();
    stage.middle.cut();
    let bob = stage.newcomer("Bob").await;
    all_talk(stage.room, &[&stage.ada, &bob], "at last").await;
    stage.strike(vec![bob]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_throws_out_is_tried_again() {
    let stage = Stage::set(Some(T::KickOut)).await;
    stage.middle.wait_seen("four dials", |s| s.dials >= 4).await;
    let tried = |r: &RoomView| r.why.is_some() || r.session != Joined;
    stage.ada.wait_room(stage.room, "another try", tried).await;
    stage.middle.behave();
    let bob = stage.newcomer("Bob").await;
    all_talk(stage.room, &[&stage.ada, &bob], "at last").await;
    stage.strike(vec![bob]).await;
}

/// An error for an answer: final ones end the first attempt with a reason, and the next attempt
/// of the user starts anew; whom the server once let in it cannot send away for good.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_shown_and_never_the_end() {
    let stage = Stage::set(None).await;
    let bob = stage.newcomer("Bob").await;
    all_talk(stage.room, &[&stage.ada, &bob], "before").await;
    stage.middle.turn(T::Refusals);
    let cleo = stage.newcomer("Cleo").await;
    let refused = |r: &RoomView| r.why.is_some_and(|code| !code.text().is_empty());
    cleo.wait_room(stage.room, "a reason", refused).await;
    // Some of the codes are final, whoever gets them.
    stage.middle.cut();
    stage.middle.wait_meddled(8).await;
    for peer in [&stage.ada, &bob] {
        let room = room_now(peer).await;
        assert_ne!(room.session, SessionPhase::Refused);
        assert!(people_now(peer).await[0].link == LinkPhase::Connected);
    }
    all_talk(stage.room, &[&stage.ada, &bob], "meanwhile").await;
    stage.middle.behave();
    let invite = stage.invite.clone();
    cleo.node.join_room(JoinRoom { invite }).await.unwrap();
    all_talk(stage.room, &[&stage.ada, &bob, &cleo], "afterwards").await;
    stage.strike(vec![bob, cleo]).await;
}
