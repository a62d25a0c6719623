//! What a status says of a job's attempts.

use serde_json::Value;

use crate::scene::job;

/// State and cause of each attempt of a job.
pub(crate) fn attempts(status: &Value, name: &str) -> Vec<String> {
    let job = job(status, name);
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    job["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| {
            format!(
                "{} {} {}",
                attempt["number"],
                word(&attempt["state"]),
                word(&attempt["cause"])
            )
        })
        .collect()
}
