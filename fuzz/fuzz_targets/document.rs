//! Any text as TOML, YAML and JSON.
#![no_main]

#[expect(dead_code, reason = "each target runs one of the two functions")]
#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::document(data));
