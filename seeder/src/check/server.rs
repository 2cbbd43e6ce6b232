//! What a running seeder answers, asked from its own machine.

use std::net::SocketAddr;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::time::{Instant, timeout_at};

use super::{
    Finding, Level, Topic,
    delegation::{Ours, Signing},
    holder::Protocol,
};
use crate::{
    ask::{self, AskError, Question, Via, of, reachable},
    dnssec::kind,
    words::span,
    zone::Zone,
};

/// Seconds after which answers should have been renewed: five times the longest refresh.
const STALE: i64 = 300;

/// What is in an answer to the question for a zone's SOA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Response code.
    pub(super) code: ResponseCode,
    /// Whether it calls itself an authority.
    pub(super) authoritative: bool,
    /// The SOA's serial.
    pub(super) serial: Option<u32>,
    /// Whether there is a signature.
    pub(super) signed: bool,
    /// Whether a datagram was too small for it, so that only TCP tells.
    pub(super) cut_off: bool,
    /// Whether it would ask others for us.
    pub(super) recursive: bool,
}

impl Said {
    /// Reads a response about `zone`.
    pub(super) fn of(message: &Message, zone: &Name, via: Via) -> Self {
        let mut soas = of(&message.answers, zone, RecordType::SOA);
        let serial = soas.find_map(|data| match data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        });
        let mut signatures = of(&message.answers, zone, RecordType::from(kind::RRSIG));
        Self {
            code: message.metadata.response_code,
            authoritative: message.metadata.authoritative,
            serial,
            signed: signatures.next().is_some(),
            cut_off: message.metadata.truncation && via == Via::Udp,
            recursive: message.metadata.recursion_available,
        }
    }

    /// Whether it looks like a resolver's that answers in place of the server that was asked.
    pub(super) const fn is_resolvers(&self) -> bool {
        self.recursive && !self.authoritative
    }

    /// What keeps the answer from being an authority's about its zone.
    pub(super) fn fault(&self) -> Option<String> {
        if self.code != ResponseCode::NoError {
            Some(format!("answers {}", code_name(self.code)))
        } else if !self.authoritative {
            Some("answers, but not as an authority (no AA flag)".to_owned())
        } else if self.cut_off {
            // Empty as it should be (RFC 2181, 9); what is missing is in the answer over TCP.
            None
        } else if self.serial.is_none() {
            Some("answers as an authority, but without the zone's SOA".to_owned())
        } else {
            None
        }
    }

    /// Seconds since the answers were drawn: the serial is the Unix time of that.
    pub(super) fn age(&self, now: i64) -> Option<i64> {
        self.serial
            .map(|serial| now.saturating_sub(i64::from(serial)))
    }
}

/// Response codes as tools write them.
pub(super) fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => other.to_string(),
    }
}

/// Asks one server for a zone's SOA.
pub(super) async fn soa(server: SocketAddr, zone: &Name, via: Via) -> Result<Said, AskError> {
    let question = Question::of_server(zone, RecordType::SOA);
    let message = ask::ask(server, &question, via).await?;
    Ok(Said::of(&message, zone, via))
}

/// One address, zone and transport.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The listening address.
    pub(super) addr: SocketAddr,
    /// Over what.
    pub(super) protocol: Protocol,
    /// About which zone.
    pub(super) zone: Name,
    /// What was answered.
    pub(super) said: Result<Said, AskError>,
}

/// Asks each listening address for each zone, over UDP and over TCP, until `end`.
pub(super) async fn look(listen: &[SocketAddr], zones: &[Zone], end: Instant) -> Vec<Answer> {
    let mut asked = Vec::new();
    for addr in listen.iter().copied().filter(|addr| addr.port() != 0) {
        for zone in zones {
            for (protocol, via) in [(Protocol::Udp, Via::Udp), (Protocol::Tcp, Via::Tcp)] {
                let zone = zone.apex().clone();
                asked.push(async move {
                    let asked = timeout_at(end, soa(reachable(addr), &zone, via));
                    let said = asked.await.unwrap_or(Err(AskError::Late));
                    Answer {
                        addr,
                        protocol,
                        zone,
                        said,
                    }
                });
            }
        }
    }
    ask::all(asked).await
}

/// Where something answers for one of the zones as an authority.
pub(super) fn answering(answers: &[Answer]) -> Vec<(SocketAddr, Protocol)> {
    let right = |answer: &&Answer| {
        let said = answer.said.as_ref();
        said.is_ok_and(|said| said.fault().is_none())
    };
    answers
        .iter()
        .filter(right)
        .map(|answer| (answer.addr, answer.protocol))
        .collect()
}

/// Judges the answers. `running` are the addresses that a seeder is known to hold, `http` is where it tells its health.
pub(super) fn judge(
    answers: &[Answer],
    ours: &[Ours],
    running: &[SocketAddr],
    http: Option<SocketAddr>,
    now: i64,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut dead: Vec<SocketAddr> = Vec::new();
    for answer in answers {
        let addr = answer.addr;
        let mut here = answers.iter().filter(|other| other.addr == addr);
        let alive = here.any(|other| other.said.is_ok()) || running.contains(&addr);
        if !alive && !dead.contains(&addr) {
            dead.push(addr);
            findings.push(Finding::new(
                Topic::Server,
                Level::Note,
                addr,
                "nothing answers here (yet)",
                "start the seeder (`systemctl enable --now quantumcoin-seeder`), then run this check again",
            ));
        }
    }
    let mut judged: Vec<(Vec<&'static str>, &Answer, Judgement)> = Vec::new();
    for answer in answers.iter().filter(|answer| !dead.contains(&answer.addr)) {
        let Some(ours) = ours.iter().find(|ours| ours.zone == answer.zone) else {
            continue;
        };
        let judgement = judge_one(answer, ours, http, now);
        let protocol = answer.protocol.name();
        let same = judged.iter_mut().find(|(_, other, before)| {
            (other.addr, &other.zone, before) == (answer.addr, &answer.zone, &judgement)
        });
        match same {
            Some((protocols, ..)) => protocols.push(protocol),
            None => judged.push((vec![protocol], answer, judgement)),
        }
    }
    findings.extend(judged.into_iter().map(|(protocols, answer, judgement)| {
        let Judgement { level, found, mend } = judgement;
        let found = format!("{} over {}: {found}", answer.zone, protocols.join(" and "));
        Finding::new(Topic::Server, level, answer.addr, found, mend)
    }));
    findings
}

/// What is to be said of an answer, whatever it came over.
#[derive(Debug, PartialEq, Eq)]
struct Judgement {
    level: Level,
    found: String,
    mend: String,
}

fn judge_one(answer: &Answer, ours: &Ours, http: Option<SocketAddr>, now: i64) -> Judgement {
    let of = |level, found: String, mend: &str| Judgement {
        level,
        found,
        mend: mend.to_owned(),
    };
    let said = match &answer.said {
        Ok(said) => said,
        // As in a container without `::1`: that says nothing about others, who come by another address.
        Err(error @ (AskError::NoRoute(_) | AskError::NoSocket(_))) => {
            return of(
                Level::Note,
                error.to_string(),
                "ask it from another machine, by the address that others use",
            );
        }
        Err(error @ AskError::Late) => {
            return of(
                Level::Note,
                error.to_string(),
                "run this check again, with fewer zones (--zone)",
            );
        }
        Err(error) => {
            return of(
                Level::Error,
                error.to_string(),
                "a seeder runs, but this way to it is barred: look at its log (`journalctl -u \
                 quantumcoin-seeder`) and at the firewall (`nft list ruleset`)",
            );
        }
    };
    if let Some(fault) = said.fault() {
        return of(
            Level::Error,
            fault,
            "another name server has this port, or the seeder runs with other zones than this check: compare \
             --zone and --config",
        );
    }
    if said.cut_off {
        let found = "answers as an authority that the datagram is too small (TC)".to_owned();
        return of(Level::Ok, found, "");
    }
    let age = said.age(now).unwrap_or_default();
    if said.signed != ours.signing.is_signed() && ours.signing != Signing::Unknown {
        return if said.signed {
            of(
                Level::Note,
                "answers are signed, but this check was given no keys".to_owned(),
                "give this check the --keys (or --config) that the seeder runs with",
            )
        } else {
            of(
                Level::Error,
                "has keys, but the answers have no signatures".to_owned(),
                "start the seeder with --keys, and reload it: `systemctl reload-or-restart quantumcoin-seeder`",
            )
        };
    }
    if age > STALE {
        return of(
            Level::Warning,
            format!("the answers were drawn {} ago and not since", span(age)),
            &ask_health(http),
        );
    }
    let signed = if said.signed { "signed, " } else { "" };
    of(
        Level::Ok,
        format!(
            "answers as an authority, {signed}drawn {} ago",
            span(age.max(0))
        ),
        "",
    )
}

/// Where the seeder itself tells what is wrong.
fn ask_health(http: Option<SocketAddr>) -> String {
    let told = match http.filter(|addr| addr.port() != 0) {
        Some(addr) => format!("`curl -s http://{}/health/ready`", reachable(addr)),
        None => "its log (`journalctl -u quantumcoin-seeder`)".to_owned(),
    };
    format!("the seeder can't renew them; {told} tells why")
}

#[cfg(test)]
mod tests;
