//! Asks resolvers, the parent zone's servers and the zone's own name servers what [`super::delegation`] judges.
//!
//! ```text
//! resolvers: NS, DS of the zone ──> those that answer: SOA above ──> parent zone ──> its NS ──> their addresses
//! parent's servers: NS, DS of the zone, without recursion ──> NS, glue, DS
//! ours and the parent's NS ──> addresses (resolver, glue) ──> SOA over UDP and over TCP, without recursion
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType},
    serialize::binary::BinEncodable,
};

use super::{
    CheckOptions,
    delegation::{AtResolver, AtServer, Ds, Ours, Parent, Resolved, Seen, View},
    server::{code_name, soa},
};
use crate::{
    ask::{AskError, Question, Via, all, ask, of},
    dnssec::kind,
};

/// Servers of the parent that are asked, of each family: enough to see that they agree, few enough to trouble nobody.
const PARENTS: usize = 3;

/// Name server addresses that are asked: thirteen servers, as many as fit in a plain answer, by both families.
const SERVERS: usize = 26;

/// Name servers of one zone that are looked up: as many as [`SERVERS`]. A parent may name any number.
const NAMES: usize = 26;

/// Resolvers that are asked in turn when one fails.
const TRIES: usize = 3;

/// Asks everybody about one zone. What nobody answers is left out; `seen` has at each moment what came until then.
pub(super) async fn look(ours: &Ours, options: &CheckOptions, seen: &mut Seen) {
    let zone = &ours.zone;
    seen.resolvers = ask_resolvers(&options.resolvers, zone).await;
    let resolvers = usable(&seen.resolvers);
    if resolvers.is_empty() {
        return;
    }
    seen.parent = look_at_parent(&resolvers, zone, options.server_port).await;
    let views = || seen.parent.iter().flat_map(|parent| &parent.views);
    let mut names = ours.servers.clone();
    let theirs = views().flat_map(|view| view.servers.iter().cloned());
    names.extend(theirs.take(NAMES));
    let Addresses {
        mut known,
        unknown,
        aliases,
    } = find_addresses(&resolvers, &names).await;
    for glue in views().filter_map(|view| view.glue.as_ref()) {
        for (name, ips) in glue.iter().filter(|(name, _)| names.contains(name)) {
            known.entry(name.clone()).or_default().extend(ips);
        }
    }
    for name in ours.servers.iter().filter(|name| zone.zone_of(name)) {
        known.entry(name.clone()).or_default().extend(&ours.glue);
    }
    let pairs = pairs(ours, &known);
    (seen.addresses, seen.unknown, seen.aliases) = (known, unknown, aliases);
    seen.servers = ask_servers(zone, pairs, options.server_port).await;
}

/// Resolvers that resolve for us.
fn usable(resolvers: &[AtResolver]) -> Vec<SocketAddr> {
    let good = resolvers.iter().filter(|at| {
        let said = at.said.as_ref();
        said.is_ok_and(|said| said.code != ResponseCode::Refused)
    });
    good.map(|at| at.resolver).take(TRIES).collect()
}

/// Asks resolvers in turn until one finds that there is something, or that there is nothing. A failure is neither.
async fn ask_any(resolvers: &[SocketAddr], question: &Question) -> Option<Message> {
    for resolver in resolvers {
        match ask(*resolver, question, Via::Either).await {
            Ok(message) if tells(&message) => return Some(message),
            _ => {}
        }
    }
    None
}

/// Whether a response says what there is, rather than that somebody failed.
fn tells(message: &Message) -> bool {
    matches!(
        message.metadata.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    )
}

async fn ask_resolvers(resolvers: &[SocketAddr], zone: &Name) -> Vec<AtResolver> {
    let asked = resolvers.iter().copied().map(|resolver| {
        let zone = zone.clone();
        async move {
            let about = |kind| Question::of_resolver(&zone, kind);
            let (servers, signers) = (about(RecordType::NS), about(RecordType::DS));
            let (servers, signers) = tokio::join!(
                ask(resolver, &servers, Via::Either),
                ask(resolver, &signers, Via::Either)
            );
            let said = servers.and_then(|message| resolved(&message, signers.ok().as_ref(), &zone));
            AtResolver { resolver, said }
        }
    });
    all(asked).await
}

/// What a resolver's responses to the questions for NS and DS say.
fn resolved(
    servers: &Message,
    signers: Option<&Message>,
    zone: &Name,
) -> Result<Resolved, AskError> {
    let code = servers.metadata.response_code;
    let is_soa = |record: &Record| record.record_type() == RecordType::SOA;
    if tells(servers) && servers.answers.is_empty() && !servers.authorities.iter().any(is_soa) {
        return Err(AskError::Hollow);
    }
    Ok(Resolved {
        code,
        servers: name_servers(&servers.answers, zone),
        ds: signers.and_then(|message| signers_in(message, zone)),
    })
}

fn name_servers(records: &[Record], zone: &Name) -> BTreeSet<Name> {
    let names = of(records, zone, RecordType::NS).filter_map(|data| match data {
        RData::NS(ns) => Some(ns.0.to_lowercase()),
        _ => None,
    });
    names.collect()
}

/// The DS records in a response; `None` when the response does not tell.
fn signers_in(message: &Message, zone: &Name) -> Option<BTreeSet<Ds>> {
    let records = [&message.answers, &message.authorities];
    let ds = records
        .into_iter()
        .flat_map(|records| of(records, zone, RecordType::from(kind::DS)))
        .filter_map(|data| data.to_bytes().ok().map(Ds::new));
    tells(message).then(|| ds.collect())
}

async fn look_at_parent(resolvers: &[SocketAddr], zone: &Name, port: u16) -> Option<Parent> {
    let parent = find_parent(resolvers, &zone.base_name()).await?;
    let question = Question::of_resolver(&parent, RecordType::NS);
    let message = ask_any(resolvers, &question).await?;
    let names = name_servers(&message.answers, &parent);
    let names = names.into_iter().take(NAMES).collect();
    let Addresses { known, .. } = find_addresses(resolvers, &names).await;
    let servers = choose(known.into_values().flatten()).into_iter();
    let asked = servers.map(|ip| {
        let (server, zone) = (SocketAddr::new(ip, port), zone.clone());
        async move { (server, ask_parent(server, &zone).await) }
    });
    let mut found = Parent {
        zone: parent,
        views: Vec::new(),
        silent: Vec::new(),
        replaced: 0,
    };
    for (server, view) in all(asked).await {
        match view {
            Ok(view) => view.join(&mut found.views, zone),
            Err(why) => {
                found.replaced += usize::from(why == Unheard::Replaced);
                found.silent.push(format!("{}: {why}", server.ip()));
            }
        }
    }
    Some(found)
}

/// The zone that `name` is in: the owner of the SOA that any answer about it holds. `None` when that could not be
/// found out: a failure must not make the zone above it the parent.
async fn find_parent(resolvers: &[SocketAddr], name: &Name) -> Option<Name> {
    let mut name = name.clone();
    loop {
        let question = Question::of_resolver(&name, RecordType::SOA);
        let message = ask_any(resolvers, &question).await?;
        let mut records = message.answers.iter().chain(&message.authorities);
        let soa = records
            .find(|record| record.record_type() == RecordType::SOA && record.name.zone_of(&name));
        if let Some(soa) = soa {
            return Some(soa.name.to_lowercase());
        }
        if name.is_root() {
            return None;
        }
        name = name.base_name();
    }
}

/// Some of each family.
fn choose(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.partition(IpAddr::is_ipv4);
    let some = |all: Vec<IpAddr>| all.into_iter().take(PARENTS);
    some(v4).chain(some(v6)).collect()
}

/// Why a server of the parent tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Unheard {
    /// It did not answer.
    #[error("{0}")]
    Silent(#[from] AskError),
    /// It answers with an error code.
    #[error("answers {0}")]
    Failed(String),
    /// It knows of the parent no more than who does.
    #[error("refers to the servers of {0}, so that it is none of this zone's parent")]
    Above(Name),
    /// What came is none of its own answers.
    #[error("somebody on the way answers in its place")]
    Replaced,
}

async fn ask_parent(server: SocketAddr, zone: &Name) -> Result<View, Unheard> {
    let about = |kind| Question::of_server(zone, kind);
    let (servers, signers) = (about(RecordType::NS), about(RecordType::DS));
    let (servers, signers) = tokio::join!(
        ask(server, &servers, Via::Either),
        ask(server, &signers, Via::Either)
    );
    let mut view = parents(&servers?, zone)?;
    view.by.push(server);
    // The parent is the authority for DS (RFC 4035, 3.1.4.1).
    let signers = signers
        .ok()
        .filter(|message| message.metadata.authoritative);
    view.ds = signers.and_then(|message| signers_in(&message, zone));
    Ok(view)
}

/// What a server of the parent answers to the question for the zone's NS. It is the server's own only when it comes from
/// an authority or is a referral to the zone: all else comes from a resolver's memory.
fn parents(message: &Message, zone: &Name) -> Result<View, Unheard> {
    let metadata = &message.metadata;
    if !metadata.authoritative && metadata.recursion_available && !refers_to(message, zone) {
        return Err(Unheard::Replaced);
    }
    if !tells(message) {
        return Err(Unheard::Failed(code_name(metadata.response_code)));
    }
    if metadata.authoritative || refers_to(message, zone) {
        return Ok(view_of(message, zone));
    }
    let mut records = message.authorities.iter();
    let other = records
        .find(|record| record.record_type() == RecordType::NS && record.name.zone_of(zone))
        .filter(|_| message.answers.is_empty());
    Err(other.map_or(Unheard::Replaced, |record| {
        Unheard::Above(record.name.to_lowercase())
    }))
}

/// Whether a response has nothing but the delegation of `zone`.
fn refers_to(message: &Message, zone: &Name) -> bool {
    let to = of(&message.authorities, zone, RecordType::NS).next();
    message.answers.is_empty() && to.is_some()
}

/// The delegation in a response of the parent's server to the question for the zone's NS.
fn view_of(message: &Message, zone: &Name) -> View {
    let mut servers = name_servers(&message.authorities, zone);
    // A server that holds the zone itself answers for it, and not for the parent.
    let itself = name_servers(&message.answers, zone);
    let holds_it = message.metadata.authoritative && !itself.is_empty();
    servers.extend(itself);
    let mut glue: BTreeMap<Name, BTreeSet<IpAddr>> = BTreeMap::new();
    for record in &message.additionals {
        let name = record.name.to_lowercase();
        if let (Some(ip), true) = (record.data.ip_addr(), servers.contains(&name)) {
            glue.entry(name).or_default().insert(ip);
        }
    }
    View {
        by: Vec::new(),
        servers,
        glue: (!holds_it).then_some(glue),
        ds: None,
    }
}

/// What resolvers know of the addresses of some names.
#[derive(Debug, Default)]
struct Addresses {
    /// A and AAAA; none for a name that has none.
    known: BTreeMap<Name, BTreeSet<IpAddr>>,
    /// Names of which not all could be found out.
    unknown: BTreeSet<Name>,
    /// Names that stand for others.
    aliases: BTreeSet<Name>,
}

impl Addresses {
    /// Takes up the answer to a question for A or AAAA; `None` when there is none.
    fn add(&mut self, question: &Question, message: Option<&Message>) {
        let Question { name, kind, .. } = question;
        let Some(message) = message else {
            self.unknown.insert(name.clone());
            return;
        };
        if of(&message.answers, name, RecordType::CNAME)
            .next()
            .is_some()
        {
            self.aliases.insert(name.clone());
        }
        let ips = of(&message.answers, name, *kind).filter_map(RData::ip_addr);
        self.known.entry(name.clone()).or_default().extend(ips);
    }
}

/// A and AAAA of each name.
async fn find_addresses(resolvers: &[SocketAddr], names: &BTreeSet<Name>) -> Addresses {
    let both = |name: &Name| {
        [RecordType::A, RecordType::AAAA].map(|kind| Question::of_resolver(name, kind))
    };
    let asked = names.iter().flat_map(both).map(|question| {
        let resolvers = resolvers.to_vec();
        async move {
            let message = ask_any(&resolvers, &question).await;
            (question, message)
        }
    });
    let mut found = Addresses::default();
    for (question, message) in all(asked).await {
        found.add(&question, message.as_ref());
    }
    found
}

/// Whom to ask where: our own servers first, for a parent may name any number of others.
fn pairs(ours: &Ours, addresses: &BTreeMap<Name, BTreeSet<IpAddr>>) -> Vec<(Name, IpAddr)> {
    let each = |mine: bool| {
        let some = addresses
            .iter()
            .filter(move |(name, _)| ours.servers.contains(*name) == mine);
        some.flat_map(|(name, ips)| ips.iter().map(|ip| (name.clone(), *ip)))
    };
    each(true).chain(each(false)).take(SERVERS).collect()
}

async fn ask_servers(zone: &Name, pairs: Vec<(Name, IpAddr)>, port: u16) -> Vec<AtServer> {
    let asked = pairs.into_iter().map(|(name, addr)| {
        let (server, zone) = (SocketAddr::new(addr, port), zone.clone());
        async move {
            let (udp, tcp) =
                tokio::join!(soa(server, &zone, Via::Udp), soa(server, &zone, Via::Tcp));
            AtServer {
                name,
                addr,
                udp,
                tcp,
            }
        }
    });
    all(asked).await
}

#[cfg(test)]
mod tests;
