//! A tunnel on which things go wrong: around the fake engine, or around the way to a real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tokio::sync::Notify;

use crate::context::Context;
use crate::tunnel::{Cmd, Ended, Input, Output, Tunnel, TunnelError};

/// What goes wrong with one command. `after`: it has done its work, only its answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The place can't be reached; nothing is done.
    Unreachable,
    /// The connection breaks.
    Interrupted {
        /// It has done its work.
        after: bool,
    },
    /// The answer never comes: whoever waits for it is to be killed. [`FaultyTunnel::hung`] tells when.
    Hung {
        /// It has done its work.
        after: bool,
    },
}

#[derive(Default)]
struct State {
    commands: Vec<String>,
    planned: BTreeMap<usize, Fault>,
}

/// A tunnel with faults. Looks (`ps`, `events`) are no steps: they come at any time, and go through.
pub struct FaultyTunnel {
    inner: Arc<dyn Tunnel>,
    state: Mutex<State>,
    hung: Notify,
}

impl FaultyTunnel {
    /// Around another tunnel.
    #[must_use]
    pub fn new(inner: Arc<dyn Tunnel>) -> Arc<FaultyTunnel> {
        Arc::new(FaultyTunnel {
            inner,
            state: Mutex::default(),
            hung: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The step that goes wrong: 1 is the next one.
    pub fn fault(&self, ahead: usize, fault: Fault) {
        let mut state = self.lock();
        let step = state.commands.len() + ahead;
        state.planned.insert(step, fault);
    }

    /// Whether every planned fault has come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lock().planned.is_empty()
    }

    /// Nothing goes wrong any more.
    pub fn no_faults(&self) {
        self.lock().planned.clear();
    }

    /// The steps so far, as a shell would take them.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.lock().commands.clone()
    }

    /// Resolves when a command hangs.
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    fn next(&self, command: &Cmd) -> Option<Fault> {
        if command
            .argv
            .iter()
            .any(|word| word == "ps" || word == "events")
        {
            return None;
        }
        let mut state = self.lock();
        state.commands.push(command.to_string());
        let step = state.commands.len();
        state.planned.remove(&step)
    }
}

#[async_trait]
impl Tunnel for FaultyTunnel {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn context(&self) -> &Context {
        self.inner.context()
    }

    async fn agent(&self) -> Result<Option<Utf8PathBuf>, TunnelError> {
        self.inner.agent().await
    }

    async fn exec(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<Ended, TunnelError> {
        let Some(fault) = self.next(command) else {
            return self.inner.exec(command, input, output).await;
        };
        let words = || "a fault of the test's".to_owned();
        let works = match fault {
            Fault::Unreachable => {
                return Err(TunnelError::Unreachable {
                    name: self.name(),
                    words: words(),
                });
            }
            Fault::Interrupted { after } | Fault::Hung { after } => after,
        };
        if works {
            self.inner.exec(command, input, output).await?;
        }
        if matches!(fault, Fault::Hung { .. }) {
            self.hung.notify_one();
            std::future::pending::<()>().await;
        }
        Err(TunnelError::Interrupted {
            name: self.name(),
            words: words(),
        })
    }
}
