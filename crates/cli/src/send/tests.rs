use super::*;
use crate::testing::{ADA, BOB, Shared, offer, receiver};
use ServePhase::{Declined, Done, Failed, Offered, Paused as HeldBack, Serving, Stalled};

#[test]
fn the_end_is_decided_by_all_receivers() {
    let changed = Some(Code::SourceChanged);
    let full = Some(Code::DiskFull);
    type Row<'a> = (&'a [(ServePhase, Option<Code>)], u32, Verdict);
    let rows: &[Row<'_>] = &[
        (&[], 1, Verdict::Wait),
        (&[(Offered, None)], 1, Verdict::Wait),
        (&[(Serving, None)], 1, Verdict::Wait),
        (&[(Done, None)], 1, Verdict::Done),
        (&[(Done, None)], 2, Verdict::Wait),
        (&[(Done, None), (Done, None)], 2, Verdict::Done),
        (&[(Done, None), (Offered, None)], 1, Verdict::Done),
        (&[(Done, None), (Serving, None)], 1, Verdict::Wait),
        (&[(Done, None), (Stalled, None)], 1, Verdict::Wait),
        (&[(Done, None), (Declined, None)], 1, Verdict::Done),
        (&[(Declined, Some(Code::Declined))], 1, Verdict::Wait),
        (&[(Failed, full)], 1, Verdict::Wait),
        (&[(Failed, full), (Done, None)], 1, Verdict::Done),
        (
            &[(Failed, changed)],
            1,
            Verdict::Failed(Code::SourceChanged),
        ),
        (&[(Failed, changed), (Serving, None)], 1, Verdict::Wait),
        (
            &[(Failed, changed), (Stalled, None)],
            1,
            Verdict::Failed(Code::SourceChanged),
        ),
        (&[(Offered, changed)], 1, Verdict::Wait),
    ];
    for (receivers, wanted, want) in rows {
        let views: Vec<ReceiverView> = receivers
            .iter()
            .map(|(p, w)| receiver(ADA, *p, *w))
            .collect();
        assert_eq!(verdict(&views, *wanted), *want, "{receivers:?}");
    }
}

fn stood(before: Option<ServePhase>, r: &ReceiverView) -> Option<String> {
    receiver_line(before.map(|phase| (phase, Paused::default())), r)
}

#[test]
fn each_step_of_a_receiver_is_said_once() {
    let line = |before, phase, why| stood(before, &receiver(ADA, phase, why));
    for (before, phase, why, want) in [
        (None, Offered, None, Some("Ada sees the offer.")),
        (Some(Offered), Offered, None, None),
        (Some(Offered), Serving, None, Some("Ada accepts.")),
        (Some(Stalled), Serving, None, Some("Ada is back; going on.")),
        (
            Some(Serving),
            Done,
            None,
            Some("Ada has everything, checked."),
        ),
        (
            Some(Offered),
            Declined,
            Some(Code::Declined),
            Some("Ada does not want it."),
        ),
    ] {
        assert_eq!(line(before, phase, why).as_deref(), want, "{phase:?}");
    }
    let failed = line(Some(Serving), Failed, Some(Code::DiskFull)).unwrap();
    assert!(failed.starts_with("Ada: The disk is full."), "{failed}");
}

#[test]
fn each_pause_is_said_once_and_whose_it_is() {
    let held = |phase, here, there| {
        let mut r = receiver(ADA, phase, None);
        r.paused = Paused { here, there };
        r
    };
    let (flows, ours) = (held(Serving, false, false), held(HeldBack, true, false));
    let (theirs, both) = (held(HeldBack, false, true), held(HeldBack, true, true));
    for (before, now, want) in [
        (&flows, &ours, Some("Ada: paused by you.")),
        (&ours, &ours, None),
        (&ours, &both, Some("Ada: paused by you and them.")),
        (&both, &theirs, Some("Ada: paused by them.")),
        (&theirs, &flows, Some("Ada: going on.")),
    ] {
        let line = receiver_line(Some((before.phase, before.paused)), now);
        assert_eq!(line.as_deref(), want);
    }
}

#[test]
fn a_name_of_a_stranger_stays_on_its_line() {
    let mut r = receiver(ADA, Offered, None);
    r.name = "A\nB\x1b[2J".into();
    let line = receiver_line(None, &r).unwrap();
    assert_eq!(line, "A\\nB\\u{1b}[2J sees the offer.");
}

#[test]
fn the_closing_line_reads_as_promised() {
    let mut o = offer(
        "x",
        &[("a", 100_000_000), ("b", 100_000_000), ("c", 100_000_000)],
    );
    o.traffic.sent = 300_000_000;
    assert_eq!(
        closing(&o, 1, Duration::from_millis(1200)),
        "Sent 3 files, 300 MB to 1 receiver in 1.2 s (250 MB/s)."
    );
    o.traffic.sent = 0;
    assert_eq!(
        closing(&o, 2, Duration::from_millis(90)),
        "Sent 3 files, 300 MB to 2 receivers in 0.1 s."
    );
}

#[test]
fn a_run_counts_what_it_sent() {
    let (stdout, stderr) = (Shared::default(), Shared::default());
    let mut out = Out::to(false, Box::new(stdout.clone()), Box::new(stderr.clone()));
    let mut sending = Sending::new(2, false);
    let mut o = offer("x", &[("a", 100)]);
    o.receivers = vec![receiver(ADA, Serving, None), receiver(BOB, Offered, None)];
    sending.take(o.clone(), &mut out);
    assert_eq!(sending.verdict(), Verdict::Wait);
    o.receivers = vec![receiver(ADA, Done, None), receiver(BOB, Done, None)];
    o.traffic.sent = 200;
    sending.take(o, &mut out);
    assert_eq!(sending.verdict(), Verdict::Done);
    let json = serde_json::to_value(sending.summary()).unwrap();
    assert_eq!(json["bytes"], 100);
    assert_eq!(json["traffic"]["sent"], 200);
    assert_eq!(json["receivers"].as_array().unwrap().len(), 2);
    assert_eq!(stderr.text().matches("has everything").count(), 2);
    assert_eq!(stdout.text(), "");
}

#[test]
fn paths_are_checked_and_made_absolute() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.txt");
    std::fs::write(&file, "x").unwrap();
    assert_eq!(checked(&file).unwrap(), file.display().to_string());
    // A folder named by dots gets its name.
    let sub = dir.path().join("sub");
    std::fs::create_dir(&sub).unwrap();
    let named = checked(&sub.join("..")).unwrap();
    let real = dir.path().canonicalize().unwrap();
    assert_eq!(named, real.display().to_string());
    let gone = checked(&dir.path().join("b.txt")).unwrap_err();
    assert_eq!(gone.exit as u8, 8);
    assert!(gone.message.ends_with("b.txt does not exist."), "{gone}");
    let odd = checked(Path::new("/dev/null")).unwrap_err();
    assert_eq!(odd.exit as u8, 8);
}
