//! The certificate of DNS over TLS: the two files that an operator names, read and checked whole before they are used,
//! and told apart from what comes in their place.
//!
//! rustls does all of TLS: 1.3 alone, without certificates of clients and without early data. Of the key exchanges the
//! client's first choice is taken; the hybrid X25519MLKEM768 is among them, and X25519 for those that don't have it. A
//! session may be resumed, which saves the signature and still exchanges keys anew.

use std::{
    fs::File,
    io::{self, Read},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    InconsistentKeys, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::dnssec::keyfile::mode_open_to_others;

/// The port of DNS over TLS (RFC 7858, 3.1).
const PORT: u16 = 853;

/// Names the protocol in both hellos (RFC 7858 as updated; IANA, "TLS ALPN Protocol IDs"). Clients that name none are
/// taken too.
const ALPN: &[u8] = b"dot";

/// Most bytes of a file; chains have a few thousand.
const MAX_FILE: u64 = 256 << 10;

/// When less than this part of a certificate's time is left, its renewal has failed: certbot and its like renew when a
/// third is left.
const LAST_PART: i64 = 10;

/// The table `[tls]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsOptions {
    /// Addresses for DNS over TLS; port 853 on every address unless set. Port 0 picks a free one.
    #[serde(default = "everywhere")]
    pub listen: Vec<SocketAddr>,
    /// File with the server's certificate and those that lead to its authority, in PEM.
    pub certificate: PathBuf,
    /// File with the private key of the first of them, in PEM.
    pub key: PathBuf,
}

fn everywhere() -> Vec<SocketAddr> {
    vec![
        (Ipv4Addr::UNSPECIFIED, PORT).into(),
        (Ipv6Addr::UNSPECIFIED, PORT).into(),
    ]
}

/// A certificate or key that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{role} of [tls], {}, {fault}", path.display())]
pub struct TlsError {
    role: Role,
    path: PathBuf,
    pub(crate) fault: Fault,
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Certificate,
    Key,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate => "the certificate",
            Self::Key => "the key",
        })
    }
}

/// What is wrong with a file; goes on after its name.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system.
    #[error("can't be read: {0}{hint}", hint = hint(.0))]
    Io(#[from] io::Error),
    /// It is none of the files that are meant.
    #[error(
        "holds no certificate in PEM (-----BEGIN CERTIFICATE-----); name the file with the chain, certbot's \
         fullchain.pem"
    )]
    NoCertificate,
    /// Likewise.
    #[error(
        "holds no private key in PEM (-----BEGIN PRIVATE KEY-----); name the file with the key, certbot's privkey.pem"
    )]
    NoKey,
    /// A passphrase protects it.
    #[error(
        "is encrypted, and nobody is there to type the passphrase; `openssl pkey -in OLD -out NEW` writes it without"
    )]
    Encrypted,
    /// PEM that ends early or is no base64.
    #[error("is damaged ({0}); copy or renew it again")]
    Pem(pem::Error),
    /// Another algorithm, or not a key at all.
    #[error(
        "is no key that can be used here ({0}); use ECDSA with P-256 or P-384, Ed25519, or RSA with at least 2048 bits"
    )]
    Kind(rustls::Error),
    /// Something else than an X.509 certificate of version 3.
    #[error("holds a certificate that can't be understood ({0}); have it issued again")]
    Malformed(String),
    /// The two files are not of one key.
    #[error(
        "does not belong to the first certificate in {}; both files must come from the same renewal, and the server's \
         own certificate must come first",
        .0.display()
    )]
    Mismatch(PathBuf),
    /// Others than its owner can read it.
    #[error("is readable by others (mode {0:o}); `chmod o-rwx` it, and think of a new key")]
    Open(u32),
    /// TLS itself.
    #[error("can't be used: {0}")]
    Tls(rustls::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; is the path right?",
        io::ErrorKind::PermissionDenied => {
            "; the user that the seeder runs as must be able to read it: docs/seeder.md, \"Over TLS\", shows how"
        }
        _ => "",
    }
}

/// Tells one version of the two files from another without reading them: when each was written, and its size. A file
/// that is not there has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp([Option<(SystemTime, u64)>; 2]);

impl Stamp {
    /// Of the files as they are now.
    #[must_use]
    pub fn of(options: &TlsOptions) -> Self {
        Self([&options.certificate, &options.key].map(|path| {
            // Through links, which certbot sets anew.
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        }))
    }
}

/// When a certificate is valid, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub from: i64,
    /// Until then.
    pub until: i64,
}

impl Validity {
    /// What the operator has to be told at `now`, Unix seconds; `None` when all is well.
    #[must_use]
    pub fn complaint(&self, now: i64) -> Option<String> {
        let Self { from, until } = *self;
        let left = until.saturating_sub(now);
        if now < from {
            return Some(format!(
                "the certificate is valid from {} on only; is the clock right?",
                date(from)
            ));
        }
        if left < 0 {
            return Some(format!(
                "the certificate has expired on {}; renew it",
                date(until)
            ));
        }
        (left.saturating_mul(LAST_PART) < until.saturating_sub(from)).then(|| {
            format!(
                "the certificate expires on {}, and less than a tenth of its time is left; is it being renewed?",
                date(until)
            )
        })
    }
}

/// A day as people write it, of Unix seconds.
#[must_use]
pub fn date(at: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(at) {
        Ok(time) => time.date().to_string(),
        Err(_) => format!("second {at}"),
    }
}

/// A certificate and its key, ready for use.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// For new connections.
    pub config: Arc<ServerConfig>,
    /// Of the server's own certificate.
    pub validity: Validity,
    /// Of the files, from before they were read.
    pub stamp: Stamp,
}

impl Certificate {
    /// Reads the two files.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and says how to mend it.
    pub fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        // What changes while they are read is seen at the next look.
        let stamp = Stamp::of(options);
        let TlsOptions {
            certificate, key, ..
        } = options;
        let wrong = |role: Role, path: &Path, fault: Fault| TlsError {
            role,
            path: path.to_owned(),
            fault,
        };
        let (chain, validity) = read_chain(certificate)
            .map_err(|fault| wrong(Role::Certificate, certificate, fault))?;
        let private = read_key(key).map_err(|fault| wrong(Role::Key, key, fault))?;
        let provider = Arc::new(default_provider());
        let private = provider.key_provider.load_private_key(private);
        let private = private.map_err(|error| wrong(Role::Key, key, Fault::Kind(error)))?;
        let certified = CertifiedKey::new(chain, private);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                let fault = Fault::Mismatch(certificate.clone());
                return Err(wrong(Role::Key, key, fault));
            }
            Err(error) => {
                let fault = Fault::Malformed(error.to_string());
                return Err(wrong(Role::Certificate, certificate, fault));
            }
        }
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| wrong(Role::Certificate, certificate, Fault::Tls(error)))?;
        let mut config = builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            validity,
            stamp,
        })
    }
}

fn read_chain(path: &Path) -> Result<(Vec<CertificateDer<'static>>, Validity), Fault> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(Fault::Pem)?;
    let own = chain.first().ok_or(Fault::NoCertificate)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(own)
        .map_err(|error| Fault::Malformed(error.to_string()))?;
    let validity = Validity {
        from: parsed.validity().not_before.timestamp(),
        until: parsed.validity().not_after.timestamp(),
    };
    Ok((chain, validity))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    if let Some(mode) = mode_open_to_others(path)? {
        return Err(Fault::Open(mode));
    }
    let text = read(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        // PKCS #8 says so in its first line, older forms in their second.
        Err(_) if text.windows(9).any(|word| word == b"ENCRYPTED") => Err(Fault::Encrypted),
        Err(pem::Error::NoItemsFound) => Err(Fault::NoKey),
        Err(error) => Err(Fault::Pem(error)),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
