//! Any stream as a bundle that a place is sent.
#![no_main]

#[path = "../unpack.rs"]
mod unpack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| unpack::unpack(data));
