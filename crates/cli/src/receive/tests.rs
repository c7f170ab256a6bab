use super::*;
use crate::testing::{ADA, offer};
use FetchPhase::{
    Accepted, Blocked, Declined, Done, Failed, Fetching, Offered, Paused, Queued, Seen, Stalled,
    Withdrawn,
};

fn standing(phase: FetchPhase, answer: Answer, why: Option<Code>) -> Standing {
    let mut view = offer("x", &[("x", 100)]);
    view.phase = phase;
    view.why = why;
    Standing {
        view,
        linked: true,
        answer,
        shown: true,
    }
}

#[test]
fn the_end_is_decided_by_all_offers() {
    use Answer::{Accepted as Sure, No, Open, Refused, Yes};
    let full = Some(Code::DiskFull);
    type Row<'a> = (&'a [(FetchPhase, Answer, Option<Code>)], Verdict);
    let rows: &[Row<'_>] = &[
        (&[], Verdict::Wait),
        (&[(Seen, Open, None)], Verdict::Wait),
        (&[(Offered, Open, None)], Verdict::Wait),
        (&[(Offered, Yes, None)], Verdict::Wait),
        (&[(Accepted, Sure, None)], Verdict::Wait),
        (&[(Fetching, Sure, None)], Verdict::Wait),
        (&[(Stalled, Sure, None)], Verdict::Wait),
        (&[(Done, Sure, None)], Verdict::Done),
        (&[(Done, Sure, None), (Fetching, Sure, None)], Verdict::Wait),
        (&[(Done, Sure, None), (Offered, Open, None)], Verdict::Wait),
        (&[(Done, Sure, None), (Declined, No, None)], Verdict::Done),
        (&[(Failed, Sure, full)], Verdict::Failed(Code::DiskFull)),
        (
            &[(Failed, Sure, full), (Fetching, Sure, None)],
            Verdict::Wait,
        ),
        (
            &[(Failed, Sure, full), (Stalled, Sure, None)],
            Verdict::Failed(Code::DiskFull),
        ),
        (
            &[(Failed, Sure, full), (Done, Sure, None)],
            Verdict::Failed(Code::DiskFull),
        ),
        (&[(Blocked, Sure, full)], Verdict::Failed(Code::DiskFull)),
        (
            &[(Blocked, Sure, full), (Fetching, Sure, None)],
            Verdict::Wait,
        ),
        (&[(Paused, Sure, None)], Verdict::Wait),
        (&[(Queued, Sure, None), (Done, Sure, None)], Verdict::Wait),
        (&[(Declined, Refused, None)], Verdict::Declined),
        (&[(Offered, Refused, None)], Verdict::Declined),
        (&[(Offered, No, None)], Verdict::Wait),
        (
            &[(Declined, No, None), (Offered, Open, None)],
            Verdict::Wait,
        ),
        (&[(Withdrawn, Open, None)], Verdict::Wait),
        (&[(Withdrawn, Sure, None)], Verdict::Failed(Code::OfferGone)),
        (
            &[(Withdrawn, Sure, Some(Code::SourceChanged))],
            Verdict::Failed(Code::SourceChanged),
        ),
        (
            &[(Withdrawn, Sure, None), (Done, Sure, None)],
            Verdict::Done,
        ),
    ];
    for (offers, want) in rows {
        let all: Vec<Standing> = offers
            .iter()
            .map(|(p, a, w)| standing(*p, *a, *w))
            .collect();
        assert_eq!(verdict(all.iter(), false, false), *want, "{offers:?}");
        assert_eq!(
            verdict(all.iter(), true, false),
            Verdict::Wait,
            "{offers:?}"
        );
    }
}

#[test]
fn an_unanswered_offer_of_somebody_away_holds_nothing_up() {
    let done = standing(Done, Answer::Accepted, None);
    let mut open = standing(Seen, Answer::Open, None);
    open.linked = false;
    let full = standing(Blocked, Answer::Accepted, Some(Code::DiskFull));
    assert_eq!(verdict([&full].into_iter(), false, true), Verdict::Wait);
    assert_eq!(
        verdict([&done, &open].into_iter(), false, false),
        Verdict::Done
    );
}

#[test]
fn a_failure_that_is_not_final_says_how_to_go_on() {
    let full = failure(Code::DiskFull);
    assert_eq!(full.exit as u8, 7);
    assert!(
        full.message
            .ends_with("Run the same command again to go on.")
    );
    assert_eq!(failure(Code::Corrupt), Failure::of(Code::Corrupt));
}

#[test]
fn an_offer_is_shown_before_anything_is_written() {
    let one = offer("photo.jpg", &[("photo.jpg", 3_210_000)]);
    assert_eq!(show("Ada", &one), ["Ada offers photo.jpg: 1 file, 3.2 MB"]);
    let mut many = offer("a\x1b[2Jb", &[("p/x\n", 1000), ("p/y", 5)]);
    many.entries = 12;
    many.note = Some("for\nyou".into());
    assert_eq!(
        show("Ada", &many),
        [
            "Ada offers a\\u{1b}[2Jb: 12 files and folders, 1.0 kB",
            "  \"for\\nyou\"",
            "  p/x\\n  1.0 kB",
            "  p/y  5 bytes",
            "  … and 10 more",
        ]
    );
}

#[test]
fn each_step_is_said_once() {
    let line = |before, now, resumed| {
        let before = standing(before, Answer::Accepted, None).view;
        let mut view = standing(now, Answer::Accepted, None).view;
        view.traffic.resumed = resumed;
        view.done = resumed;
        step_line("Ada", &before, &view)
    };
    assert_eq!(line(Offered, Offered, 0), None);
    assert_eq!(line(Accepted, Fetching, 0), None);
    assert_eq!(
        line(Accepted, Fetching, 50).unwrap(),
        "x: 50 bytes are here already; going on."
    );
    assert_eq!(
        line(Fetching, Done, 0).unwrap(),
        "x is complete and checked."
    );
    assert_eq!(
        line(Offered, Withdrawn, 0).unwrap(),
        "Ada no longer offers x."
    );
    assert!(
        line(Fetching, Stalled, 0)
            .unwrap()
            .contains("to Ada is lost")
    );
    // Every fetch passes through this on its way to its first byte.
    assert_eq!(line(Accepted, Stalled, 0), None);
}

#[test]
fn each_pause_is_said_once_and_whose_it_is() {
    let held = |phase, here, there| {
        let mut view = standing(phase, Answer::Accepted, None).view;
        view.paused = kith_api::Paused { here, there };
        view.done = 50;
        view
    };
    let (flows, ours) = (held(Fetching, false, false), held(Paused, true, false));
    let (theirs, both) = (held(Paused, false, true), held(Paused, true, true));
    for (before, now, want) in [
        (&flows, &ours, Some("x: paused by you.")),
        (&ours, &ours, None),
        (&ours, &both, Some("x: paused by you and Ada.")),
        (&both, &theirs, Some("x: paused by Ada.")),
        (&theirs, &flows, Some("x: going on at 50 bytes.")),
    ] {
        assert_eq!(step_line("Ada", before, now).as_deref(), want);
    }
}

#[test]
fn only_a_clear_yes_is_a_yes() {
    let text = |t: &str| Line::Text(t.into());
    for yes in ["y", "Y", " yes ", "YES"] {
        assert!(is_yes(Some(&text(yes))), "{yes}");
    }
    for no in ["", "n", "yep", "sure", "ye"] {
        assert!(!is_yes(Some(&text(no))), "{no}");
    }
    assert!(!is_yes(Some(&Line::TooLong)) && !is_yes(None));
}

#[test]
fn the_closing_line_reads_as_promised() {
    let mut o = offer("x", &[("a", 100_000_000), ("b", 200_000_000)]);
    o.traffic.received = 300_000_000;
    assert_eq!(
        closing(&[&o], Duration::from_millis(1200), "/in"),
        "Received 2 files, 300 MB in 1.2 s (250 MB/s) into /in."
    );
    assert_eq!(
        closing(&[&o, &o], Duration::from_secs(0), "/in"),
        "Received 2 offers, 600 MB in 0.0 s into /in."
    );
}

#[test]
fn the_summary_adds_up_the_run() {
    let options = Receive {
        invite: None,
        into: "/in".into(),
        yes: true,
        stay: false,
        accept_from: Vec::new(),
        accept_most: None,
        limit: None,
        wait: false,
        control: crate::args::Control { commands: false },
    };
    let mut r = Receiving::new("/in".into(), &options);
    for (n, phase) in [(1, Done), (2, Done), (3, Withdrawn)] {
        let mut s = standing(phase, Answer::Accepted, None);
        s.view.traffic.received = 60;
        s.view.traffic.resumed = 40;
        r.offers.insert((ADA, OfferId([n; 16])), s);
    }
    r.took = Duration::from_secs(2);
    let json = serde_json::to_value(r.summary()).unwrap();
    assert_eq!(json["bytes"], 200);
    assert_eq!(json["traffic"]["received"], 180);
    assert_eq!(json["traffic"]["resumed"], 120);
    assert_eq!(json["rate"], 90.0);
    assert_eq!(json["offers"].as_array().unwrap().len(), 3);
}

#[test]
fn a_file_is_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    std::fs::write(&file, "x").unwrap();
    assert_eq!(folder(&file).unwrap_err().exit as u8, 7);
    assert!(folder(&dir.path().join("new")).is_ok());
}
