//! What is known of a cluster beside its queue: its limits, its accounting, its bad nodes. Kept in the place's folder.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::queue::LIMIT;
use crate::context::{Context, create_private_dir, write_file};
use crate::executor::ObserveError;
use crate::model::Timestamp;
use crate::tunnel::{Cmd, Tunnel};

/// Seconds for which an answer about the configuration is believed.
const CONFIG_LASTS: f64 = 3600.0;
/// Seconds for which a node that failed is avoided.
const BAD_FOR: f64 = 24.0 * 3600.0;
/// Slurm's own default of MaxArraySize (slurm.conf(5)).
const MAX_ARRAY_SIZE: usize = 1001;

/// The part of slurm.conf that matters here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Config {
    asked: Timestamp,
    /// Indexes of arrays are below this.
    pub(super) max_array_size: usize,
    /// Ended jobs can be asked for when the controller has forgotten them.
    pub(super) accounting: bool,
}

/// The place's folder.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) folder: Utf8PathBuf,
}

impl Site {
    pub(super) fn new(folder: &Utf8Path) -> Site {
        Site {
            folder: folder.to_owned(),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.folder.join(name)).ok()?).ok()
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> std::io::Result<()> {
        create_private_dir(&self.folder)?;
        let text = serde_json::to_vec(value).map_err(std::io::Error::other)?;
        let temporary = self.folder.join(format!("{name}.{}", std::process::id()));
        write_file(&temporary, &text, 0o600)?;
        std::fs::rename(&temporary, self.folder.join(name))
    }

    /// The cluster's configuration.
    ///
    /// # Errors
    /// The place can't be asked.
    pub(super) async fn config(
        &self,
        context: &Context,
        tunnel: &dyn Tunnel,
    ) -> Result<Config, ObserveError> {
        let now = context.clock.now();
        if let Some(known) = self.read::<Config>("slurm.json")
            && (0.0..CONFIG_LASTS).contains(&now.seconds_since(known.asked))
        {
            return Ok(known);
        }
        let command = Cmd::new(["scontrol", "show", "config"]).timeout(LIMIT);
        let answer = tunnel
            .run(&command)
            .await
            .and_then(|finished| finished.ok(&command))
            .map_err(|error| ObserveError(error.to_string()))?;
        let config = read_config(&String::from_utf8_lossy(&answer.stdout), now);
        // Asking again next time is all that comes of not keeping it.
        let _ = self.write("slurm.json", &config);
        Ok(config)
    }

    /// The nodes to stay away from, as Slurm takes them.
    pub(super) fn bad_nodes(&self, now: Timestamp) -> Option<String> {
        let nodes: BTreeMap<String, Timestamp> = self.read("bad-nodes.json")?;
        let names: Vec<String> = nodes
            .into_iter()
            .filter(|(_, until)| *until > now)
            .map(|(name, _)| name)
            .collect();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// Nodes have failed under a job.
    pub(super) fn remember_bad(&self, names: &[String], now: Timestamp) {
        let mut nodes: BTreeMap<String, Timestamp> =
            self.read("bad-nodes.json").unwrap_or_default();
        nodes.retain(|_, until| *until > now);
        for name in names {
            nodes.insert(name.clone(), now.plus_seconds(BAD_FOR));
        }
        let _ = self.write("bad-nodes.json", &nodes);
    }
}

fn read_config(text: &str, now: Timestamp) -> Config {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    Config {
        asked: now,
        max_array_size: value("MaxArraySize")
            .and_then(|text| text.parse().ok())
            .unwrap_or(MAX_ARRAY_SIZE),
        accounting: value("AccountingStorageType")
            .is_some_and(|kind| !kind.ends_with("none") && kind != "(null)"),
    }
}

/// The states of nodes that can't run anything, as `sinfo --Node --noheader --format='%N|%T'` writes them.
pub(super) fn read_broken(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().split_once('|'))
        .filter(|(_, state)| {
            let state = state.to_ascii_lowercase();
            // A star behind it: the node does not answer.
            state.ends_with('*')
                || ["down", "drain", "fail", "error", "unknown"]
                    .iter()
                    .any(|bad| state.starts_with(bad))
        })
        .map(|(name, _)| name.to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration() {
        let text = "Configuration data as of now\nAccountingStorageType   = accounting_storage/none\n\
                    MaxArraySize            = 11\n";
        let config = read_config(text, Timestamp(0));
        assert_eq!((config.max_array_size, config.accounting), (11, false));
        let text = "AccountingStorageType = accounting_storage/slurmdbd\n";
        let config = read_config(text, Timestamp(0));
        assert_eq!((config.max_array_size, config.accounting), (1001, true));
    }

    #[test]
    fn broken_nodes() {
        let text = "n1|idle\nn2|down\nn3|mixed*\nn4|draining\nn2|down\n";
        assert_eq!(read_broken(text), ["n2", "n3", "n4"]);
    }
}
