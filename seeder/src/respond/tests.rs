//! The wire behaviour, byte by byte: what goes in and out of [`Responder::respond`] without sockets.

mod answers;
mod edns;
mod malformed;
mod sizes;
mod streams;
mod tsig;

use arc_swap::ArcSwap;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{DNSClass, Name, RecordType},
};
use quantumcoin::{
    chain_spec::ChainSpec, reachability::GoodPeer, service::metrics::Metrics, store::GoodSet,
};
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{SeederConfig, answer::Identity, snapshot::Policy};

const APEX: &str = "seed1.quantumcoin.network.";

fn peers() -> Vec<GoodPeer> {
    let addrs = (1..=60).flat_map(|n| [format!("10.{n}.0.1:8333"), format!("[2400:{n}::1]:8333")]);
    addrs
        .map(|addr| GoodPeer {
            services: 9,
            protocol_version: 70_015,
            height: 123_456,
            transports: quantumcoin::reachability::Transports::NOISE,
            node_id: Some(crate::snapshot::tests::id_of(&addr)),
            quality: 0.5,
            ..GoodPeer::unknown(addr.parse().unwrap())
        })
        .collect()
}

pub(crate) fn responder() -> Responder {
    responder_with(None)
}

fn responder_with(limit: Option<u32>) -> Responder {
    let policy = Policy {
        network: "devnet".to_owned(),
        default_port: 8333,
        one_per_netgroup: true,
        variants: 4,
        host_memory: 100,
        selections: vec![crate::snapshot::Selection::default()],
    };
    let set = GoodSet {
        peers: peers(),
        generation: 1,
        newest_probe_at: Some(1),
        ..GoodSet::default()
    };
    let snapshot = Snapshot::build(set, &policy, None, 1000, &mut StdRng::seed_from_u64(1));
    let config = SeederConfig {
        zones: vec![APEX.to_owned()],
        rate_limit: limit.unwrap_or(0),
        cookie_secret: Some([1; 16]),
        identity: Identity {
            version: None,
            id: Some("ns1".to_owned()),
        },
        ..SeederConfig::new(ChainSpec::mainnet())
    };
    let counters = Counters::new(&Metrics::new("test")).unwrap();
    let setup = Arc::new(Setup::new(&config, &counters, None).unwrap());
    let state = State::new(setup, Arc::new(snapshot), 1000, None).unwrap();
    Responder::new(Arc::new(ArcSwap::from_pointee(state)), counters)
}

/// A query with the id 0x1234.
fn query(name: &str, kind: RecordType, edns: Option<u16>) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut question = Query::query(Name::from_ascii(name).unwrap(), kind);
    question.set_query_class(DNSClass::IN);
    message.add_query(question);
    if let Some(payload) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message
}

fn reply(responder: &Responder, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let moment = Moment {
        unix: 1_800_000_000,
        micros: 5_000_000,
    };
    reply_at(responder, packet, transport, moment)
}

fn reply_at(
    responder: &Responder,
    packet: &[u8],
    transport: Transport,
    moment: Moment,
) -> Option<Vec<u8>> {
    let from = Asker {
        addr: "192.0.2.1:5353".parse().unwrap(),
        transport,
        moment,
        idle: Duration::from_secs(10),
    };
    let mut out = Vec::new();
    let state = responder.state().load();
    responder
        .respond(&state, packet, from, &mut out)
        .then_some(out)
}

fn ask(message: &Message, transport: Transport) -> (Message, Vec<u8>) {
    let bytes = reply(&responder(), &message.to_vec().unwrap(), transport).expect("an answer");
    (Message::from_vec(&bytes).expect("a message"), bytes)
}
