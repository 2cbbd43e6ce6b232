//! Edges of the limits, and crowds that want all places.

use super::*;

const LIMITS: Limits = Limits {
    inbound: 20,
    per_ip: 3,
    per_subnet: 10,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn opens(slot: &Slot, now: Instant) -> bool {
    slot.gate().ask(now) == Grant::Now
}

#[test]
fn three_per_address_exactly() {
    let admission = Admission::new(LIMITS);
    let mut slots: Vec<_> = (0..3)
        .map(|_| admission.admit(ip("9.8.7.6"), Instant::now()).unwrap())
        .collect();
    assert_eq!(
        admission.admit(ip("9.8.7.6"), Instant::now()).unwrap_err(),
        Refusal::PerIp
    );
    assert_eq!(
        admission
            .admit(ip("::ffff:9.8.7.6"), Instant::now())
            .unwrap_err(),
        Refusal::PerIp
    );
    slots.pop();
    assert!(admission.admit(ip("9.8.7.6"), Instant::now()).is_ok());
}

#[test]
fn ten_per_subnet_exactly() {
    let admission = Admission::new(LIMITS);
    let slots: Vec<_> = (0..10)
        .map(|n| {
            admission
                .admit(ip(&format!("9.8.7.{n}")), Instant::now())
                .unwrap()
        })
        .collect();
    assert_eq!(
        admission.admit(ip("9.8.7.99"), Instant::now()).unwrap_err(),
        Refusal::PerSubnet
    );
    assert!(admission.admit(ip("9.8.6.99"), Instant::now()).is_ok());
    drop(slots);
    assert!(admission.admit(ip("9.8.7.99"), Instant::now()).is_ok());
}

#[test]
fn an_ipv6_64_is_one_address_and_a_48_one_subnet() {
    let admission = Admission::new(LIMITS);
    let _a: Vec<_> = (0..3)
        .map(|n| {
            admission
                .admit(ip(&format!("2001:db8:1:2::{n}")), Instant::now())
                .unwrap()
        })
        .collect();
    assert_eq!(
        admission
            .admit(ip("2001:db8:1:2:ffff::1"), Instant::now())
            .unwrap_err(),
        Refusal::PerIp
    );
    let _b: Vec<_> = (10..17)
        .map(|n| {
            admission
                .admit(ip(&format!("2001:db8:1:{n}::1")), Instant::now())
                .unwrap()
        })
        .collect();
    assert_eq!(
        admission
            .admit(ip("2001:db8:1:99::1"), Instant::now())
            .unwrap_err(),
        Refusal::PerSubnet
    );
    assert!(
        admission
            .admit(ip("2001:db8:2:99::1"), Instant::now())
            .is_ok()
    );
}

#[test]
fn all_slots_and_all_handshakes_are_bounded() {
    let admission = Admission::new(LIMITS);
    let mut slots: Vec<_> = (0..=20 + UNDECIDED)
        .map(|n| {
            admission
                .admit(ip(&format!("9.8.{n}.1")), Instant::now())
                .unwrap()
        })
        .collect();
    let mut last = slots.pop().unwrap();
    for slot in &mut slots {
        slot.handshake_done().unwrap();
    }
    assert_eq!(
        admission.admit(ip("9.9.9.9"), Instant::now()).unwrap_err(),
        Refusal::Full
    );
    assert_eq!(last.handshake_done(), Err(Refusal::Full));
    slots.pop();
    assert_eq!(last.handshake_done(), Ok(()));
    assert_eq!(
        admission.admit(ip("9.9.9.9"), Instant::now()).unwrap_err(),
        Refusal::Full
    );

    let wide = Limits {
        inbound: 1_000,
        per_ip: 1_000,
        per_subnet: 1_000,
    };
    let admission = Admission::new(wide);
    let mut slots: Vec<_> = (0..MAX_PENDING_PER_SUBNET)
        .map(|_| admission.admit(ip("9.8.7.1"), Instant::now()).unwrap())
        .collect();
    assert_eq!(
        admission.admit(ip("9.8.7.2"), Instant::now()).unwrap_err(),
        Refusal::Handshakes
    );
    slots[0].handshake_done().unwrap();
    slots[0].handshake_done().unwrap();
    assert!(
        admission.admit(ip("9.8.7.2"), Instant::now()).is_ok(),
        "an established peer is no handshake"
    );
}

#[test]
fn whoever_says_nothing_makes_room_for_others_and_whoever_speaks_stays_unless_it_stalls() {
    let wide = Limits {
        inbound: 1_000,
        per_ip: 3,
        per_subnet: 10,
    };
    let admission = Admission::new(wide);
    let start = Instant::now();
    let from = |n: usize, now| admission.admit(ip(&format!("9.{}.{}.1", n / 250, n % 250)), now);
    let mut slots: Vec<_> = (0..MAX_PENDING_HANDSHAKES)
        .map(|n| from(n, start).unwrap())
        .collect();
    assert!(opens(&slots[0], start));
    let newcomer = from(2_000, start).unwrap();
    let evicted = |slot: &Slot| slot.evicted().is_cancelled();
    assert!(!evicted(&slots[0]) && evicted(&slots[1]) && !evicted(&slots[2]));
    assert!(!opens(&slots[1], start), "too late");
    // With all of them speaking, nobody has to go.
    drop(slots.remove(1));
    let mut now = start;
    for slot in slots.iter().skip(1).chain([&newcomer]) {
        now += Duration::from_micros(1_400);
        // Some have to wait for the budget, and count as having spoken.
        let _ = slot.gate().ask(now);
    }
    assert!(now < start + STALLED);
    assert_eq!(from(2_001, now).unwrap_err(), Refusal::Handshakes);
    slots[5].handshake_done().unwrap();
    let next = from(2_001, now).unwrap();
    let _ = next.gate().ask(now);
    // The one that spoke first stalls first.
    let later = start + STALLED;
    assert!(from(2_002, later).is_ok());
    assert!(evicted(&slots[0]) && !evicted(&slots[1]));
}

/// Subnets that all say their first message and stop there.
#[test]
fn a_few_talkative_subnets_keep_nobody_out() {
    let wide = Limits {
        inbound: 1_000,
        per_ip: 3,
        per_subnet: 10,
    };
    let admission = Admission::new(wide);
    let mut now = Instant::now();
    let mut crowd: Vec<_> = (0..MAX_PENDING_HANDSHAKES)
        .map(|n| {
            now += Duration::from_millis(7);
            let slot = admission.admit(ip(&format!("9.8.{}.{}", n / 10, n % 10)), now);
            let slot = slot.unwrap();
            assert!(opens(&slot, now));
            slot
        })
        .collect();
    for n in 0..50 {
        now += Duration::from_millis(1);
        let mut honest = admission.admit(ip(&format!("9.9.{n}.1")), now).unwrap();
        assert!(opens(&honest, now));
        honest.handshake_done().unwrap();
    }
    crowd.retain(|slot| !slot.evicted().is_cancelled());
    assert!(crowd.len() < MAX_PENDING_HANDSHAKES);
}

/// As many whole first messages as the budget takes, each from a subnet of its own, and nothing after them.
#[test]
fn a_crowd_that_stalls_everywhere_keeps_nobody_out() {
    let wide = Limits {
        inbound: 115,
        per_ip: 3,
        per_subnet: 10,
    };
    let admission = Admission::new(wide);
    let mut now = Instant::now();
    let mut crowd = std::collections::VecDeque::new();
    for n in 0..10_000_u32 {
        now += Duration::from_micros(5_100);
        let address = std::net::Ipv4Addr::from(0x0b00_0001 + (n << 8));
        let slot = admission.admit(address.into(), now).unwrap();
        assert!(opens(&slot, now));
        crowd.push_back(slot);
        // The deadline of five seconds.
        while crowd.len() > 980 {
            crowd.pop_front();
        }
        if n % 100 == 0 {
            let address = std::net::Ipv4Addr::from(0x6300_0001 + (n << 8));
            let mut honest = admission.admit(address.into(), now).unwrap();
            assert!(opens(&honest, now));
            honest.handshake_done().unwrap();
        }
    }
}

/// A silent crowd from everywhere does not keep out who speaks at once.
#[test]
fn a_silent_crowd_keeps_nobody_out() {
    let wide = Limits {
        inbound: 115,
        per_ip: 3,
        per_subnet: 10,
    };
    let admission = Admission::new(wide);
    let mut crowd = std::collections::VecDeque::new();
    for n in 0..10_000_u32 {
        let address = std::net::Ipv4Addr::from(0x0b00_0001 + (n << 8));
        crowd.push_back(admission.admit(address.into(), Instant::now()).unwrap());
        // Those that had to go are closed a little later.
        while crowd.len() > MAX_PENDING_HANDSHAKES + 100 {
            crowd.pop_front();
        }
        if n % 100 == 0 {
            let address = std::net::Ipv4Addr::from(0x6300_0001 + (n << 8));
            let mut honest = admission.admit(address.into(), Instant::now()).unwrap();
            assert!(opens(&honest, Instant::now()));
            honest.handshake_done().unwrap();
        }
    }
}

#[test]
fn nothing_is_left_behind() {
    let admission = Admission::new(LIMITS);
    for n in 0..1_000 {
        let mut slot = admission
            .admit(ip(&format!("9.{}.{}.1", n / 250, n % 250)), Instant::now())
            .unwrap();
        if n % 2 == 0 {
            slot.handshake_done().unwrap();
        }
    }
    let counts = lock(&admission.counts);
    assert_eq!((counts.established, counts.pending.len()), (0, 0));
    assert!(counts.per_ip.is_empty() && counts.per_subnet.is_empty());
    assert!(counts.pending_per_subnet.is_empty());
}
