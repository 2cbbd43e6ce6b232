//! Asks resolvers, the parent zone's servers and the zone's own name servers what [`super::delegation`] judges.
//!
//! ```text
//! resolvers: NS, DS of the zone ──> first that answers: SOA above ──> parent zone ──> its NS ──> their addresses
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

/// Asks everybody about one zone. What nobody answers is left out.
pub(super) async fn look(ours: &Ours, options: &CheckOptions) -> Seen {
    let zone = &ours.zone;
    let mut seen = Seen {
        resolvers: ask_resolvers(&options.resolvers, zone).await,
        ..Seen::default()
    };
    let Some(resolver) = best(&seen.resolvers) else {
        return seen;
    };
    seen.parent = look_at_parent(resolver, zone, options.server_port).await;
    let views = || seen.parent.iter().flat_map(|parent| &parent.views);
    let mut names = ours.servers.clone();
    names.extend(views().flat_map(|view| view.servers.iter().cloned()));
    let mut addresses = find_addresses(resolver, &names).await;
    for glue in views().filter_map(|view| view.glue.as_ref()) {
        for (name, ips) in glue {
            addresses.entry(name.clone()).or_default().extend(ips);
        }
    }
    for name in ours.servers.iter().filter(|name| zone.zone_of(name)) {
        addresses
            .entry(name.clone())
            .or_default()
            .extend(&ours.glue);
    }
    seen.servers = ask_servers(zone, &addresses, options.server_port).await;
    seen.addresses = addresses;
    seen
}

/// A resolver that resolves for us, if there is one.
fn best(resolvers: &[AtResolver]) -> Option<SocketAddr> {
    let refuses = |code| code == ResponseCode::Refused;
    let mut good = resolvers.iter().filter(|at| {
        let said = at.said.as_ref();
        said.is_ok_and(|said| !refuses(said.code))
    });
    good.next().map(|at| at.resolver)
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
    let denies = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
    let is_soa = |record: &Record| record.record_type() == RecordType::SOA;
    if denies && servers.answers.is_empty() && !servers.authorities.iter().any(is_soa) {
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
    let known = matches!(
        message.metadata.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    );
    let records = [&message.answers, &message.authorities];
    let ds = records
        .into_iter()
        .flat_map(|records| of(records, zone, RecordType::from(kind::DS)))
        .filter_map(|data| data.to_bytes().ok().map(Ds::new));
    known.then(|| ds.collect())
}

async fn look_at_parent(resolver: SocketAddr, zone: &Name, port: u16) -> Option<Parent> {
    let parent = find_parent(resolver, &zone.base_name()).await?;
    let question = Question::of_resolver(&parent, RecordType::NS);
    let message = ask(resolver, &question, Via::Either).await.ok()?;
    let names = name_servers(&message.answers, &parent);
    let known = find_addresses(resolver, &names).await;
    let servers = choose(known.into_values().flatten()).into_iter();
    let asked = servers.map(|ip| {
        let (server, zone) = (SocketAddr::new(ip, port), zone.clone());
        async move { (server, ask_parent(server, &zone).await) }
    });
    let mut found = Parent {
        zone: parent,
        views: Vec::new(),
        silent: Vec::new(),
    };
    for (server, view) in all(asked).await {
        match view {
            Ok(view) => add(&mut found.views, view),
            Err(why) => found.silent.push(format!("{}: {why}", server.ip())),
        }
    }
    Some(found)
}

/// The zone that `name` is in: the owner of the SOA that any answer about it holds.
async fn find_parent(resolver: SocketAddr, name: &Name) -> Option<Name> {
    let mut name = name.clone();
    loop {
        let question = Question::of_resolver(&name, RecordType::SOA);
        let message = ask(resolver, &question, Via::Either).await.ok()?;
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

/// Puts a view beside those that say the same.
fn add(views: &mut Vec<View>, view: View) {
    let same = views.iter_mut().find(|other| {
        (&other.servers, &other.glue, &other.ds) == (&view.servers, &view.glue, &view.ds)
    });
    match same {
        Some(other) => other.by.extend(view.by),
        None => views.push(view),
    }
}

async fn ask_parent(server: SocketAddr, zone: &Name) -> Result<View, String> {
    let about = |kind| Question::of_server(zone, kind);
    let (servers, signers) = (about(RecordType::NS), about(RecordType::DS));
    let (servers, signers) = tokio::join!(
        ask(server, &servers, Via::Either),
        ask(server, &signers, Via::Either)
    );
    let message = servers.map_err(|error: AskError| error.to_string())?;
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(format!("answers {}", code_name(code))),
    }
    let mut view = View {
        by: vec![server],
        ..view_of(&message, zone)
    };
    if let Ok(message) = signers {
        view.ds = signers_in(&message, zone);
    }
    Ok(view)
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

/// A and AAAA of each name by a resolver; names without any are in it too.
async fn find_addresses(
    resolver: SocketAddr,
    names: &BTreeSet<Name>,
) -> BTreeMap<Name, BTreeSet<IpAddr>> {
    let both = |name: &Name| {
        [RecordType::A, RecordType::AAAA].map(|kind| Question::of_resolver(name, kind))
    };
    let questions = names.iter().flat_map(both);
    let asked = questions.map(|question| async move {
        let message = ask(resolver, &question, Via::Either).await;
        (question.name, message)
    });
    let mut found: BTreeMap<Name, BTreeSet<IpAddr>> = BTreeMap::new();
    for (name, message) in all(asked).await {
        let ips = found.entry(name).or_default();
        let records = message.into_iter().flat_map(|message| message.answers);
        ips.extend(records.filter_map(|record| record.data.ip_addr()));
    }
    found
}

async fn ask_servers(
    zone: &Name,
    addresses: &BTreeMap<Name, BTreeSet<IpAddr>>,
    port: u16,
) -> Vec<AtServer> {
    let mut pairs = Vec::new();
    for (name, ips) in addresses {
        pairs.extend(ips.iter().map(|ip| (name.clone(), *ip)));
    }
    let asked = pairs.into_iter().take(SERVERS).map(|(name, addr)| {
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
