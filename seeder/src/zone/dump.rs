//! The zone as a master file (RFC 1035, 5), for checkers and for other name servers.
//!
//! All peers are in it, not a draw: a server that loads it has to rotate by itself.

use std::{collections::BTreeSet, fmt::Write, net::IpAddr};

use hickory_proto::{
    ProtoError,
    rr::{Name, Record},
};
use quantumcoin::reachability::{GoodPeer, overlay::is_stand_in};

use super::{Zone, label, render};
use crate::{
    snapshot::Snapshot,
    wire::{name::WireName, rrset::RrSet},
};

/// The whole zone without signatures: the apex, the customary filters, the services and their hosts. Names that would be too long
/// for DNS are left out (below an apex of more than 200 characters).
///
/// # Errors
/// When hickory can't show a record.
pub fn master_file(
    zone: &Zone,
    snapshot: &Snapshot,
    default_port: u16,
) -> Result<String, ProtoError> {
    let mut sets = vec![zone.authority(snapshot.serial), zone.delegation()];
    sets.extend(zone.glue());
    let mut hosts = Vec::new();
    let selection = zone.selection();
    for filter in std::iter::once(&0).chain(&selection.filters) {
        let label = format!("x{filter:x}");
        let labels: &[&[u8]] = if *filter == 0 {
            &[]
        } else {
            &[label.as_bytes()]
        };
        if let Some(owner) = zone.apex_wire().below_labels(labels) {
            let peers = snapshot.peers().iter();
            let mut fitting: Vec<_> = peers
                .filter(|peer| peer.services & filter == *filter)
                .filter(|peer| selection.holds(peer.addr, peer.services))
                .collect();
            let texts = fitting.iter().map(|peer| (*peer, snapshot.address(peer)));
            sets.push(zone.texts(&owner, texts));
            fitting.retain(|peer| !is_stand_in(peer.addr.ip()));
            hosts.extend(add_filter(&mut sets, zone, &owner, &fitting, default_port));
        }
    }
    let mut seen = BTreeSet::new();
    hosts.retain(|(_, ip)| seen.insert(*ip));
    sets.extend(
        hosts
            .into_iter()
            .map(|(name, ip)| zone.addresses(&name, std::iter::once(ip))),
    );

    let mut text = format!(
        "; {} with {} peers; hosts are base32 of their address, e.g. {}\n",
        zone.apex(),
        snapshot
            .peers()
            .iter()
            .filter(|peer| selection.holds(peer.addr, peer.services))
            .count(),
        label::of_host([192, 0, 2, 1].into())
    );
    for set in sets {
        for record in set.records()? {
            line(&mut text, &record);
        }
    }
    Ok(text)
}

/// The sets of a filter, or of the apex, but for texts; gives the hosts of its services.
fn add_filter(
    sets: &mut Vec<RrSet>,
    zone: &Zone,
    owner: &WireName,
    peers: &[&GoodPeer],
    default_port: u16,
) -> Vec<(WireName, IpAddr)> {
    let usual = peers.iter().filter(|peer| peer.addr.port() == default_port);
    let ips: BTreeSet<IpAddr> = usual.map(|peer| peer.addr.ip()).collect();
    for v4 in [true, false] {
        let family = ips.iter().copied().filter(|ip| ip.is_ipv4() == v4);
        sets.push(zone.addresses(owner, family));
    }
    let Some(services) = owner.below_labels(&render::SERVICE_LABELS) else {
        return Vec::new();
    };
    let (set, hosts) = zone.services(&services, peers.iter().copied());
    sets.push(set);
    hosts
}

/// One record in master file format.
pub fn line(text: &mut String, record: &Record) {
    let owner: &Name = &record.name;
    // Writing to a String never fails.
    let _ = writeln!(
        text,
        "{owner} {} {} {} {}",
        record.ttl,
        record.dns_class,
        record.record_type(),
        Presentation(record)
    );
}

/// RDATA in presentation format. hickory prints TXT without quotes, which would split at spaces.
struct Presentation<'a>(&'a Record);

impl std::fmt::Display for Presentation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use hickory_proto::rr::RData;
        match &self.0.data {
            RData::TXT(txt) => {
                for (index, part) in txt.txt_data.iter().enumerate() {
                    if index > 0 {
                        f.write_char(' ')?;
                    }
                    quoted(f, part)?;
                }
                Ok(())
            }
            RData::HINFO(hinfo) => {
                quoted(f, &hinfo.cpu)?;
                f.write_char(' ')?;
                quoted(f, &hinfo.os)
            }
            other => write!(f, "{other}"),
        }
    }
}

fn quoted(f: &mut std::fmt::Formatter<'_>, bytes: &[u8]) -> std::fmt::Result {
    f.write_char('"')?;
    for byte in bytes {
        match byte {
            b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
            b' '..=b'~' => f.write_char(char::from(*byte))?,
            other => write!(f, "\\{other:03}")?,
        }
    }
    f.write_char('"')
}
