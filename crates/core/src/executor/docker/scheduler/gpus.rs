//! Which GPUs a container gets. The engine keeps the book: containers carry the names of theirs in a label, and what has ended, or
//! was removed, has given them back.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;

use nix::fcntl::{Flock, FlockArg};

use super::super::engine::{Kind, LIMIT};
use super::super::options::gpu_words;
use super::super::payload::{Gpus, LABEL};
use super::Shared;
use super::host::unsent;
use crate::context::create_private_dir;
use crate::executor::SubmitError;
use crate::tunnel::Cmd;

/// Prints a name for each GPU that NVIDIA's driver shows.
pub(in super::super) const FIND: &str = "i=0; for gpu in /proc/driver/nvidia/gpus/*; do [ -e \"$gpu\" ] || continue; echo \"$i\"; i=$((i + 1)); done";

/// What a container was given. As long as it is held, nobody else of this home chooses at this place.
pub(super) struct Given {
    /// `None`: all that there are, whatever they are called.
    names: Option<Vec<String>>,
    _lock: Option<Flock<OwnedFd>>,
}

impl Given {
    /// As a label says it.
    pub(super) fn label(&self) -> String {
        match &self.names {
            Some(names) => names.join(","),
            None => "all".to_owned(),
        }
    }

    /// As the engine takes it.
    pub(super) fn words(&self, kind: Kind) -> Vec<String> {
        gpu_words(self.names.as_deref(), kind)
    }
}

impl Shared {
    /// Chooses GPUs for a container.
    pub(super) async fn give(&self, host: usize, wanted: &Gpus) -> Result<Given, SubmitError> {
        let at = &self.hosts[host];
        let pool = match &wanted.pool {
            Some(pool) => pool.clone(),
            None => {
                let command = Cmd::script(FIND, [""; 0]).timeout(LIMIT);
                let finished = at.tunnel.run(&command).await.map_err(unsent)?;
                let text = String::from_utf8_lossy(&finished.stdout);
                text.lines().map(str::to_owned).collect()
            }
        };
        if pool.is_empty() && wanted.count.is_none() {
            // What is not NVIDIA's, or shows itself in another way: the engine knows.
            return Ok(Given {
                names: None,
                _lock: None,
            });
        }
        let count = wanted.count.map_or(pool.len(), |count| count as usize);
        if pool.len() < count {
            return Err(SubmitError::Rejected(format!(
                "it asks for {count} GPU(s) and {} has {}: lower `num_gpus`, or name them in `gpus`",
                at.name,
                pool.len()
            )));
        }
        if wanted.shared {
            return Ok(Given {
                names: Some(pool.into_iter().take(count).collect()),
                _lock: None,
            });
        }
        let lock = self.lock_gpus(host).await?;
        let taken = self.taken(host).await?;
        let free: Vec<String> = match taken.contains("all") {
            true => Vec::new(),
            false => pool
                .into_iter()
                .filter(|name| !taken.contains(name))
                .collect(),
        };
        if free.len() < count {
            return Err(SubmitError::Later(format!(
                "waits for GPUs on {}: {} of {count} free",
                at.name,
                free.len()
            )));
        }
        Ok(Given {
            names: Some(free.into_iter().take(count).collect()),
            _lock: Some(lock),
        })
    }

    /// The GPUs of all containers of ours that live.
    async fn taken(&self, host: usize) -> Result<BTreeSet<String>, SubmitError> {
        let format = format!("--format={{{{.Label \"{LABEL}.gpus\"}}}}");
        let format = match self.engine.kind() {
            Kind::Podman => format!("--format={{{{index .Labels \"{LABEL}.gpus\"}}}}"),
            Kind::Docker | Kind::Nerdctl => format,
        };
        let filter = format!("--filter=label={LABEL}.gpus");
        let states = ["created", "running", "paused", "restarting"]
            .map(|state| format!("--filter=status={state}"));
        let words = ["ps", "--all", &filter, &format].map(str::to_owned);
        let command = self.engine.command(words.into_iter().chain(states));
        let answer = self.ask(host, &command).await;
        let answer = answer.map_err(|error| SubmitError::Unreachable(error.0))?;
        Ok(answer
            .lines()
            .flat_map(|line| line.split(','))
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect())
    }

    async fn lock_gpus(&self, host: usize) -> Result<Flock<OwnedFd>, SubmitError> {
        let folder = self.hosts[host].folder.clone();
        let locked = tokio::task::spawn_blocking(move || {
            create_private_dir(&folder)?;
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join("gpus.lock"))?;
            Flock::lock(OwnedFd::from(file), FlockArg::LockExclusive)
                .map_err(|(_, error)| std::io::Error::from(error))
        });
        match locked.await {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(error)) => Err(SubmitError::Rejected(format!(
                "the lock of the GPUs: {error}"
            ))),
            Err(error) => Err(SubmitError::Rejected(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_as_engines_take_them() {
        let given = |names: Option<&[&str]>| Given {
            names: names.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            _lock: None,
        };
        let two = given(Some(&["0", "GPU-aa"]));
        assert_eq!(two.words(Kind::Docker), ["--gpus=\"device=0,GPU-aa\""]);
        assert_eq!(
            two.words(Kind::Podman),
            [
                "--device=nvidia.com/gpu=0",
                "--device=nvidia.com/gpu=GPU-aa"
            ]
        );
        assert_eq!(given(None).words(Kind::Nerdctl), ["--gpus=all"]);
        assert_eq!(
            (two.label().as_str(), given(None).label().as_str()),
            ("0,GPU-aa", "all")
        );
    }
}
