//! The envelope around each payload.

use aws_lc_rs::digest::{SHA256, digest};
use bitcoin::consensus::encode::{self, Decodable, Encodable};
use bitcoin::p2p::Magic;
use bitcoin::p2p::message::CommandString;

use super::NetworkMessage;
use super::error::WireError;
use super::limits::{ENVELOPE_HEADER, HEADER_ENTRY, MAX_UNKNOWN, max_payload};
use super::scan;

/// Bytes of a command, padded with zeros.
const COMMAND_LEN: usize = 12;

/// Bytes of the checksum: the start of the double SHA-256 of the payload.
const CHECKSUM_LEN: usize = 4;

/// Encodes and decodes whole messages of one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    magic: Magic,
}

impl Envelope {
    /// The envelope of the network with these first four bytes.
    #[must_use]
    pub const fn new(magic: Magic) -> Self {
        Self { magic }
    }

    /// Encodes a message. What this gives, [`Self::decode`] takes.
    ///
    /// # Errors
    /// [`WireError::NotSent`] for messages that the protocol does not have or only reads, and
    /// [`WireError::OwnMessage`] for one that breaks a limit of [`super::limits`]. Neither is a peer's
    /// fault.
    pub fn encode(&self, message: &NetworkMessage) -> Result<Vec<u8>, WireError> {
        let command = message.command();
        let name = command.as_ref();
        let known = max_payload(name);
        let is_unknown = matches!(message, NetworkMessage::Unknown { .. });
        if name == "reject" || known.is_some() == is_unknown || !is_clean(name.as_bytes()) {
            return Err(WireError::NotSent {
                command: name.to_owned(),
            });
        }
        let mut bytes = vec![0; ENVELOPE_HEADER];
        write_payload(message, &mut bytes);
        let (header, payload) = bytes.split_at_mut(ENVELOPE_HEADER);
        check_payload(name, payload).map_err(|reason| WireError::OwnMessage {
            command: name.to_owned(),
            reason: Box::new(reason),
        })?;
        write_header(header, self.magic, name, payload);
        Ok(bytes)
    }

    /// Encodes a `block` message of a block that is serialized already, as from the chain's files.
    ///
    /// Its shape is not looked at: it is for blocks that were decoded and verified once.
    ///
    /// # Errors
    /// [`WireError::OwnMessage`] for one above the largest size of a block.
    pub fn encode_block(&self, block: &[u8]) -> Result<Vec<u8>, WireError> {
        const NAME: &str = "block";
        check_length(NAME, block.len()).map_err(|reason| WireError::OwnMessage {
            command: NAME.to_owned(),
            reason: Box::new(reason),
        })?;
        let mut bytes = Vec::with_capacity(ENVELOPE_HEADER + block.len());
        bytes.resize(ENVELOPE_HEADER, 0);
        bytes.extend_from_slice(block);
        let (header, payload) = bytes.split_at_mut(ENVELOPE_HEADER);
        write_header(header, self.magic, NAME, payload);
        Ok(bytes)
    }

    /// Decodes one whole message: the header, exactly the payload that it announces, and nothing after.
    ///
    /// A command that we do not know gives [`NetworkMessage::Unknown`], if it is small. So do commands
    /// that the `bitcoin` crate knows and this protocol does not have.
    ///
    /// # Errors
    /// [`WireError`]; all of them are the peer's fault.
    pub fn decode(&self, bytes: &[u8]) -> Result<NetworkMessage, WireError> {
        let Some((header, payload)) = bytes.split_first_chunk::<ENVELOPE_HEADER>() else {
            let actual = bytes.len();
            return Err(WireError::Truncated {
                expected: ENVELOPE_HEADER,
                actual,
            });
        };
        let header = Header::parse(header)?;
        if header.magic != self.magic {
            let (found, expected) = (header.magic, self.magic);
            return Err(WireError::WrongMagic { found, expected });
        }
        let command = header.command.as_str();
        check_length(command, header.length)?;
        if payload.len() < header.length {
            return Err(WireError::Truncated {
                expected: header.length,
                actual: payload.len(),
            });
        }
        if payload.len() > header.length {
            let count = payload.len() - header.length;
            return Err(WireError::TrailingBytes {
                command: header.command,
                count,
            });
        }
        if checksum(payload) != header.checksum {
            return Err(WireError::BadChecksum {
                command: header.command,
            });
        }
        scan::check(command, payload)?;
        parse_payload(command, payload)
    }
}

/// The first 24 bytes.
struct Header {
    magic: Magic,
    command: String,
    length: usize,
    checksum: [u8; CHECKSUM_LEN],
}

impl Header {
    fn parse(bytes: &[u8; ENVELOPE_HEADER]) -> Result<Self, WireError> {
        let [m0, m1, m2, m3, command @ .., l0, l1, l2, l3, c0, c1, c2, c3] = *bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        Ok(Self {
            magic: Magic::from_bytes([m0, m1, m2, m3]),
            command: parse_command(&command).ok_or(WireError::BadCommand)?,
            length: usize::try_from(length).unwrap_or(usize::MAX),
            checksum: [c0, c1, c2, c3],
        })
    }
}

/// Printable ASCII without spaces, then only zeros.
fn parse_command(bytes: &[u8; COMMAND_LEN]) -> Option<String> {
    let length = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(COMMAND_LEN);
    let (name, padding) = bytes.split_at_checked(length)?;
    let clean = is_clean(name) && padding.iter().all(|byte| *byte == 0);
    clean.then(|| name.iter().copied().map(char::from).collect())
}

fn is_clean(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

fn write_header(header: &mut [u8], magic: Magic, command: &str, payload: &[u8]) {
    // No payload that passed its cap has more than 32 bits of length.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut name = [0; COMMAND_LEN];
    for (to, from) in name.iter_mut().zip(command.bytes()) {
        *to = from;
    }
    let parts = magic
        .to_bytes()
        .into_iter()
        .chain(name)
        .chain(length.to_le_bytes());
    for (to, from) in header.iter_mut().zip(parts.chain(checksum(payload))) {
        *to = from;
    }
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM_LEN] {
    // A tenth faster than the `bitcoin` crate's, and every block goes through it.
    let hash = digest(&SHA256, digest(&SHA256, payload).as_ref());
    let first = hash.as_ref().first_chunk();
    // A digest has 32 bytes.
    first.copied().unwrap_or_default()
}

/// The first two gates of a payload: its cap and its shape.
fn check_payload(command: &str, payload: &[u8]) -> Result<(), WireError> {
    check_length(command, payload.len())?;
    scan::check(command, payload)
}

fn check_length(command: &str, length: usize) -> Result<(), WireError> {
    let max = max_payload(command).unwrap_or(MAX_UNKNOWN);
    if length > max {
        return Err(WireError::TooLong {
            command: command.to_owned(),
            length,
            max,
        });
    }
    Ok(())
}

#[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
fn write_payload(message: &NetworkMessage, out: &mut Vec<u8>) {
    message
        .consensus_encode(out)
        .expect("a Vec takes all bytes");
}

/// The last gate: the codec. The scan has bounded every count.
fn parse_payload(command: &str, payload: &[u8]) -> Result<NetworkMessage, WireError> {
    use NetworkMessage as M;
    let malformed = |source| WireError::Malformed {
        command: command.to_owned(),
        source,
    };
    let message = match command {
        "version" => whole(payload).map(M::Version),
        "verack" => Ok(M::Verack),
        "ping" => whole(payload).map(M::Ping),
        "pong" => whole(payload).map(M::Pong),
        "getaddr" => Ok(M::GetAddr),
        "addr" => whole(payload).map(M::Addr),
        "sendaddrv2" => Ok(M::SendAddrV2),
        "addrv2" => whole(payload).map(M::AddrV2),
        "sendheaders" => Ok(M::SendHeaders),
        "getheaders" => whole(payload).map(M::GetHeaders),
        "headers" => headers(payload).map(M::Headers),
        "getblocks" => whole(payload).map(M::GetBlocks),
        "inv" => whole(payload).map(M::Inv),
        "getdata" => whole(payload).map(M::GetData),
        "notfound" => whole(payload).map(M::NotFound),
        "block" => whole(payload).map(M::Block),
        "tx" => whole(payload).map(M::Tx),
        "mempool" => Ok(M::MemPool),
        "feefilter" => fee(payload).map(M::FeeFilter),
        "sendcmpct" => whole(payload).map(M::SendCmpct),
        "cmpctblock" => whole(payload).map(M::CmpctBlock),
        "getblocktxn" => whole(payload).map(M::GetBlockTxn),
        "blocktxn" => whole(payload).map(M::BlockTxn),
        "wtxidrelay" => Ok(M::WtxidRelay),
        "reject" => whole(payload).map(M::Reject),
        other => return unknown(other, payload),
    };
    message.map_err(malformed)
}

fn unknown(command: &str, payload: &[u8]) -> Result<NetworkMessage, WireError> {
    let command = CommandString::try_from(command).map_err(|_| WireError::BadCommand)?;
    Ok(NetworkMessage::Unknown {
        command,
        payload: payload.to_vec(),
    })
}

/// Decodes all of `payload`; bytes that are left over are an error.
fn whole<T: Decodable>(payload: &[u8]) -> Result<T, encode::Error> {
    encode::deserialize(payload)
}

/// A fee rate, which BIP 133 has as a signed number and nobody means to be negative. The chain's own
/// money limit is for the one who uses it.
fn fee(payload: &[u8]) -> Result<i64, encode::Error> {
    match whole(payload)? {
        fee if fee >= 0 => Ok(fee),
        _ => Err(encode::Error::ParseFailed("a negative fee rate")),
    }
}

/// Headers, each followed by a transaction count that must be zero. The scan has checked the count and
/// the length.
fn headers(payload: &[u8]) -> Result<Vec<bitcoin::block::Header>, encode::Error> {
    let mut rest = payload;
    let count = encode::VarInt::consensus_decode(&mut rest)?;
    let entries = rest.chunks_exact(HEADER_ENTRY);
    debug_assert_eq!(count.0, entries.len() as u64);
    entries
        .map(|entry| match entry.split_last() {
            Some((0, header)) => whole(header),
            _ => Err(encode::Error::ParseFailed(
                "a header is followed by transactions",
            )),
        })
        .collect()
}
