//! The certificate of DNS over TLS: the two files that an operator names, read and checked whole before they are used,
//! and told apart from what comes in their place.
//!
//! rustls does all of TLS: 1.3 alone, without certificates of clients and without early data. Of the key exchanges the
//! client's first choice is taken; the hybrid X25519MLKEM768 is among them, and X25519 for those that don't have it. A
//! session may be resumed, which saves the signature and still exchanges keys anew; the server decides how.

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
use x509_parser::public_key::PublicKey;

use crate::{dnssec::keyfile::mode_open_to_others, words::date};

/// The port of DNS over TLS (RFC 7858, 3.1).
const PORT: u16 = 853;

/// Names the protocol in both hellos (RFC 7858 as updated; IANA, "TLS ALPN Protocol IDs"). Clients that name none are
/// taken too.
const ALPN: &[u8] = b"dot";

/// Most bytes of a file; chains have a few thousand.
const MAX_FILE: usize = 256 << 10;

/// Most bits of a key of RSA. A signature of 4096 bits takes five milliseconds, and eight times as much with twice the
/// bits, which no authority asks for.
const MAX_RSA: usize = 4096;

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

impl TlsError {
    /// Whether it is about the key, not the certificate.
    #[must_use]
    pub const fn is_of_key(&self) -> bool {
        matches!(self.role, Role::Key)
    }
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
        "is no key that can be used here ({0}); use ECDSA with P-256 or P-384, Ed25519, or RSA with 2048 to {MAX_RSA} bits"
    )]
    Kind(rustls::Error),
    /// Strangers could make us sign with it all the time.
    #[error(
        "is of an RSA key of {0} bits, and each handshake would take too long; use ECDSA with P-256, or RSA with 2048 to \
         {MAX_RSA} bits"
    )]
    LongRsa(usize),
    /// Nobody has such a chain.
    #[error("is too long: more than {} KiB; is it the right file?", MAX_FILE >> 10)]
    TooLong,
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

/// Tells one version of the two files from another without reading them. A file that is not there has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp([Option<Version>; 2]);

/// Of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    length: u64,
    /// Which file it is, and when anything of it was changed last. Copies may keep the time of what they are copies of
    /// (`cp -p`), and two files in a row may be of one tick of the clock and of one length.
    #[cfg(unix)]
    inode: (u64, u64),
    #[cfg(unix)]
    changed: (i64, i64),
}

impl Stamp {
    /// Of the files as they are now.
    #[must_use]
    pub fn of(options: &TlsOptions) -> Self {
        Self([&options.certificate, &options.key].map(|path| Version::of(path)))
    }
}

impl Version {
    fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        // Through links, which certbot sets anew.
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok()?,
            length: metadata.len(),
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino()),
            #[cfg(unix)]
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
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

/// A certificate and its key, ready for use.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// For new connections. How sessions are resumed is up to whoever uses it.
    pub config: ServerConfig,
    /// The server's own certificate, as it is shown.
    pub own: CertificateDer<'static>,
    /// When that is valid.
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
        let (chain, own, validity) = read_chain(certificate)
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
            config,
            own,
            validity,
            stamp,
        })
    }

    /// As [`Certificate::load`], for who must not wait for a disk.
    ///
    /// # Errors
    /// Likewise.
    pub async fn load_aside(options: &TlsOptions) -> Result<Self, TlsError> {
        let own = options.clone();
        let loaded = tokio::task::spawn_blocking(move || Self::load(&own)).await;
        // Else it did not come to an end.
        loaded.unwrap_or_else(|error| {
            Err(TlsError {
                role: Role::Certificate,
                path: options.certificate.clone(),
                fault: Fault::Io(error.into()),
            })
        })
    }
}

type Chain = Vec<CertificateDer<'static>>;

/// The chain, the first of it, and when that is valid.
fn read_chain(path: &Path) -> Result<(Chain, CertificateDer<'static>, Validity), Fault> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(Fault::Pem)?;
    let own = chain.first().cloned().ok_or(Fault::NoCertificate)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&own)
        .map_err(|error| Fault::Malformed(error.to_string()))?;
    // The key is the same, or else refused.
    if let Ok(PublicKey::RSA(key)) = parsed.public_key().parsed()
        && key.key_size() > MAX_RSA
    {
        return Err(Fault::LongRsa(key.key_size()));
    }
    let validity = Validity {
        from: parsed.validity().not_before.timestamp(),
        until: parsed.validity().not_after.timestamp(),
    };
    Ok((chain, own, validity))
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

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    let mut file = File::open(path)?.take(MAX_FILE as u64 + 1);
    file.read_to_end(&mut text)?;
    if text.len() > MAX_FILE {
        return Err(Fault::TooLong);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
