//! Whom questions are put to, as an operator writes it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use thiserror::Error;

/// Port of plain DNS (RFC 1035).
const DNS_PORT: u16 = 53;

/// Port of DNS over TLS (RFC 7858).
const TLS_PORT: u16 = 853;

/// Port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// Where DNS over HTTPS is asked unless a provider says otherwise; the path of RFC 8484's examples, and of all large
/// providers.
const HTTPS_PATH: &str = "/dns-query";

/// Where questions go.
///
/// | text | meaning |
/// |---|---|
/// | `system` | [`Self::System`] |
/// | `9.9.9.9`, `9.9.9.9:53`, `[2620:fe::fe]:53` | [`Self::Server`] |
/// | `tls://9.9.9.9#dns.quad9.net`, `tls://9.9.9.9:853` | [`Self::Tls`] |
/// | `https://9.9.9.9#dns.quad9.net`, `https://9.9.9.9:443/dns-query#dns.quad9.net` | [`Self::Https`] |
///
/// After `#` stands the name that the server's certificate must be for, as in the configuration of systemd-resolved
/// and unbound; without it, the certificate must be for the address. Servers are given by address, since the name of
/// one would have to be asked of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The resolvers that the operating system names.
    System,
    /// This resolver (or authoritative server), over UDP, and over TCP where an answer is truncated, late or no DNS.
    Server(SocketAddr),
    /// This resolver over TLS (RFC 7858) and no other way.
    Tls {
        /// Where it listens.
        addr: SocketAddr,
        /// Whom its certificate must be for, when not for its address.
        name: Option<Arc<str>>,
    },
    /// This resolver over HTTPS (RFC 8484) and no other way.
    Https {
        /// Where it listens.
        addr: SocketAddr,
        /// Whom its certificate must be for, when not for its address.
        name: Option<Arc<str>>,
        /// Path of its service.
        path: Arc<str>,
    },
}

impl Provider {
    /// Whether nobody on the way can read or change questions and answers.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Https { .. })
    }
}

/// Whom a certificate must be for.
pub(super) fn certified(addr: SocketAddr, name: Option<&Arc<str>>) -> Arc<str> {
    name.map_or_else(|| addr.ip().to_string().into(), Arc::clone)
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Server(addr) => addr.fmt(f),
            Self::Tls { addr, name } => {
                write!(f, "tls://{addr}")?;
                certificate(f, name.as_ref())
            }
            Self::Https { addr, name, path } => {
                write!(f, "https://{addr}{path}")?;
                certificate(f, name.as_ref())
            }
        }
    }
}

fn certificate(f: &mut std::fmt::Formatter<'_>, name: Option<&Arc<str>>) -> std::fmt::Result {
    name.map_or(Ok(()), |name| write!(f, "#{name}"))
}

/// What is wrong with the text of a provider, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// Neither of the forms.
    #[error(
        "resolver {0:?} is none: write `system`, an address with or without port (`9.9.9.9`, `[2620:fe::fe]:53`), \
         `tls://ADDRESS#NAME` or `https://ADDRESS#NAME`"
    )]
    Form(String),
    /// `tcp://` and the like.
    #[error(
        "resolver {text:?}: {scheme:?} is not spoken here; `tls://` and `https://` are, and without either, UDP and TCP"
    )]
    Scheme {
        /// The whole text.
        text: String,
        /// What stands before `://`.
        scheme: String,
    },
    /// A name, or nothing, where an address belongs.
    #[error(
        "resolver {text:?}: {host:?} is no address (nor address and port): give the server's address there, IPv6 with a \
         port in brackets, and the name of its certificate after `#`, as in `tls://9.9.9.9#dns.quad9.net`"
    )]
    Address {
        /// The whole text.
        text: String,
        /// What stands in the address's place.
        host: String,
    },
    /// What stands after `#` can't be in a certificate.
    #[error(
        "resolver {text:?}: {name:?} after `#` is no name that a certificate could have; write it as in `#dns.quad9.net`"
    )]
    Name {
        /// The whole text.
        text: String,
        /// What stands after `#`.
        name: String,
    },
    /// HTTP can't name a host by a bare IPv6 address.
    #[error(
        "resolver {0:?}: over HTTPS, an IPv6 server needs the name of its certificate; add it after `#`, as in \
         `https://[2620:fe::fe]#dns.quad9.net`"
    )]
    NameNeeded(String),
    /// A path with spaces or other signs that HTTP would not take.
    #[error(
        "resolver {text:?}: {path:?} is no path of a URL; most servers have `{HTTPS_PATH}`, which may be left out"
    )]
    Path {
        /// The whole text.
        text: String,
        /// The path.
        path: String,
    },
    /// `tls://` with a path.
    #[error("resolver {0:?}: DNS over TLS has no path; leave it out, or write `https://`")]
    PathWithoutHttp(String),
}

impl FromStr for Provider {
    type Err = ProviderError;

    fn from_str(text: &str) -> Result<Self, ProviderError> {
        if text == "system" {
            return Ok(Self::System);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let addr = address(text, DNS_PORT);
            return addr
                .map(Self::Server)
                .ok_or_else(|| ProviderError::Form(text.to_owned()));
        };
        let (rest, name) = match rest.split_once('#') {
            Some((rest, name)) => (rest, Some(certificate_name(text, name)?)),
            None => (rest, None),
        };
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let port = match scheme {
            "tls" => TLS_PORT,
            "https" => HTTPS_PORT,
            _ => {
                return Err(ProviderError::Scheme {
                    text: text.to_owned(),
                    scheme: scheme.to_owned(),
                });
            }
        };
        let addr = address(host, port).ok_or_else(|| ProviderError::Address {
            text: text.to_owned(),
            host: host.to_owned(),
        })?;
        match (port, path) {
            (TLS_PORT, "" | "/") => Ok(Self::Tls { addr, name }),
            (TLS_PORT, _) => Err(ProviderError::PathWithoutHttp(text.to_owned())),
            _ => https(text, addr, name, path),
        }
    }
}

fn https(
    text: &str,
    addr: SocketAddr,
    name: Option<Arc<str>>,
    path: &str,
) -> Result<Provider, ProviderError> {
    if name.is_none() && addr.is_ipv6() {
        return Err(ProviderError::NameNeeded(text.to_owned()));
    }
    let path = match path {
        "" | "/" => HTTPS_PATH,
        path => path,
    };
    // RFC 3986's signs of a path, but for escapes, which no server needs here; a query (`{?dns}`) is not sent by POST.
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if !path.bytes().all(is_path) {
        return Err(ProviderError::Path {
            text: text.to_owned(),
            path: path.to_owned(),
        });
    }
    Ok(Provider::Https {
        addr,
        name,
        path: path.into(),
    })
}

fn certificate_name(text: &str, name: &str) -> Result<Arc<str>, ProviderError> {
    match ServerName::try_from(name) {
        Ok(ServerName::DnsName(_)) => Ok(name.into()),
        _ => Err(ProviderError::Name {
            text: text.to_owned(),
            name: name.to_owned(),
        }),
    }
}

/// An address with port, an address, or an IPv6 address in brackets.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = || text.parse::<IpAddr>().ok();
    let bracketed = || {
        let ip = text.strip_prefix('[')?.strip_suffix(']')?;
        ip.parse().ok().map(IpAddr::V6)
    };
    text.parse().ok().or_else(|| {
        let ip = bare().or_else(bracketed)?;
        Some(SocketAddr::new(ip, port))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Provider {
        text.parse().unwrap()
    }

    fn tls(addr: &str, name: Option<&str>) -> Provider {
        Provider::Tls {
            addr: addr.parse().unwrap(),
            name: name.map(Into::into),
        }
    }

    fn https(addr: &str, name: Option<&str>, path: &str) -> Provider {
        Provider::Https {
            addr: addr.parse().unwrap(),
            name: name.map(Into::into),
            path: path.into(),
        }
    }

    #[test]
    fn each_form_is_read() {
        assert_eq!(read("system"), Provider::System);
        let server = |addr: &str| Provider::Server(addr.parse().unwrap());
        assert_eq!(read("9.9.9.9"), server("9.9.9.9:53"));
        assert_eq!(read("9.9.9.9:5353"), server("9.9.9.9:5353"));
        assert_eq!(read("::1"), server("[::1]:53"));
        assert_eq!(read("[::1]"), server("[::1]:53"));
        assert_eq!(read("[::1]:5353"), server("[::1]:5353"));
        assert_eq!(read("tls://9.9.9.9"), tls("9.9.9.9:853", None));
        assert_eq!(
            read("tls://[2620:fe::fe]:8853#dns.quad9.net"),
            tls("[2620:fe::fe]:8853", Some("dns.quad9.net"))
        );
        assert_eq!(
            read("https://1.1.1.1"),
            https("1.1.1.1:443", None, "/dns-query")
        );
        assert_eq!(
            read("https://1.1.1.1:8443/ask/me#one.one"),
            https("1.1.1.1:8443", Some("one.one"), "/ask/me")
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_its_remedy() {
        let text = |text: &str| text.parse::<Provider>().unwrap_err().to_string();
        for (wrong, told) in [
            ("nonsense", "`tls://ADDRESS#NAME`"),
            ("", "`system`"),
            ("1.1.1.1:99999", "address with or without port"),
            ("quic://1.1.1.1", "\"quic\" is not spoken here"),
            ("tls://dns.quad9.net", "\"dns.quad9.net\" is no address"),
            ("https://", "\"\" is no address"),
            ("tls://9.9.9.9#", "\"\" after `#`"),
            ("tls://9.9.9.9#not a name", "\"not a name\" after `#`"),
            ("tls://9.9.9.9#9.9.9.9", "\"9.9.9.9\" after `#`"),
            ("tls://9.9.9.9/dns-query", "has no path"),
            ("https://1.1.1.1/a b", "\"/a b\" is no path"),
            ("https://1.1.1.1/dns-query{?dns}", "is no path"),
            ("https://[2620:fe::fe]", "needs the name"),
        ] {
            let message = text(wrong);
            assert!(message.contains(told), "{wrong}: {message}");
            assert!(message.contains(&format!("{wrong:?}")), "{message}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same(
            ip: IpAddr, port: u16, named: bool, form in 0..3_u8
        ) {
            let addr = SocketAddr::new(ip, port);
            let name = (named || ip.is_ipv6()).then(|| Arc::from("dns.test"));
            let provider = match form {
                0 => Provider::Server(addr),
                1 => Provider::Tls { addr, name },
                _ => Provider::Https { addr, name, path: HTTPS_PATH.into() },
            };
            prop_assert_eq!(provider.to_string().parse(), Ok(provider));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Provider>();
        }
    }
}
