//! Names that reach for other places.

use kith_api::FetchPhase;
use kith_protocol::{Code, OfferId};
use kith_tests::hostile_peer::{Scene, entry, folder};

const OFFER: OfferId = OfferId([8; 16]);

#[tokio::test(flavor = "multi_thread")]
async fn names_that_point_elsewhere_are_refused_before_anything_is_written() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let link = hostile.link().await;
    let deep = "a/".repeat(600) + "x";
    let names = [
        "../../x",
        "../x",
        "a/../../x",
        "/etc/x",
        "//etc/x",
        "a//b",
        "a/",
        ".",
        "..",
        "./x",
        "nul\0.txt",
        "a/./b",
        &deep,
    ];
    for (n, name) in (1u8..).zip(names) {
        let offer = OfferId([n; 16]);
        // A good one before it must not be written either.
        link.announce(offer, "x", &[entry("good.txt", 1), entry(name, 1)])
            .await;
        scene.accept(hostile.me, offer).await;
        let why = scene.wait_failed(hostile.me, offer).await;
        assert_eq!(why, Code::BadName, "{name:?}");
        assert_eq!(scene.downloaded(), [] as [&str; 0], "{name:?}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_can_be_mended_stay_in_the_folder_and_replace_nothing() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let mut link = hostile.link().await;
    let long = "n".repeat(300);
    let names = [
        "C:\\x",
        "a\\..\\..\\x",
        "new\nline",
        "\u{202e}gpj.exe",
        "CON",
        "com1.txt",
        "~",
        "x. ",
        "a:b",
        &long,
        "caf\u{e9}",
        "cafe\u{301}",
        "CAFÉ",
        "same",
        "same",
        "\u{1b}[2J",
        ".x.0123456789abcdef.part",
        "...",
        "-rf",
    ];
    let entries: Vec<_> = names.iter().map(|name| entry(name, 5)).collect();
    link.announce(OFFER, "evil", &entries).await;
    scene.accept(hostile.me, OFFER).await;
    let transfer = link.accepted(OFFER).await;
    for n in 0..names.len() as u32 {
        let content = format!("{n:05}");
        link.send_file(OFFER, transfer, n, content.as_bytes()).await;
    }
    let ended = |o: &kith_api::OfferView| {
        matches!(
            o.phase,
            FetchPhase::Done | FetchPhase::Failed | FetchPhase::Blocked
        )
    };
    let end = scene.wait_offer(hostile.me, OFFER, ended).await;
    assert_eq!(end.phase, FetchPhase::Done, "{end:?}");
    let written = scene.downloaded();
    assert_eq!(written.len(), names.len(), "one file each: {written:?}");
    let mut folded = std::collections::BTreeSet::new();
    for name in &written {
        assert!(
            !name.contains(['\\', ':', '\n', '\u{1b}', '\u{202e}', '/']),
            "{name:?}"
        );
        assert!(name.len() <= 240 && !name.ends_with(['.', ' ']), "{name:?}");
        assert!(
            folded.insert(name.to_lowercase()),
            "told apart by case alone: {name:?}"
        );
    }
    let contents: std::collections::BTreeSet<_> = written
        .iter()
        .map(|name| std::fs::read_to_string(scene.downloads().join(name)).unwrap())
        .collect();
    assert_eq!(contents.len(), names.len(), "none replaced another");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_a_folder_of_one_name_do_not_meet() {
    let scene = Scene::new().await;
    let mut hostile = scene.hostile().await;
    let mut link = hostile.link().await;
    let entries = [
        entry("a", 5),
        folder("a"),
        entry("a/b", 5),
        entry("a/b/c", 5),
        entry("A", 5),
    ];
    link.announce(OFFER, "twice", &entries).await;
    scene.accept(hostile.me, OFFER).await;
    let transfer = link.accepted(OFFER).await;
    for n in [0, 2, 3, 4] {
        link.send_file(OFFER, transfer, n, b"12345").await;
    }
    let ended = |o: &kith_api::OfferView| {
        matches!(
            o.phase,
            FetchPhase::Done | FetchPhase::Failed | FetchPhase::Blocked
        )
    };
    let end = scene.wait_offer(hostile.me, OFFER, ended).await;
    // Whether `b` can be both depends on what came first: it ends, and says how.
    assert!(
        end.phase == FetchPhase::Done || end.why == Some(Code::DiskDenied),
        "{end:?}"
    );
    scene.end().await;
}
