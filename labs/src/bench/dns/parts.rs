//! What the servers need, and servers of this program, each in a process of its own: hickory-server's, and a bare echo.

use std::io::{IoSlice, IoSliceMut, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::Server as HickoryServer;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::Metadata;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::reachability::{GoodPolicy, Outcome, Stage, Transports};
use quantumcoin::store::{Heard, Observation, ProbeRecord, Store, StoreOptions, Write};
use quantumcoin_seeder::dnssec::key::{Algorithm, Key, Role};
use quantumcoin_seeder::dnssec::{keyfile, times::Times};
use quantumcoin_seeder::wire::name::WireName;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use serde_json::json;

use super::super::worker::tell;
use super::{ADDRESSES, PEERS, ZONES};

/// Parts of `bench dns`.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// hickory-server with a handler that has its records ready.
    Hickory,
    /// Sends back as many bytes as the answers to A and AAAA have.
    Echo {
        /// Bytes for A.
        v4: usize,
        /// Bytes for AAAA.
        v6: usize,
    },
}

impl Part {
    /// Serves until standard input ends.
    ///
    /// # Errors
    /// When a server can't be started.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Echo { v4, v6 } => echo(v4, v6),
            Self::Hickory => runtime()?.block_on(hickory()),
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

fn ready(addr: SocketAddr) -> anyhow::Result<()> {
    tell(&json!({"addr": addr.to_string(), "pid": std::process::id()}))
}

/// Until the starter lets go of standard input.
async fn end_of_input() {
    // An error is an end as well.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
}

/// Writes what the seeder needs: a store of good peers, and keys.
pub(super) fn write_store(dir: &Path) -> anyhow::Result<()> {
    runtime()?.block_on(write_peers(&store(dir), &ChainSpec::mainnet()))?;
    let keys = keys(dir);
    std::fs::create_dir_all(&keys)?;
    for zone in ZONES {
        let apex = WireName::of(&Name::from_ascii(format!("{zone}."))?);
        let times = Times::from_now(quantumcoin_seeder::follow::unix_now());
        let key = Key::generate(apex, Algorithm::EcdsaP256, Role::KeySigning, times)?;
        keyfile::write(&keys, &key)?;
    }
    Ok(())
}

pub(super) fn store(dir: &Path) -> PathBuf {
    dir.join("crawl.sqlite")
}

pub(super) fn keys(dir: &Path) -> PathBuf {
    dir.join("keys")
}

/// Good peers, half of them on IPv6, each in a netgroup of its own.
async fn write_peers(path: &Path, spec: &ChainSpec) -> anyhow::Result<()> {
    let options = StoreOptions {
        network: spec.network.clone(),
        genesis: spec.genesis_hash().to_string(),
        policy: GoodPolicy::default(),
    };
    let store = Store::open(path, options).await?;
    let now = quantumcoin_seeder::follow::unix_now();
    let port = spec.network_protocol.default_port;
    for n in 0..PEERS {
        let [_, _, a, b] = (n / 2).to_be_bytes();
        let ip: IpAddr = if n % 2 == 0 {
            Ipv4Addr::new(11 + a, b, 7, 1).into()
        } else {
            Ipv6Addr::new(0x2400, u16::from_be_bytes([a, b]), 7, 0, 0, 0, 0, 1).into()
        };
        for at in [now - 1200, now - 600, now] {
            store.write(passed((ip, port).into(), at)).await?;
        }
    }
    store.close().await?;
    Ok(())
}

fn passed(addr: SocketAddr, at: i64) -> Write {
    // Two with one identity would never be in one answer.
    let mut id = [7; 32];
    for (own, byte) in id.iter_mut().zip(addr.to_string().bytes()) {
        *own = byte;
    }
    Write::Probe(Box::new(ProbeRecord {
        addr,
        at,
        outcome: Outcome::Ok,
        stage: Stage::Done,
        duration_ms: 120,
        next_due: at + 1500,
        failures: 0,
        observed: Observation {
            services: Some(0xfff),
            protocol_version: Some(70_015),
            proved_height: Some(800_000),
            transports: Some(Transports::NOISE),
            node_id: Some(id),
            ..Observation::default()
        },
        heard: Heard::default(),
    }))
}

/// Answers with the same records each time; the least that a handler can do.
struct Ready {
    v4: Vec<Record>,
    v6: Vec<Record>,
}

#[async_trait::async_trait]
impl RequestHandler for Ready {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let v4 = request
            .queries
            .queries()
            .first()
            .is_some_and(|query| query.original().query_type() == RecordType::A);
        let records = if v4 { &self.v4 } else { &self.v6 };
        let edns = request.edns.as_ref().map(|_| {
            let mut edns = hickory_proto::op::Edns::new();
            edns.set_max_payload(1232);
            edns
        });
        let response = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
            metadata,
            records.iter(),
            std::iter::empty(),
            std::iter::empty(),
            std::iter::empty(),
        );
        match out.send_response(response).await {
            Ok(info) => info,
            Err(_) => ResponseInfo::from(hickory_proto::op::Header {
                metadata,
                counts: hickory_proto::op::HeaderCounts::default(),
            }),
        }
    }
}

async fn hickory() -> anyhow::Result<()> {
    let zone = ZONES.first().context("there are zones")?;
    let name: Name = LowerName::from(Name::from_ascii(format!("{zone}."))?).into();
    let record = |data| Record::from_rdata(name.clone(), 60, data);
    let v4 = (1..=ADDRESSES)
        .map(|n| record(RData::A(Ipv4Addr::new(10, n, 7, 1).into())))
        .collect();
    let six = |n: u8| Ipv6Addr::new(0x2400, n.into(), 7, 0, 0, 0, 0, 1);
    let v6 = (1..=ADDRESSES)
        .map(|n| record(RData::AAAA(six(n).into())))
        .collect();
    let mut server = HickoryServer::new(Ready { v4, v6 });
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = socket.local_addr()?;
    server.register_socket(socket);
    ready(addr)?;
    end_of_input().await;
    server.shutdown_gracefully().await?;
    Ok(())
}

/// Datagrams of one system call, as many as the seeder takes.
const BATCH: usize = 32;

/// Bytes of the header; the type is looked for after the question's name.
const HEADER: usize = 12;

/// The least that a server on this system can do: take datagrams in batches and send back as many bytes as answers have.
fn echo(v4: usize, v6: usize) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
    ready(socket.local_addr()?)?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut queries = Box::new([[0_u8; 2048]; BATCH]);
    let mut responses = Box::new([[0_u8; 2048]; BATCH]);
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    loop {
        let mut slices = queries.each_mut().map(|query| [IoSliceMut::new(query)]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let fd = socket.as_raw_fd();
        let received = recvmmsg(fd, &mut headers, slices.iter_mut(), flags, None)?;
        let clients: Vec<(SocketAddrAny, usize)> = received
            .filter_map(|message| Some((SocketAddr::from(message.address?).into(), message.bytes)))
            .collect();
        let mut sizes = [0; BATCH];
        let pairs = queries.iter().zip(responses.iter_mut()).zip(&clients);
        for (((query, response), (_, length)), size) in pairs.zip(&mut sizes) {
            // Every answer that the generator takes: QR, one question, as many records as it wants.
            if let (Some(to), Some(from)) = (response.get_mut(..*length), query.get(..*length)) {
                to.copy_from_slice(from);
            }
            if let Some(fixed) = response.first_chunk_mut::<HEADER>() {
                fixed[2] |= 0x80;
                fixed[7] = ADDRESSES;
            }
            // The type is behind the name, fifteen bytes before the end of a query with an empty OPT.
            let six = query.get(length.saturating_sub(14)) == Some(&28);
            *size = if six { v6 } else { v4 };
        }
        let slices: Vec<[IoSlice<'_>; 1]> = responses
            .iter()
            .zip(&sizes)
            .map(|(response, size)| [IoSlice::new(response.get(..*size).unwrap_or_default())])
            .collect();
        let mut controls: Vec<_> = slices
            .iter()
            .map(|_| SendAncillaryBuffer::default())
            .collect();
        let mut messages: Vec<_> = clients
            .iter()
            .zip(&slices)
            .zip(&mut controls)
            .map(|(((client, _), slice), control)| MMsgHdr::new_with_addr(client, slice, control))
            .collect();
        let mut rest = messages.as_mut_slice();
        while !rest.is_empty() {
            let sent = sendmmsg(&socket, rest, SendFlags::empty())?;
            rest = rest.get_mut(sent..).unwrap_or_default();
        }
    }
}
