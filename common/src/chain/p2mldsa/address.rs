//! A program as people write it: bech32m (BIP350) with the network's prefix and witness version 3.
//!
//! `prefix`, `1`, `r` (the version), 52 characters of program, 6 of checksum: 63 characters on mainnet. Any
//! change of up to four characters is detected.

use std::fmt;

use bech32::primitives::decode::{CharError, UncheckedHrpstring, UncheckedHrpstringError};
use bech32::{Bech32, Bech32m, Fe32, Hrp, segwit};
use bitcoin::{Script, ScriptBuf};
use thiserror::Error;

use crate::chain_spec::{MAX_ADDRESS_PREFIX_BYTES, is_address_prefix};

use super::{PROGRAM_BYTES, WITNESS_VERSION, program_of, script};

/// Most characters of an address (BIP173: the checksum's guarantee holds up to here). Guards parsing.
pub const MAX_ADDRESS_BYTES: usize = 90;

/// The program of a P2MLDSA output, and the network's prefix.
///
/// ```
/// use quantumcoin::chain::p2mldsa::Address;
/// use quantumcoin::chain_spec::ChainSpec;
///
/// let prefix = ChainSpec::mainnet().address_prefix;
/// let address = Address::new(&prefix, [7; 32])?;
/// assert!(address.to_string().starts_with("qtc1r"));
/// assert_eq!(Address::parse(&prefix, &address.to_string())?, address);
/// # Ok::<(), quantumcoin::chain::p2mldsa::AddressError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address {
    prefix: Hrp,
    program: [u8; PROGRAM_BYTES],
}

/// Why a text is no address, or there is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The network's prefix can't start an address.
    #[error(
        "{prefix:?} can't start an address: use 1 to {MAX_ADDRESS_PREFIX_BYTES} letters and digits, lower-case"
    )]
    Prefix {
        /// The prefix.
        prefix: String,
    },
    /// The script is not `OP_3 <32 bytes>`.
    #[error("this output script has no address: it is not pay-to-ML-DSA")]
    Script,
    /// More characters than any address has.
    #[error("{bytes} characters are too many for an address, at most {MAX_ADDRESS_BYTES}")]
    TooLong {
        /// Characters found.
        bytes: usize,
    },
    /// No `1` between prefix and data, or nothing after it.
    #[error("not an address: there must be a prefix, the digit 1 and data")]
    Form,
    /// A character that bech32 does not use (or not there).
    #[error("the character {character:?} can't be in an address (1, b, i and o look like others)")]
    Character {
        /// The character.
        character: char,
    },
    /// Upper and lower case in one text.
    #[error("upper and lower case are mixed: write all of it in one case")]
    MixedCase,
    /// Checksum of the older bech32.
    #[error(
        "the checksum is bech32's, this needs bech32m (BIP350): made by a program that is too old"
    )]
    Bech32,
    /// The checksum does not fit: a typing error.
    #[error("the checksum does not fit: at least one character is wrong, missing or too many")]
    Checksum,
    /// A good address of another network.
    #[error(
        "this address is of another network: it starts with {found}1, this network's start with {expected}1"
    )]
    WrongNetwork {
        /// Its prefix.
        found: String,
        /// This network's prefix.
        expected: String,
    },
    /// Another witness version, which nobody can protect yet.
    #[error("the address has witness version {found}, this network pays to version 3")]
    Version {
        /// Its version, 0 to 31.
        found: u8,
    },
    /// A program of another length.
    #[error("the address holds {found} bytes, 32 are needed")]
    Length {
        /// Whole bytes in it.
        found: usize,
    },
    /// Bits after the last whole byte that are not zero.
    #[error("the address has bits set after its 32 bytes")]
    Padding,
}

impl Address {
    /// The address of `program` on the network whose chain spec has this `address_prefix`.
    ///
    /// # Errors
    /// [`AddressError::Prefix`]; never with the prefix of a spec that was loaded.
    pub fn new(prefix: &str, program: [u8; PROGRAM_BYTES]) -> Result<Self, AddressError> {
        Ok(Self {
            prefix: prefix_of(prefix)?,
            program,
        })
    }

    /// The address of an output script.
    ///
    /// # Errors
    /// [`AddressError::Script`] for any script but P2MLDSA; [`AddressError::Prefix`].
    pub fn from_script(prefix: &str, script: &Script) -> Result<Self, AddressError> {
        Self::new(prefix, program_of(script).ok_or(AddressError::Script)?)
    }

    /// Reads an address of the network whose chain spec has this `address_prefix`. All upper case, as QR
    /// codes have it, is allowed.
    ///
    /// # Errors
    /// The first of these that is wrong: length, characters, checksum, network, version, program.
    pub fn parse(prefix: &str, text: &str) -> Result<Self, AddressError> {
        let prefix = prefix_of(prefix)?;
        if text.len() > MAX_ADDRESS_BYTES {
            return Err(AddressError::TooLong { bytes: text.len() });
        }
        let unchecked = UncheckedHrpstring::new(text).map_err(form_error)?;
        if !unchecked.has_valid_checksum::<Bech32m>() {
            return Err(if unchecked.has_valid_checksum::<Bech32>() {
                AddressError::Bech32
            } else {
                AddressError::Checksum
            });
        }
        if unchecked.hrp() != prefix {
            return Err(AddressError::WrongNetwork {
                found: unchecked.hrp().to_lowercase(),
                expected: prefix.to_lowercase(),
            });
        }
        Ok(Self {
            prefix,
            program: program_in(unchecked)?,
        })
    }

    /// What outputs to this address hold.
    #[must_use]
    pub fn program(&self) -> [u8; PROGRAM_BYTES] {
        self.program
    }

    /// The output script that pays to this address.
    #[must_use]
    pub fn script(&self) -> ScriptBuf {
        script(self.program)
    }
}

/// In lower case.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = Fe32::try_from(WITNESS_VERSION).map_err(|_| fmt::Error)?;
        segwit::encode_lower_to_fmt_unchecked(f, self.prefix, version, &self.program)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

fn prefix_of(prefix: &str) -> Result<Hrp, AddressError> {
    Some(prefix)
        .filter(|prefix| is_address_prefix(prefix))
        .and_then(|prefix| Hrp::parse(prefix).ok())
        .ok_or_else(|| AddressError::Prefix {
            prefix: prefix.chars().take(MAX_ADDRESS_BYTES).collect(),
        })
}

fn form_error(error: UncheckedHrpstringError) -> AddressError {
    match error {
        UncheckedHrpstringError::Char(CharError::MixedCase) => AddressError::MixedCase,
        UncheckedHrpstringError::Char(CharError::InvalidChar(character)) => {
            AddressError::Character { character }
        }
        _ => AddressError::Form,
    }
}

/// The program in a text whose checksum is right.
fn program_in(text: UncheckedHrpstring<'_>) -> Result<[u8; PROGRAM_BYTES], AddressError> {
    let mut data = text.remove_checksum::<Bech32m>();
    // The version is one character, the program the others, five bits each.
    let version = data.fe32_iter::<std::iter::Empty<u8>>().next();
    let version = version.ok_or(AddressError::Form)?.to_u8();
    if version != WITNESS_VERSION {
        return Err(AddressError::Version { found: version });
    }
    data.remove_witness_version();
    let bytes: Vec<u8> = data.byte_iter().collect();
    let program = bytes
        .as_slice()
        .try_into()
        .map_err(|_| AddressError::Length { found: bytes.len() })?;
    // Four bits are left over in 52 characters; 53 would give 33 bytes.
    data.validate_segwit_padding()
        .map_err(|_| AddressError::Padding)?;
    Ok(program)
}
