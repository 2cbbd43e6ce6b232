//! The address book on disk: one JSON file, replaced atomically; a damaged one is set aside, never
//! silently lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{AddressBook, Entry, MAX_ADDRESSES, MAX_PLACES};
use crate::network::state_file;
pub use crate::network::state_file::SaveError;
use crate::reachability::Netgroups;
use crate::reachability::netgroup::is_dialable;

/// File name inside the data directory.
pub const FILE_NAME: &str = "peers.json";

/// Format of the file. Version 1 had no key, and one source for each address.
const VERSION: u32 = 2;

/// Anchors that are taken from a file, which might have been changed.
const MAX_ANCHORS: usize = 8;

/// What the file is called in messages.
const WHAT: &str = "the address book";

/// The book at one moment.
#[derive(Debug)]
pub struct Snapshot(Document);

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    /// Chooses the places; whoever knows it can tell which addresses push each other out.
    #[serde(default = "rand::random")]
    key: [u64; 2],
    addresses: BTreeMap<SocketAddr, Entry>,
    #[serde(default)]
    anchors: Vec<SocketAddr>,
}

impl AddressBook {
    /// Reads the book of `dir`. A missing file is an empty book; a file that can't be understood is
    /// renamed to `peers.json.damaged` with a warning.
    pub fn load(dir: &Path, allow_private: bool) -> Self {
        Self::load_grouping(dir, allow_private, Netgroups::default())
    }

    /// As [`Self::load`], with these netgroups: each address stands where its own lets it.
    pub fn load_grouping(dir: &Path, allow_private: bool, netgroups: Netgroups) -> Self {
        let path = dir.join(FILE_NAME);
        let read = state_file::load(WHAT, &path, |document: &Document| {
            if (1..=VERSION).contains(&document.version) {
                Ok(())
            } else {
                Err(format!("version {} is unknown", document.version))
            }
        });
        let Some(document) = read else {
            return Self::new(allow_private).grouping(netgroups);
        };
        let mut book = Self::with_key(allow_private, document.key).grouping(netgroups);
        book.take(document.addresses);
        let dialable = |addr: &SocketAddr| is_dialable(*addr, allow_private);
        book.anchors = document.anchors;
        book.anchors.retain(dialable);
        book.anchors.truncate(MAX_ANCHORS);
        book
    }

    /// What is to be written, so that writing needs the book no more.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(Document {
            version: VERSION,
            key: self.places.key(),
            addresses: self.entries.iter().map(|(a, e)| (*a, e.clone())).collect(),
            anchors: self.anchors.clone(),
        })
    }

    /// Writes the book of this moment; see [`Snapshot::save`].
    ///
    /// # Errors
    /// As [`Snapshot::save`].
    pub fn save(&self, dir: &Path) -> Result<(), SaveError> {
        self.snapshot().save(dir)
    }

    /// Gives each its places again; those that find none, since the file was changed by hand, are left out.
    fn take(&mut self, addresses: BTreeMap<SocketAddr, Entry>) {
        let allow_private = self.allow_private;
        let dialable = addresses
            .into_iter()
            .filter(|(addr, _)| is_dialable(*addr, allow_private))
            .take(MAX_ADDRESSES);
        for (addr, mut entry) in dialable {
            let tried = std::mem::replace(&mut entry.tried, false);
            let mut sources = std::mem::take(&mut entry.sources);
            if sources.is_empty() {
                sources.push(entry.first_source.clone());
            }
            self.entries.insert(addr, entry);
            let mut placed = tried && self.tried.get(self.met_place(addr)).is_none();
            if placed {
                self.promote(addr);
            } else {
                for source in sources.iter().take(MAX_PLACES) {
                    placed |= self.place(addr, source);
                }
            }
            if !placed {
                self.entries.remove(&addr);
            }
        }
    }
}

impl Snapshot {
    /// Writes the file: temporary file, fsync, rename. It waits for the disk.
    ///
    /// # Errors
    /// When any of these fails; the old file then stands.
    pub fn save(&self, dir: &Path) -> Result<(), SaveError> {
        state_file::save(WHAT, &dir.join(FILE_NAME), &self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::network::address_book::invariants;
    use crate::network::protocol::addresses::Gossip;

    #[test]
    fn survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = AddressBook::new(false);
        book.add(
            Gossip {
                addr: "9.9.9.9:1".parse().unwrap(),
                services: 1,
                time: 5,
            },
            "x",
        );
        book.met("8.8.8.8:2".parse().unwrap(), 9, 77);
        book.set_anchors(vec!["8.8.8.8:2".parse().unwrap()]);
        book.save(dir.path()).unwrap();
        let read = AddressBook::load(dir.path(), false);
        invariants::check_equal(&read, &book);
    }

    #[test]
    fn damage_is_set_aside_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        for junk in ["", "{", "[]", "{\"version\":9,\"addresses\":{}}"] {
            fs::write(dir.path().join(FILE_NAME), junk).unwrap();
            assert_eq!(AddressBook::load(dir.path(), false).counts(), (0, 0));
            let aside = dir.path().join("peers.json.damaged");
            assert_eq!(fs::read_to_string(aside).unwrap(), junk);
        }
    }

    #[test]
    fn an_unwritable_directory_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let error = AddressBook::new(false).save(&gone).unwrap_err().to_string();
        assert!(
            error.contains("peers.json") && error.contains("permissions"),
            "{error}"
        );
    }
}
