//! The standing of hosts on disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{MAX_HOSTS, Policy, Record, Standing};
use crate::network::peer::session::unix_now;
use crate::network::security::limits::host_key;
use crate::network::security::operator::{OperatorBan, OperatorBans};
use crate::network::state_file::{self, SaveError};

/// File name inside the data directory.
pub const FILE_NAME: &str = "standing.json";

/// Format of the file.
const VERSION: u32 = 1;

/// What the file is called in messages.
const WHAT: &str = "the list of bans";

/// The standing of all hosts at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    hosts: HashMap<IpAddr, Record>,
    /// What the operator said; files of before have none.
    #[serde(default)]
    operator: Vec<OperatorBan>,
}

impl Standing {
    /// Reads what was saved in `dir`. A missing file holds nothing against anybody; one that can't be understood is
    /// renamed to `standing.json.damaged` with a warning.
    #[must_use]
    pub fn load(dir: &Path, policy: Policy) -> Self {
        let mut standing = Self::new(policy);
        let read = state_file::load(WHAT, &dir.join(FILE_NAME), |document: &Snapshot| {
            if document.version == VERSION {
                Ok(())
            } else {
                Err(format!("version {} is unknown", document.version))
            }
        });
        if let Some(document) = read {
            let hosts = document.hosts.into_iter().take(MAX_HOSTS);
            let hosts = hosts.map(|(host, record)| (host_key(host), record));
            standing.hosts = hosts.collect();
            standing.operator = OperatorBans::from_file(document.operator, unix_now());
        }
        standing
    }

    /// What is to be written, so that writing needs no more of this. Netgroups' scores are left out: they weigh little,
    /// and what weighs of them does so for an hour.
    #[must_use]
    pub fn snapshot(&self, now: u64) -> Snapshot {
        let counts = |record: &Record| {
            record.ban.is_some_and(|ban| ban.is_remembered(now))
                || record.score.now(self.policy.half_life, now) >= super::NOTHING
        };
        let hosts = self.hosts.iter().filter(|(_, record)| counts(record));
        Snapshot {
            version: VERSION,
            hosts: hosts.map(|(host, record)| (*host, *record)).collect(),
            operator: self.operator.standing(now),
        }
    }
}

impl Snapshot {
    /// Writes the file atomically. It waits for the disk.
    ///
    /// # Errors
    /// When it can't be written; the old file then stands.
    pub fn save(&self, dir: &Path) -> Result<(), SaveError> {
        state_file::save(WHAT, &dir.join(FILE_NAME), self)
    }
}
