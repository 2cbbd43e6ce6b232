//! RRSIG records (RFC 4034, 3).

use std::sync::Arc;

use super::{
    key::{Key, KeyError},
    keyring::Current,
    kind,
    leaving::{NO_DS, NO_KEY},
};
use crate::{
    wire::{
        CLASS_IN,
        kind::SOA,
        name::WireName,
        rrset::{Rdata, RrSet},
    },
    zone::INFRASTRUCTURE_TTL,
};

/// How long before now signatures begin, in seconds: clocks of validators that are late.
const BEFORE: i64 = 3600;

/// How long signatures are good, in seconds: a zone lives on for a week when its seeder does not. They are made anew at each
/// refresh, so that the usual age is minutes.
const VALIDITY: i64 = 7 * 86_400;

/// Both ends are moved by up to so many seconds, lest all signatures in caches end at once.
const JITTER: i64 = 3600;

/// TTL of DNSKEY, CDS and CDNSKEY in seconds; what a rollover has to wait for.
pub const KEY_TTL: u32 = INFRASTRUCTURE_TTL;

/// Signs the records of one zone at one moment.
#[derive(Debug)]
pub struct Signer {
    zone: WireName,
    keys: Current,
    inception: u32,
    expiration: u32,
}

impl Signer {
    /// For `zone`, with the keys that count at `now`. `jitter` is any number.
    #[must_use]
    pub fn new(zone: WireName, keys: Current, now: i64, jitter: u64) -> Self {
        // Below JITTER.
        let moved = i64::try_from(jitter % JITTER.unsigned_abs()).unwrap_or(0);
        Self {
            zone,
            keys,
            // Serial arithmetic: the low half is meant (RFC 4034, 3.1.5).
            inception: (now - BEFORE - moved) as u32,
            expiration: (now + VALIDITY + moved) as u32,
        }
    }

    /// The DNSKEY, CDS and CDNSKEY records of the apex; sets without records are left out.
    #[must_use]
    pub fn key_sets(&self) -> Vec<RrSet> {
        let Current {
            published,
            for_parent,
            leaving,
            ..
        } = &self.keys;
        let (cds, cdnskey): (Rdata, Rdata) = if *leaving {
            ([NO_DS].iter().collect(), [NO_KEY].iter().collect())
        } else {
            let parent = || for_parent.iter();
            (
                parent().map(|key| key.ds()).collect(),
                parent().map(|key| key.dnskey()).collect(),
            )
        };
        let sets = [
            (
                kind::DNSKEY,
                published.iter().map(|key| key.dnskey()).collect(),
            ),
            (kind::CDS, cds),
            (kind::CDNSKEY, cdnskey),
        ];
        let some = sets
            .into_iter()
            .filter(|(_, rdata): &(u16, Rdata)| !rdata.is_empty());
        some.map(|(kind, rdata)| RrSet {
            owner: self.zone,
            kind,
            class: CLASS_IN,
            ttl: KEY_TTL,
            rdata,
        })
        .collect()
    }

    /// The signatures of a set, by each key that signs such sets.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn sign(&self, set: &RrSet) -> Result<RrSet, KeyError> {
        let keys: &[Arc<Key>] = match set.kind {
            kind::DNSKEY | kind::CDS | kind::CDNSKEY => &self.keys.key_signing,
            _ => &self.keys.zone_signing,
        };
        let mut rdata = Rdata::default();
        for key in keys {
            let head = self.head(set, key);
            let mut message = head.clone();
            append_canonical(&mut message, set);
            let signature = key.sign(&message)?;
            rdata.push(|bytes| {
                bytes.extend_from_slice(&head);
                bytes.extend_from_slice(&signature);
            });
        }
        Ok(RrSet {
            owner: set.owner,
            kind: kind::RRSIG,
            class: set.class,
            ttl: set.ttl,
            rdata,
        })
    }

    /// RDATA of RRSIG up to the signature (RFC 4034, 3.1).
    fn head(&self, set: &RrSet, key: &Key) -> Vec<u8> {
        let mut head = Vec::with_capacity(128);
        head.extend(set.kind.to_be_bytes());
        head.push(key.algorithm().number());
        // We have no wildcards, of which the asterisk would not count; at most 127.
        head.push(set.owner.labels() as u8);
        head.extend(original_ttl(set).to_be_bytes());
        head.extend(self.expiration.to_be_bytes());
        head.extend(self.inception.to_be_bytes());
        head.extend(key.tag().to_be_bytes());
        head.extend_from_slice(self.zone.as_bytes());
        head
    }
}

/// TTL that a set has at its name. In negative answers the SOA has the shorter TTL of RFC 2308, 3; a signature is of the set.
const fn original_ttl(set: &RrSet) -> u32 {
    match set.kind {
        SOA => INFRASTRUCTURE_TTL,
        _ => set.ttl,
    }
}

/// The set in canonical form and order, each record once (RFC 4034, 6).
fn append_canonical(message: &mut Vec<u8>, set: &RrSet) {
    for rdata in set.rdata.sorted() {
        message.extend_from_slice(set.owner.as_bytes());
        message.extend(set.kind.to_be_bytes());
        message.extend(set.class.to_be_bytes());
        message.extend(original_ttl(set).to_be_bytes());
        // RDATA comes from records, which have 16 bits for it.
        message.extend((rdata.len() as u16).to_be_bytes());
        message.extend_from_slice(rdata);
    }
}

#[cfg(test)]
mod tests;
