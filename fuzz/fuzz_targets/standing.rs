//! The list of bans. Any bytes as its file, and then any sequence of offences: a ban is never shortened but by pardon,
//! one that is for ever needs two proofs, nobody who did nothing has anything against him, and all of it outlives a restart.
#![no_main]

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use quantumcoin::network::security::offence::Offence;
use quantumcoin::network::security::standing::file::FILE_NAME;
use quantumcoin::network::security::standing::{
    Ban, FIRST_BAN, HALF_LIFE, LONGEST_BAN, MAX_HOSTS, Outcome, Policy, Standing,
};
use quantumcoin_fuzz::{Script, scratch};

static DIR: LazyLock<PathBuf> = LazyLock::new(|| scratch("standing"));

/// The clock when the file is read.
const NOW: u64 = 1_800_000_000;

/// Never does anything, and is in the netgroup of all who do.
const HONEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(9, 8, 200, 9));

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script(bytes);
    let (Some(flags), Some(length)) = (script.u8(), script.u16()) else {
        return;
    };
    let policy = Policy {
        half_life: [0, 1, HALF_LIFE, u64::MAX][usize::from(flags & 3)],
        by_netgroup: flags & 4 == 0,
    };
    let (file, steps) = script.0.split_at(usize::from(length).min(script.0.len()));
    let from_file = !file.is_empty();
    let mut standing = if from_file {
        std::fs::write(DIR.join(FILE_NAME), file).expect("a file");
        Standing::load(&DIR, policy)
    } else {
        Standing::new(policy)
    };
    assert!(standing.bans(NOW).len() <= MAX_HOSTS);
    let now = offences(&mut standing, Script(steps), from_file);
    standing.snapshot(now).save(&DIR).expect("it can be saved");
    let read = Standing::load(&DIR, policy);
    assert_eq!(read.bans(now), standing.bans(now));
});

/// Gives the time at the end.
fn offences(standing: &mut Standing, mut script: Script<'_>, from_file: bool) -> u64 {
    let mut now = NOW;
    let mut proofs: HashMap<IpAddr, u32> = HashMap::new();
    while let Some([what, host, shape]) = script.bytes() {
        let Some(pause) = script.u16() else { break };
        now += u64::from(pause) * if shape & 8 == 0 { 1 } else { 60 };
        let (ip, name) = address(host % 8, shape);
        let before = standing.banned(ip, now);
        let Some(offence) = Offence::ALL.get(usize::from(what) % 16) else {
            standing.pardon(ip);
            proofs.remove(&name);
            assert_eq!(standing.banned(ip, now), None);
            continue;
        };
        let outcome = standing.note(ip, *offence, now);
        let after = standing.banned(ip, now);
        assert_eq!(
            after,
            standing.banned(name, now),
            "one host, however it is written"
        );
        if before.is_none() && offence.points().is_none() {
            *proofs.entry(name).or_default() += 1;
        }
        follows(before, outcome, after, now);
        if outcome == Outcome::BanForever && !from_file {
            assert!(proofs.get(&name).is_some_and(|count| *count >= 2));
        }
        if !from_file {
            assert!(standing.banned(HONEST, now).is_none());
            assert!(!standing.is_suspect(HONEST, now));
        }
    }
    now
}

fn follows(before: Option<Ban>, outcome: Outcome, after: Option<Ban>, now: u64) {
    if let Some(before) = before {
        assert_eq!(after, Some(before), "one deed is not counted twice");
    }
    let until = after.map(|ban| ban.until);
    match outcome {
        Outcome::Throttle | Outcome::Disconnect => assert_eq!(after, None),
        Outcome::Ban(seconds) => {
            assert_eq!(until, Some(Some(now + seconds)));
            let new = before.is_none();
            assert!(!new || (FIRST_BAN..=LONGEST_BAN).contains(&seconds));
        }
        Outcome::BanForever => assert_eq!(until, Some(None)),
    }
}

/// An address of a host, and the one that it counts as.
fn address(host: u8, shape: u8) -> (IpAddr, IpAddr) {
    if host & 1 == 0 {
        let v4 = std::net::Ipv4Addr::new(9, 8, host, 9);
        let mapped = shape & 1 == 1;
        let ip = if mapped {
            v4.to_ipv6_mapped().into()
        } else {
            v4.into()
        };
        return (ip, v4.into());
    }
    let of = |last: u16| IpAddr::from([0x2a00, 1, 0, u16::from(host), 0, 0, 0, last]);
    (of(u16::from(shape)), of(0))
}
