//! What the book knows of one address.

use serde::{Deserialize, Serialize};

/// Failures in a row after which an address that was never met gives way to any other (Bitcoin Core's figure).
const HOPELESS_AFTER: u32 = 3;

/// By so much each failure makes it less likely that an address is drawn (Bitcoin Core's figure).
const CHANCE_AFTER_FAILURE: f64 = 0.66;

/// What we know of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Service bits, as last claimed.
    pub services: u64,
    /// Unix seconds when it was last seen, by us or by hearsay.
    pub last_seen: u32,
    /// Whether it stands among those that we have met.
    pub tried: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Unix seconds before which it is not dialled again.
    pub not_before: u64,
    /// Unix seconds of the last handshake there; 0 for never.
    #[serde(default)]
    pub last_success: u64,
    /// Unix seconds when dialling it last failed; 0 for never.
    #[serde(default)]
    pub last_failure: u64,
    /// Netgroup of who told us first, as text.
    #[serde(alias = "source")]
    pub first_source: String,
    /// Of those who told us, the ones that give it a place among the unmet; none once it was met.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Unix seconds when it last spoke Noise with us or said so itself; 0 for never.
    #[serde(default)]
    pub noise_at: u64,
    /// The X25519 static key that the node there had when it last spoke Noise with us.
    #[serde(default, with = "static_key", skip_serializing_if = "Option::is_none")]
    pub static_key: Option<[u8; 32]>,
    /// It did not answer to [`Self::static_key`] when it was last asked to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key_doubted: bool,
}

impl Entry {
    /// What somebody told us.
    pub(super) fn told(services: u64, seen: u32, source: &str) -> Self {
        Self {
            services,
            last_seen: seen,
            tried: false,
            failures: 0,
            not_before: 0,
            last_success: 0,
            last_failure: 0,
            first_source: source.to_owned(),
            sources: Vec::new(),
            noise_at: 0,
            static_key: None,
            key_doubted: false,
        }
    }

    /// It was never met and has failed several times.
    pub(super) fn is_hopeless(&self) -> bool {
        self.last_success == 0 && self.failures >= HOPELESS_AFTER
    }

    /// How likely it is to be taken when it is drawn, above 0 and at most 1.
    pub(super) fn chance(&self) -> f64 {
        // Eight failures make one in thirty.
        CHANCE_AFTER_FAILURE.powi(self.failures.min(8) as i32)
    }
}

/// Static keys in the file: base64url without padding.
mod static_key {
    use data_encoding::BASE64URL_NOPAD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        key: &Option<[u8; 32]>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        key.map(|key| BASE64URL_NOPAD.encode(&key)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else {
            return Ok(None);
        };
        let key = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let key = key.and_then(|key| key.try_into().ok());
        key.map(Some)
            .ok_or_else(|| D::Error::custom("a static key is 43 characters of base64url"))
    }
}
