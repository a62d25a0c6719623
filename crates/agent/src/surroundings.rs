//! The environment that the agent was started with, as bytes: what is not UTF-8 is handed on like everything else.

use std::os::unix::ffi::OsStringExt as _;
use std::sync::OnceLock;

/// Every variable with its value.
#[expect(
    clippy::disallowed_methods,
    reason = "the agent is a binary: this is its one look at its environment"
)]
pub(crate) fn surroundings() -> &'static [(Vec<u8>, Vec<u8>)] {
    static SURROUNDINGS: OnceLock<Vec<(Vec<u8>, Vec<u8>)>> = OnceLock::new();
    SURROUNDINGS.get_or_init(|| {
        std::env::vars_os()
            .map(|(name, value)| (name.into_vec(), value.into_vec()))
            .collect()
    })
}
