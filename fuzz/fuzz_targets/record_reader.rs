//! Records with hostile trailers, sealed with the right key.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| quantumcoin::transport::fuzzing::records(script));
