use proptest::prelude::*;

use super::*;
use network::{SILENT, Sender, hear, report};

mod network;

#[test]
fn without_jitter_nothing_is_made_up_and_the_delay_falls_to_a_frame() {
    let h = hear(Sender::new(0.0).talk(3000));
    report("0 ms", &h);
    assert_eq!(h.stats.target_ms, 20);
    assert_eq!((h.stats.late, h.stats.concealed, h.stats.lost), (0, 0, 0));
    assert_eq!(h.packets().len(), 3000);
    assert!(h.delays.0 >= 10 && h.delays.1 <= 40, "{:?}", h.delays);
}

#[test]
fn the_first_packet_is_heard_within_forty_milliseconds() {
    for shift in 0..20 {
        let mut sender = Sender::new(0.0);
        sender.at += f64::from(shift);
        let from = sender.at as u64 + 20;
        let h = hear(sender.talk(100));
        let first = h
            .all
            .iter()
            .find(|(_, p, _)| p.playout == Playout::Packet(4));
        let first = first.unwrap().0;
        assert!((from + 10..=from + 40).contains(&first), "{first} {from}");
        assert_eq!(h.stats.concealed, 0);
    }
}

#[test]
fn jitter_of_20_ms_costs_little() {
    for seed in 0..20 {
        let h = hear(Sender::seeded(20.0, seed).talk(5_000));
        report("20 ms", &h);
        assert!((34..=44).contains(&h.stats.target_ms));
        assert!(h.worse() < 0.01);
    }
}

#[test]
fn jitter_of_60_ms_costs_little() {
    for seed in 0..20 {
        let h = hear(Sender::seeded(60.0, seed).talk(5_000));
        report("60 ms", &h);
        assert!((70..=84).contains(&h.stats.target_ms));
        assert!(h.worse() < 0.01);
    }
}

#[test]
fn a_network_that_now_and_then_stops_for_a_moment_is_waited_for() {
    for seed in 0..20 {
        let mut sender = Sender::seeded(10.0, seed).talk(5_000);
        // A radio that is away for a tenth of a second, every two seconds.
        for away in sender.sent.chunks_mut(100) {
            let back = away[5].arrives;
            away[..5].iter_mut().for_each(|s| s.arrives = back);
        }
        let h = hear(sender);
        report("10 ms and stops of 100 ms", &h);
        assert!((60..=130).contains(&h.stats.target_ms));
        assert!(h.worse() < 0.02 && h.stats.lost == 0);
    }
}

#[test]
fn whoever_asks_every_twenty_milliseconds_needs_no_tempo() {
    let mut b = JitterBuffer::new();
    let mut out = [0; LARGEST];
    for n in 0..1000_u16 {
        let at = Mono(u64::from(n) * 20);
        b.insert(n, u32::from(n) * 960, &[8, 1, 2], at).unwrap();
        let pulled = b.pull(at + std::time::Duration::from_millis(9), &mut out);
        let heard = pulled.playout == Playout::Packet(3);
        assert!(heard || n == 0, "{n}: {pulled:?}");
        assert!(pulled.tempo == Tempo::Normal || n < 500, "{n}");
    }
    assert_eq!(b.stats().concealed, 0);
}

#[test]
fn a_lost_packet_is_made_up_from_the_one_after_it_if_that_is_there() {
    for jitter in [0.0, 20.0, 60.0] {
        let h = hear(Sender::new(jitter).talk(15_000).lose(|_, c| c < 0.05));
        report(&format!("{jitter} ms, 5 % lost"), &h);
        assert_eq!(h.wasted, 0);
        let lost = h.stats.lost;
        assert!((650..850).contains(&lost));
        assert!(h.stats.fec * 10 > lost * 8, "of {lost}");
        assert!(h.worse() < 0.025);
    }
}

#[test]
fn after_a_burst_of_losses_the_delay_is_what_it_was() {
    let burst = |n| (200..206).contains(&n) || (400..440).contains(&n);
    let h = hear(Sender::new(0.0).talk(800).lose(|n, _| burst(n)));
    assert_eq!((h.stats.lost, h.stats.late), (46, 0));
    assert_eq!(h.packets().len(), 754);
    assert!(h.stats.concealed <= 6 + 10, "{:?}", h.stats);
    assert!(h.stats.delay_ms <= 45, "{:?}", h.stats);
}

#[test]
fn what_is_held_up_for_a_moment_is_heard_late_and_not_lost() {
    let mut sender = Sender::new(0.0).talk(500);
    sender.sent[200..206]
        .iter_mut()
        .for_each(|s| s.arrives = s.arrives.max(5_020.0 + 206.0 * 20.0));
    let h = hear(sender);
    assert_eq!((h.stats.lost, h.packets().len()), (0, 500));
    assert!((4..=6).contains(&h.stats.concealed), "{:?}", h.stats);
    assert!(h.all.iter().any(|(_, p, _)| p.tempo == Tempo::Faster));
}

#[test]
fn after_an_outage_nobody_is_heard_from_its_beginning() {
    let mut sender = Sender::new(0.0).talk(400);
    sender.sent[100..190]
        .iter_mut()
        .for_each(|s| s.arrives = 5_003.0 + 190.0 * 20.0);
    let h = hear(sender);
    let (at, _, _) = h.all.iter().find(|(_, _, s)| *s == Some(65_230)).unwrap();
    assert!(*at < 5_003 + 231 * 20 + 450, "{at}");
    assert!(h.stats.late + h.stats.lost > 50, "{:?}", h.stats);
}

#[test]
fn packets_are_heard_in_their_order_and_once() {
    let mut sender = Sender::new(0.0).talk(1500);
    for n in (100..1400).step_by(10) {
        sender.sent[n].arrives += 25.0;
        let mut again = sender.sent[n + 3].clone();
        again.arrives += 150.0;
        sender.sent.push(again);
    }
    let h = hear(sender);
    let want: Vec<u16> = (0..1500).map(|n| 65_000_u16.wrapping_add(n)).collect();
    let got = h.packets();
    assert!(got.len() > 1490 && got.is_sorted_by_key(|s| s.wrapping_sub(65_000)));
    assert_eq!(got[50..90], want[50..90]);
    assert_eq!(h.stats.duplicates, 130);
    assert_eq!(h.stats.lost, 0, "late ones are not lost: {:?}", h.stats);
}

#[test]
fn a_sender_that_begins_anew_is_heard_anew() {
    let mut sender = Sender::new(0.0).talk(300);
    (sender.seq, sender.timestamp) = (7, 123_456_789);
    let mut sender = sender.talk(300);
    // Its clock alone may begin anew, too.
    sender.timestamp = 5;
    let h = hear(sender.talk(300));
    assert!(h.packets().len() >= 890, "{}", h.packets().len());
    assert!(
        h.stats.concealed <= 10 && h.stats.lost <= 2,
        "{:?}",
        h.stats
    );
    assert!(h.stats.target_ms <= 40);
}

#[test]
fn a_stray_packet_ends_nothing() {
    let mut sender = Sender::new(0.0).talk(300);
    let mut stray = sender.sent[100].clone();
    (stray.seq, stray.timestamp) = (20_000, 5);
    sender.sent.push(stray);
    let h = hear(sender);
    assert_eq!((h.packets().len(), h.stats.concealed), (300, 0));
}

#[test]
fn silence_is_neither_loss_nor_made_up() {
    let mut sender = Sender::new(5.0);
    for _ in 0..20 {
        sender = sender.talk(100);
        for _ in 0..5 {
            sender.send_this(vec![SILENT]);
            sender.rest(19);
        }
    }
    let h = hear(sender);
    assert_eq!((h.stats.lost, h.stats.late), (0, 0), "{:?}", h.stats);
    assert!(h.stats.concealed <= 2, "{:?}", h.stats);
    assert!(h.packets().len() == 2000);
    assert!(h.count(|p| p == Playout::Silence) > 1500);
    assert!(h.stats.target_ms <= 25);
}

#[test]
fn who_stops_without_a_word_is_soon_silent() {
    let mut sender = Sender::new(0.0).talk(100);
    sender.rest(30_000);
    let h = hear(sender.talk(100));
    assert_eq!(h.packets().len(), 200);
    assert_eq!(h.stats.concealed, 10);
    assert_eq!(h.stats.lost, 0);
}

#[test]
fn longer_packets_are_decoded_once_and_heard_whole() {
    for frames in [2, 3] {
        let mut sender = Sender::new(90.0);
        sender.frames = frames;
        let h = hear(sender.talk(2000).lose(|n, _| n % 50 == 40 && n > 1000));
        let more = h.count(|p| p == Playout::More);
        assert_eq!((h.packets().len(), h.stats.lost), (1980, 20));
        let decoded = 1980 + h.stats.fec as usize;
        assert_eq!(more, decoded * (frames as usize - 1));
        assert!(h.stats.late == 0 && h.stats.fec > 5, "{:?}", h.stats);
        assert!(h.stats.concealed < 20 * 3 + 10, "{:?}", h.stats);
    }
}

#[test]
fn clocks_may_differ_for_an_hour() {
    for pace in [1.0002, 0.9998] {
        let mut sender = Sender::new(10.0);
        sender.pace = pace;
        let h = hear(sender.talk(180_000));
        report(&format!("10 ms, pace {pace}"), &h);
        assert!(h.delays.0 >= 8 && h.delays.1 <= 75, "{:?}", h.delays);
        assert!(h.worse() < 0.001 && h.stats.lost == 0);
    }
}

#[test]
fn nothing_before_the_first_packet_and_nothing_that_is_no_voice() {
    let mut b = JitterBuffer::new();
    let mut out = [0; LARGEST];
    assert_eq!(b.pull(Mono(1), &mut out).playout, Playout::Silence);
    let large = [8; LARGEST + 1];
    assert_eq!(b.insert(1, 1, &large, Mono(1)), Err(Refused::TooLarge));
    assert_eq!(b.insert(1, 1, &[], Mono(1)), Err(Refused::Length));
    assert_eq!(b.insert(1, 1, &[0, 1], Mono(1)), Err(Refused::Length));
    assert_eq!(b.stats(), Stats::default());
    b.insert(1, 1, &large[1..], Mono(1)).unwrap();
    assert_eq!(b.pull(Mono(30), &mut out[1..]).playout, Playout::Conceal);
}

proptest! {
    #[test]
    fn whatever_comes_is_survived_and_counted_once(
        all in prop::collection::vec(
            (
                prop_oneof![any::<u16>(), 0u16..40],
                prop_oneof![any::<u32>(), (0u32..40).prop_map(|n| n * 960)],
                prop::collection::vec(any::<u8>(), 0..8),
                prop_oneof![any::<u64>(), 0u64..60],
                0usize..4,
            ),
            0..300,
        ),
    ) {
        let mut b = JitterBuffer::new();
        let mut out = [0; LARGEST];
        let (mut now, mut taken, mut played) = (0u64, 0, 0);
        for (seq, timestamp, payload, passed, pulls) in all {
            now = now.saturating_add(passed);
            let at = Mono(if passed % 7 == 0 { passed } else { now });
            taken += u64::from(b.insert(seq, timestamp, &payload, at).is_ok());
            for _ in 0..pulls {
                match b.pull(Mono(now), &mut out).playout {
                    Playout::Packet(len) => {
                        played += 1;
                        prop_assert!(len <= LARGEST);
                    }
                    Playout::Fec(len) => prop_assert!(len <= LARGEST),
                    Playout::More | Playout::Conceal | Playout::Silence => (),
                }
            }
        }
        let s = b.stats();
        prop_assert_eq!(s.received, taken);
        prop_assert!(played + s.duplicates + s.late <= taken, "{:?}", s);
        prop_assert!(s.target_ms == 0 || (20..=400).contains(&s.target_ms));
    }
}
