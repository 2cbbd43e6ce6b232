//! A resolver for tests: hickory's server on loopback, over UDP, TLS and HTTPS, with zones that are signed or not and a
//! certificate made anew for each test.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::dnssec::crypto::EcdsaSigningKey;
use hickory_resolver::proto::dnssec::rdata::DNSKEY;
use hickory_resolver::proto::dnssec::{Algorithm, DnssecSigner, SigningKey};
use hickory_resolver::proto::rr::rdata::{A, CNAME, NS, SOA, SRV};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::TLS13;
use tokio::net::{TcpListener, UdpSocket};

use super::Provider;
use crate::chain_spec::ChainSpec;

/// Whom the servers' certificate is for.
const SERVER_NAME: &str = "dns.test";

type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

pub(super) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub(super) fn address(n: u8) -> RData {
    RData::A(A(Ipv4Addr::new(20, n, 0, 1)))
}

pub(super) fn socket(n: u8) -> SocketAddr {
    (
        [20, n, 0, 1],
        ChainSpec::devnet().network_protocol.default_port,
    )
        .into()
}

/// A zone with these records, unsigned.
pub(super) fn zone(origin: &str, records: &[(&str, RData)]) -> Zone {
    let proofs = Some(NxProofKind::Nsec);
    let mut zone = Zone::empty(name(origin), ZoneType::Primary, AxfrPolicy::Deny, proofs);
    let server = name("ns.seeds.");
    let soa = SOA::new(server.clone(), server.clone(), 1, 60, 60, 60, 60);
    let apex = [(origin, RData::SOA(soa)), (origin, RData::NS(NS(server)))];
    for (owner, data) in apex.iter().chain(records) {
        let record = Record::from_rdata(name(owner), 60, data.clone());
        assert!(zone.upsert_mut(record, 1), "{owner}");
    }
    zone
}

/// A zone's key, and the line that trusts it.
pub(super) fn key(origin: &str) -> (DnssecSigner, String) {
    let algorithm = Algorithm::ECDSAP256SHA256;
    let pkcs8 = EcdsaSigningKey::generate_pkcs8(algorithm).unwrap();
    let key = EcdsaSigningKey::from_pkcs8(&pkcs8, algorithm).unwrap();
    let public = DNSKEY::from_key(&key.to_public_key().unwrap());
    let line = format!("{origin} 60 IN DNSKEY {public}\n");
    let week = Duration::from_secs(7 * 24 * 3_600);
    let signer = DnssecSigner::new(public, Box::new(key), name(origin), week);
    (signer, line)
}

/// The records of `seeds.`: a seed with an address and a service, an alias, and a delegation to a zone without keys.
pub(super) fn seeds() -> Vec<(&'static str, RData)> {
    let service = SRV::new(0, 1, 9_000, name("peer.seeds."));
    vec![
        ("good.seeds.", address(1)),
        ("_qtc._tcp.good.seeds.", RData::SRV(service)),
        ("peer.seeds.", address(2)),
        ("alias.seeds.", RData::CNAME(CNAME(name("good.seeds.")))),
        ("plain.seeds.", RData::NS(NS(name("ns.seeds.")))),
    ]
}

/// What a server serves.
pub(super) struct Served {
    /// `seeds.`.
    parent: Catalog,
    /// `plain.seeds.`, which is not signed.
    child: Catalog,
    questions: Arc<AtomicUsize>,
}

impl Served {
    pub(super) fn new(parent: Zone) -> Self {
        let serve = |zone: Zone| {
            let mut catalog = Catalog::new();
            let origin = zone.origin().clone();
            catalog.upsert(origin, vec![Arc::new(zone) as Arc<dyn ZoneHandler>]);
            catalog
        };
        Self {
            parent: serve(parent),
            child: serve(zone("plain.seeds.", &[("plain.seeds.", address(3))])),
            questions: Arc::default(),
        }
    }

    /// Under the key of `line`.
    pub(super) fn signed() -> (Self, String) {
        let (zone, line) = signed_zone();
        (Self::new(zone), line)
    }
}

pub(super) fn signed_zone() -> (Zone, String) {
    let (signer, line) = key("seeds.");
    let mut zone = zone("seeds.", &seeds());
    zone.add_zone_signing_key_mut(signer).unwrap();
    zone.secure_zone_mut().unwrap();
    (zone, line)
}

#[async_trait::async_trait]
impl RequestHandler for Served {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        response: R,
    ) -> ResponseInfo {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let question = request.request_info().unwrap().query;
        let plain = LowerName::from(name("plain.seeds."));
        // Whether a zone is signed is said by the zone above it.
        let by_child = plain.zone_of(question.name()) && question.query_type() != RecordType::DS;
        let catalog = if by_child { &self.child } else { &self.parent };
        catalog.handle_request::<R, T>(request, response).await
    }
}

/// The ways to one server, and who certifies it. It ends with this.
pub(super) struct Running {
    pub(super) udp: Provider,
    pub(super) tls: Provider,
    pub(super) https: Provider,
    pub(super) authority: tempfile::NamedTempFile,
    pub(super) questions: Arc<AtomicUsize>,
    _server: Server<Served>,
}

pub(super) async fn run(served: Served) -> Running {
    let questions = Arc::clone(&served.questions);
    let mut server = Server::new(served);
    let (config, authority) = certified();
    let long = Duration::from_secs(60);
    let bind = || TcpListener::bind("127.0.0.1:0");
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (tls, https) = (bind().await.unwrap(), bind().await.unwrap());
    let name = Some(Arc::from(SERVER_NAME));
    let running = (
        Provider::Server(udp.local_addr().unwrap()),
        Provider::Tls {
            addr: tls.local_addr().unwrap(),
            name: name.clone(),
        },
        Provider::Https {
            addr: https.local_addr().unwrap(),
            name,
            path: "/dns-query".into(),
        },
    );
    server.register_socket(udp);
    let dot = Arc::new(config.clone());
    server
        .register_tls_listener_with_tls_config(tls, long, dot)
        .unwrap();
    let mut doh = config;
    doh.alpn_protocols = vec![b"h2".to_vec()];
    server
        .register_https_listener_with_tls_config(
            https,
            long,
            Arc::new(doh),
            Some(SERVER_NAME.to_owned()),
            "/dns-query".to_owned(),
        )
        .unwrap();
    let (udp, tls, https) = running;
    Running {
        udp,
        tls,
        https,
        authority,
        questions,
        _server: server,
    }
}

fn certified() -> (ServerConfig, tempfile::NamedTempFile) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([SERVER_NAME.to_owned()]).unwrap();
    let mut authority = tempfile::NamedTempFile::new().unwrap();
    authority.write_all(cert.pem().as_bytes()).unwrap();
    let private = signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], private)
        .unwrap();
    (config, authority)
}
