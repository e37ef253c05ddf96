//! What a stranger can send to a witness, and what a false witness can send to a node.
//!
//! `cargo +nightly fuzz run witness_request corpus/witness_request seeds/witness_request -- -max_total_time=600`
//! (made directories: `corpus/witness_request` takes what is found, `seeds` has one of each message).

#![no_main]

use libfuzzer_sys::fuzz_target;
use witness_protocol::codec::{record_bytes, record_from_bytes};
use witness_protocol::{Answer, Audience, Request};

fuzz_target!(|bytes: &[u8]| {
    // Whatever is taken has exactly one encoding; without the key its signature is never right.
    let audience = Audience { witness: [1; 32], channel: [2; 32] };
    if let Ok((_, body, signature)) = Request::parse(bytes) {
        assert_eq!([body, &signature].concat(), bytes);
    }
    assert!(Request::open(bytes, &audience, |_| true).is_err());
    if let Ok(answer) = Answer::decode(bytes) {
        assert_eq!(answer.encode(), bytes);
    }
    if let Ok(record) = record_from_bytes(bytes) {
        assert_eq!(record_bytes(&record), bytes);
    }
});
