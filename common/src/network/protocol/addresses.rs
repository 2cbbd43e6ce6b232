//! Address exchange: what to answer to `getaddr`, and what to believe of gossip.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use bitcoin::p2p::message::NetworkMessage;

use crate::reachability::netgroup::canonical_socket;
use crate::reachability::overlay::{OverlayName, PeerAddress};

/// Most addresses in one message (BIP155).
pub const MAX_ADDRESSES: usize = 1_000;

/// Announcements of at most so many addresses are passed on (Bitcoin Core's rule): larger ones are answers.
pub const MAX_RELAYED: usize = 10;

/// Peers that hear of a new address from us (Bitcoin Core's figure).
pub const RELAY_FANOUT: usize = 2;

/// Addresses a second that a peer may add by gossip; Bitcoin Core's token bucket.
const RATE_PER_SECOND: f64 = 0.1;

/// Tokens that a bucket holds at most, and what our own `getaddr` adds; one full answer.
const BURST: f64 = MAX_ADDRESSES as f64;

/// A gossiped time stamp further ahead than this is a lie or a broken clock.
const MAX_AHEAD_SECONDS: u32 = 600;

/// What a time stamp that can't be right is taken for: five days ago, old enough to be no one's favourite.
const CLIPPED_AGE_SECONDS: u32 = 5 * 24 * 3_600;

/// An address as the network tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gossip {
    /// Where a node is said to listen.
    pub addr: SocketAddr,
    /// Its service bits, as claimed.
    pub services: u64,
    /// Unix seconds when somebody last saw it, as claimed, clipped to what is possible.
    pub time: u32,
}

/// Reads `addr` or `addrv2`; entries of networks that we can't dial are left out.
pub fn read(message: &NetworkMessage, now: u32) -> Vec<Gossip> {
    let clip = |time: u32| {
        if time > now.saturating_add(MAX_AHEAD_SECONDS) || time == 0 {
            now.saturating_sub(CLIPPED_AGE_SECONDS)
        } else {
            time
        }
    };
    match message {
        NetworkMessage::Addr(entries) => entries
            .iter()
            .take(MAX_ADDRESSES)
            .filter_map(|(time, address)| {
                let addr = canonical_socket(address.socket_addr().ok()?);
                Some(Gossip {
                    addr,
                    services: address.services.to_u64(),
                    time: clip(*time),
                })
            })
            .collect(),
        NetworkMessage::AddrV2(entries) => entries
            .iter()
            .take(MAX_ADDRESSES)
            .filter_map(|entry| {
                let addr = canonical_socket(entry.socket_addr().ok()?);
                Some(Gossip {
                    addr,
                    services: entry.services.to_u64(),
                    time: clip(entry.time),
                })
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The addresses alone of `addr` or `addrv2`, for whoever believes nothing else of them; names of overlay networks as such;
/// entries of networks that nobody here can dial are left out.
pub fn endpoints(message: &NetworkMessage) -> impl Iterator<Item = PeerAddress> {
    let (addr, addrv2) = match message {
        NetworkMessage::Addr(entries) => (entries.as_slice(), [].as_slice()),
        NetworkMessage::AddrV2(entries) => ([].as_slice(), entries.as_slice()),
        _ => ([].as_slice(), [].as_slice()),
    };
    let socket = |addr| PeerAddress::Socket(canonical_socket(addr));
    let addr = addr.iter();
    let addr = addr.map(move |(_, address)| address.socket_addr().ok().map(socket));
    let addrv2 = addrv2.iter().map(move |entry| match entry.addr {
        AddrV2::TorV3(key) => Some(PeerAddress::Named(OverlayName::Onion(key), entry.port)),
        AddrV2::I2p(hash) => Some(PeerAddress::Named(OverlayName::I2p(hash), entry.port)),
        _ => entry.socket_addr().ok().map(socket),
    });
    addr.chain(addrv2).take(MAX_ADDRESSES).flatten()
}

/// Writes `addrv2`, or `addr` for a peer that does not take it. At most [`MAX_ADDRESSES`] are sent.
pub fn write(entries: &[Gossip], addrv2: bool) -> NetworkMessage {
    let entries = entries.iter().take(MAX_ADDRESSES);
    if addrv2 {
        NetworkMessage::AddrV2(
            entries
                .map(|e| AddrV2Message {
                    time: e.time,
                    services: ServiceFlags::from(e.services),
                    addr: match e.addr.ip() {
                        IpAddr::V4(ip) => AddrV2::Ipv4(ip),
                        IpAddr::V6(ip) => AddrV2::Ipv6(ip),
                    },
                    port: e.addr.port(),
                })
                .collect(),
        )
    } else {
        NetworkMessage::Addr(
            entries
                .map(|e| {
                    let services = ServiceFlags::from(e.services);
                    (e.time, bitcoin::p2p::Address::new(&e.addr, services))
                })
                .collect(),
        )
    }
}

/// Token bucket over the addresses of one peer's gossip: what is over the limit is ignored, not punished.
#[derive(Debug, Clone)]
pub struct AddressBucket {
    tokens: f64,
    updated: Instant,
}

impl AddressBucket {
    /// A new peer may tell one address at once: its own.
    pub fn new(now: Instant) -> Self {
        Self {
            tokens: 1.0,
            updated: now,
        }
    }

    /// We sent `getaddr`: a full answer is welcome.
    pub fn asked(&mut self) {
        self.tokens += BURST;
    }

    /// How many of `offered` addresses may be taken now.
    pub fn take(&mut self, offered: usize, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(self.updated);
        self.updated = now;
        if self.tokens < BURST {
            self.tokens = (self.tokens + rate(elapsed)).min(BURST);
        }
        let taken = offered.min(self.tokens as usize);
        self.tokens -= taken as f64;
        taken
    }
}

fn rate(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * RATE_PER_SECOND
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::reachability::netgroup::is_dialable;
    use crate::wire::tests::{decode, envelope};

    fn gossip(text: &str, time: u32) -> Gossip {
        Gossip {
            addr: text.parse().unwrap(),
            services: 9,
            time,
        }
    }

    #[test]
    fn both_forms_carry_both_families() {
        let entries = [
            gossip("1.2.3.4:8333", 1_000),
            gossip("[2001:db8::1]:9000", 2_000),
        ];
        for addrv2 in [true, false] {
            assert_eq!(read(&write(&entries, addrv2), 5_000), entries);
        }
    }

    #[test]
    fn mapped_ipv6_is_ipv4() {
        let mapped = gossip("[::ffff:1.2.3.4]:1", 1_000);
        let read = read(&write(&[mapped], false), 5_000);
        assert_eq!(read[0].addr, "1.2.3.4:1".parse().unwrap());
    }

    #[test]
    fn impossible_times_are_clipped() {
        let now = 1_800_000_000;
        let message = write(
            &[gossip("1.2.3.4:1", now + 601), gossip("1.2.3.4:2", 0)],
            true,
        );
        for entry in read(&message, now) {
            assert_eq!(entry.time, now - CLIPPED_AGE_SECONDS);
        }
    }

    #[test]
    fn unasked_gossip_is_a_trickle_and_an_answer_is_welcome() {
        let start = Instant::now();
        let mut bucket = AddressBucket::new(start);
        assert_eq!(bucket.take(1_000, start), 1);
        assert_eq!(bucket.take(1_000, start + Duration::from_secs(100)), 10);
        bucket.asked();
        assert_eq!(bucket.take(1_000, start + Duration::from_secs(100)), 1_000);
        assert_eq!(bucket.take(1_000, start + Duration::from_secs(100)), 0);
        assert_eq!(
            bucket.take(2_000, start + Duration::from_secs(1_000_000)),
            1_000,
            "burst bound"
        );
    }

    fn any_gossip() -> impl Strategy<Value = Gossip> {
        (any::<SocketAddr>(), any::<u64>(), any::<u32>()).prop_map(|(addr, services, time)| {
            let addr = canonical_socket(addr);
            Gossip {
                addr,
                services,
                time,
            }
        })
    }

    /// Bytes that look like a list of addresses: a count, and entries some of which are whole.
    fn any_payload() -> impl Strategy<Value = Vec<u8>> {
        let addrv2 = (
            any::<u32>(),
            any::<u8>(),
            0_u8..7,
            0_u8..40,
            vec(any::<u8>(), 0..40),
        );
        let addrv2 = addrv2.prop_map(|(time, services, network, length, rest)| {
            [&time.to_le_bytes()[..], &[services, network, length], &rest].concat()
        });
        let entry = prop_oneof![addrv2, vec(any::<u8>(), 30), vec(any::<u8>(), 0..40)];
        (any::<u8>(), vec(entry, 0..6))
            .prop_map(|(count, entries)| [vec![count % 8], entries.concat()].concat())
    }

    proptest! {
        /// Whoever hears of those from us understands them.
        #[test]
        fn what_can_be_dialled_is_told_and_heard_in_both_forms(
            list in vec(any_gossip(), 0..50),
            addrv2: bool,
            now: u32,
        ) {
            let told: Vec<_> = list.into_iter().filter(|g| is_dialable(g.addr, false)).collect();
            let bytes = envelope().encode(&write(&told, addrv2)).unwrap();
            let heard = read(&envelope().decode(&bytes).unwrap(), now);
            let facts = |list: &[Gossip]| -> Vec<_> {
                list.iter().map(|gossip| (gossip.addr, gossip.services)).collect()
            };
            prop_assert_eq!(facts(&heard), facts(&told));
            for (heard, told) in heard.iter().zip(&told) {
                let possible = told.time != 0 && told.time <= now.saturating_add(MAX_AHEAD_SECONDS);
                let clipped = now.saturating_sub(CLIPPED_AGE_SECONDS);
                prop_assert_eq!(heard.time, if possible { told.time } else { clipped });
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read_as_few_sound_addresses(
            payload in any_payload(),
            addrv2: bool,
            now: u32,
        ) {
            let command = if addrv2 { "addrv2" } else { "addr" };
            let Ok(message) = decode(command, &payload) else {
                return Ok(());
            };
            let list = read(&message, now);
            prop_assert!(list.len() <= usize::from(payload[0]));
            for gossip in list {
                prop_assert_eq!(gossip.addr, canonical_socket(gossip.addr));
                prop_assert!(gossip.time <= now.saturating_add(MAX_AHEAD_SECONDS));
            }
        }

        #[test]
        fn nobody_is_believed_more_than_the_rate(
            steps in vec((0_usize..1_500, 0_u64..60_000, prop::bool::weighted(0.1)), 1..100),
        ) {
            let start = Instant::now();
            let mut bucket = AddressBucket::new(start);
            let (mut now, mut taken, mut welcome) = (start, 0, 1.0);
            for (offered, pause, asked) in steps {
                now += Duration::from_millis(pause);
                if asked {
                    bucket.asked();
                    welcome += BURST;
                }
                let takes = bucket.take(offered, now);
                prop_assert!(takes <= offered);
                taken += takes;
                prop_assert!(taken as f64 <= welcome + rate(now - start) + 1e-6);
            }
        }
    }
}
