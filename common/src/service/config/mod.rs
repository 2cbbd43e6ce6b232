//! What an operator may set: one description of a program's settings, and everything that follows from it.
//!
//! A program describes its settings once, as a [`Program`]: sections of [`Key`]s, each with its kind and range, its default,
//! its words and its flag. From that one table come the file's keys, the environment's variables, the flags and their
//! help, the commented template, `config show` and `config check`, so that none of them can miss what another knows.
//!
//! ```text
//! file (TOML) ──> file ────────┐
//! QTC_… ────────> environment ─┼─> layers: Loaded ──(serde)──> the program's own types ──> its rules ──> Fault
//! --… ──────────> flags ───────┘        │                                                              │
//!                                       ├──> show: each value with its origin                          │
//!                 every wrong value ────┴──> Mistake: place, excerpt, problem, remedy <────────────────┘
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | `key` | the description: [`Program`], [`Section`], [`Key`], [`Kind`] |
//! | `text` | a file read within bounds; lines, columns and excerpts of it |
//! | `value` | one value of a kind, from TOML or from a word |
//! | `file` | walks a TOML file by the description |
//! | `environment` | the variables, and those that nobody knows |
//! | [`flags`] | the flags, made from the description for clap |
//! | `layers` | which layer has the last word: [`Loaded`] |
//! | `mistake` | what is wrong, where, and the remedy: [`Mistake`], [`Mistakes`] |
//! | `nearest` | the right name for a wrong one |
//! | [`show`] | the result, as TOML with its origins, or as JSON |
//! | [`template`] | a commented file with every key |
//! | [`command`] | `config show`, `config check` and `config template` |
//! | `names` | which keys belong to which program |
//!
//! Layers: defaults < file < environment < flags. Reading never stops at the first mistake. Values are checked against
//! the description first, with their place at hand; what only makes sense together, or needs the world (a file that
//! must exist), is the program's to check: it answers with [`Fault`]s, and [`Loaded::locate`] gives them their place.

pub mod command;
mod environment;
mod file;
pub mod flags;
mod key;
mod layers;
mod mistake;
mod names;
mod nearest;
pub mod show;
pub mod template;
mod text;
mod value;

#[cfg(test)]
mod tests;

pub use self::environment::{Environment, unknown_variables};
pub use self::key::{Fallback, Flag, Key, Kind, Program, Section};
pub use self::layers::{Inputs, Loaded, Origin, Setting};
pub use self::mistake::{Fault, Faults, Mistake, Mistakes, Place};
pub use self::names::{CRAWLER, NODE, SEEDER};
pub use self::text::MAX_FILE_BYTES;
