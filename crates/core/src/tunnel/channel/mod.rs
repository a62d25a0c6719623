//! A tunnel to another machine that connects when it is first used, and again when the connection broke.
//!
//! ```text
//!                   ┌─ link is alive ──────────────────────────────▶ Wire: one session with `mizzen-agent serve`
//! exec ── link() ───┼─ failed a moment ago ──▶ the same error       Plain: a session a command, where the agent can't run
//!                   └─ else: SshTunnel::connect(Silent) ─ serve ───▶ a new link, or the error; the pause grows
//! ```
//!
//! A session of ssh takes some round trips and processes on both sides; over serve a command is a frame each way.
//!
//! Pitfalls:
//! - What was sent and has no answer when the link breaks is [`TunnelError::Interrupted`]; only what was never written is
//!   sent again, over a new link, since its input is still whole.
//! - A login that was refused (a second factor is missing) must not be tried every half minute all night: that locks
//!   accounts. Logins then come ever more rarely; in between only a connection that somebody has opened is looked for.

mod fact;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ship::{MISSING, SEND_LIMIT, Served};
use super::ssh::Session;
use super::{
    Cmd, Ended, Input, Login, Output, SshConnection, SshTunnel, Tunnel, TunnelError, TunnelSettings,
};
use crate::context::Context;
use fact::Facts;
use wire::{Lost, Wire};

pub use fact::{ConnectionFact, ConnectionState, connection};

/// The first pause between tries that fail; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The first pause between logins that are refused; it doubles.
const FIRST_LOGIN_PAUSE: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST_LOGIN_PAUSE: Duration = Duration::from_secs(30 * 60);
/// How long opening a connection may take; sending the agent has a limit of its own.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Channel {
    settings: SshTunnel,
    context: Context,
    /// What may be done to get a connection.
    login: Login,
    facts: Facts,
    state: Mutex<State>,
}

/// What is known about the way there.
#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    failing: Option<Failing>,
}

/// An open way.
struct Link {
    connection: SshConnection,
    wire: Option<Wire>,
    agent: Result<Option<Utf8PathBuf>, TunnelError>,
}

/// What went wrong the last time, and when it may be tried again.
struct Failing {
    error: TunnelError,
    pause: Duration,
    until: Instant,
    login_pause: Duration,
    /// No login before this.
    login_at: Instant,
}

impl Channel {
    /// `login` is at most [`Login::Silent`]: nobody is asked in the middle of something.
    pub(super) fn new(settings: &SshTunnel, context: &Context, login: Login) -> Channel {
        Channel {
            login: if login == Login::Terminal {
                Login::Silent
            } else {
                login
            },
            facts: Facts::new(context, &TunnelSettings::Ssh(settings.clone())),
            settings: settings.clone(),
            context: context.clone(),
            state: Mutex::default(),
        }
    }

    /// A link that was alive a moment ago.
    async fn link(&self) -> Result<Arc<Link>, TunnelError> {
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| link.is_alive()) {
            return Ok(Arc::clone(link));
        }
        state.link = None;
        let now = Instant::now();
        if let Some(failing) = state.failing.as_ref().filter(|failing| now < failing.until) {
            return Err(failing.error.clone());
        }
        let may_log_in = state
            .failing
            .as_ref()
            .is_none_or(|failing| failing.login_at <= now);
        let connected = match (self.connect(may_log_in).await, &state.failing) {
            // Nobody has opened one meanwhile: what is wrong is still the same.
            (Err(TunnelError::NotOpen { .. }), Some(failing)) => Err(failing.error.clone()),
            (connected, _) => connected,
        };
        match connected {
            Ok(link) => {
                self.facts.open();
                let link = Arc::new(link);
                *state = State {
                    link: Some(Arc::clone(&link)),
                    failing: None,
                };
                Ok(link)
            }
            Err(error) => {
                // That nobody has opened one is no news about the place.
                if !matches!(error, TunnelError::NotOpen { .. }) {
                    self.facts.closed(&error.to_string());
                }
                let before = state.failing.take();
                state.failing = Some(Failing::new(error.clone(), before, may_log_in));
                Err(error)
            }
        }
    }

    async fn connect(&self, may_log_in: bool) -> Result<Link, TunnelError> {
        let login = if may_log_in { self.login } else { Login::Never };
        let connect = self.settings.connect(&self.context, login, &|_| {});
        let connection = self.within(connect).await?;
        if let Some((wire, path)) = self.serve(&connection).await? {
            return Ok(Link {
                connection,
                wire: Some(wire),
                agent: Ok(Some(path)),
            });
        }
        let agent = match connection.agent().await {
            // Nothing of the caller's was sent: to the caller these are all the same.
            Err(TunnelError::Interrupted { name, words }) => {
                return Err(TunnelError::Unreachable { name, words });
            }
            Err(TunnelError::TimedOut { .. }) => return Err(self.silent()),
            // A folder that can't be written: commands can be run all the same.
            Err(
                error @ (TunnelError::NoPermission { .. }
                | TunnelError::Path { .. }
                | TunnelError::Failed { .. }
                | TunnelError::Here(_)),
            ) => Err(error),
            Err(error) => return Err(error),
            Ok(agent) => Ok(agent),
        };
        let wire = match &agent {
            Ok(Some(path)) => self.within(self.wire(&connection, path)).await?,
            _ => None,
        };
        Ok(Link {
            connection,
            wire,
            agent,
        })
    }

    /// Serve, and where its executable is, by one session; `None` where that is not the way.
    async fn serve(
        &self,
        connection: &SshConnection,
    ) -> Result<Option<(Wire, Utf8PathBuf)>, TunnelError> {
        let served = Served::new(&self.context, self.settings.job_dir.as_deref())?;
        let mut session = self
            .within(connection.session_with(&served.command))
            .await?;
        let mut said = self.within(session.line()).await?;
        if said.as_deref() == Some(MISSING) {
            // What keeps it from being written shows in what is said next, and in the end.
            let sent = tokio::time::timeout(SEND_LIMIT, session.stdin.write_all(&served.bytes));
            if sent.await.is_err() {
                return Err(self.silent());
            }
            said = self.within(session.line()).await?;
        }
        let path = said.as_deref().and_then(Served::path);
        match (self.within(self.taken_over(session)).await?, path) {
            (Some(wire), Some(path)) => Ok(Some((wire, path))),
            _ => Ok(None),
        }
    }

    async fn wire(
        &self,
        connection: &SshConnection,
        agent: &Utf8PathBuf,
    ) -> Result<Option<Wire>, TunnelError> {
        let serve = Cmd::new([agent.as_str(), "serve"]);
        self.taken_over(connection.session_with(&serve).await?)
            .await
    }

    async fn taken_over(&self, session: Session) -> Result<Option<Wire>, TunnelError> {
        let (facts, name) = (self.facts.clone(), self.name());
        let ended = move |words: &str| {
            let words = words.to_owned();
            facts.closed(&TunnelError::Unreachable { name, words }.to_string());
        };
        Wire::start(&self.name(), session, ended).await
    }

    /// The same within a time: a network that was cut answers nothing at all.
    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, TunnelError>>,
    ) -> Result<T, TunnelError> {
        match tokio::time::timeout(CONNECT_PATIENCE, work).await {
            Ok(done) => done,
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> TunnelError {
        TunnelError::Unreachable {
            name: self.name(),
            words: "it does not answer".to_owned(),
        }
    }

    /// A link was found broken.
    async fn broke(&self, link: &Arc<Link>) {
        let mut state = self.state.lock().await;
        if state
            .link
            .as_ref()
            .is_some_and(|now| Arc::ptr_eq(now, link))
        {
            state.link = None;
        }
    }
}

impl Link {
    fn is_alive(&self) -> bool {
        self.wire.as_ref().is_none_or(Wire::is_alive)
    }
}

impl Failing {
    fn new(error: TunnelError, before: Option<Failing>, has_tried: bool) -> Failing {
        let now = Instant::now();
        let pause = before
            .as_ref()
            .map_or(FIRST_PAUSE, |before| LONGEST_PAUSE.min(before.pause * 2));
        // What a further login can only make worse.
        let refused = matches!(
            error,
            TunnelError::Authentication { .. }
                | TunnelError::WrongHostKey { .. }
                | TunnelError::UnknownHost { .. }
        );
        let (login_pause, login_at) = match before {
            Some(before) if !has_tried => (before.login_pause, before.login_at),
            Some(before) if refused && !before.login_pause.is_zero() => {
                let pause = LONGEST_LOGIN_PAUSE.min(before.login_pause * 2);
                (pause, now + pause)
            }
            _ if refused => (FIRST_LOGIN_PAUSE, now + FIRST_LOGIN_PAUSE),
            _ => (Duration::ZERO, now),
        };
        Failing {
            error,
            pause,
            until: now + pause,
            login_pause,
            login_at,
        }
    }
}

#[async_trait]
impl Tunnel for Channel {
    fn name(&self) -> String {
        self.settings.name()
    }

    fn context(&self) -> &Context {
        &self.context
    }

    async fn agent(&self) -> Result<Option<Utf8PathBuf>, TunnelError> {
        self.link().await?.agent.clone()
    }

    async fn exec(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<Ended, TunnelError> {
        command.check()?;
        let mut tries = 0;
        loop {
            let link = self.link().await?;
            tries += 1;
            let Some(wire) = &link.wire else {
                let ended = link.connection.exec(command, input, output).await;
                if let Err(
                    error @ (TunnelError::Unreachable { .. } | TunnelError::Interrupted { .. }),
                ) = &ended
                {
                    self.facts.closed(&error.to_string());
                    self.broke(&link).await;
                }
                return ended;
            };
            match wire.exec(command, input, output).await {
                Ok(ended) => return Ok(ended),
                Err(Lost::Other(error)) => return Err(error),
                Err(Lost::Sent(words)) => {
                    return Err(TunnelError::Interrupted {
                        name: self.name(),
                        words,
                    });
                }
                // It broke since it was last used. The next link is a new one.
                Err(Lost::Unsent) if tries == 1 => {}
                Err(Lost::Unsent) => return Err(self.silent()),
            }
        }
    }
}
