//! Lies of somebody who passes on what another offered.

use kith_api::{FetchPhase, OfferView};
use kith_core::offer::offer_id;
use kith_peer::seal::Identity;
use kith_protocol::frame::{Frame, Hashes, ROOTS};
use kith_protocol::ids::{Digest, Signature};
use kith_protocol::peer::{Entry, PeerMessage};
use kith_protocol::voucher::{self, Voucher};
use kith_protocol::{Code, OfferId, PeerId, limits};
use kith_tests::hostile_peer::{Hostile, Link, Scene, chunk, entry, root};

/// What somebody, who is not there, really offered: a file of one chunk and one of three.
struct Original {
    by: Identity,
    files: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    offer: OfferId,
}

impl Original {
    fn new(scene: &Scene) -> Self {
        let by = Identity::generate().unwrap();
        let files = vec![vec![3; 1_000], vec![4; 2 * limits::CHUNK + 5]];
        let entries = vec![entry("a.bin", 1_000), entry("b.bin", files[1].len() as u64)];
        let offer = offer_id(&by.id_pk(), &scene.room, "a.bin", &entries);
        Original {
            by,
            files,
            entries,
            offer,
        }
    }

    fn roots(&self) -> Vec<Digest> {
        self.files.iter().map(|file| root(file)).collect()
    }

    fn owner(&self) -> PeerId {
        self.by.peer_id()
    }

    fn voucher(&self, scene: &Scene) -> Voucher {
        let mut word = Voucher {
            by: self.by.id_pk(),
            name: "a.bin".into(),
            entries: 2,
            total: self.entries.iter().map(|e| e.size).sum(),
            root: voucher::root(&self.roots()),
            to: Vec::new(),
            sig: Signature([0; 64]),
        };
        self.by.vouch(&scene.room, &self.offer, &mut word);
        word
    }

    async fn stand_in(&self, link: &Link, voucher: Voucher) {
        link.say(&PeerMessage::StandIn {
            offer_id: self.offer,
            voucher: Box::new(voucher),
        })
        .await;
    }

    async fn say_entries(&self, link: &Link, entries: &[Entry]) {
        link.say(&PeerMessage::Entries {
            offer_id: self.offer,
            first: 0,
            entries: entries.to_vec(),
        })
        .await;
    }

    /// Ada has taken it, through the hostile one.
    async fn accepted(&self, scene: &Scene) -> (Hostile, Link, u32) {
        let mut hostile = scene.hostile().await;
        let mut link = hostile.link().await;
        self.stand_in(&link, self.voucher(scene)).await;
        self.say_entries(&link, &self.entries).await;
        scene.accept(self.owner(), self.offer).await;
        let transfer = link.accepted(self.offer).await;
        (hostile, link, transfer)
    }
}

async fn say_roots(link: &Link, transfer: u32, roots: &[Digest]) {
    let hashes: Vec<u8> = roots.iter().flat_map(|r| r.0).collect();
    let page = Frame::Hashes(Hashes {
        transfer,
        entry: ROOTS,
        first: 0,
        hashes: hashes.into(),
    });
    link.frame(page.to_bytes()).await;
}

async fn say_file(link: &Link, transfer: u32, entry: u32, content: &[u8]) {
    for (index, payload) in (0u64..).zip(content.chunks(limits::CHUNK)) {
        link.frame(chunk(transfer, entry, index, payload)).await;
    }
}

/// Ada asks no more of this one, and waits for another; nothing has its name.
async fn spurned(scene: &Scene, of: &Original, link: &mut Link) {
    let cancelled = |m: &PeerMessage| matches!(m, PeerMessage::Cancel { .. }).then_some(());
    link.hear("the end of it", cancelled).await;
    let waits = |o: &OfferView| o.by.is_none() && o.phase != FetchPhase::Fetching;
    scene.wait_offer(of.owner(), of.offer, waits).await;
    of.stand_in(link, of.voucher(scene)).await;
    scene.honest_work().await;
    scene.wait_offer(of.owner(), of.offer, waits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_that_nobody_signed_ends_the_link() {
    let scene = Scene::new().await;
    let of = Original::new(&scene);
    let mut hostile = scene.hostile().await;
    let link = hostile.link().await;
    let forged = Voucher {
        root: Digest([6; 32]),
        ..of.voucher(&scene)
    };
    of.stand_in(&link, forged).await;
    scene.wait_refused(hostile.me, Code::PeerProtocol).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_manifest_under_the_same_id_is_not_taken() {
    let scene = Scene::new().await;
    let of = Original::new(&scene);
    let mut hostile = scene.hostile().await;
    let mut link = hostile.link().await;
    of.stand_in(&link, of.voucher(&scene)).await;
    let other = [of.entries[0].clone(), entry(".bashrc", of.entries[1].size)];
    of.say_entries(&link, &other).await;
    spurned(&scene, &of, &mut link).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_that_were_not_vouched_for_end_it() {
    let scene = Scene::new().await;
    let of = Original::new(&scene);
    let (_hostile, mut link, transfer) = of.accepted(&scene).await;
    // The chunk comes before them, and would be whole by itself.
    say_file(&link, transfer, 0, &[9; 1_000]).await;
    say_roots(&link, transfer, &[root(&[9; 1_000]), of.roots()[1]]).await;
    spurned(&scene, &of, &mut link).await;
    assert!(!scene.downloaded().contains(&"a.bin".into()));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_what_was_vouched_for_get_no_name() {
    let scene = Scene::new().await;
    let of = Original::new(&scene);
    let (_hostile, mut link, transfer) = of.accepted(&scene).await;
    say_roots(&link, transfer, &of.roots()).await;
    // Right checksums of wrong chunks, for the small file and for the large one.
    say_file(&link, transfer, 0, &[9; 1_000]).await;
    let asked = |m: &PeerMessage| matches!(m, PeerMessage::Want { entry: 0, .. }).then_some(());
    link.hear("it is asked for again", asked).await;
    say_file(&link, transfer, 1, &vec![9; of.files[1].len()]).await;
    spurned(&scene, &of, &mut link).await;
    let named = |name: &&String| !name.ends_with(".part");
    assert_eq!(scene.downloaded().iter().filter(named).count(), 0);
    scene.end().await;
}
