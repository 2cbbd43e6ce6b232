//! STUN messages (RFC 8489): the binding request, and what answers to it say, with the attributes of RFC 5780. Pure.
//!
//! Our own since the subset is small: the crate that has RFC 5780 brings twenty others, one of them unmaintained, for names
//! and passwords that no binding request has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// In each message (RFC 8489, 5), and the key of XOR-MAPPED-ADDRESS.
const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Bytes before the attributes.
const HEADER: usize = 20;

/// Names a request; the answer repeats it. Random, so that nobody off the path can answer.
pub(in crate::network::nat) type Transaction = [u8; 12];

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const MAPPED_ADDRESS: u16 = 0x0001;
const CHANGE_REQUEST: u16 = 0x0003;
/// RFC 3489's name of OTHER-ADDRESS, which old servers still send.
const CHANGED_ADDRESS: u16 = 0x0005;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const OTHER_ADDRESS: u16 = 0x802C;

/// From which other socket of the server the answer is to come (RFC 5780, 7.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) ip: bool,
    pub(super) port: bool,
}

impl Change {
    pub(super) const NONE: Self = Self {
        ip: false,
        port: false,
    };
    pub(super) const PORT: Self = Self {
        ip: false,
        port: true,
    };
    pub(super) const BOTH: Self = Self {
        ip: true,
        port: true,
    };
}

/// What a server sees of us, and where else it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network::nat) struct Answer {
    pub(in crate::network::nat) mapped: SocketAddr,
    pub(in crate::network::nat) other: Option<SocketAddr>,
}

/// Why bytes are no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::network::nat) enum MessageError {
    #[error("no STUN message")]
    NotStun,
    #[error("an answer to another request")]
    OtherTransaction,
    #[error("the server refuses with error {0}")]
    Refused(u16),
    #[error("the answer says no address")]
    NoAddress,
}

/// A binding request.
pub(super) fn request(transaction: &Transaction, change: Change) -> Vec<u8> {
    let mut attributes = Vec::new();
    if change != Change::NONE {
        attributes.extend_from_slice(&CHANGE_REQUEST.to_be_bytes());
        attributes.extend_from_slice(&4_u16.to_be_bytes());
        let flags = u32::from(change.ip) << 2 | u32::from(change.port) << 1;
        attributes.extend_from_slice(&flags.to_be_bytes());
    }
    // At most one attribute of eight bytes.
    let length = u16::try_from(attributes.len()).unwrap_or(u16::MAX);
    let mut message = Vec::with_capacity(HEADER + attributes.len());
    message.extend_from_slice(&BINDING_REQUEST.to_be_bytes());
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
    message.extend_from_slice(transaction);
    message.extend_from_slice(&attributes);
    message
}

/// Which request the message answers; `None` if it is no answer at all.
pub(in crate::network::nat) fn transaction(bytes: &[u8]) -> Option<Transaction> {
    let (header, _) = bytes.split_first_chunk::<HEADER>()?;
    let cookie = header.get(4..8)?;
    let is_stun = header[0] & 0xC0 == 0 && cookie == MAGIC_COOKIE.to_be_bytes();
    is_stun.then(|| header.last_chunk().copied()).flatten()
}

/// Reads an answer to the request of this name.
///
/// # Errors
/// Where it is none, or says that there is none.
pub(in crate::network::nat) fn read(
    bytes: &[u8],
    expected: &Transaction,
) -> Result<Answer, MessageError> {
    let found = transaction(bytes).ok_or(MessageError::NotStun)?;
    if found != *expected {
        return Err(MessageError::OtherTransaction);
    }
    let (kind, length) = (u16_at(bytes, 0), u16_at(bytes, 2));
    let (Some(kind), Some(length)) = (kind, length) else {
        return Err(MessageError::NotStun);
    };
    let attributes = bytes.get(HEADER..HEADER + usize::from(length));
    let attributes = attributes.ok_or(MessageError::NotStun)?;
    let find = |wanted| {
        let mut all = Attributes(attributes);
        all.find_map(|(kind, value)| (kind == wanted).then_some(value))
    };
    match kind {
        BINDING_SUCCESS => {}
        BINDING_ERROR => {
            let code = find(ERROR_CODE).and_then(error_code);
            return Err(MessageError::Refused(code.unwrap_or(0)));
        }
        _ => return Err(MessageError::NotStun),
    }
    let mapped = find(XOR_MAPPED_ADDRESS).and_then(|value| xored(address(value)?, expected));
    // What is not hidden from them, some routers change on the way (RFC 8489, 14.2): only where there is nothing else.
    let mapped = mapped.or_else(|| address(find(MAPPED_ADDRESS)?));
    let other = find(OTHER_ADDRESS).or_else(|| find(CHANGED_ADDRESS));
    Ok(Answer {
        mapped: mapped.ok_or(MessageError::NoAddress)?,
        other: other.and_then(address),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// Each attribute's type and value, as far as they are whole.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, length) = (u16_at(self.0, 0)?, usize::from(u16_at(self.0, 2)?));
        let value = self.0.get(4..4 + length)?;
        let padded = 4 + length.next_multiple_of(4);
        self.0 = self.0.get(padded..).unwrap_or_default();
        Some((kind, value))
    }
}

fn address(value: &[u8]) -> Option<SocketAddr> {
    let (&family, port) = (value.get(1)?, u16_at(value, 2)?);
    let ip = value.get(4..)?;
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(*ip.first_chunk::<4>()?)),
        2 => IpAddr::V6(Ipv6Addr::from(*ip.first_chunk::<16>()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// XOR-MAPPED-ADDRESS (RFC 8489, 14.2) in the clear.
fn xored(addr: SocketAddr, transaction: &Transaction) -> Option<SocketAddr> {
    let [high, low, ..] = MAGIC_COOKIE.to_be_bytes();
    let port = addr.port() ^ u16::from_be_bytes([high, low]);
    let ip = match addr.ip() {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() ^ MAGIC_COOKIE).into()),
        IpAddr::V6(ip) => {
            let mut key = [0; 16];
            let (cookie, rest) = key.split_first_chunk_mut::<4>()?;
            *cookie = MAGIC_COOKIE.to_be_bytes();
            rest.copy_from_slice(transaction);
            IpAddr::V6((ip.to_bits() ^ u128::from_be_bytes(key)).into())
        }
    };
    Some(SocketAddr::new(ip, port))
}

/// Hundreds and the rest (RFC 8489, 14.8).
fn error_code(value: &[u8]) -> Option<u16> {
    let (&hundreds, &rest) = (value.get(2)?, value.get(3)?);
    Some(u16::from(hundreds & 7) * 100 + u16::from(rest))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// RFC 5769, 2.2: the response over IPv4 of a server named "test vector".
    const SAMPLE_V4: &str = "0101003c 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220 \
         00200008 0001a147e112a643 00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004 c07d4c96";

    /// RFC 5769, 2.3: the same over IPv6.
    const SAMPLE_V6: &str = "01010048 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220 \
         00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9 \
         00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c";

    const SAMPLE_TRANSACTION: Transaction = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// An answer as a server makes it.
    pub(in crate::network::nat) fn answer(
        to: &[u8],
        mapped: SocketAddr,
        other: Option<SocketAddr>,
    ) -> Vec<u8> {
        let transaction = transaction(to).unwrap();
        let plain = |addr: SocketAddr| {
            let mut value = vec![0, if addr.is_ipv4() { 1 } else { 2 }];
            value.extend_from_slice(&addr.port().to_be_bytes());
            match addr.ip() {
                IpAddr::V4(ip) => value.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => value.extend_from_slice(&ip.octets()),
            }
            value
        };
        let mut attributes = vec![(
            XOR_MAPPED_ADDRESS,
            plain(xored(mapped, &transaction).unwrap()),
        )];
        attributes.extend(other.map(|other| (OTHER_ADDRESS, plain(other))));
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend_from_slice(&kind.to_be_bytes());
            body.extend_from_slice(&(value.len() as u16).to_be_bytes());
            body.extend_from_slice(&value);
        }
        let mut message = BINDING_SUCCESS.to_be_bytes().to_vec();
        message.extend_from_slice(&(body.len() as u16).to_be_bytes());
        message.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        message.extend_from_slice(&transaction);
        message.extend_from_slice(&body);
        message
    }

    #[test]
    fn the_samples_of_rfc_5769_are_understood() {
        let v4 = read(&hex(SAMPLE_V4), &SAMPLE_TRANSACTION).unwrap();
        assert_eq!(v4.mapped, "192.0.2.1:32853".parse().unwrap());
        assert_eq!(v4.other, None);
        let v6 = read(&hex(SAMPLE_V6), &SAMPLE_TRANSACTION).unwrap();
        let expected = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
        assert_eq!(v6.mapped, expected.parse().unwrap());
    }

    #[test]
    fn a_request_asks_for_the_other_socket() {
        let transaction = [7; 12];
        let plain = request(&transaction, Change::NONE);
        assert_eq!(plain.len(), HEADER);
        assert_eq!(
            request(&transaction, Change::BOTH)[HEADER..],
            [0, 3, 0, 4, 0, 0, 0, 6]
        );
        assert_eq!(
            request(&transaction, Change::PORT)[HEADER..],
            [0, 3, 0, 4, 0, 0, 0, 2]
        );
    }

    #[test]
    fn a_refusal_says_its_code() {
        let mut bytes = request(&[7; 12], Change::NONE);
        bytes[..4].copy_from_slice(&[0x01, 0x11, 0, 8]);
        bytes.extend_from_slice(&[0, 9, 0, 4, 0, 0, 4, 20]);
        assert_eq!(read(&bytes, &[7; 12]), Err(MessageError::Refused(420)));
    }

    #[test]
    fn an_answer_cut_anywhere_is_none() {
        let whole = hex(SAMPLE_V4);
        for length in 0..whole.len() {
            assert_eq!(
                read(&whole[..length], &SAMPLE_TRANSACTION),
                Err(MessageError::NotStun),
                "{length} bytes"
            );
        }
        assert_eq!(read(&whole, &[0; 12]), Err(MessageError::OtherTransaction));
    }

    proptest! {
        #[test]
        fn what_a_server_says_is_heard(
            mapped: SocketAddr,
            other: Option<SocketAddr>,
            name: Transaction,
        ) {
            let plain = |addr: SocketAddr| SocketAddr::new(addr.ip(), addr.port());
            let (mapped, other) = (plain(mapped), other.map(plain));
            let bytes = answer(&request(&name, Change::NONE), mapped, other);
            prop_assert_eq!(read(&bytes, &name), Ok(Answer { mapped, other }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in vec(any::<u8>(), 0..120)) {
            let _ = read(&bytes, &[0; 12]);
            // With a right beginning, so that the attributes are looked at.
            let mut whole = vec![1, 1, 0, 0];
            whole.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
            whole.extend_from_slice(&[0; 12]);
            whole[3] = bytes.len() as u8;
            whole.append(&mut bytes);
            let _ = read(&whole, &[0; 12]);
        }
    }
}
