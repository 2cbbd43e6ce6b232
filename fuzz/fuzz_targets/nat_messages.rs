//! What is heard about our own address: any bytes as an answer of a STUN server, and as a peer's dial-back message. What is taken
//! is as long as it says, and what is taken as a dial-back is written as it came.
#![no_main]

use bitcoin::p2p::message::{CommandString, NetworkMessage};
use libfuzzer_sys::fuzz_target;
use quantumcoin::network::nat::fuzzing::stun_answer;
use quantumcoin::network::protocol::dial_back::DialBack;

fuzz_target!(|bytes: &[u8]| {
    if let Some((_, other)) = stun_answer(bytes) {
        // A header and one address at least.
        assert!(bytes.len() >= 32 && other.is_none_or(|_| bytes.len() >= 44));
        for length in 0..20 {
            assert!(stun_answer(&bytes[..length]).is_none());
        }
    }
    for command in ["dialback", "dialresult"] {
        let message = NetworkMessage::Unknown {
            command: CommandString::try_from_static(command).expect("short"),
            payload: bytes.to_vec(),
        };
        if let Some(Ok(read)) = DialBack::read(&message) {
            assert_eq!(read.to_message(), message);
        }
    }
});
