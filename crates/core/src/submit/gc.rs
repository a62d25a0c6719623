//! Gives back what kept code takes up: here, and at the places that it was sent to.
//!
//! What an experiment in the store names is never removed, here or there. At a place others may keep trees too (another
//! home, another machine of the same user): there only what nobody has used for a while goes.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use camino::Utf8Path;
use mizzen_agent::bundle::TreeHash;

use super::SubmitError;
use crate::context::Context;
use crate::executor::Executor;
use crate::packager::PackError;
use crate::packager::bundle::{Bundles, Freed};
use crate::store::{Filter, Store};
use crate::tunnel::{Cmd, Tunnel, TunnelError};

/// A tree that was packed so recently may belong to an experiment that is just being made.
const JUST_PACKED: Duration = Duration::from_secs(3600);
/// How long a place may take to answer.
const LIMIT: Duration = Duration::from_secs(600);

/// The trees that experiments name.
///
/// # Errors
/// The store can't be read.
pub fn needed_trees(store: &Store) -> Result<BTreeSet<TreeHash>, SubmitError> {
    let mut needed = BTreeSet::new();
    for experiment in store.experiments(&Filter::default())? {
        let plan = store.plan_without_jobs(&experiment.id)?;
        let trees = plan
            .code
            .values()
            .map(|code| TreeHash::from_str(&code.tree));
        needed.extend(trees.flatten());
    }
    Ok(needed)
}

/// Removes kept code that no experiment names from our home.
///
/// # Errors
/// The store can't be read, or something can't be removed.
pub fn collect(context: &Context, store: &Store, dry_run: bool) -> Result<Freed, SubmitError> {
    let mut keep = needed_trees(store)?;
    let bundles = Bundles::open(&context.home).map_err(PackError::from)?;
    let recent = bundles.known().map_err(PackError::from)?;
    keep.extend(
        recent
            .into_iter()
            .filter(|(_, used)| used.elapsed().map_or(true, |age| age < JUST_PACKED))
            .map(|(tree, _)| tree),
    );
    Ok(bundles.gc(&keep, dry_run).map_err(PackError::from)?)
}

/// Removes code from all machines of an executor's place that nobody has used for `age` and no experiment of ours names. Answers with the
/// trees that were, or would be, removed; `None` where code is not kept apart from our home.
///
/// # Errors
/// The place can't be reached, or something can't be removed.
pub async fn collect_at(
    context: &Context,
    store: &Store,
    executor: &dyn Executor,
    age: Duration,
    dry_run: bool,
) -> Result<Option<Vec<TreeHash>>, SubmitError> {
    let folders = executor.bundles_dirs(&context.home);
    let machines: Vec<_> = executor
        .tunnels()
        .into_iter()
        .zip(folders)
        .filter(|(_, there)| !there.starts_with(&context.home))
        .collect();
    if machines.is_empty() {
        return Ok(None);
    }
    let needed = needed_trees(store)?;
    let mut removed = Vec::new();
    for (settings, there) in machines {
        let tunnel = settings.open(context);
        let old = collect_on(context, &*tunnel, &there, &needed, age, dry_run);
        removed.extend(old.await?);
    }
    Ok(Some(removed))
}

/// Removes what nobody has used for `age` from one machine.
async fn collect_on(
    context: &Context,
    tunnel: &dyn Tunnel,
    there: &Utf8Path,
    needed: &BTreeSet<TreeHash>,
    age: Duration,
    dry_run: bool,
) -> Result<Vec<TreeHash>, SubmitError> {
    let agent = tunnel.agent().await?.ok_or_else(|| {
        TunnelError::Here(format!(
            "the agent does not run on {}: remove old folders in {there} by hand",
            tunnel.name()
        ))
    })?;
    let ask = |mode: &str, input: String| {
        Cmd::new([agent.as_str(), "bundle", mode, there.as_str()])
            .stdin(input.into_bytes())
            .timeout(LIMIT)
    };
    let list = ask("list", String::new());
    let listed = tunnel.run(&list).await?.ok(&list)?;
    let oldest =
        context.clock.now().0 / 1_000_000 - i64::try_from(age.as_secs()).unwrap_or(i64::MAX / 2);
    let text = String::from_utf8_lossy(&listed.stdout);
    let old: Vec<TreeHash> = text
        .lines()
        .filter_map(|line| {
            let (tree, used) = line.split_once(' ')?;
            let used: i64 = used.trim().parse().ok()?;
            (used < oldest).then(|| TreeHash::from_str(tree).ok())?
        })
        .filter(|tree| !needed.contains(tree))
        .collect();
    if !dry_run && !old.is_empty() {
        let lines = old.iter().map(|tree| format!("{tree}\n")).collect();
        let remove = ask("remove", lines);
        tunnel.run(&remove).await?.ok(&remove)?;
    }
    Ok(old)
}
