//! What an operator may say of NAT.

use quantumcoin::network::nat::{MappingProtocol, NatMode, NatSettings};
use quantumcoin::service::config::Fault;
use serde::{Deserialize, Serialize};

/// Whether a node looks after its own address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NatChoice {
    /// On networks of public addresses, unless it listens on loopback.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How a gateway is asked for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortMappingChoice {
    /// Port Control Protocol.
    Pcp,
    /// NAT Port Mapping Protocol.
    NatPmp,
    /// UPnP.
    Upnp,
    /// Not at all.
    None,
}

/// The word that stands for an empty list of STUN servers.
const NO_STUN: &str = "none";

/// Reads what is said of NAT.
///
/// # Errors
/// When a server is no `host:port`, or none and some are wanted.
pub fn settings(
    stun_servers: &[String],
    protocols: &[PortMappingChoice],
    choice: Option<NatChoice>,
) -> Result<NatSettings, Fault> {
    let mut nat = NatSettings {
        mode: match choice.unwrap_or_default() {
            NatChoice::Auto => NatMode::Auto,
            NatChoice::On => NatMode::On,
            NatChoice::Off => NatMode::Off,
        },
        ..NatSettings::default()
    };
    if !stun_servers.is_empty() {
        nat.stun_servers = checked_stun_servers(stun_servers)?;
    }
    if !protocols.is_empty() {
        let wanted = |choice| match choice {
            PortMappingChoice::Pcp => Some(MappingProtocol::Pcp),
            PortMappingChoice::NatPmp => Some(MappingProtocol::NatPmp),
            PortMappingChoice::Upnp => Some(MappingProtocol::Upnp),
            PortMappingChoice::None => None,
        };
        nat.protocols = protocols.iter().copied().filter_map(wanted).collect();
        let none = protocols.contains(&PortMappingChoice::None);
        if none && !nat.protocols.is_empty() {
            return Err(Fault::new(
                "port_mapping",
                "port_mapping is none and something else: leave one of them out",
            ));
        }
    }
    Ok(nat)
}

fn checked_stun_servers(servers: &[String]) -> Result<Vec<String>, Fault> {
    if servers == [NO_STUN] {
        return Ok(Vec::new());
    }
    let wrong = |words| Fault::new("stun_server", words);
    for server in servers {
        check_stun_server(server).map_err(wrong)?;
        if server == NO_STUN {
            return Err(wrong(format!(
                "stun_server is {NO_STUN} and something else: leave one of them out"
            )));
        }
    }
    Ok(servers.to_vec())
}

/// Whether this may be a STUN server, or the word that stands for none.
pub(super) fn check_stun_server(server: &str) -> Result<(), String> {
    let port = server.rsplit_once(':').and_then(|(host, port)| {
        let whole = !host.is_empty() && !host.contains(char::is_whitespace);
        let whole = whole && (!host.contains(':') || host.ends_with(']'));
        port.parse::<u16>().ok().filter(|port| whole && *port != 0)
    });
    if port.is_some() || server == NO_STUN {
        return Ok(());
    }
    Err(format!(
        "the STUN server {server:?} is no HOST:PORT, such as stun.example.org:3478, 192.0.2.1:3478 or \
         [2001:db8::1]:3478; the word {NO_STUN} alone asks none"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_nat_is_read() {
        use PortMappingChoice::{NatPmp, None as Nothing, Upnp};
        let server = |text: &str| vec![text.to_owned()];
        let read = settings(
            &server("[2001:db8::1]:3478"),
            &[NatPmp, Upnp],
            Some(NatChoice::On),
        )
        .unwrap();
        assert_eq!(read.mode, NatMode::On);
        assert_eq!(read.stun_servers, ["[2001:db8::1]:3478"]);
        assert_eq!(
            read.protocols,
            [MappingProtocol::NatPmp, MappingProtocol::Upnp]
        );
        let none = settings(&server("none"), &[Nothing], None).unwrap();
        assert!(none.stun_servers.is_empty() && none.protocols.is_empty());
        assert_eq!(settings(&[], &[], None).unwrap().protocols.len(), 3);
        for wrong in [
            "b c:1",
            "stun.example.org",
            "2001:db8::1",
            ":3478",
            "a:0",
            "a:b",
        ] {
            let error = settings(&server(wrong), &[], None).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        assert!(settings(&[], &[Nothing, Upnp], None).is_err());
        assert!(settings(&[], &[Nothing, Nothing], None).is_ok());
    }
}
