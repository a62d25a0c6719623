//! Turns a working tree into what the job finds as its code.
//!
//! Only the pass-through is here: the job runs in the working tree itself, which is what a job on this machine wants.
//! A packager that makes bundles gets its own file in this folder and a variant here.

pub mod bundle;
mod listing;

pub use listing::{Item, ItemKind, Limits, Listing, PackError, Source};

use serde::{Deserialize, Serialize};

/// How the user's code reaches the job. The name and the field are NeMo-Run's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Packager {
    /// Launchers that have a debug mode switch it on.
    #[serde(default)]
    pub debug: bool,
}

/// The folder in the home in which trees are unpacked for jobs of this machine.
pub const TREES: &str = "bundles/trees";
