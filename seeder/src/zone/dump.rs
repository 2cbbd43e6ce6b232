//! The zone as a master file (RFC 1035, 5), for checkers and for other name servers.
//!
//! All peers are in it, not a draw: a server that loads it has to rotate by itself.

use std::collections::BTreeSet;
use std::fmt::Write;

use hickory_proto::{
    ProtoError,
    rr::{Name, Record},
};

use super::{Zone, label, render};
use crate::snapshot::{Snapshot, USUAL_FILTERS};

/// The whole zone: the apex, the customary filters, the services and their hosts.
///
/// # Errors
/// When a name would be too long for DNS (an apex of more than 200 characters).
pub fn master_file(
    zone: &Zone,
    snapshot: &Snapshot,
    default_port: u16,
) -> Result<String, ProtoError> {
    let apex = zone.apex();
    let mut records = vec![zone.authority(apex, snapshot.serial)];
    records.extend(zone.delegation(apex));
    records.extend(zone.glue());

    let [service, protocol] = render::SERVICE_LABELS;
    let mut hosts = BTreeSet::new();
    for filter in std::iter::once(0).chain(USUAL_FILTERS) {
        let owner = if filter == 0 {
            apex.clone()
        } else {
            apex.prepend_label(format!("x{filter:x}"))?
        };
        let services = owner.prepend_label(protocol)?.prepend_label(service)?;
        let mut seen = BTreeSet::new();
        for peer in snapshot
            .peers()
            .iter()
            .filter(|peer| peer.services & filter == filter)
        {
            let ip = peer.addr.ip();
            if peer.addr.port() == default_port && seen.insert(ip) {
                records.push(zone.address(&owner, ip));
            }
            records.push(zone.text(&owner, peer));
            records.push(zone.service(&services, peer)?);
            hosts.insert(ip);
        }
    }
    for ip in hosts {
        records.push(zone.host(ip)?);
    }

    let mut text = format!(
        "; {apex} with {} peers; hosts are base32 of their address, e.g. {}\n",
        snapshot.len(),
        label::of_host([192, 0, 2, 1].into())
    );
    for record in &records {
        line(&mut text, record);
    }
    Ok(text)
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
