//! Records of one zone, made from peers.

use std::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use quantumcoin::reachability::{GoodPeer, overlay::PeerAddress};

use super::{INFRASTRUCTURE_TTL, NEGATIVE_TTL, Zone, label};
use crate::wire::{
    CLASS_IN,
    kind::{A, AAAA, HINFO, NS, SOA, SRV, TXT},
    name::WireName,
    rrset::{Rdata, RrSet},
};

/// SOA timers for secondaries (RFC 1912, 2.2): they ask every 15 minutes, again after 5, and give up after
/// a week, so that a seed outlives its primary.
const REFRESH: u32 = 900;
const RETRY: u32 = 300;
const EXPIRE: u32 = 604_800;

/// Names that carry a service in SRV (RFC 2782): QuantumCoin over TCP.
pub const SERVICE_LABELS: [&[u8]; 2] = [b"_qtc", b"_tcp"];

/// The label below the apex that holds the hosts of SRV records.
pub const HOSTS_LABEL: &[u8] = b"n";

/// Most bytes of one string of TXT (RFC 1035, 3.3).
const MAX_STRING: usize = 255;

impl Zone {
    /// A or AAAA records of these addresses, which are of one family.
    #[must_use]
    pub fn addresses(&self, owner: &WireName, ips: impl Iterator<Item = IpAddr>) -> RrSet {
        addresses(owner, self.ttl(), ips)
    }

    /// One peer a record in text, e.g. `v=qtc1 a=192.0.2.7:8333 s=409 t=noise k=… h=1200`.
    ///
    /// `a` is where the peer is, an address or a name of an overlay network, `s` are the service bits in hexadecimal, `t` the transports, `k` the node identity (base64url; left
    /// out when unknown, as is `t`), `h` the height.
    #[must_use]
    pub fn texts<'a>(
        &self,
        owner: &WireName,
        peers: impl Iterator<Item = (&'a GoodPeer, PeerAddress)>,
    ) -> RrSet {
        let mut rdata = Rdata::default();
        for (peer, address) in peers {
            rdata.push(|bytes| push_string(bytes, &describe(peer, address)));
        }
        set(owner, TXT, self.ttl(), rdata)
    }

    /// The service records of peers, and the names of their targets. A peer whose target's name would be too long for DNS is
    /// left out; that takes an apex of more than 200 characters.
    #[must_use]
    pub fn services<'a>(
        &self,
        owner: &WireName,
        peers: impl Iterator<Item = &'a GoodPeer>,
    ) -> (RrSet, Vec<(WireName, IpAddr)>) {
        let (mut rdata, mut targets) = (Rdata::default(), Vec::new());
        for peer in peers {
            let ip = peer.addr.ip();
            let Some(target) = self.host_name(ip) else {
                continue;
            };
            let (priority, weight) = rank(peer.quality);
            rdata.push(|bytes| {
                for number in [priority, weight, peer.addr.port()] {
                    bytes.extend(number.to_be_bytes());
                }
                bytes.extend_from_slice(target.as_bytes());
            });
            targets.push((target, ip));
        }
        (set(owner, SRV, self.ttl(), rdata), targets)
    }

    /// The zone's name servers.
    #[must_use]
    pub fn delegation(&self) -> RrSet {
        let names = self.servers().iter().map(WireName::as_bytes);
        set(self.apex_wire(), NS, INFRASTRUCTURE_TTL, names.collect())
    }

    /// Addresses of the name servers that lie inside the zone.
    #[must_use]
    pub fn glue(&self) -> Vec<RrSet> {
        let servers = self.own_servers().iter();
        servers
            .flat_map(|server| self.name_server_records(server))
            .collect()
    }

    /// Addresses of one name server, by family; families without an address are left out.
    #[must_use]
    pub fn name_server_records(&self, owner: &WireName) -> Vec<RrSet> {
        let of = |v4| {
            let all = self.addresses_of(owner);
            addresses(
                owner,
                INFRASTRUCTURE_TTL,
                all.filter(move |ip| ip.is_ipv4() == v4),
            )
        };
        let both = [of(true), of(false)].into_iter();
        both.filter(|set| !set.rdata.is_empty()).collect()
    }

    /// The start of authority with the snapshot's serial.
    #[must_use]
    pub fn authority(&self, serial: u32) -> RrSet {
        self.soa(serial, INFRASTRUCTURE_TTL)
    }

    /// The SOA of a negative answer: owned by the apex, kept for [`NEGATIVE_TTL`] (RFC 2308, 3).
    #[must_use]
    pub fn denial(&self, serial: u32) -> RrSet {
        self.soa(serial, NEGATIVE_TTL)
    }

    /// The one record that answers ANY (RFC 8482, 4.2).
    #[must_use]
    pub fn minimal_any(&self, owner: &WireName) -> RrSet {
        let mut rdata = Rdata::default();
        rdata.push(|bytes| {
            push_string(bytes, "RFC8482");
            push_string(bytes, "");
        });
        set(owner, HINFO, INFRASTRUCTURE_TTL, rdata)
    }

    /// `<label>.n.<apex>`.
    fn host_name(&self, ip: IpAddr) -> Option<WireName> {
        let label = label::of_host(ip);
        self.apex_wire()
            .below_labels(&[label.as_bytes(), HOSTS_LABEL])
    }

    fn soa(&self, serial: u32, ttl: u32) -> RrSet {
        // Never empty: a zone without a name server gets one when it is made.
        let primary = self.servers().first().unwrap_or(self.apex_wire());
        let mut rdata = Rdata::default();
        rdata.push(|bytes| {
            bytes.extend_from_slice(primary.as_bytes());
            bytes.extend_from_slice(self.contact().as_bytes());
            for number in [serial, REFRESH, RETRY, EXPIRE, NEGATIVE_TTL] {
                bytes.extend(number.to_be_bytes());
            }
        });
        set(self.apex_wire(), SOA, ttl, rdata)
    }
}

const fn set(owner: &WireName, kind: u16, ttl: u32, rdata: Rdata) -> RrSet {
    RrSet {
        owner: *owner,
        kind,
        class: CLASS_IN,
        ttl,
        rdata,
    }
}

fn addresses(owner: &WireName, ttl: u32, ips: impl Iterator<Item = IpAddr>) -> RrSet {
    let (mut rdata, mut kind) = (Rdata::default(), A);
    for ip in ips {
        match ip {
            IpAddr::V4(v4) => rdata.push(|bytes| bytes.extend(v4.octets())),
            IpAddr::V6(v6) => {
                kind = AAAA;
                rdata.push(|bytes| bytes.extend(v6.octets()));
            }
        }
    }
    set(owner, kind, ttl, rdata)
}

/// One string behind its length; what is too long is cut.
pub(crate) fn push_string(bytes: &mut Vec<u8>, text: &str) {
    let text = text.as_bytes();
    let text = text.get(..MAX_STRING).unwrap_or(text);
    bytes.push(text.len() as u8);
    bytes.extend_from_slice(text);
}

/// Priority and weight of a peer. Three classes only: clients exhaust a class before they try the next, so
/// finer steps would send everybody to the same few peers.
fn rank(quality: f64) -> (u16, u16) {
    let quality = quality.clamp(0.0, 1.0);
    let priority = match quality {
        q if q >= 0.8 => 10,
        q if q >= 0.5 => 20,
        _ => 30,
    };
    // 1..=100 after the clamp; NaN becomes 0 by the cast's rules and 1 here.
    let weight = 1 + (quality * 99.0) as u16;
    (priority, weight)
}

fn describe(peer: &GoodPeer, address: PeerAddress) -> String {
    use std::fmt::Write;

    let mut text = String::with_capacity(128);
    // Writing to a String never fails.
    let _ = write!(text, "v=qtc1 a={address} s={:x}", peer.services);
    let mut separator = " t=";
    for name in peer.transports.names() {
        text.push_str(separator);
        text.push_str(name);
        separator = ",";
    }
    if let Some(id) = &peer.node_id {
        text.push_str(" k=");
        BASE64URL_NOPAD.encode_append(id, &mut text);
    }
    let _ = write!(text, " h={}", peer.height);
    text
}
