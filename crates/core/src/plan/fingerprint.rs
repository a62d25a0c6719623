//! The hash of a plan.

use super::Plan;

/// The first 16 hexadecimal digits of the BLAKE3 hash of the plan's JSON.
pub(super) fn of(plan: &Plan) -> String {
    // All keys of a plan are text, so it can always be written.
    let json = serde_json::to_vec(plan).unwrap_or_default();
    blake3::hash(&json).to_hex()[..16].to_owned()
}
