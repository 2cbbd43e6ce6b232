//! Which peers a search means, and in which order they come. Pure.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use quantumcoin::reachability::overlay::{OverlayName, PeerAddress};
use quantumcoin::reachability::{CountryCode, Outcome};

use super::{Line, Roster};

/// Most characters of a search that are looked at; no user agent that is kept is longer than 256.
pub const SEARCH_CHARS: usize = 100;

/// Which peers are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Whom the search box names.
    pub search: Search,
    /// Those whose last probe ended so.
    pub outcome: Option<Outcome>,
    /// Those that are good.
    pub only_good: bool,
    /// Those in this country.
    pub country: Option<CountryCode>,
    /// Those of this autonomous system.
    pub system: Option<u32>,
}

/// What is written in a search box.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Search {
    /// Nothing: all.
    #[default]
    All,
    /// An address with its port.
    Address(SocketAddr),
    /// A network: also an address without port, or the start of one.
    Net(IpNet),
    /// An autonomous system.
    System(u32),
    /// A country.
    Country(CountryCode),
    /// A part of a user agent.
    Agent(String),
}

impl Search {
    /// Reads a search box: `192.0.2.1:8333`, `192.0.2.1`, `192.0.2.`, `192.0.2.0/24`, `2001:db8:`, a name of an overlay network,
    /// `AS64500`, `CH`; anything else is a part of a user agent.
    pub fn read(text: &str) -> Self {
        let text: String = text.trim().chars().take(SEARCH_CHARS).collect();
        if text.is_empty() {
            return Self::All;
        }
        if let Ok(peer) = text.parse::<PeerAddress>() {
            return Self::Address(peer.key());
        }
        if let Ok(name) = text.parse::<OverlayName>() {
            return Self::Net(IpAddr::V6(name.stand_in()).into());
        }
        if let Some(net) = network(&text) {
            return Self::Net(net);
        }
        if let Some(number) = system(&text) {
            return Self::System(number);
        }
        text.parse().map_or(Self::Agent(text), Self::Country)
    }
}

/// `AS64500`, in any case.
pub fn system(text: &str) -> Option<u32> {
    let (start, number) = text.split_at_checked(2)?;
    let is_number = number.bytes().all(|b| b.is_ascii_digit());
    (start.eq_ignore_ascii_case("as") && is_number).then(|| number.parse().ok())?
}

/// A network, the start of an address that ends with a separator, or an address.
fn network(text: &str) -> Option<IpNet> {
    let whole = || text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    text.parse::<IpNet>()
        .map(|net| net.trunc())
        .ok()
        .or_else(|| v4_start(text))
        .or_else(|| v6_start(text))
        .or_else(|| whole().map(|ip| ip.to_canonical().into()))
}

/// `192.0.2.`
fn v4_start(text: &str) -> Option<IpNet> {
    let parts = text.strip_suffix('.')?.split('.');
    let parts: Vec<u8> = parts.map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let mut octets = [0; 4];
    let places = octets.iter_mut().zip(&parts);
    places.for_each(|(to, from)| *to = *from);
    let bits = u8::try_from(parts.len() * 8)
        .ok()
        .filter(|bits| *bits < 32)?;
    Ipv4Net::new(Ipv4Addr::from(octets), bits)
        .ok()
        .map(IpNet::V4)
}

/// `2001:db8:` or `[2001:db8::`
fn v6_start(text: &str) -> Option<IpNet> {
    let start = text.strip_suffix("::").or_else(|| text.strip_suffix(':'))?;
    let parts = start.trim_start_matches('[').split(':');
    let parts = parts.map(|part| u16::from_str_radix(part, 16).ok());
    let parts: Vec<u16> = parts.collect::<Option<_>>()?;
    let mut groups = [0; 8];
    let places = groups.iter_mut().zip(&parts);
    places.for_each(|(to, from)| *to = *from);
    let bits = u8::try_from(parts.len() * 16)
        .ok()
        .filter(|bits| *bits < 128)?;
    Ipv6Net::new(Ipv6Addr::from(groups), bits)
        .ok()
        .map(IpNet::V6)
}

/// A column by which peers may be put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Column {
    /// Those that passed last first, the latest first.
    #[default]
    Passed,
    /// By address.
    Address,
    /// By how the last probe ended.
    Outcome,
    /// By user agent.
    Agent,
    /// By protocol version.
    Version,
    /// By height.
    Height,
    /// By how long a connection takes.
    Connect,
    /// By the share of probes that passed.
    Uptime,
    /// By when they were probed last.
    Probed,
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Passed,
        Self::Address,
        Self::Outcome,
        Self::Agent,
        Self::Version,
        Self::Height,
        Self::Connect,
        Self::Uptime,
        Self::Probed,
    ];

    /// Stable name in links.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Address => "address",
            Self::Outcome => "outcome",
            Self::Agent => "agent",
            Self::Version => "version",
            Self::Height => "height",
            Self::Connect => "connect",
            Self::Uptime => "uptime",
            Self::Probed => "probed",
        }
    }

    /// The column of this name; the default order for any other.
    pub fn named(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|c| c.as_str() == name);
        found.unwrap_or_default()
    }

    /// Ascending. What is not known comes last in both directions.
    fn compare(self, a: &Line, b: &Line, descending: bool) -> Ordering {
        let (a, b) = (&a.peer, &b.peer);
        let order = match self {
            Self::Passed => {
                let key = |p: &quantumcoin::store::PeerSummary| {
                    (p.last_outcome.is_success(), p.last_ok_at)
                };
                return if descending {
                    key(a).cmp(&key(b))
                } else {
                    key(b).cmp(&key(a))
                };
            }
            Self::Address => a.addr.cmp(&b.addr),
            Self::Outcome => a.last_outcome.as_str().cmp(b.last_outcome.as_str()),
            Self::Probed => a.last_probe_at.cmp(&b.last_probe_at),
            Self::Agent => return known(&a.user_agent, &b.user_agent, descending, Ord::cmp),
            Self::Version => {
                return known(
                    &a.protocol_version,
                    &b.protocol_version,
                    descending,
                    Ord::cmp,
                );
            }
            Self::Height => return known(&a.height, &b.height, descending, Ord::cmp),
            Self::Connect => return known(&a.connect_ms, &b.connect_ms, descending, Ord::cmp),
            Self::Uptime => return known(&a.uptime, &b.uptime, descending, f32::total_cmp),
        };
        if descending { order.reverse() } else { order }
    }
}

fn known<T>(
    a: &Option<T>,
    b: &Option<T>,
    descending: bool,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if descending => compare(b, a),
        (Some(a), Some(b)) => compare(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// An order of peers. Equal ones come by their addresses, so that pages never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order {
    /// By what.
    pub column: Column,
    /// Whether the greatest comes first.
    pub descending: bool,
}

impl Order {
    fn compare(self, a: &Line, b: &Line) -> Ordering {
        let order = self.column.compare(a, b, self.descending);
        order.then_with(|| a.peer.addr.cmp(&b.peer.addr))
    }
}

/// Whether lines are meant; remembers the answers for user agents, of which there are few.
struct Matcher<'a> {
    filter: &'a Filter,
    /// The part of a user agent that is searched for, in lower case.
    wanted: String,
    agents: HashMap<&'a str, bool>,
}

impl<'a> Matcher<'a> {
    fn new(filter: &'a Filter) -> Self {
        let wanted = match &filter.search {
            Search::Agent(text) => text.to_lowercase(),
            _ => String::new(),
        };
        Self {
            filter,
            wanted,
            agents: HashMap::new(),
        }
    }

    fn takes(&mut self, line: &'a Line) -> bool {
        let (filter, peer) = (self.filter, &line.peer);
        if filter.only_good && !line.is_good
            || filter.outcome.is_some_and(|o| o != peer.last_outcome)
            || filter.country.is_some() && filter.country != peer.place.country
            || filter.system.is_some() && filter.system != peer.place.system
        {
            return false;
        }
        match &filter.search {
            Search::All => true,
            Search::Address(addr) => peer.addr == *addr,
            Search::Net(net) => net.contains(&peer.addr.ip()),
            Search::System(number) => peer.place.system == Some(*number),
            Search::Country(code) => peer.place.country == Some(*code),
            Search::Agent(_) => peer.user_agent.as_deref().is_some_and(|agent| {
                let wanted = &self.wanted;
                let found = || agent.to_lowercase().contains(wanted.as_str());
                *self.agents.entry(agent).or_insert_with(found)
            }),
        }
    }
}

impl Roster {
    /// The lines from `offset` on, at most `limit`, of those that `filter` means; and how many it means in all.
    pub fn select(
        &self,
        filter: &Filter,
        order: Order,
        offset: usize,
        limit: usize,
    ) -> (Vec<&Line>, usize) {
        let mut matcher = Matcher::new(filter);
        let mut found: Vec<&Line> = self.lines().filter(|line| matcher.takes(line)).collect();
        let (total, end) = (found.len(), offset.saturating_add(limit));
        if end < total {
            // Only what comes before is put in order.
            found.select_nth_unstable_by(end, |a, b| order.compare(a, b));
            found.truncate(end);
        }
        found.sort_unstable_by(|a, b| order.compare(a, b));
        (found.split_off(offset.min(found.len())), total)
    }

    /// At most `limit` lines that `filter` means, in the order of their addresses, after this one.
    pub fn select_after(
        &self,
        filter: &Filter,
        after: Option<SocketAddr>,
        limit: usize,
    ) -> Vec<&Line> {
        let mut matcher = Matcher::new(filter);
        match after {
            Some(addr) => {
                let rest = self.after(addr).filter(|line| matcher.takes(line));
                rest.take(limit).collect()
            }
            None => {
                let all = self.lines().filter(|line| matcher.takes(line));
                all.take(limit).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::peer;
    use super::*;

    fn read(text: &str) -> Search {
        Search::read(text)
    }

    fn net(text: &str) -> Search {
        Search::Net(text.parse().unwrap())
    }

    #[test]
    fn a_search_box_takes_addresses_starts_of_them_places_and_user_agents() {
        assert_eq!(read(""), Search::All);
        assert_eq!(
            read(" 192.0.2.1:8333 "),
            Search::Address("192.0.2.1:8333".parse().unwrap())
        );
        assert_eq!(read("192.0.2.1"), net("192.0.2.1/32"));
        assert_eq!(read("192.0.2."), net("192.0.2.0/24"));
        assert_eq!(read("192."), net("192.0.0.0/8"));
        assert_eq!(read("192.0.2.7/24"), net("192.0.2.0/24"));
        assert_eq!(read("2001:db8:"), net("2001:db8::/32"));
        assert_eq!(read("[2001:db8::"), net("2001:db8::/32"));
        assert_eq!(read("[2001:db8::1]"), net("2001:db8::1/128"));
        assert_eq!(read("as64500"), Search::System(64_500));
        assert_eq!(read("CH"), Search::Country("CH".parse().unwrap()));
        for agent in ["quantum", "ch", "1.2.3.4.5.", "as6x", "é", "::::", "999."] {
            assert_eq!(read(agent), Search::Agent(agent.to_owned()), "{agent}");
        }
    }

    fn roster() -> Roster {
        let mut roster = Roster::default();
        for n in 0..100_u32 {
            let mut peer = peer(n.into(), &format!("10.0.{}.{}:8333", n % 4, n));
            peer.height = (n % 3 > 0).then_some(n);
            peer.user_agent = Some(if n % 2 == 0 {
                "/Even:1/".into()
            } else {
                "/odd:1/".into()
            });
            peer.place.system = Some(n % 5);
            peer.last_outcome = if n % 10 == 0 {
                Outcome::Refused
            } else {
                Outcome::Ok
            };
            roster.put(peer);
        }
        roster
    }

    fn count(filter: Filter) -> usize {
        roster().select(&filter, Order::default(), 0, 10).1
    }

    #[test]
    fn filters_are_joined_by_and() {
        let by = |search: &str| Filter {
            search: read(search),
            ..Filter::default()
        };
        assert_eq!(count(by("")), 100);
        assert_eq!(count(by("10.0.3.")), 25);
        assert_eq!(count(by("eVEN")), 50);
        assert_eq!(count(by("AS4")), 20);
        let refused = Some(Outcome::Refused);
        assert_eq!(
            count(Filter {
                outcome: refused,
                ..by("even")
            }),
            10
        );
        assert_eq!(
            count(Filter {
                outcome: refused,
                ..by("odd")
            }),
            0
        );
        assert_eq!(
            count(Filter {
                system: Some(1),
                ..by("10.0.1.")
            }),
            5
        );
        assert_eq!(
            count(Filter {
                only_good: true,
                ..by("")
            }),
            0
        );
    }

    #[test]
    fn what_is_not_known_comes_last_in_both_directions() {
        let roster = roster();
        for descending in [false, true] {
            let order = Order {
                column: Column::Height,
                descending,
            };
            let (lines, _) = roster.select(&Filter::default(), order, 0, 100);
            let heights: Vec<_> = lines.iter().map(|l| l.peer.height).collect();
            assert!(heights[..66].iter().all(Option::is_some), "{heights:?}");
            assert_eq!(heights[0], Some(if descending { 98 } else { 1 }));
        }
        assert_eq!(Column::named("height"), Column::Height);
        assert_eq!(Column::named("x"), Column::Passed);
    }

    proptest! {
        /// Pages one after the other are all lines, each once, in order, whatever their size.
        #[test]
        fn pages_neither_overlap_nor_leave_gaps(column in 0_usize..9, descending: bool, size in 1_usize..40) {
            let roster = roster();
            let order = Order { column: Column::ALL[column], descending };
            let (all, total) = roster.select(&Filter::default(), order, 0, usize::MAX);
            prop_assert_eq!(all.len(), total);
            let mut paged = Vec::new();
            for page in 0..=total / size {
                paged.extend(roster.select(&Filter::default(), order, page * size, size).0);
            }
            prop_assert_eq!(&paged, &all);
            prop_assert!(all.is_sorted_by(|a, b| order.compare(a, b).is_le()));
            let mut following: Vec<&Line> = Vec::new();
            loop {
                let last = following.last().map(|line| line.peer.addr);
                let more = roster.select_after(&Filter::default(), last, size);
                if more.is_empty() { break; }
                following.extend(more);
            }
            prop_assert_eq!(following.len(), total);
        }

        #[test]
        fn no_text_is_too_strange_to_search_for(text in "\\PC{0,120}") {
            let filter = Filter { search: Search::read(&text), ..Filter::default() };
            roster().select(&filter, Order::default(), 0, 10);
        }
    }
}
