//! Addresses of name servers within a zone, as an operator writes them.

use std::{fmt, net::IpAddr, str::FromStr};

use hickory_proto::rr::Name;
use serde::Deserialize;

/// An address of the name servers within a zone: of all of them, or of the one that is named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerAddress {
    /// The name server; `None` for all.
    pub server: Option<Name>,
    /// Where it is.
    pub ip: IpAddr,
}

/// The text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address of a name server: write 192.0.2.53 or 2001:db8::53 for all that lie in the zones, or ns1.seed.example.net=192.0.2.53 \
     for one"
)]
pub struct NoServerAddress(String);

impl From<IpAddr> for ServerAddress {
    fn from(ip: IpAddr) -> Self {
        Self { server: None, ip }
    }
}

impl FromStr for ServerAddress {
    type Err = NoServerAddress;

    fn from_str(text: &str) -> Result<Self, NoServerAddress> {
        let wrong = || NoServerAddress(text.chars().take(80).collect());
        let (server, ip) = match text.split_once('=') {
            None => (None, text),
            Some((name, ip)) => {
                let mut name = Name::from_ascii(name).map_err(|_| wrong())?.to_lowercase();
                name.set_fqdn(true);
                (Some(name), ip)
            }
        };
        let ip = ip.parse().map_err(|_| wrong())?;
        Ok(Self { server, ip })
    }
}

impl TryFrom<String> for ServerAddress {
    type Error = NoServerAddress;

    fn try_from(text: String) -> Result<Self, NoServerAddress> {
        text.parse()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            None => self.ip.fmt(f),
            Some(name) => write!(f, "{name}={}", self.ip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_name() {
        let shown = |text: &str| text.parse::<ServerAddress>().unwrap().to_string();
        assert_eq!(shown("192.0.2.53"), "192.0.2.53");
        assert_eq!(shown("2001:DB8::53"), "2001:db8::53");
        assert_eq!(
            shown("NS1.seed.example=2001:db8::53"),
            "ns1.seed.example.=2001:db8::53"
        );
        for wrong in [
            "",
            "ns1.seed.example",
            "ns1=",
            "=1",
            "a..b=192.0.2.1",
            "192.0.2.1=ns1",
        ] {
            let error = wrong.parse::<ServerAddress>().unwrap_err().to_string();
            assert!(error.contains("for one"), "{error}");
        }
    }
}
