//! Trees of code to a place: what is there is asked, what is missing is sent.
//!
//! ```text
//! have? ──yes──▶ done
//!   └─no─▶ list ─▶ the likest tree that both sides know ─▶ stream of what differs ─▶ receive: checked, placed by rename
//! ```
//!
//! Where the agent can't run, the whole unpacked tree is copied.

use std::fs::File;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use camino::Utf8Path;
use mizzen_agent::bundle::{Kind, Manifest, TreeHash};
use tokio::net::unix::pipe;

use super::{Cmd, Tunnel, TunnelError};
use crate::packager::TREES;
use crate::packager::bundle::Bundles;

/// How long a place may take to look through a tree.
const LOOK_LIMIT: Duration = Duration::from_secs(120);
/// How long sending may take.
const SEND_LIMIT: Duration = Duration::from_secs(3600);
/// So many of the trees that both sides know are compared.
const CANDIDATES: usize = 8;

/// Says whether a tree is at a place, without the agent. `$1`: its folder.
const IS_THERE: &str = r#"[ -d "$1/tree" ] && [ -f "$1/manifest" ] && echo there || :"#;

/// Why a tree did not get to a place.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The place was not reached, or the connection broke: it may be tried again.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// It can't be sent, or the place can't take it.
    #[error("the code can't be brought to {place}: {reason}")]
    Refused {
        /// The place.
        place: String,
        /// Why.
        reason: String,
    },
}

/// Makes sure that a tree is unpacked at `there` (the place's folder of trees). Answers how many bytes were sent.
///
/// # Errors
/// The place was not reached, the tree is not kept here, or there is no room for it.
pub async fn deliver(
    tunnel: &dyn Tunnel,
    bundles: &Bundles,
    tree: &TreeHash,
    there: &Utf8Path,
) -> Result<u64, DeliverError> {
    let refused = |reason: String| DeliverError::Refused {
        place: tunnel.name(),
        reason,
    };
    if there == tunnel.context().home.join(TREES) {
        let (bundles, tree) = (bundles.clone(), *tree);
        let unpacked = blocking(move || bundles.unpack(&tree)).await;
        return unpacked
            .and_then(|unpacked| unpacked.map_err(|error| error.to_string()))
            .map(|_| 0)
            .map_err(refused);
    }
    let Some(agent) = tunnel.agent().await? else {
        return copy(tunnel, bundles, tree, there).await;
    };
    let ask = |mode: &str, input: String| {
        Cmd::new([agent.as_str(), "bundle", mode, there.as_str()])
            .stdin(input.into_bytes())
            .timeout(LOOK_LIMIT)
    };
    let have = ask("have", format!("{tree}\n"));
    if lines(&tunnel.run(&have).await?.ok(&have)?.stdout).any(|line| line == tree.to_string()) {
        return Ok(0);
    }
    let list = ask("list", String::new());
    let listed = tunnel.run(&list).await?.ok(&list)?;
    let known: Vec<TreeHash> = lines(&listed.stdout)
        .filter_map(|line| TreeHash::from_str(line.split_whitespace().next()?).ok())
        .collect();
    let base = {
        let (bundles, tree) = (bundles.clone(), *tree);
        blocking(move || likest(&bundles, &tree, &known)).await
    }
    .map_err(refused)?;
    match send(tunnel, &agent, bundles, tree, base.as_slice(), there).await {
        // What it was to be built on may be damaged there.
        Err(DeliverError::Refused { .. }) if !base.is_empty() => {
            send(tunnel, &agent, bundles, tree, &[], there).await
        }
        other => other,
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())
}

/// The known tree that has the most bytes in common with this one; none if nothing is in common.
fn likest(bundles: &Bundles, tree: &TreeHash, known: &[TreeHash]) -> Vec<TreeHash> {
    let manifest = |tree: &TreeHash| bundles.manifest(tree).ok().flatten();
    let Some(wanted) = manifest(tree) else {
        return Vec::new();
    };
    let objects = |manifest: &Manifest| {
        let files = manifest.entries().iter();
        files
            .filter_map(|entry| match &entry.kind {
                Kind::File { size, object, .. } => Some((*object, *size)),
                Kind::Link { .. } | Kind::Folder => None,
            })
            .collect::<std::collections::HashMap<_, _>>()
    };
    let wanted = objects(&wanted);
    known
        .iter()
        .filter_map(|candidate| Some((candidate, manifest(candidate)?)))
        .take(CANDIDATES)
        .map(|(candidate, manifest)| {
            let theirs = objects(&manifest);
            let common = theirs
                .iter()
                .filter(|(object, _)| wanted.contains_key(object));
            (common.map(|(_, size)| *size).sum::<u64>(), *candidate)
        })
        .filter(|(common, _)| *common > 0)
        .max_by_key(|(common, _)| *common)
        .map(|(_, candidate)| candidate)
        .into_iter()
        .collect()
}

async fn send(
    tunnel: &dyn Tunnel,
    agent: &Utf8Path,
    bundles: &Bundles,
    tree: &TreeHash,
    bases: &[TreeHash],
    there: &Utf8Path,
) -> Result<u64, DeliverError> {
    let here = |error: &dyn std::fmt::Display| DeliverError::Refused {
        place: tunnel.name(),
        reason: error.to_string(),
    };
    let (reader, writer) = std::io::pipe().map_err(|error| here(&error))?;
    let mut input = pipe::Receiver::from_owned_fd(reader.into()).map_err(|error| here(&error))?;
    let writing = {
        let (bundles, tree, bases) = (bundles.clone(), *tree, bases.to_vec());
        tokio::task::spawn_blocking(move || {
            let mut out = Out {
                file: File::from(std::os::fd::OwnedFd::from(writer)),
                refused: false,
            };
            let written = bundles.stream(&tree, &bases, &mut out);
            (written, out.refused)
        })
    };
    let receive =
        Cmd::new([agent.as_str(), "bundle", "receive", there.as_str()]).timeout(SEND_LIMIT);
    let mut said = Vec::new();
    let received = tunnel.exec(&receive, &mut input, &mut said).await;
    // Whoever writes ends when nobody reads any more.
    drop(input);
    let (written, refused) = writing.await.map_err(|error| here(&error))?;
    let ended = received?;
    if ended.status != 0 {
        // An error on this side cuts the stream, and is then the cause.
        if let (Err(error), false) = (&written, refused) {
            return Err(here(error));
        }
        return Err(here(&super::last_words(&ended.stderr)));
    }
    written.map_err(|error| here(&error))
}

/// The way out, which knows whether it was this end that failed.
struct Out {
    file: File,
    refused: bool,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes);
        self.refused |= written.is_err();
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Copies the whole tree.
async fn copy(
    tunnel: &dyn Tunnel,
    bundles: &Bundles,
    tree: &TreeHash,
    there: &Utf8Path,
) -> Result<u64, DeliverError> {
    let target = there.join(tree.to_string());
    let command = Cmd::script(IS_THERE, [target.as_str()]).timeout(LOOK_LIMIT);
    let answer = tunnel.run(&command).await?.ok(&command)?;
    if lines(&answer.stdout).any(|line| line == "there") {
        return Ok(0);
    }
    let refused = |reason: String| DeliverError::Refused {
        place: tunnel.name(),
        reason,
    };
    let unpacked = {
        let (bundles, tree) = (bundles.clone(), *tree);
        blocking(move || bundles.unpack(&tree))
            .await
            .map_err(refused)?
    };
    let unpacked = unpacked.map_err(|error| refused(error.to_string()))?;
    let folder = unpacked.parent().unwrap_or(&unpacked);
    tunnel.put(folder, &target).await?;
    let manifest = bundles
        .manifest(tree)
        .map_err(|error| refused(error.to_string()))?;
    Ok(manifest.map_or(0, |manifest| manifest.bytes()))
}
