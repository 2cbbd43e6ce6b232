//! Adds to an answer what a validator needs.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::{denial::Chain, key::KeyError, kind, sign::Signer};
use crate::{
    guard::{
        Network,
        rate::{Allowance, Pace, RateLimiter},
    },
    snapshot::Snapshot,
    wire::{
        code::NXDOMAIN,
        name::WireName,
        rrset::{Rdata, RrSet},
        tail::{Parts, Section},
    },
    zone::Zone,
};

/// Signatures that are remembered, at some 200 bytes each: the targets of SRV records that clients ask for between two tables.
const REMEMBERED: usize = 4096;

/// Signatures a second that queries may cause, for each transport: about a twentieth of a core.
const ON_DEMAND_PER_S: u64 = 1000;

/// And for each client network: a resolver that looks up the targets of SRV records needs some dozen.
// The compiler evaluates it: 100 is not 0.
const NETWORK_PER_S: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// An answer that can't be proved.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// Signing failed.
    #[error("signing failed: {0}")]
    Key(#[from] KeyError),
    /// A name in the chain would be too long for DNS.
    #[error("a name is too long for DNS")]
    Name,
    /// See [`Budget`].
    #[error("too many signatures are asked for")]
    Budget,
}

/// Proves the answers of one zone and one snapshot.
#[derive(Debug)]
pub struct Prover {
    signer: Signer,
    chain: Chain,
    key_sets: Vec<RrSet>,
    remembered: Mutex<HashMap<u128, Rdata>>,
}

impl Prover {
    /// For a zone that has keys.
    #[must_use]
    pub fn new(signer: Signer, zone: &Zone) -> Self {
        let key_sets = signer.key_sets();
        let types = key_sets.iter().map(|set| set.kind).collect();
        Self {
            chain: Chain::new(zone, types),
            signer,
            key_sets,
            remembered: Mutex::default(),
        }
    }

    /// DNSKEY, CDS and CDNSKEY of the apex, as far as it has them.
    #[must_use]
    pub fn key_sets(&self) -> &[RrSet] {
        &self.key_sets
    }

    /// Lets go of the signatures that are remembered. When a table is written, that makes the same set be signed once; after it, they
    /// are in the table.
    pub fn forget(&self) {
        *self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = HashMap::new();
    }

    /// The zone's names.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Fills in the proof of an answer to `name` and `kind`. A question for NSEC or RRSIG is answered with the name's NSEC or that
    /// one's signature. Each signature that has to be made is taken out of `budget`.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn prove(
        &self,
        parts: &mut Parts,
        name: &WireName,
        kind: u16,
        zone: &Zone,
        snapshot: &Snapshot,
        budget: &Budget,
    ) -> Result<(), ProveError> {
        let mut proof = Vec::new();
        if parts.section == Section::Authority {
            let records = if u16::from(parts.code) == NXDOMAIN {
                self.chain.around(name, zone, snapshot)
            } else {
                self.chain
                    .at(name, zone, snapshot)
                    .map(|record| vec![record])
            };
            let records = records.ok_or(ProveError::Name)?;
            if u16::from(parts.code) != NXDOMAIN && matches!(kind, kind::NSEC | kind::RRSIG) {
                return self.own(parts, &records, kind, budget);
            }
            proof = records;
        }
        // Each signature behind its set; those of the head first, since that has been written.
        let mut all = Vec::new();
        for set in &parts.head {
            all.push(self.signature(set, budget)?);
        }
        for set in proof {
            let signature = self.signature(&set, budget)?;
            all.extend([set, signature]);
        }
        parts.proof = all;
        Ok(())
    }

    fn own(
        &self,
        parts: &mut Parts,
        records: &[RrSet],
        kind: u16,
        budget: &Budget,
    ) -> Result<(), ProveError> {
        parts.section = Section::Answer;
        let Some(nsec) = records.first() else {
            return Err(ProveError::Name);
        };
        let signature = self.signature(nsec, budget)?;
        if kind == kind::NSEC {
            parts.head = vec![nsec.clone()];
            parts.proof = vec![signature];
        } else {
            parts.head = vec![signature];
            parts.proof = Vec::new();
        }
        Ok(())
    }

    fn signature(&self, set: &RrSet, budget: &Budget) -> Result<RrSet, ProveError> {
        let key = identity(set);
        let lock = || {
            self.remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = lock().get(&key) {
            return Ok(RrSet {
                owner: set.owner,
                kind: kind::RRSIG,
                class: set.class,
                ttl: set.ttl,
                rdata: known.clone(),
            });
        }
        if !budget.take() {
            return Err(ProveError::Budget);
        }
        let made = self.signer.sign(set)?;
        let mut remembered = lock();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, made.rdata.clone());
        Ok(made)
    }
}

/// Sets of the same records are the same, in whatever order.
fn identity(set: &RrSet) -> u128 {
    let mut hasher = SipHasher13::new();
    let mut add = |bytes: &[u8]| std::hash::Hasher::write(&mut hasher, bytes);
    add(set.owner.as_bytes());
    add(&set.kind.to_be_bytes());
    add(&set.ttl.to_be_bytes());
    for rdata in set.rdata.sorted() {
        add(&rdata.len().to_be_bytes());
        add(rdata);
    }
    hasher.finish128().as_u128()
}

/// How many signatures may be made. Names that are not written ahead can be thought up without end, and each costs some dozen
/// microseconds.
#[derive(Debug)]
pub enum Budget<'a> {
    /// As many as there are: for the table.
    Unlimited,
    /// Out of an allowance.
    OnDemand {
        /// The allowance.
        allowance: &'a SigningAllowance,
        /// Whether the query came over TCP.
        tcp: bool,
        /// The client's network.
        network: Network,
        /// Microseconds of a clock that never goes back.
        now: u64,
    },
}

/// Signatures that may be made on demand: for each transport, so that neither can use up the other's, and for each network, so that
/// no client can use up all.
#[derive(Debug)]
pub struct SigningAllowance {
    transports: [Pace; 2],
    networks: RateLimiter,
}

impl Default for SigningAllowance {
    fn default() -> Self {
        Self {
            transports: Default::default(),
            networks: RateLimiter::new(NETWORK_PER_S, &rand::random()),
        }
    }
}

impl Budget<'_> {
    fn take(&self) -> bool {
        let Self::OnDemand {
            allowance,
            tcp,
            network,
            now,
        } = self
        else {
            return true;
        };
        if allowance.networks.take(*network, *now) != Allowance::Full {
            return false;
        }
        let [udp, over_tcp] = &allowance.transports;
        let pace = if *tcp { over_tcp } else { udp };
        // A second's worth at once.
        pace.take(*now, 1_000_000 / ON_DEMAND_PER_S, 1_000_000)
    }
}

#[cfg(test)]
mod tests;
