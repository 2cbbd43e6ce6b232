//! DNS over TLS: the certificate and its key as `run` would read them, and a handshake with each address.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        WebPkiSupportedAlgorithms, aws_lc_rs::default_provider, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    Finding, Level, Topic,
    local::{AS_THE_SEEDER, unread},
};
use crate::{
    ask::{self, PATIENCE, reachable},
    config::ConfigError,
    tls::{Certificate, Fault, TlsError, TlsOptions, Validity},
    words::date,
};

/// What is known of DNS over TLS.
#[derive(Debug)]
pub(super) struct Facts {
    /// What the two files are worth.
    files: Result<Validity, TlsError>,
    /// The server's own certificate in the file.
    own: Option<Vec<u8>>,
    /// What came of a handshake with each address.
    shown: Vec<Shown>,
}

/// A handshake.
#[derive(Debug)]
struct Shown {
    addr: SocketAddr,
    /// The server's own certificate, or why there is none.
    certificate: Result<Vec<u8>, String>,
}

impl Facts {
    /// The addresses at which the certificate of the file is shown.
    pub(super) fn answering(&self) -> impl Iterator<Item = SocketAddr> {
        let right = |shown: &&Shown| shown.certificate.as_ref().ok() == self.own.as_ref();
        self.shown.iter().filter(right).map(|shown| shown.addr)
    }
}

/// Reads the files, and shakes hands where a seeder should listen.
pub(super) async fn look(options: &TlsOptions) -> Facts {
    let own = CertificateDer::from_pem_file(&options.certificate).ok();
    let addresses = options.listen.iter().filter(|addr| addr.port() != 0);
    let asked = addresses.map(|addr| {
        let addr = *addr;
        async move {
            let shaken = timeout(PATIENCE, shake_hands(reachable(addr))).await;
            let certificate = match shaken {
                Ok(Err(error)) if is_no_way(&error) => return None,
                Ok(shaken) => shaken.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no handshake within {} s", PATIENCE.as_secs())),
            };
            Some(Shown { addr, certificate })
        }
    });
    Facts {
        files: Certificate::load(options).map(|certificate| certificate.validity),
        own: own.map(|own| own.to_vec()),
        shown: ask::all(asked).await.into_iter().flatten().collect(),
    }
}

/// A machine without `::1` can't reach its own `[::]`, though others can.
fn is_no_way(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        AddrNotAvailable | HostUnreachable | NetworkUnreachable
    )
}

async fn shake_hands(addr: SocketAddr) -> io::Result<Vec<u8>> {
    let provider = Arc::new(default_provider());
    let any = AnyServer(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(any))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let stream = TcpStream::connect(addr).await?;
    let name = ServerName::from(addr.ip());
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (_, connection) = stream.get_ref();
    let own = connection.peer_certificates().and_then(<[_]>::first);
    own.map(|own| own.to_vec())
        .ok_or_else(|| io::Error::other("it shows no certificate"))
}

/// Takes whoever has the key of the certificate that it shows, as resolvers do that don't know whom to expect (RFC
/// 9539): whose it is, is seen by comparison.
#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn of(
    level: Level,
    subject: impl ToString,
    found: impl Into<String>,
    mend: impl Into<String>,
) -> Finding {
    Finding::new(Topic::Tls, level, subject, found, mend)
}

/// Judges what was found. `at_work` says whether a seeder answers, `holds` at which addresses one is known to listen.
pub(super) fn judge(
    options: &TlsOptions,
    facts: &Facts,
    at_work: bool,
    holds: impl Fn(SocketAddr) -> bool,
    now: i64,
) -> Vec<Finding> {
    let mut findings = vec![files(options, &facts.files, at_work, now)];
    if options.listen.is_empty() {
        let words = ConfigError::NoTlsListen.to_string();
        findings.push(of(Level::Error, "listen", words, "mend that in [tls]"));
    }
    let shown = facts.shown.iter();
    findings.extend(shown.filter_map(|shown| handshake(shown, facts.own.as_ref(), &holds)));
    findings
}

fn files(
    options: &TlsOptions,
    loaded: &Result<Validity, TlsError>,
    at_work: bool,
    now: i64,
) -> Finding {
    let subject = options.certificate.display();
    let validity = match loaded {
        Ok(validity) => validity,
        Err(error) if is_denied(error) => {
            // The words name the file, which may be the key.
            return of(unread(at_work), "files", error.to_string(), AS_THE_SEEDER);
        }
        Err(error) => {
            let mend = "docs/seeder.md, \"Over TLS\", says which files these are; without them `run` does not start";
            return of(Level::Error, "files", error.to_string(), mend);
        }
    };
    let renew = "have it renewed (`certbot renew`); the seeder takes up new files by itself";
    match validity.complaint(now) {
        Some(words) if (validity.from..=validity.until).contains(&now) => {
            of(Level::Warning, subject, words, renew)
        }
        Some(words) => of(Level::Error, subject, words, renew),
        None => {
            let until = date(validity.until);
            let found = format!("the certificate and its key can be used until {until}");
            of(Level::Ok, subject, found, "")
        }
    }
}

fn is_denied(error: &TlsError) -> bool {
    let Fault::Io(error) = &error.fault else {
        return false;
    };
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Nothing is said of an address where nobody is known to listen: that is told with the ports and the server.
fn handshake(
    shown: &Shown,
    own: Option<&Vec<u8>>,
    holds: impl Fn(SocketAddr) -> bool,
) -> Option<Finding> {
    match (&shown.certificate, own) {
        (Err(why), _) => holds(shown.addr).then(|| {
            let found = format!("a seeder listens here, but a handshake fails: {why}");
            let mend = "look at its log (`journalctl -u quantumcoin-seeder`) and at the firewall (`nft list ruleset`)";
            of(Level::Warning, shown.addr, found, mend)
        }),
        (Ok(_), None) => Some(of(Level::Ok, shown.addr, "a handshake goes well", "")),
        (Ok(certificate), Some(own)) if certificate == own => Some(of(
            Level::Ok,
            shown.addr,
            "a handshake goes well, with the certificate of the file",
            "",
        )),
        (Ok(_), Some(_)) => Some(of(
            Level::Warning,
            shown.addr,
            "shows another certificate than that in the file",
            "a seeder takes up new files within a minute: run this check again then; if it stays, its log tells why, \
             or another program listens there",
        )),
    }
}

#[cfg(test)]
mod tests;
