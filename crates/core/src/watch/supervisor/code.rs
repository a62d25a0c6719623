//! The code of jobs is brought to their place before they are.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use mizzen_agent::bundle::TreeHash;

use crate::context::Context;
use crate::executor::{Request, Scheduler, SubmitError};
use crate::model::Handle;
use crate::packager::bundle::Bundles;
use crate::tunnel::{DeliverError, LocalTunnel, TunnelError, deliver};

/// A tree that was seen at a place is asked for again after this time: somebody may have removed it.
const FRESH: Duration = Duration::from_secs(60);

/// Brings trees to one place, which may have several machines.
#[derive(Debug, Clone)]
pub(super) struct Courier {
    context: Context,
    /// The folder of trees at each machine of the place.
    there: Vec<Utf8PathBuf>,
    seen: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Courier {
    pub(super) fn new(context: &Context, there: Vec<Utf8PathBuf>) -> Courier {
        Courier {
            context: context.clone(),
            there,
            seen: Arc::default(),
        }
    }

    /// Sends requests whose code is at the place, or could be brought there.
    pub(super) async fn submit(
        &self,
        scheduler: &dyn Scheduler,
        requests: &[Request],
    ) -> Vec<Result<Handle, SubmitError>> {
        let mut missing: BTreeMap<&str, SubmitError> = BTreeMap::new();
        for tree in requests.iter().flat_map(trees).collect::<BTreeSet<_>>() {
            if let Err(error) = self.bring(scheduler, tree).await {
                missing.insert(tree, error);
            }
        }
        if missing.is_empty() {
            return scheduler.submit_many(requests).await;
        }
        let lacks = |request: &Request| trees(request).find_map(|tree| missing.get(tree).cloned());
        let sent: Vec<Request> = requests
            .iter()
            .filter(|request| lacks(request).is_none())
            .cloned()
            .collect();
        let mut answers = match sent.is_empty() {
            true => Vec::new(),
            false => scheduler.submit_many(&sent).await,
        }
        .into_iter();
        requests
            .iter()
            .map(|request| match lacks(request) {
                Some(error) => Err(error),
                None => answers.next().unwrap_or_else(|| {
                    Err(SubmitError::Uncertain("it was not answered".to_owned()))
                }),
            })
            .collect()
    }

    /// Makes sure that a request's code is at the place.
    ///
    /// # Errors
    /// Nothing of the request was sent.
    pub(super) async fn prepare(
        &self,
        scheduler: &dyn Scheduler,
        request: &Request,
    ) -> Result<(), SubmitError> {
        for tree in trees(request).collect::<BTreeSet<_>>() {
            self.bring(scheduler, tree).await?;
        }
        Ok(())
    }

    async fn bring(&self, scheduler: &dyn Scheduler, tree: &str) -> Result<(), SubmitError> {
        let seen = |seen: &Mutex<BTreeMap<String, Instant>>| {
            let seen = seen.lock().ok()?;
            seen.get(tree).copied()
        };
        if seen(&self.seen).is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        let rejected = |error: &dyn std::fmt::Display| SubmitError::Rejected(error.to_string());
        let hash = TreeHash::from_str(tree).map_err(|error| rejected(&error))?;
        let bundles = Bundles::open(&self.context.home).map_err(|error| rejected(&error))?;
        let mut tunnels = scheduler.tunnels();
        if tunnels.is_empty() {
            tunnels.push(LocalTunnel::default().connect(&self.context));
        }
        let mut machines = tokio::task::JoinSet::new();
        for (tunnel, there) in tunnels.into_iter().zip(self.there.clone()) {
            let (bundles, hash) = (bundles.clone(), hash);
            machines.spawn(async move { deliver(&*tunnel, &bundles, &hash, &there).await });
        }
        let delivered: Result<Vec<_>, _> = machines.join_all().await.into_iter().collect();
        delivered.map_err(|error| match error {
            // The place has answered, and will answer the same.
            DeliverError::Refused { .. }
            | DeliverError::Tunnel(
                TunnelError::Failed { .. }
                | TunnelError::Path { .. }
                | TunnelError::PreCommand { .. }
                | TunnelError::Unsendable(_)
                | TunnelError::Here(_),
            ) => SubmitError::Rejected(error.to_string()),
            DeliverError::Tunnel(error) => SubmitError::Unreachable(error.to_string()),
        })?;
        if let Ok(mut seen) = self.seen.lock() {
            seen.insert(tree.to_owned(), Instant::now());
        }
        Ok(())
    }
}

fn trees(request: &Request) -> impl Iterator<Item = &str> {
    request
        .members
        .iter()
        .filter_map(|member| member.code.as_ref()?.tree.as_deref())
}
