//! Who is what in a simulated internet. Pure: all follows from a number by a keyed hash.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use quantumcoin::reachability::Outcome;

/// Netgroups (/16) that the addresses are spread over: 127.1.0.0 to 127.250.0.0.
const GROUPS: u32 = 250;

/// Subnets (/24) of each, which get a host in turn.
const SUBNETS: u32 = 256;

/// Hosts of each /24 at most: those from 1 on, as in the world.
const HOSTS: u32 = 64;

/// What somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A node as it should be.
    Honest,
    /// A node that tells no addresses but its own.
    Announcer,
    /// A node that tells of many addresses where nobody is, beside some of its network.
    Liar,
    /// A node that speaks TLS and no Noise.
    TlsOnly,
    /// Nobody answers a dial.
    Dead,
    /// Nothing listens.
    Refusing,
    /// Accepts and says nothing.
    Tarpit,
    /// Accepts and hangs up.
    Closing,
    /// Says what is no handshake.
    Junk,
    /// A node of another network.
    OtherNetwork,
    /// A node whose chain has nothing of ours but the first block.
    OtherChain,
    /// Claims a height that it can't show.
    Boaster,
    /// A node on our chain, far behind.
    Behind,
    /// Speaks an old version of the protocol.
    Outdated,
    /// Says nothing after the secure handshake.
    Mute,
    /// Breaks the order of messages.
    Rude,
}

/// Of a thousand good peers, …
const GOOD: [(Kind, u32); 4] = [
    (Kind::Announcer, 30),
    (Kind::Liar, 5),
    (Kind::TlsOnly, 20),
    (Kind::Honest, 945),
];

/// … and of a thousand others, so many of each kind.
const HOSTILE: [(Kind, u32); 12] = [
    (Kind::Dead, 350),
    (Kind::Refusing, 240),
    (Kind::Tarpit, 80),
    (Kind::Closing, 50),
    (Kind::Junk, 50),
    (Kind::OtherNetwork, 50),
    (Kind::OtherChain, 50),
    (Kind::Boaster, 40),
    (Kind::Behind, 40),
    (Kind::Outdated, 30),
    (Kind::Mute, 10),
    (Kind::Rude, 10),
];

impl Kind {
    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Announcer => "announcer",
            Self::Liar => "liar",
            Self::TlsOnly => "tls-only",
            Self::Dead => "dead",
            Self::Refusing => "refusing",
            Self::Tarpit => "tarpit",
            Self::Closing => "closing",
            Self::Junk => "junk",
            Self::OtherNetwork => "other-network",
            Self::OtherChain => "other-chain",
            Self::Boaster => "boaster",
            Self::Behind => "behind",
            Self::Outdated => "outdated",
            Self::Mute => "mute",
            Self::Rude => "rude",
        }
    }

    /// What it does, for people.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Honest => "a node as it should be",
            Self::Announcer => "a node that tells no addresses but its own",
            Self::Liar => "a node that tells of many addresses where nobody is",
            Self::TlsOnly => "a node that speaks TLS and no Noise",
            Self::Dead => "no answer to a dial",
            Self::Refusing => "nothing listens",
            Self::Tarpit => "accepts and says nothing",
            Self::Closing => "accepts and hangs up",
            Self::Junk => "says what is no handshake",
            Self::OtherNetwork => "a node of another network",
            Self::OtherChain => "a node of another chain",
            Self::Boaster => "claims a height that it can't show",
            Self::Behind => "on our chain, far behind",
            Self::Outdated => "speaks an old version of the protocol",
            Self::Mute => "says nothing after the handshake",
            Self::Rude => "breaks the order of messages",
        }
    }

    /// How a visit to it must end.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Honest | Self::Announcer | Self::Liar | Self::TlsOnly => Outcome::Ok,
            Self::Dead => Outcome::TimeoutConnect,
            Self::Refusing => Outcome::Refused,
            Self::Tarpit => Outcome::TimeoutHandshake,
            Self::Closing => Outcome::Disconnected,
            Self::Junk => Outcome::NoiseFailed,
            Self::OtherNetwork => Outcome::WrongNetwork,
            Self::OtherChain | Self::Boaster => Outcome::WrongChain,
            Self::Behind => Outcome::Behind,
            Self::Outdated => Outcome::TooOld,
            Self::Mute => Outcome::TimeoutProtocol,
            Self::Rude => Outcome::ProtocolError,
        }
    }
}

/// The ports that make an address one that answers, is dead, or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where somebody accepts.
    pub answers: u16,
    /// Where nobody answers a dial.
    pub dead: u16,
    /// Where nothing listens.
    pub refusing: u16,
}

impl Ports {
    /// Three numbers, as [`std::fmt::Display`] writes them.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let ports: Result<Vec<u16>, _> = text.split(',').map(str::parse).collect();
        match ports.as_deref() {
            Ok(&[answers, dead, refusing]) => Ok(Self {
                answers,
                dead,
                refusing,
            }),
            _ => Err(format!(
                "{text:?} is not three ports, such as 1001,1002,1003"
            )),
        }
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{},{}", self.answers, self.dead, self.refusing)
    }
}

/// The whole truth of one internet.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    size: u32,
    swarm: u32,
    good_percent: u32,
    told: u32,
    seed: u64,
    ports: Ports,
}

impl Truth {
    /// Of so many addresses, of which so many of a hundred are good peers that tell so many addresses each.
    pub fn new(size: u32, good_percent: u8, told: u16, seed: u64, ports: Ports) -> Self {
        Self {
            size: size.max(1),
            swarm: 0,
            good_percent: u32::from(good_percent),
            told: u32::from(told),
            seed,
            ports,
        }
    }

    /// With so many honest nodes of one owner besides, all in one netgroup; nobody tells of them.
    #[must_use]
    pub fn with_swarm(self, swarm: u32) -> Self {
        Self {
            swarm: swarm.min(SWARM_HOSTS * SWARM_HOSTS),
            ..self
        }
    }

    /// How many addresses there are, the swarm's among them: their numbers come last.
    pub const fn size(&self) -> u32 {
        self.size + self.swarm
    }

    /// Whether an address is one of the swarm's.
    pub fn is_of_swarm(&self, addr: SocketAddr) -> bool {
        self.number(addr).is_some_and(|number| number >= self.size)
    }

    /// Its ports.
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// What number `number` is.
    pub fn kind(&self, number: u32) -> Kind {
        if number >= self.size {
            return Kind::Honest;
        }
        let roll = self.hash(number, 0);
        let good = (roll % 100) < u64::from(self.good_percent);
        let mut rest = (roll >> 32) % 1_000;
        let (kinds, last): (&[(Kind, u32)], _) = if good {
            (&GOOD, Kind::Honest)
        } else {
            (&HOSTILE, Kind::Rude)
        };
        for (kind, share) in kinds {
            let share = u64::from(*share);
            if rest < share {
                return *kind;
            }
            rest -= share;
        }
        last
    }

    /// Where number `number` is.
    pub fn address(&self, number: u32) -> SocketAddr {
        let port = match self.kind(number) {
            Kind::Dead => self.ports.dead,
            Kind::Refusing => self.ports.refusing,
            _ => self.ports.answers,
        };
        let ip = match number.checked_sub(self.size) {
            None => ip(number),
            Some(nth) => swarm_ip(nth),
        };
        SocketAddr::from((ip, port))
    }

    /// Who is at an address, if anybody is.
    pub fn number(&self, addr: SocketAddr) -> Option<u32> {
        let IpAddr::V4(ip) = addr.ip() else {
            return None;
        };
        let number = match swarm_number(ip) {
            Some(nth) if nth < self.swarm => self.size + nth,
            Some(_) => return None,
            None => number_of(ip).filter(|number| *number < self.size)?,
        };
        (self.address(number).port() == addr.port()).then_some(number)
    }

    /// Whom number `number` tells of: its neighbours, so that the network hangs together, and others by chance. A liar tells
    /// of some of them, and of others where nothing listens.
    pub fn tells(&self, number: u32) -> Vec<SocketAddr> {
        let lies = self.kind(number) == Kind::Liar;
        (0..self.told)
            .map(|nth| match nth {
                0..NEIGHBOURS => self.address((number + nth + 1) % self.size),
                _ if lies => self.lie(number, nth),
                _ => {
                    let other = self.hash(number, u64::from(nth)) % u64::from(self.size);
                    // Below the size.
                    self.address(other as u32)
                }
            })
            .collect()
    }

    /// An address outside of the network, in 127.251.0.0 and the /16s behind it.
    fn lie(&self, number: u32, nth: u32) -> SocketAddr {
        let hash = self.hash(number, u64::from(nth));
        let [a, b, c, ..] = hash.to_le_bytes();
        let ip = Ipv4Addr::new(127, 251 + a % 4, b, c.max(1));
        SocketAddr::from((ip, self.ports.refusing))
    }

    /// How many there are of each kind.
    pub fn census(&self) -> BTreeMap<Kind, u32> {
        let mut census = BTreeMap::new();
        for number in 0..self.size() {
            *census.entry(self.kind(number)).or_default() += 1;
        }
        census
    }

    /// A number that depends on all of these; good enough to spread things.
    pub(super) fn hash(&self, number: u32, what: u64) -> u64 {
        // The finalizer of splitmix64 (Steele, Lea, Flood 2014), twice.
        let mut x = self
            .seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(mix(what.wrapping_add(1)))
            .wrapping_add(u64::from(number).wrapping_mul(0xd1b5_4a32_d192_ed03));
        x = mix(x);
        mix(x)
    }
}

/// Neighbours that each peer tells of first.
const NEIGHBOURS: u32 = 8;

fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Netgroup after netgroup gets one address.
fn ip(number: u32) -> Ipv4Addr {
    let (group, rest) = (number % GROUPS, number / GROUPS);
    let (subnet, host) = (rest % SUBNETS, rest / SUBNETS);
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 1));
    Ipv4Addr::from(first + (group << 16) + (subnet << 8) + host)
}

/// Subnets of a swarm, and hosts of each.
const SWARM_HOSTS: u32 = 250;

/// In 127.0.0.0/16, of which no other address is.
fn swarm_ip(nth: u32) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(127, 0, 1, 1));
    Ipv4Addr::from(first + ((nth / SWARM_HOSTS) << 8) + nth % SWARM_HOSTS)
}

fn swarm_number(ip: Ipv4Addr) -> Option<u32> {
    let [127, 0, subnet, host] = ip.octets() else {
        return None;
    };
    let (subnet, host) = (subnet.checked_sub(1)?, host.checked_sub(1)?);
    let is_one = u32::from(host) < SWARM_HOSTS && u32::from(subnet) < SWARM_HOSTS;
    is_one.then(|| u32::from(subnet) * SWARM_HOSTS + u32::from(host))
}

fn number_of(ip: Ipv4Addr) -> Option<u32> {
    let [127, a, b, c] = ip.octets() else {
        return None;
    };
    let group = u32::from(a)
        .checked_sub(1)
        .filter(|group| *group < GROUPS)?;
    let host = u32::from(c).checked_sub(1).filter(|host| *host < HOSTS)?;
    Some((host * SUBNETS + u32::from(b)) * GROUPS + group)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PORTS: Ports = Ports {
        answers: 1,
        dead: 2,
        refusing: 3,
    };

    #[test]
    fn everybody_has_an_address_of_his_own_and_is_found_by_it() {
        let truth = Truth::new(100_000, 60, 1_000, 7, PORTS);
        let all: HashSet<_> = (0..100_000).map(|number| truth.address(number)).collect();
        assert_eq!(all.len(), 100_000);
        for number in (0..100_000).step_by(997) {
            let addr = truth.address(number);
            assert_eq!(truth.number(addr), Some(number));
            assert_eq!(truth.number(SocketAddr::new(addr.ip(), 9)), None);
        }
        assert_eq!(number_of(ip(3_999_999)), Some(3_999_999));
    }

    #[test]
    fn ports_are_read_as_they_are_written() {
        assert_eq!(Ports::parse(&PORTS.to_string()), Ok(PORTS));
        for wrong in ["", "1,2", "1,2,3,4", "1,2,70000"] {
            assert!(Ports::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_swarm_is_one_netgroup_of_honest_nodes() {
        use quantumcoin::reachability::Netgroup;
        let truth = Truth::new(1_000, 60, 1_000, 7, PORTS).with_swarm(10_000);
        assert_eq!(truth.size(), 11_000);
        let all: HashSet<_> = (0..11_000).map(|number| truth.address(number)).collect();
        assert_eq!(all.len(), 11_000);
        let swarm: Vec<_> = all
            .iter()
            .filter(|addr| truth.is_of_swarm(**addr))
            .collect();
        assert_eq!(swarm.len(), 10_000);
        let groups: HashSet<_> = swarm.iter().map(|addr| Netgroup::of(addr.ip())).collect();
        assert_eq!(groups.len(), 1);
        let last = truth.address(10_999);
        assert_eq!(
            (truth.number(last), truth.kind(10_999)),
            (Some(10_999), Kind::Honest)
        );
        let told: Vec<_> = truth
            .tells(10_999)
            .into_iter()
            .chain(truth.tells(1))
            .collect();
        assert!(!told.iter().any(|addr| truth.is_of_swarm(*addr)));
    }

    #[test]
    fn the_kinds_have_the_shares_that_they_are_meant_to_have() {
        let truth = Truth::new(100_000, 60, 1_000, 7, PORTS);
        let census = truth.census();
        let good = GOOD.iter().map(|(kind, _)| census[kind]).sum::<u32>();
        assert!((59_000..61_000).contains(&good), "{good}");
        for (kinds, all) in [(&GOOD[..], good), (&HOSTILE[..], 100_000 - good)] {
            assert_eq!(kinds.iter().map(|(_, share)| share).sum::<u32>(), 1_000);
            for (kind, share) in kinds {
                let due = f64::from(all * share) / 1_000.0;
                let off = (f64::from(census[kind]) - due).abs();
                assert!(
                    off < 5.0 * due.sqrt(),
                    "{kind:?}: {} for {due}",
                    census[kind]
                );
            }
        }
    }

    #[test]
    fn what_is_told_is_of_the_network_but_for_lies() {
        let truth = Truth::new(5_000, 60, 1_000, 7, PORTS);
        let of = |kind| (0..5_000).find(|n| truth.kind(*n) == kind).unwrap();
        let known = |number| {
            let told = truth.tells(number);
            let known = told.iter().filter(|addr| truth.number(**addr).is_some());
            (told.len(), known.count())
        };
        assert_eq!(known(of(Kind::Honest)), (1_000, 1_000));
        assert_eq!(known(of(Kind::Liar)), (1_000, NEIGHBOURS as usize));
        // The same again, and something else by another seed.
        let again = Truth::new(5_000, 60, 1_000, 7, PORTS);
        assert_eq!(truth.tells(9), again.tells(9));
        let other = Truth::new(5_000, 60, 1_000, 8, PORTS);
        assert_ne!(truth.tells(9), other.tells(9));
    }
}
