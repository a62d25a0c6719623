//! What is known of a cluster beside its queue: its limits, its accounting, its bad nodes. Kept in the place's folder.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::queue::LIMIT;
use crate::context::{Context, create_private_dir, replace_file};
use crate::executor::{ObserveError, SubmitError};
use crate::model::Timestamp;
use crate::tunnel::{Cmd, Tunnel};

/// Seconds for which an answer about the configuration is believed.
const CONFIG_LASTS: f64 = 3600.0;
/// Seconds for which Slurm may be missing where one was before that counts as an answer.
const MISSING_FOR: f64 = 600.0;
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
    /// For how many seconds the controller keeps what has ended, at least; 0 if it does not say.
    #[serde(default)]
    pub(super) min_job_age: f64,
}

/// The configuration is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoConfig {
    /// The place could not be asked, or does not answer now.
    #[error("{0}")]
    Unasked(String),
    /// It was asked, and asking again will not help.
    #[error("{0}")]
    NoSlurm(String),
}

impl From<NoConfig> for ObserveError {
    fn from(error: NoConfig) -> ObserveError {
        ObserveError(error.to_string())
    }
}

impl From<NoConfig> for SubmitError {
    fn from(error: NoConfig) -> SubmitError {
        match error {
            NoConfig::Unasked(words) => SubmitError::Unreachable(words),
            NoConfig::NoSlurm(words) => SubmitError::Rejected(words),
        }
    }
}

/// What says that there is no Slurm: a program that is not there (the shell's status 127), or one that finds no slurm.conf
/// (tried with 22.05: "Could not establish a configuration source").
pub(super) fn missing(status: i32, stderr: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(stderr);
    let hint = "is it on PATH there? `pre_command` of the tunnel may load it";
    match status {
        127 => Some(format!("no `scontrol` was found; {hint}")),
        0 => None,
        _ if said.contains(NO_SOURCE) => Some("its programs find no slurm.conf".to_owned()),
        _ => None,
    }
}

/// What Slurm's programs say where nothing tells them of a cluster.
const NO_SOURCE: &str = "Could not establish a configuration source";

/// The place's folder.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) folder: Utf8PathBuf,
    /// Since when there is no Slurm where one was.
    missing_since: Mutex<Option<Timestamp>>,
}

impl Site {
    pub(super) fn new(folder: &Utf8Path) -> Site {
        Site {
            folder: folder.to_owned(),
            missing_since: Mutex::default(),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.folder.join(name)).ok()?).ok()
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> std::io::Result<()> {
        create_private_dir(&self.folder)?;
        let text = serde_json::to_vec(value).map_err(std::io::Error::other)?;
        replace_file(&self.folder.join(name), &text, 0o600)
    }

    /// The cluster's configuration.
    ///
    /// # Errors
    /// The place can't be asked, or there is no Slurm there.
    pub(super) async fn config(
        &self,
        context: &Context,
        tunnel: &dyn Tunnel,
    ) -> Result<Config, NoConfig> {
        let now = context.clock.now();
        let known = self.read::<Config>("slurm.json");
        if let Some(known) = &known
            && (0.0..CONFIG_LASTS).contains(&now.seconds_since(known.asked))
        {
            return Ok(known.clone());
        }
        let command = Cmd::new(["scontrol", "show", "config"]).timeout(LIMIT);
        let answer = tunnel
            .run(&command)
            .await
            .map_err(|error| NoConfig::Unasked(error.to_string()))?;
        if let Some(words) = missing(answer.status, &answer.stderr) {
            // Where Slurm was once, its file system may only be gone for a while.
            let since = *self.missing_since().get_or_insert(now);
            let waits = known.is_some() && now.seconds_since(since) < MISSING_FOR;
            let place = tunnel.name();
            return Err(match waits {
                true => NoConfig::Unasked(format!("Slurm has gone from {place}: {words}")),
                false => NoConfig::NoSlurm(format!("there is no Slurm on {place}: {words}")),
            });
        }
        let answer = answer
            .ok(&command)
            .map_err(|error| NoConfig::Unasked(error.to_string()))?;
        *self.missing_since() = None;
        let config = read_config(&String::from_utf8_lossy(&answer.stdout), now);
        // Asking again next time is all that comes of not keeping it.
        let _ = self.write("slurm.json", &config);
        Ok(config)
    }

    fn missing_since(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        self.missing_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        min_job_age: value("MinJobAge")
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .unwrap_or(0.0),
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
                    MaxArraySize            = 11\nMinJobAge               = 300 sec\n";
        let config = read_config(text, Timestamp(0));
        assert_eq!((config.max_array_size, config.accounting), (11, false));
        assert_eq!(config.min_job_age, 300.0);
        let text = "AccountingStorageType = accounting_storage/slurmdbd\n";
        let config = read_config(text, Timestamp(0));
        assert_eq!((config.max_array_size, config.accounting), (1001, true));
    }

    #[test]
    fn no_slurm_is_not_a_controller_that_is_down() {
        let down =
            "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)";
        for (status, said, expected) in [
            (127, "", true),
            (1, down, false),
            (0, "", false),
            (
                1,
                "scontrol: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n\
                 scontrol: error: fetch_config: DNS SRV lookup failed\n\
                 scontrol: fatal: Could not establish a configuration source",
                true,
            ),
        ] {
            assert_eq!(
                missing(status, said.as_bytes()).is_some(),
                expected,
                "{said}"
            );
        }
    }

    #[test]
    fn broken_nodes() {
        let text = "n1|idle\nn2|down\nn3|mixed*\nn4|draining\nn2|down\n";
        assert_eq!(read_broken(text), ["n2", "n3", "n4"]);
    }
}
