//! Any bytes into the envelope decoder: it must refuse or understand, and never panic.
#![no_main]

use bitcoin::p2p::Magic;
use libfuzzer_sys::fuzz_target;
use quantumcoin::wire::Envelope;

fuzz_target!(|bytes: &[u8]| {
    let _ = Envelope::new(Magic::from_bytes(*b"QTCM")).decode(bytes);
});
