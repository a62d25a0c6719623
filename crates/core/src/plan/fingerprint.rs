//! The hash of a plan.

use camino::Utf8PathBuf;

use super::Plan;

/// The first 16 hexadecimal digits of the BLAKE3 hash of the plan's JSON, in which the experiment's folders are not named:
/// the same plan run twice has one fingerprint, though each run has a folder of its own.
pub(super) fn of(plan: &Plan, experiment_dirs: &[Utf8PathBuf]) -> String {
    // All keys of a plan are text, so it can always be written.
    let mut json = serde_json::to_string(plan).unwrap_or_default();
    for folder in experiment_dirs {
        json = json.replace(folder.as_str(), "${experiment_dir}");
    }
    blake3::hash(json.as_bytes()).to_hex()[..16].to_owned()
}
