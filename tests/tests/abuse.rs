//! Whatever a client does to the room server, only its own socket closes: bystanders talk on, and
//! the memory it cost comes back. How long the bystanders wait is for `./dev bench abuse` to tell.

#![cfg(target_os = "linux")] // /proc, and all of 127/8.
#![allow(
    clippy::print_stdout,
    reason = "the figures are worth reading: --nocapture"
)]

use kith_tests::abuse::{Attack, Bystanders, Victim};

/// Strikes before the memory counts: code and tables that are used for the first time.
const WARM_UP: u8 = 2;
/// Strikes in all.
const STRIKES: u8 = 10;
/// More strikes where the memory is not back after them. Holes between what is in use come and go
/// with each strike, by chance; what is lost adds up.
const MORE: u8 = 4;

/// Strikes again and again, and looks at the others, and at the memory.
async fn withstands(name: &str) {
    let attack = Attack::named(name);
    let victim = Victim::start(env!("CARGO_BIN_EXE_room-server"));
    let mut others = Bystanders::start(&victim).await;
    others.talk(20).await;
    let cold = victim.rss();
    for round in 0..WARM_UP {
        attack.strike(&victim, round).await;
    }
    let warm = settled(&victim, &mut others, 0).await;
    let (mut ends, mut peak) = (None, 0);
    for round in WARM_UP..STRIKES {
        ends = Some(attack.strike(&victim, round).await);
        peak = peak.max(victim.rss());
        others.talk(5).await;
    }
    let most = warm + warm / 10;
    let mut last = settled(&victim, &mut others, most).await;
    for round in STRIKES..STRIKES + MORE {
        if last <= most {
            break;
        }
        ends = Some(attack.strike(&victim, round).await);
        last = settled(&victim, &mut others, most).await;
    }
    let delays = others.stop().await;
    println!(
        "{name}: RSS {cold} cold, {warm} warm, {peak} after a strike, {last} KiB at last; {} round \
         trips, p99 {:?}; ends: {}",
        delays.count(),
        delays.percentile(99),
        ends.unwrap_or_default(),
    );
    assert!(last <= most, "memory stays: {warm} → {last} KiB");
}

/// The memory once the server has had time to give back what it does not need; sooner where it
/// is `enough`.
async fn settled(victim: &Victim, others: &mut Bystanders, enough: u64) -> u64 {
    for _ in 0..60 {
        others.talk(5).await;
        if victim.rss() <= enough {
            break;
        }
    }
    victim.rss()
}

macro_rules! withstands {
    ($($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                withstands(stringify!($name)).await;
            }
        )*

        #[test]
        fn every_attack_is_tested() {
            let tested = [$(stringify!($name)),*];
            let all: Vec<_> = kith_tests::abuse::ATTACKS.iter().map(|a| a.name).collect();
            assert_eq!(all, tested);
        }
    };
}

withstands! {
    malformed_json
    deep_nesting
    bad_utf8
    an_unmasked_frame
    reserved_bits
    an_unknown_opcode
    a_binary_message
    a_continuation_of_nothing
    a_length_of_two_to_the_63
    a_message_of_a_mebibyte
    messages_of_64_kib_without_end
    a_message_begun_in_another
    a_flood_of_pings
    a_flood_of_pongs
    a_flood_of_small_messages
    two_hundred_thousand_fragments
    two_hundred_thousand_empty_fragments
    fragments_with_pings_between
    half_open_requests
    silent_sockets
    a_huge_header
    many_headers
    silence_after_the_upgrade
    slow_readers
    a_flood_of_joins
    a_taken_sid
    a_storm_of_connects
}
