//! From TOML text to a proven [`ChainSpec`], remembering where each key stands.
//!
//! Four passes, so that each fault gets its best message: syntax; key names (unknown, missing); types;
//! values (in `check`).

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{self, Fault};
use super::{ChainSpec, ChainSpecError, SpecFault, immutable};

/// A table's key names: those that must be given where the table is, then those that may be left out.
struct Shape {
    table: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

const TOP: Shape = Shape {
    table: "",
    required: &[],
    optional: &[
        "network",
        "name",
        "symbol",
        "decimals",
        "address_prefix",
        "network_protocol",
        "discovery",
        "consensus",
        "genesis",
    ],
};

const TABLES: [Shape; 4] = [
    Shape {
        table: "network_protocol",
        required: &[
            "magic_bytes",
            "protocol_version",
            "default_port",
            "max_connections",
            "connection_timeout",
        ],
        optional: &[
            "min_protocol_version",
            "max_connections_per_ip",
            "max_connections_per_subnet",
            "max_messages_per_minute",
            "max_bytes_per_minute",
            "allow_private_addresses",
        ],
    },
    Shape {
        table: "discovery",
        required: &[],
        optional: &["dns_seeds", "bootstrap_nodes"],
    },
    Shape {
        table: "consensus",
        required: &[
            "target_spacing",
            "asert_half_life",
            "pow_limit_bits",
            "initial_subsidy",
            "halving_interval",
            "max_money",
            "max_block_bytes",
            "coinbase_maturity",
            "max_future_seconds",
            "minimum_chain_work",
        ],
        optional: &[],
    },
    Shape {
        table: "genesis",
        required: &[
            "version",
            "time",
            "bits",
            "nonce",
            "extra_nonce",
            "message",
            "merkle_root",
            "hash",
        ],
        optional: &[],
    },
];

/// Reads a spec that a user gave.
pub(super) fn parse(text: &str, origin: &str) -> Result<ChainSpec, ChainSpecError> {
    let document = Document::parse(text, origin)?;
    let spec = document.spec()?;
    check::values(&spec)
        .and_then(|()| immutable::against_built_ins(&spec, |key| document.has(key)))
        .map_err(|fault| document.locate(fault))?;
    Ok(spec)
}

/// Reads one of the compiled-in texts: all but the comparison with the compiled-in texts.
pub(super) fn parse_built_in(text: &str, origin: &str) -> Result<ChainSpec, ChainSpecError> {
    let document = Document::parse(text, origin)?;
    let spec = document.spec()?;
    check::values(&spec).map_err(|fault| document.locate(fault))?;
    Ok(spec)
}

/// A text whose key names are right, and where its keys stand.
struct Document<'a> {
    text: &'a str,
    origin: &'a str,
    /// Dotted key → where its name stands, where its value stands (byte ranges).
    places: BTreeMap<String, (Range<usize>, Range<usize>)>,
}

impl<'a> Document<'a> {
    fn parse(text: &'a str, origin: &'a str) -> Result<Self, ChainSpecError> {
        let mut document = Self {
            text,
            origin,
            places: BTreeMap::new(),
        };
        let root = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            document.fault(
                at,
                "",
                format!("not valid TOML: {}", error.message()),
                "mend the syntax here; the built-in chain_spec.toml shows the form of each key",
            )
        })?;
        document.names(&TOP, root.get_ref(), 0)?;
        for (key, value) in root.get_ref() {
            let shape = TABLES
                .iter()
                .find(|shape| shape.table == key.get_ref().as_ref());
            if let (Some(shape), DeValue::Table(table)) = (shape, value.get_ref()) {
                document.names(shape, table, key.span().start)?;
            }
        }
        Ok(document)
    }

    /// Notes where a table's keys stand; refuses unknown and missing ones.
    fn names(
        &mut self,
        shape: &Shape,
        table: &DeTable<'_>,
        at: usize,
    ) -> Result<(), ChainSpecError> {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if !shape.required.contains(&name) && !shape.optional.contains(&name) {
                return Err(self.unknown(shape, name, key.span().start));
            }
            self.note(&dotted(shape.table, name), key.span(), value);
        }
        match shape
            .required
            .iter()
            .find(|name| !table.contains_key(**name))
        {
            None => Ok(()),
            Some(name) => Err(self
                .fault(
                    at,
                    &dotted(shape.table, name),
                    format!("[{}] lacks this key", shape.table),
                    format!(
                        "add `{name} = …` to [{}]; the built-in chain_spec.toml shows its form",
                        shape.table
                    ),
                )
                .into()),
        }
    }

    fn note(&mut self, path: &str, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        if let DeValue::Array(items) = value.get_ref() {
            for (index, item) in items.iter().enumerate() {
                self.places
                    .insert(format!("{path}[{index}]"), (item.span(), item.span()));
            }
        }
        self.places.insert(path.into(), (key, value.span()));
    }

    fn unknown(&self, shape: &Shape, name: &str, at: usize) -> ChainSpecError {
        let here = shape.required.iter().chain(shape.optional);
        let elsewhere = TABLES
            .iter()
            .find(|other| other.required.contains(&name) || other.optional.contains(&name));
        let remedy = if let Some(near) = nearest(name, here.copied()) {
            format!("did you mean `{near}`? Otherwise delete the line")
        } else if let Some(other) = elsewhere {
            format!("`{name}` belongs to [{}]: move it there", other.table)
        } else {
            let known: Vec<&str> = shape
                .required
                .iter()
                .chain(shape.optional)
                .copied()
                .collect();
            format!("delete the line; known here: {}", known.join(", "))
        };
        let place = if shape.table.is_empty() {
            "the top level".into()
        } else {
            format!("[{}]", shape.table)
        };
        self.fault(
            at,
            &dotted(shape.table, name),
            format!("unknown key in {place}"),
            remedy,
        )
        .into()
    }

    fn spec(&self) -> Result<ChainSpec, ChainSpecError> {
        toml::from_str(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            // The innermost key whose value the fault lies in.
            let key = self
                .places
                .iter()
                .filter(|(_, (_, value))| value.contains(&at))
                .min_by_key(|(_, (_, value))| value.len())
                .map_or("", |(key, _)| key.as_str());
            self.fault(
                at,
                key,
                error.message().trim_end().into(),
                remedy_for_type(key),
            )
            .into()
        })
    }

    fn has(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Gives a fault of a value its place: the value's, else its table's, else the start of the text.
    fn locate(&self, fault: Fault) -> ChainSpecError {
        let table = fault.key.split('.').next().unwrap_or_default();
        let at = self
            .places
            .get(&fault.key)
            .or_else(|| self.places.get(table))
            .map_or(
                0,
                |(key, value)| if fault.at_key { key.start } else { value.start },
            );
        self.fault(at, &fault.key, fault.problem, fault.remedy)
            .into()
    }

    fn fault(
        &self,
        at: usize,
        key: &str,
        problem: String,
        remedy: impl Into<String>,
    ) -> Box<SpecFault> {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Box::new(SpecFault {
            origin: self.origin.into(),
            line: 1 + before.matches('\n').count(),
            column: 1 + before
                .get(line_start..)
                .map_or(0, |line| line.chars().count()),
            key: key.into(),
            problem,
            remedy: remedy.into(),
        })
    }
}

fn dotted(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.into()
    } else {
        format!("{table}.{name}")
    }
}

fn remedy_for_type(key: &str) -> String {
    let form = match key.split('[').next().unwrap_or_default() {
        "network_protocol.magic_bytes" => "four bytes, e.g. [0x51, 0x54, 0x43, 0x4D]",
        "network_protocol.default_port" => "a port from 1 to 65535 without quotes, e.g. 8333",
        "network_protocol.allow_private_addresses" => "true or false",
        "discovery.dns_seeds" => {
            "a list of quoted names, e.g. [\"seed1.quantumcoin.network:8333\"]"
        }
        "discovery.bootstrap_nodes" => {
            "a list of quoted addresses with port, e.g. [\"192.0.2.1:8333\", \"[2001:db8::1]:8333\"]"
        }
        "consensus.pow_limit_bits" | "genesis.bits" => "a compact target, e.g. 0x1d00ffff",
        "network"
        | "name"
        | "symbol"
        | "address_prefix"
        | "consensus.minimum_chain_work"
        | "genesis.message"
        | "genesis.merkle_root"
        | "genesis.hash" => "text in double quotes",
        "network_protocol" | "discovery" | "consensus" | "genesis" => {
            "a table, written as a line [table] and keys below it"
        }
        _ => "a whole number without quotes, in the range that the message names",
    };
    format!("write {form}")
}

/// The known name nearest to `name`, if it is near enough to be what was meant.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, case ignored, of names cut at 64 characters (ours are shorter).
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut previous: Vec<usize> = (0..=a.len()).collect();
    for (row, right) in b.chars().take(64).flat_map(char::to_lowercase).enumerate() {
        let mut current = vec![row + 1];
        for (left, pair) in a.iter().zip(previous.windows(2)) {
            let &[diagonal, above] = pair else { continue };
            let beside = current.last().copied().unwrap_or(row + 1);
            let replaced = diagonal + usize::from(*left != right);
            current.push(replaced.min(above + 1).min(beside + 1));
        }
        previous = current;
    }
    previous.last().copied().unwrap_or_default()
}
