//! Country and autonomous system of an address, by databases in MaxMind's format that the operator has: GeoLite2's and DB-IP's
//! files, and others with the same fields.
//!
//! They are held in memory and read again at a reload. What a database does not know of an address stays unknown; a record
//! that can't be decoded is as one that is not there.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maxminddb::{Reader, WithinOptions};
use quantumcoin::reachability::{Netgroups, Place, Systems};
use serde::{Deserialize, Serialize};

/// Records that are looked at to see whether a database holds what it is given for. Files of every provider have it in nearly
/// each record.
const LOOKED_AT: usize = 1_000;

/// Most characters of a system's name.
const NAME_CHARS: usize = 80;

/// The databases' files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct GeoFiles {
    /// Countries, such as GeoLite2-Country.mmdb.
    pub countries: Option<PathBuf>,
    /// Autonomous systems, such as GeoLite2-ASN.mmdb. With it, netgroups are autonomous systems.
    pub systems: Option<PathBuf>,
}

/// A database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// The file can't be read, or is no database.
    #[error("the database {} can't be read: {reason}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is a database of something else.
    #[error(
        "the database {} ({kind}) has no {wanted}: is it the right file?",
        path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        kind: String,
        /// What it is given for.
        wanted: &'static str,
    },
}

/// The operator's databases, each where there is one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Geo {
    countries: Option<Arc<Database>>,
    systems: Option<Arc<Database>>,
}

/// One file.
struct Database(Reader<Vec<u8>>);

/// The fields of a database of countries.
#[derive(Deserialize)]
struct CountryRecord<'a> {
    #[serde(borrow)]
    country: Option<CountryFields<'a>>,
    /// Of those who hold the address, where its place is not known.
    #[serde(borrow)]
    registered_country: Option<CountryFields<'a>>,
}

#[derive(Deserialize)]
struct CountryFields<'a> {
    iso_code: Option<&'a str>,
}

/// The fields of a database of autonomous systems.
#[derive(Deserialize)]
struct SystemRecord<'a> {
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<&'a str>,
}

impl Geo {
    /// Reads the files.
    ///
    /// # Errors
    /// [`GeoError`], naming the file.
    pub fn read(files: &GeoFiles) -> Result<Self, GeoError> {
        let read = |path: &Option<PathBuf>, wanted, holds: fn(&Database, _) -> bool| {
            let path = path.as_deref();
            path.map(|path| Database::read(path, wanted, holds))
                .transpose()
                .map(|database| database.map(Arc::new))
        };
        Ok(Self {
            countries: read(&files.countries, "countries", |database, ip| {
                database.country(ip).is_some()
            })?,
            systems: read(&files.systems, "autonomous systems", |database, ip| {
                database.system_of(ip).is_some()
            })?,
        })
    }

    /// Where an address is, as far as the databases know.
    pub fn place(&self, ip: IpAddr) -> Place {
        let country = self.countries.as_ref().and_then(|d| d.country(ip));
        Place {
            country: country.and_then(|code| code.parse().ok()),
            system: self.systems.as_ref().and_then(|d| d.system_of(ip)),
        }
    }

    /// Name of the autonomous system of an address.
    pub fn system_name(&self, ip: IpAddr) -> Option<String> {
        let record = self.systems.as_ref()?.system(ip)?;
        let name = record.autonomous_system_organization?;
        Some(name.chars().take(NAME_CHARS).collect())
    }

    /// Netgroups by autonomous system where a database tells them.
    pub fn netgroups(&self) -> Netgroups {
        let systems = self.systems.clone();
        systems.map_or_else(Netgroups::default, |systems| {
            Netgroups::by_as(SharedDatabase(systems))
        })
    }
}

/// A database as netgroups need it.
#[derive(Debug)]
struct SharedDatabase(Arc<Database>);

impl Systems for SharedDatabase {
    fn system_of(&self, ip: IpAddr) -> Option<u32> {
        self.0.system_of(ip)
    }
}

impl Database {
    fn read(
        path: &Path,
        wanted: &'static str,
        holds: fn(&Self, IpAddr) -> bool,
    ) -> Result<Self, GeoError> {
        let unread = |error: &dyn fmt::Display| GeoError::Unread {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let bytes = std::fs::read(path).map_err(|error| unread(&error))?;
        let database = Self(Reader::from_source(bytes).map_err(|error| unread(&error))?);
        let options = WithinOptions::default();
        let records = database.0.networks(options).map_err(|e| unread(&e))?;
        for record in records.take(LOOKED_AT) {
            let record = record.and_then(|record| record.network());
            let network = record.map_err(|error| unread(&error))?;
            if holds(&database, network.ip()) {
                return Ok(database);
            }
        }
        Err(GeoError::Other {
            path: path.to_owned(),
            kind: database.0.metadata().database_type.clone(),
            wanted,
        })
    }

    fn country(&self, ip: IpAddr) -> Option<&str> {
        let record: CountryRecord<'_> = self.0.lookup(ip).ok()?.decode().ok()??;
        let place = record.country.and_then(|country| country.iso_code);
        place.or_else(|| record.registered_country?.iso_code)
    }

    fn system(&self, ip: IpAddr) -> Option<SystemRecord<'_>> {
        self.0.lookup(ip).ok()?.decode().ok()?
    }

    fn system_of(&self, ip: IpAddr) -> Option<u32> {
        self.system(ip)?.autonomous_system_number
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database")
            .field(&self.0.metadata().database_type)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Option<PathBuf> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        Some(dir.join(name))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn databases_tell_country_and_system() {
        let geo = Geo::read(&GeoFiles {
            countries: file("countries.mmdb"),
            systems: file("systems.mmdb"),
        })
        .unwrap();
        let place = geo.place(ip("127.7.0.1"));
        assert_eq!(place.country.unwrap().to_string(), "CH");
        assert_eq!(place.system, Some(64_507));
        assert_eq!(geo.system_name(ip("127.7.0.1")).unwrap(), "EXAMPLE-7");
        let six = geo.place(ip("2a01:4f8::1"));
        assert_eq!(six.system, Some(64_520));
        // Only those who hold it are known.
        assert_eq!(
            geo.place(ip("127.9.0.1")).country.unwrap().to_string(),
            "AT"
        );
        assert_eq!(geo.place(ip("8.8.8.8")), Place::default());
        assert_eq!(geo.netgroups().of(ip("2a01:4f8::1")).to_string(), "AS64520");
        let none = Geo::default();
        assert_eq!(none.place(ip("127.7.0.1")), Place::default());
    }

    #[test]
    fn a_wrong_file_is_told() {
        let read = |countries| {
            let files = GeoFiles {
                countries,
                ..GeoFiles::default()
            };
            Geo::read(&files).unwrap_err().to_string()
        };
        let other = read(file("systems.mmdb"));
        assert!(
            other.contains("systems.mmdb") && other.contains("no countries"),
            "{other}"
        );
        let missing = read(file("none.mmdb"));
        assert!(
            missing.contains("none.mmdb") && missing.contains("No such file"),
            "{missing}"
        );
        let dir = tempfile::TempDir::new().unwrap();
        let junk = dir.path().join("junk.mmdb");
        std::fs::write(&junk, [7; 5_000]).unwrap();
        assert!(read(Some(junk)).contains("junk.mmdb"));
    }

    /// Each place cut off and each byte changed: no panic, and memory stays small.
    #[test]
    fn damage_is_an_error_or_says_nothing() {
        let whole = std::fs::read(file("systems.mmdb").unwrap()).unwrap();
        let addresses = ["127.7.0.1", "8.8.8.8", "2a01:4f8::1"].map(ip);
        let look = |bytes: Vec<u8>| {
            if let Ok(reader) = Reader::from_source(bytes) {
                let database = Database(reader);
                for ip in addresses {
                    let _ = (database.system_of(ip), database.country(ip));
                }
            }
        };
        for at in 0..whole.len() {
            look(whole[..at].to_vec());
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            look(changed);
        }
    }
}
