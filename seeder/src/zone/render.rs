//! Records of one zone, made from peers.
//!
//! The owner of an answer is the name as it was asked, so that its case (the "0x20" bits that some
//! resolvers check) comes back.

use std::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use hickory_proto::{
    ProtoError,
    rr::{
        Name, RData, Record,
        rdata::{HINFO, NS, SOA, SRV, TXT},
    },
};
use quantumcoin::reachability::GoodPeer;

use super::{INFRASTRUCTURE_TTL, NEGATIVE_TTL, Zone, label};

/// SOA timers for secondaries (RFC 1912, 2.2): they ask every 15 minutes, again after 5, and give up after
/// a week, so that a seed outlives its primary.
const REFRESH: i32 = 900;
const RETRY: i32 = 300;
const EXPIRE: i32 = 604_800;

/// Names that carry a service in SRV (RFC 2782): QuantumCoin over TCP.
pub const SERVICE_LABELS: [&str; 2] = ["_qtc", "_tcp"];

/// The label below the apex that holds the hosts of SRV records.
pub const HOSTS_LABEL: &str = "n";

impl Zone {
    /// A or AAAA, as the address demands.
    #[must_use]
    pub fn address(&self, owner: &Name, ip: IpAddr) -> Record {
        Record::from_rdata(owner.clone(), self.ttl, rdata(ip))
    }

    /// One peer in text, e.g. `v=qtc1 a=192.0.2.7:8333 s=409 t=noise k=… h=1200`.
    ///
    /// `s` are the service bits in hexadecimal, `t` the transports, `k` the node identity (base64url; left
    /// out when unknown, as is `t`), `h` the height.
    #[must_use]
    pub fn text(&self, owner: &Name, peer: &GoodPeer) -> Record {
        Record::from_rdata(
            owner.clone(),
            self.ttl,
            RData::TXT(TXT::new(vec![describe(peer)])),
        )
    }

    /// The service record of one peer.
    ///
    /// # Errors
    /// When the target's name would be too long for DNS.
    pub fn service(&self, owner: &Name, peer: &GoodPeer) -> Result<Record, ProtoError> {
        let target = self.host_name(peer.addr.ip())?;
        let (priority, weight) = rank(peer.quality);
        let srv = SRV::new(priority, weight, peer.addr.port(), target);
        Ok(Record::from_rdata(owner.clone(), self.ttl, RData::SRV(srv)))
    }

    /// The address of a [`Zone::service`] record's target, for the additional section.
    ///
    /// # Errors
    /// When the target's name would be too long for DNS.
    pub fn host(&self, ip: IpAddr) -> Result<Record, ProtoError> {
        Ok(self.address(&self.host_name(ip)?, ip))
    }

    /// The zone's name servers.
    pub fn delegation(&self, owner: &Name) -> impl Iterator<Item = Record> {
        self.name_servers.iter().map(|server| {
            Record::from_rdata(
                owner.clone(),
                INFRASTRUCTURE_TTL,
                RData::NS(NS(server.clone())),
            )
        })
    }

    /// Addresses of the name servers that lie inside the zone.
    pub fn glue(&self) -> impl Iterator<Item = Record> {
        self.name_servers
            .iter()
            .filter(|server| self.contains(server))
            .flat_map(|server| self.name_server_records(server))
    }

    /// Addresses of one name server, owned by `owner`.
    pub fn name_server_records(&self, owner: &Name) -> impl Iterator<Item = Record> {
        self.name_server_addresses
            .iter()
            .map(|ip| Record::from_rdata(owner.clone(), INFRASTRUCTURE_TTL, rdata(*ip)))
    }

    /// The start of authority with the snapshot's serial.
    #[must_use]
    pub fn authority(&self, owner: &Name, serial: u32) -> Record {
        self.soa(owner, serial, INFRASTRUCTURE_TTL)
    }

    /// The SOA of a negative answer: owned by the apex, kept for [`NEGATIVE_TTL`] (RFC 2308, 3).
    #[must_use]
    pub fn denial(&self, serial: u32) -> Record {
        self.soa(&self.apex, serial, NEGATIVE_TTL)
    }

    /// The one record that answers ANY (RFC 8482, 4.2).
    #[must_use]
    pub fn minimal_any(&self, owner: &Name) -> Record {
        let hinfo = HINFO::new("RFC8482".to_owned(), String::new());
        Record::from_rdata(owner.clone(), INFRASTRUCTURE_TTL, RData::HINFO(hinfo))
    }

    /// `<label>.n.<apex>`.
    fn host_name(&self, ip: IpAddr) -> Result<Name, ProtoError> {
        self.apex
            .prepend_label(HOSTS_LABEL)?
            .prepend_label(label::of_host(ip).as_str())
    }

    fn soa(&self, owner: &Name, serial: u32, ttl: u32) -> Record {
        // Never empty: a zone without a name server gets one when it is made.
        let primary = self.name_servers.first().unwrap_or(&self.apex).clone();
        let soa = SOA::new(
            primary,
            self.contact.clone(),
            serial,
            REFRESH,
            RETRY,
            EXPIRE,
            NEGATIVE_TTL,
        );
        Record::from_rdata(owner.clone(), ttl, RData::SOA(soa))
    }
}

fn rdata(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(v4) => RData::A(v4.into()),
        IpAddr::V6(v6) => RData::AAAA(v6.into()),
    }
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

fn describe(peer: &GoodPeer) -> String {
    use std::fmt::Write;

    let mut text = format!("v=qtc1 a={} s={:x}", peer.addr, peer.services);
    let transports: Vec<&str> = peer.transports.names().collect();
    // Writing to a String never fails.
    if !transports.is_empty() {
        let _ = write!(text, " t={}", transports.join(","));
    }
    if let Some(id) = &peer.node_id {
        let _ = write!(text, " k={}", BASE64URL_NOPAD.encode(id));
    }
    let _ = write!(text, " h={}", peer.height);
    text
}
