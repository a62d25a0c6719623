//! What a job uses while it runs.

use serde::{Deserialize, Serialize};

/// What an attempt used, from its samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageSummary {
    /// How many samples were taken.
    pub samples: u64,
}
