//! What the seeder does with any bytes that a client sends: no panic, and whatever is answered is a message that hickory can read,
//! with the query's number, no larger than the client takes, and no larger than the query when it is an error.
#![no_main]

use hickory_proto::op::{Message, MessageType, ResponseCode};
use libfuzzer_sys::fuzz_target;
use quantumcoin_seeder::fuzzing::Bench;

fuzz_target!(|input: (bool, &[u8])| {
    thread_local! {
        static BENCH: Bench = Bench::new();
    }
    let (tcp, packet) = input;
    let Some(response) = BENCH.with(|bench| bench.respond(packet, tcp)) else {
        return;
    };
    assert_eq!(response.get(..2), packet.get(..2), "the number");
    assert!(tcp || response.len() <= 1232);
    let message = Message::from_vec(&response).expect("a message");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    if message.metadata.response_code == ResponseCode::FormErr {
        assert!(response.len() <= packet.len());
    }
});
