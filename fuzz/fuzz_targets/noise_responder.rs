//! A responder against a dialler that stops being honest at some step.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| quantumcoin::transport::fuzzing::responder(script));
