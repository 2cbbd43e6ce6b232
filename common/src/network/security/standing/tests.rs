use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;

fn policy() -> Policy {
    Policy {
        half_life: HALF_LIFE,
        by_netgroup: true,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn throttle_then_disconnect_then_bans_that_double_up_to_a_day() {
    let mut standing = Standing::new(policy());
    let host = ip("9.8.7.6");
    let tx = Offence::InvalidTransaction;
    let outcomes: Vec<_> = (0..4).map(|_| standing.note(host, tx, NOW)).collect();
    use Outcome::{Ban, Disconnect, Throttle};
    assert_eq!(outcomes, [Throttle, Disconnect, Disconnect, Ban(FIRST_BAN)]);
    let mut now = NOW;
    let mut bans = Vec::new();
    for _ in 0..9 {
        now += LONGEST_BAN;
        assert!(standing.banned(host, now).is_none());
        assert_eq!(standing.note(host, Offence::PingFlood, now), Disconnect);
        let Ban(seconds) = standing.note(host, Offence::PingFlood, now) else {
            panic!("no ban");
        };
        let ban = standing.banned(host, now).unwrap();
        assert_eq!(ban.until, Some(now + seconds));
        assert!(standing.banned(host, now + seconds - 1).is_some());
        assert!(standing.banned(host, now + seconds).is_none());
        bans.push(seconds / 60);
    }
    assert_eq!(bans, [20, 40, 80, 160, 320, 640, 1_280, 1_440, 1_440]);
}

#[test]
fn a_proof_keeps_out_for_a_day_and_the_next_for_ever() {
    for proof in [Offence::InvalidBlock, Offence::InvalidHeader] {
        let mut standing = Standing::new(policy());
        let host = ip("9.8.7.6");
        assert_eq!(standing.note(host, proof, NOW), Outcome::Ban(LONGEST_BAN));
        let later = NOW + LONGEST_BAN;
        assert!(standing.banned(host, later).is_none());
        assert_eq!(standing.note(host, proof, later), Outcome::BanForever);
        assert!(standing.banned(host, u64::MAX).is_some());
        // Nothing shortens it.
        for _ in 0..8 {
            standing.note(host, Offence::PingFlood, later + 1);
        }
        assert_eq!(standing.banned(host, u64::MAX).unwrap().until, None);
        assert!(standing.pardon(host) && !standing.pardon(host));
        assert!(standing.banned(host, later).is_none());
    }
}

#[test]
fn nothing_but_a_proof_leads_to_a_ban_for_ever() {
    let proofs = Offence::ALL.into_iter().filter(|o| o.points().is_none());
    assert_eq!(
        proofs.collect::<Vec<_>>(),
        [Offence::InvalidBlock, Offence::InvalidHeader]
    );
    for offence in Offence::ALL.into_iter().filter(|o| o.points().is_some()) {
        let mut standing = Standing::new(policy());
        for n in 0..1_000 {
            let outcome = standing.note(ip("9.8.7.6"), offence, NOW + n);
            assert_ne!(outcome, Outcome::BanForever, "{offence:?}");
        }
    }
}

/// Two nodes behind one address that pass on the same block, or what was on its way when the ban came.
#[test]
fn one_deed_is_not_counted_twice() {
    let mut standing = Standing::new(policy());
    let host = ip("9.8.7.6");
    standing.note(host, Offence::InvalidBlock, NOW);
    let outcome = standing.note(host, Offence::InvalidBlock, NOW + 5);
    assert_eq!(outcome, Outcome::Ban(LONGEST_BAN - 5));
    // Nor against its neighbours.
    let mut once = Standing::new(policy());
    once.note(host, Offence::InvalidBlock, NOW);
    assert_eq!(standing.groups, once.groups);
    assert!(standing.banned(host, NOW + LONGEST_BAN).is_none());
}

#[test]
fn a_proof_long_ago_was_somebody_else() {
    let mut standing = Standing::new(policy());
    let host = ip("9.8.7.6");
    standing.note(host, Offence::InvalidBlock, NOW);
    let later = NOW + LONGEST_BAN + BAN_REMEMBERED;
    let day = NOW + 2 * LONGEST_BAN;
    assert!(standing.is_suspect(host, day - 1) && !standing.is_suspect(host, day));
    let outcome = standing.note(host, Offence::InvalidBlock, later);
    assert_eq!(outcome, Outcome::Ban(LONGEST_BAN));
}

#[test]
fn points_halve_in_their_half_life() {
    let mut standing = Standing::new(Policy {
        by_netgroup: false,
        ..policy()
    });
    let host = ip("9.8.7.6");
    // Once in two half-lives it comes to less than a ban, whatever was before; twice at once, to more.
    let pause = 2 * HALF_LIFE;
    for n in 0..100 {
        let outcome = standing.note(host, Offence::Protocol, NOW + n * pause);
        assert_eq!(outcome, Outcome::Disconnect, "{n}");
    }
    let outcome = standing.note(host, Offence::Protocol, NOW + 99 * pause + 60);
    assert_eq!(outcome, Outcome::Ban(FIRST_BAN));
    assert!(!standing.is_suspect(ip("9.8.7.5"), NOW));
}

/// A second between two offences must not make the difference that thresholds make.
#[test]
fn what_comes_a_little_later_weighs_as_much() {
    for pause in [0, 1, 60] {
        let mut standing = Standing::new(policy());
        let host = ip("9.8.7.6");
        let outcomes: Vec<_> = (0..4)
            .map(|n| standing.note(host, Offence::InvalidTransaction, NOW + n * pause))
            .collect();
        use Outcome::{Ban, Disconnect, Throttle};
        assert_eq!(
            outcomes,
            [Throttle, Disconnect, Disconnect, Ban(FIRST_BAN)],
            "{pause}"
        );
    }
}

#[test]
fn the_mapped_address_and_the_64_are_the_same_host() {
    let mut standing = Standing::new(policy());
    standing.note(ip("9.8.7.6"), Offence::InvalidBlock, NOW);
    standing.note(ip("2001:db8::1"), Offence::InvalidHeader, NOW);
    assert!(standing.banned(ip("::ffff:9.8.7.6"), NOW).is_some());
    assert!(standing.banned(ip("2001:db8::ffff"), NOW).is_some());
    assert!(standing.banned(ip("2001:db8:0:1::1"), NOW).is_none());
    let hosts: Vec<_> = standing.bans(NOW).into_iter().map(|(ip, _)| ip).collect();
    assert_eq!(hosts, [ip("9.8.7.6"), ip("2001:db8::")]);
}

#[test]
fn a_netgroup_weighs_on_those_who_did_something_and_on_nobody_else() {
    let mut standing = Standing::new(policy());
    for n in 1..=7 {
        let outcome = standing.note(ip(&format!("9.8.{n}.1")), Offence::PingFlood, NOW);
        assert_eq!(outcome, Outcome::Disconnect);
    }
    let honest = ip("9.8.100.1");
    assert!(standing.banned(honest, NOW).is_none() && !standing.is_suspect(honest, NOW));
    let outcome = standing.note(ip("9.8.9.1"), Offence::PingFlood, NOW);
    assert_eq!(outcome, Outcome::Ban(FIRST_BAN));
    let outcome = standing.note(ip("9.9.9.1"), Offence::PingFlood, NOW);
    assert_eq!(outcome, Outcome::Disconnect);
    // On a devnet all are neighbours.
    let mut devnet = Standing::new(Policy {
        by_netgroup: false,
        ..policy()
    });
    for n in 1..=100 {
        let outcome = devnet.note(ip(&format!("127.0.0.{n}")), Offence::PingFlood, NOW);
        assert_eq!(outcome, Outcome::Disconnect);
    }
}

#[test]
fn the_tables_are_bounded_and_what_weighs_least_makes_room() {
    let mut standing = Standing::new(policy());
    let worst = ip("9.0.0.1");
    standing.note(worst, Offence::InvalidBlock, NOW - LONGEST_BAN);
    standing.note(worst, Offence::InvalidBlock, NOW);
    let slow = ip("9.0.0.2");
    standing.note(slow, Offence::SlowReader, NOW);
    for n in 0..MAX_HOSTS as u32 {
        // A netgroup each.
        let ip = IpAddr::V6((0x2a00_u128 << 112 | u128::from(n) << 64).into());
        standing.note(ip, Offence::InvalidHeader, NOW);
    }
    assert_eq!(standing.hosts.len(), MAX_HOSTS);
    assert!(standing.groups.len() <= MAX_HOSTS);
    assert!(standing.banned(worst, NOW).is_some());
    assert!(!standing.hosts.contains_key(&slow));
}

#[test]
fn it_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut standing = Standing::new(policy());
    let (forever, day, suspect) = (ip("9.0.0.1"), ip("2001:db8::5"), ip("9.0.0.2"));
    standing.note(forever, Offence::InvalidBlock, NOW - LONGEST_BAN);
    standing.note(forever, Offence::InvalidBlock, NOW);
    standing.note(day, Offence::InvalidHeader, NOW);
    standing.note(suspect, Offence::PingFlood, NOW);
    standing.note(ip("9.0.0.3"), Offence::SlowReader, NOW - 100 * HALF_LIFE);
    standing.snapshot(NOW).save(dir.path()).unwrap();
    let mut read = Standing::load(dir.path(), policy());
    assert_eq!(read.bans(NOW), standing.bans(NOW));
    assert_eq!(read.hosts.len(), 3, "what has decayed is forgotten");
    let outcome = read.note(suspect, Offence::PingFlood, NOW);
    assert_eq!(outcome, Outcome::Ban(FIRST_BAN));
    let proof = read.note(day, Offence::InvalidHeader, NOW + LONGEST_BAN);
    assert_eq!(proof, Outcome::BanForever);
}

#[test]
fn damage_is_set_aside_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    for junk in ["", "{", "[]", "{\"version\":9,\"hosts\":{}}"] {
        std::fs::write(dir.path().join(file::FILE_NAME), junk).unwrap();
        assert!(Standing::load(dir.path(), policy()).hosts.is_empty());
        let aside = dir.path().join("standing.json.damaged");
        assert_eq!(std::fs::read_to_string(aside).unwrap(), junk);
    }
}

#[test]
fn scores_that_no_arithmetic_makes_count_as_nothing() {
    for points in [f64::NAN, f64::INFINITY, -1e300] {
        let score = Score { points, at: NOW };
        assert_eq!(score.now(HALF_LIFE, NOW), 0.0);
    }
}

proptest! {
    /// Whatever a host does, bans only become longer while one stands, and whoever did nothing has nothing against it.
    #[test]
    fn bans_are_never_shortened(
        steps in proptest::collection::vec((0_usize..13, 0_u64..7_200, 0_u8..4), 1..200),
    ) {
        let mut standing = Standing::new(policy());
        let mut now = NOW;
        for (offence, pause, host) in steps {
            now += pause;
            let host = IpAddr::from([9, 8, 7, host]);
            let before = standing.banned(host, now);
            let outcome = standing.note(host, Offence::ALL[offence], now);
            let after = standing.banned(host, now);
            if let Some(before) = before {
                let until = |ban: Ban| ban.until.unwrap_or(u64::MAX);
                prop_assert!(until(after.unwrap()) >= until(before));
            }
            match outcome {
                Outcome::Throttle | Outcome::Disconnect => prop_assert_eq!(before, after),
                Outcome::Ban(seconds) => {
                    prop_assert!((1..=LONGEST_BAN).contains(&seconds));
                    prop_assert!(before.is_some() || seconds >= FIRST_BAN);
                    prop_assert!(after.unwrap().until >= Some(now + seconds));
                }
                Outcome::BanForever => prop_assert_eq!(after.unwrap().until, None),
            }
            prop_assert!(!standing.is_suspect(IpAddr::from([9, 8, 7, 9]), now));
        }
    }
}
