//! Judges what a node has to say of its peers, where all peers are honest. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use quantumcoin::network::security::events::Response;
use quantumcoin::network::status::SecurityStatus;

/// The nodes of a lab by their addresses.
pub(super) type Names = BTreeMap<IpAddr, usize>;

/// What the nodes of an honest network held against each other.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Each in words, with node, peer and offence. There must be none.
    pub(super) penalties: Vec<String>,
    /// Security events that only told of something.
    pub(super) told: u64,
}

impl Findings {
    /// Adds what node `number` did since its start.
    pub(super) fn add(&mut self, number: usize, security: &SecurityStatus, names: &Names) {
        let mut held = Vec::new();
        for event in &security.events {
            if event.response == Response::Told {
                continue;
            }
            held.push(format!(
                "{} for {} against {}: {}",
                event.response.as_str(),
                event.detector.as_str(),
                name(names, event.addr.ip()),
                event.detail
            ));
        }
        for ban in &security.bans {
            let host = ban
                .host
                .parse()
                .map_or_else(|_| ban.host.clone(), |ip: IpAddr| name(names, ip));
            held.push(format!("keeps out {host} for {}", ban.offence.as_str()));
        }
        // Whatever the events say: these are counted beside them, and never left out.
        for (offence, count) in &security.offences {
            held.push(format!("{count} times the offence {offence}"));
        }
        for (reason, count) in &security.refused {
            held.push(format!("{count} connections refused or given up: {reason}"));
        }
        let all: u64 = security.detections.values().sum();
        let responses = security.events.iter();
        let punished = responses.filter(|event| event.response != Response::Told);
        self.told += all.saturating_sub(punished.count() as u64);
        let of_node = held
            .into_iter()
            .map(|what| format!("node {number}: {what}"));
        self.penalties.extend(of_node);
    }
}

/// As people know it.
fn name(names: &Names, ip: IpAddr) -> String {
    names.get(&ip.to_canonical()).map_or_else(
        || format!("{ip}, which is no node"),
        |number| format!("node {number} ({ip})"),
    )
}

#[cfg(test)]
mod tests {
    use quantumcoin::network::security::events::{Detector, SecurityEvent};
    use quantumcoin::network::security::offence::Offence;
    use quantumcoin::network::status::BanStatus;

    use super::*;

    fn event(response: Response) -> SecurityEvent {
        SecurityEvent {
            id: 1,
            at: 1,
            detector: Detector::InventorySpam,
            addr: "127.9.0.1:4444".parse().unwrap(),
            response,
            detail: "too much".to_owned(),
            suppressed: 0,
        }
    }

    fn found(security: &SecurityStatus) -> Findings {
        let names = [("127.9.0.1".parse().unwrap(), 7)].into();
        let mut findings = Findings::default();
        findings.add(3, security, &names);
        findings
    }

    #[test]
    fn what_is_only_told_is_no_penalty() {
        let security = SecurityStatus {
            events: vec![event(Response::Told)],
            detections: [("inventory_spam", 5)].into(),
            ..SecurityStatus::default()
        };
        let findings = found(&security);
        assert_eq!(findings.penalties, [""; 0]);
        assert_eq!(findings.told, 5);
    }

    #[test]
    fn every_kind_of_penalty_is_found_and_names_node_and_peer() {
        let events = SecurityStatus {
            events: vec![event(Response::Throttled)],
            detections: [("inventory_spam", 1)].into(),
            ..SecurityStatus::default()
        };
        let findings = found(&events);
        assert_eq!(
            findings.penalties,
            ["node 3: throttled for inventory_spam against node 7 (127.9.0.1): too much"]
        );
        assert_eq!(findings.told, 0);
        let ban = BanStatus {
            host: "127.9.0.1".to_owned(),
            offence: Offence::SlowReader,
            since: 1,
            until: None,
        };
        for security in [
            SecurityStatus {
                bans: vec![ban],
                ..SecurityStatus::default()
            },
            SecurityStatus {
                offences: [("slow_reader", 1)].into(),
                ..SecurityStatus::default()
            },
            SecurityStatus {
                refused: [("per_ip", 2)].into(),
                ..SecurityStatus::default()
            },
        ] {
            assert_eq!(found(&security).penalties.len(), 1);
        }
    }
}
