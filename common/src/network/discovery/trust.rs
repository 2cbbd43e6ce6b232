//! Whom DNS is believed: the keys that zones are signed under, the authorities that certify servers, and what is done
//! with answers that nobody signed.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::serialize::txt::trust_anchor::{Entry, Parser};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use thiserror::Error;

/// What is asked of an answer's signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dnssec {
    /// They are not looked at.
    Off,
    /// An answer from a signed zone must have good ones, as far as the provider hands signatures on; answers from zones
    /// that are not signed are taken as they come.
    #[default]
    Signed,
    /// No answer is taken without good ones.
    Require,
}

/// How far an answer is proven, in the terms of RFC 4035 (section 4.3), the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Validation {
    /// Signed, under keys that lead to a trust anchor.
    Secure,
    /// From a zone that is proven not to be signed.
    Insecure,
    /// Nobody can tell: no trust anchor is above the name, the provider hands on no signatures, a key could not be had in
    /// time, or it was not looked at.
    Indeterminate,
    /// It should be signed, and its signatures are wrong or missing. Such an answer is dropped.
    Bogus,
}

impl Validation {
    /// As in logs and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secure => "secure",
            Self::Insecure => "insecure",
            Self::Indeterminate => "indeterminate",
            Self::Bogus => "bogus",
        }
    }
}

/// Why a file of keys or certificates can't be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The trust anchors.
    #[error(
        "trust anchors {file}: {reason}; the file must hold all DNSKEY records of each zone to trust, as \
         `dig +noall +answer ZONE DNSKEY` prints them"
    )]
    Anchors {
        /// Which file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The certificates.
    #[error(
        "certificates {file}: {reason}; the file must hold at least one authority's certificate in PEM \
         (`-----BEGIN CERTIFICATE-----`)"
    )]
    Authorities {
        /// Which file.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

/// What answers are measured by. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DnsTrust {
    /// What is asked of signatures.
    pub dnssec: Dnssec,
    anchors: Arc<Anchors>,
    authorities: Arc<RootCertStore>,
}

impl Default for DnsTrust {
    /// [`Dnssec::Signed`], and the rest as in [`Self::new`].
    fn default() -> Self {
        Self::new(Dnssec::default())
    }
}

impl DnsTrust {
    /// Under the keys of the root zone, and with the certificate authorities that Mozilla trusts.
    #[must_use]
    pub fn new(dnssec: Dnssec) -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        Self {
            dnssec,
            anchors: Arc::new(Anchors {
                keys: Arc::new(TrustAnchors::default()),
                zones: vec![Name::root()],
            }),
            authorities: Arc::new(roots.collect()),
        }
    }

    /// Trusts the DNSKEY records in `file` in place of the root's.
    ///
    /// # Errors
    /// When the file can't be read, or holds no key or anything else.
    pub fn with_anchors(mut self, file: &Path) -> Result<Self, TrustError> {
        let told = |reason: String| TrustError::Anchors {
            file: file.display().to_string(),
            reason,
        };
        let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
        let anchors = text.parse().map_err(told)?;
        self.anchors = Arc::new(anchors);
        Ok(self)
    }

    /// Trusts the certificate authorities in `file` beside those that it trusts already.
    ///
    /// # Errors
    /// When the file can't be read, or holds no certificate.
    pub fn with_authorities(mut self, file: &Path) -> Result<Self, TrustError> {
        let told = |reason: String| TrustError::Authorities {
            file: file.display().to_string(),
            reason,
        };
        let read = CertificateDer::pem_file_iter(file).map_err(|error| told(error.to_string()))?;
        let authorities = Arc::make_mut(&mut self.authorities);
        let before = authorities.len();
        for certificate in read {
            let certificate = certificate.map_err(|error| told(error.to_string()))?;
            authorities
                .add(certificate)
                .map_err(|error| told(error.to_string()))?;
        }
        if authorities.len() == before {
            return Err(told("there is no certificate in it".to_owned()));
        }
        Ok(self)
    }

    pub(super) fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// How servers are spoken with over TLS: 1.3 alone, as everywhere here, and as all large providers do.
    pub(super) fn tls(&self) -> Result<ClientConfig, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(Arc::clone(&self.authorities))
            .with_no_client_auth();
        Ok(config)
    }
}

/// Keys that are trusted without anybody's word, and the zones whose they are.
pub(super) struct Anchors {
    keys: Arc<TrustAnchors>,
    zones: Vec<Name>,
}

impl Anchors {
    pub(super) fn keys(&self) -> &Arc<TrustAnchors> {
        &self.keys
    }

    /// The closest zone with an anchor at or above `name`.
    pub(super) fn zone_above(&self, name: &Name) -> Option<&Name> {
        let above = self.zones.iter().filter(|zone| zone.zone_of(name));
        above.max_by_key(|zone| zone.num_labels())
    }
}

impl std::fmt::Debug for Anchors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anchors")
            .field("zones", &self.zones)
            .finish_non_exhaustive()
    }
}

impl FromStr for Anchors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The reader takes a line for whole at its end alone.
        let text = format!("{text}\n");
        let read = Parser::new(text.as_str()).parse();
        let zones: Vec<Name> = read
            .map_err(|error| error.to_string())?
            .iter()
            .filter_map(|entry| match entry {
                Entry::DNSKEY(key) => Some(key.name().clone()),
                _ => None,
            })
            .collect();
        if zones.is_empty() {
            return Err("there is no key in it".to_owned());
        }
        let keys = text
            .parse::<TrustAnchors>()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            keys: Arc::new(keys),
            zones,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+\
                       KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn write(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn the_closest_anchor_counts() {
        let text = format!("test. 3600 IN DNSKEY {KEY}\nseed.test. IN DNSKEY {KEY} ; no end");
        let anchors: Anchors = text.parse().unwrap();
        let above = |text: &str| anchors.zone_above(&name(text)).map(ToString::to_string);
        assert_eq!(above("_qtc._tcp.SEED.test.").as_deref(), Some("seed.test."));
        assert_eq!(above("test.").as_deref(), Some("test."));
        assert_eq!(above("xseed.test.").as_deref(), Some("test."));
        assert_eq!(above("test.example."), None);
        let root = DnsTrust::default();
        assert_eq!(
            root.anchors().zone_above(&name("a.b.")),
            Some(&Name::root())
        );
    }

    #[test]
    fn files_that_hold_nothing_to_trust_are_refused_by_name() {
        for text in [
            "",
            "nonsense",
            "test. IN A 1.2.3.4",
            "test. IN DS 1 13 2 00",
        ] {
            let file = write(text);
            let error = DnsTrust::default().with_anchors(file.path()).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains(&file.path().display().to_string()),
                "{error}"
            );
            assert!(error.contains("DNSKEY"), "{error}");
        }
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "nonsense", broken] {
            let file = write(text);
            let error = DnsTrust::default()
                .with_authorities(file.path())
                .unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains(&file.path().display().to_string()),
                "{error}"
            );
            assert!(error.contains("PEM"), "{error}");
        }
        let missing = Path::new("no/such/file");
        assert!(DnsTrust::default().with_anchors(missing).is_err());
        assert!(DnsTrust::default().with_authorities(missing).is_err());
    }

    #[test]
    fn the_best_state_comes_first() {
        use Validation::{Bogus, Indeterminate, Insecure, Secure};
        let mut states = [Bogus, Indeterminate, Secure, Insecure];
        states.sort();
        assert_eq!(
            states.map(Validation::as_str),
            ["secure", "insecure", "indeterminate", "bogus"]
        );
    }
}
