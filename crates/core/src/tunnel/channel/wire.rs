//! One session with `mizzen-agent serve`, and the commands that share it. The frames are `mizzen_agent::frames`.
//!
//! ```text
//! exec ── Ask ──▶ queue ──▶ writer ──▶ ssh ──▶ serve
//!   ▲                                            │
//!   └── Heard ◀── table (by id) ◀── reader ◀─────┘       a task drives writer, reader, pings and the session's end
//! ```
//!
//! The task lives as long as the [`Wire`]. When it ends, for whatever reason, everybody who waits hears it: their part of
//! the table is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mizzen_agent::frames::{self, Answer, Ask, Frames, PIECE, Start, WINDOW};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::super::ssh::{Session, SessionEnd, Told};
use super::super::{Cmd, Ended, Input, Output, TunnelError};

/// How often the other side is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long it may take to say anything after that. Together: a cut is noticed within 14 s.
const PING_PATIENCE: Duration = Duration::from_secs(9);
/// How long serve may take to come up.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How long a broken session may take to say why.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long beyond a command's timeout its end is waited for.
const TIMEOUT_PATIENCE: Duration = Duration::from_secs(15);

/// Why a command has no end.
pub(super) enum Lost {
    /// Nothing of it was sent.
    Unsent,
    /// It was sent, and the connection broke.
    Sent(String),
    /// Something else, that is no fault of the connection's.
    Other(TunnelError),
}

/// See the module. Dropping it ends the session, and with it what runs over it.
#[derive(Debug)]
pub(super) struct Wire {
    name: String,
    queue: mpsc::UnboundedSender<Queued>,
    table: Arc<Table>,
}

/// Something to be written.
#[derive(Debug)]
struct Queued {
    frame: Vec<u8>,
    /// To be told when it is about to be written.
    sent: Option<oneshot::Sender<()>>,
}

/// What a command hears.
#[derive(Debug)]
struct Heard {
    answer: Answer,
    body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Table {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    open: HashMap<u64, mpsc::UnboundedSender<Heard>>,
    /// The task has ended: why.
    dead: Option<String>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) -> Option<(u64, mpsc::UnboundedReceiver<Heard>)> {
        let mut entries = self.lock();
        if entries.dead.is_some() {
            return None;
        }
        let id = entries.next;
        entries.next += 1;
        let (sender, receiver) = mpsc::unbounded_channel();
        entries.open.insert(id, sender);
        Some((id, receiver))
    }

    fn hear(&self, answer: Answer, body: Vec<u8>) {
        let id = match &answer {
            Answer::Output { id, .. }
            | Answer::Taken { id, .. }
            | Answer::Deaf { id }
            | Answer::Ended { id, .. }
            | Answer::NotStarted { id, .. }
            | Answer::TimedOut { id, .. } => *id,
            Answer::Ready { .. } | Answer::Pong(_) => return,
        };
        if let Some(sender) = self.lock().open.get(&id) {
            // Whoever no longer listens has its reasons.
            let _ = sender.send(Heard { answer, body });
        }
    }
}

impl Wire {
    /// Takes a session over once serve says that it is up. `ended` is told why the connection broke, if it does before
    /// the wire is dropped. `None`: serve ended by itself before it was up.
    ///
    /// # Errors
    /// It does not come up in time, the connection broke, or what comes is not what should.
    pub(super) async fn start(
        name: &str,
        mut session: Session,
        ended: impl FnOnce(&str) + Send + 'static,
    ) -> Result<Option<Wire>, TunnelError> {
        let unreachable = |words: String| TunnelError::Unreachable {
            name: name.to_owned(),
            words,
        };
        let mut answers = Frames::<Answer>::default();
        answers.push(&session.rest);
        let ready = async {
            let mut piece = [0; 4096];
            loop {
                let mut found = answers.take().map_err(|words| Some(words.to_owned()))?;
                if !found.is_empty() {
                    let first = found.remove(0).0;
                    return if matches!(first, Answer::Ready { .. }) && found.is_empty() {
                        Ok(())
                    } else {
                        Err(Some("the agent there speaks another language".to_owned()))
                    };
                }
                match session.stdout.read(&mut piece).await {
                    Ok(length @ 1..) => answers.push(&piece[..length]),
                    Ok(0) | Err(_) => return Err(None),
                }
            }
        };
        match tokio::time::timeout(READY_PATIENCE, ready).await {
            Ok(Ok(())) => {}
            Ok(Err(Some(words))) => return Err(unreachable(words)),
            Ok(Err(None)) => {
                return match session.end.wait().await {
                    (Some(Told::Pre(status)), words) => Err(TunnelError::PreCommand {
                        name: name.to_owned(),
                        status,
                        words,
                    }),
                    (Some(_), _) => Ok(None),
                    (None, words) => Err(unreachable(words)),
                };
            }
            Err(_) => return Err(unreachable("it does not answer".to_owned())),
        }
        let (queue, queued) = mpsc::unbounded_channel();
        let table = Arc::<Table>::default();
        let drive = Drive {
            table: Arc::clone(&table),
            queued,
            answers,
            ended: Some(ended),
        };
        tokio::spawn(drive.run(session.stdin, session.stdout, session.end));
        Ok(Some(Wire {
            name: name.to_owned(),
            queue,
            table,
        }))
    }

    /// Whether commands can be sent.
    pub(super) fn is_alive(&self) -> bool {
        self.table.lock().dead.is_none()
    }

    /// Runs a command, as [`super::super::Tunnel::exec`]. Dropping the future ends the command on the other side.
    pub(super) async fn exec(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<Ended, Lost> {
        let Some((id, mut heard)) = self.table.add() else {
            return Err(Lost::Unsent);
        };
        let mut running = Running {
            wire: self,
            id,
            done: false,
        };
        let (sent, mut is_sent) = oneshot::channel();
        let was_sent = AtomicBool::new(false);
        let start = Ask::Run(Start {
            id,
            argv: std::iter::once(command.program().unwrap_or_default().into_owned())
                .chain(command.argv.iter().skip(1).cloned())
                .collect(),
            env: command.env.clone(),
            cwd: command.cwd.as_ref().map(ToString::to_string),
            timeout: command
                .timeout
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1)),
        });
        self.send(&start, &[], Some(sent));
        let room = Room::default();
        let feed = async {
            // What was not sent can be sent again: its input must be whole then.
            if (&mut is_sent).await.is_err() {
                return std::future::pending().await;
            }
            was_sent.store(true, Ordering::Release);
            match self.feed(id, input, &room).await {
                Ok(()) => std::future::pending().await,
                Err(error) => Err(Some(here(&error))),
            }
        };
        let hear = self.hear(id, command, &mut heard, output, &room);
        let both = async {
            tokio::select! {
                failed = feed => failed,
                ended = hear => ended,
            }
        };
        let ended = match command.timeout {
            None => both.await,
            // Serve says when the time is over; this is for outputs that nobody takes any more.
            Some(after) => {
                let limit = after.saturating_add(TIMEOUT_PATIENCE);
                let late = Err(Some(self.timed_out(command, false)));
                tokio::time::timeout(limit, both).await.unwrap_or(late)
            }
        };
        match ended {
            Ok(ended) => {
                running.done = true;
                Ok(ended)
            }
            Err(Some(error)) => Err(Lost::Other(error)),
            Err(None) if !was_sent.load(Ordering::Acquire) && is_sent.try_recv().is_err() => {
                Err(Lost::Unsent)
            }
            Err(None) => {
                let words = self.table.lock().dead.clone();
                Err(Lost::Sent(words.unwrap_or_default()))
            }
        }
    }

    /// Sends what a command reads, as fast as it is read. Ends when there is no more, or nobody reads it.
    async fn feed(&self, id: u64, input: Input<'_>, room: &Room) -> std::io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let most = room.wait().await.min(PIECE);
            if most == 0 {
                return Ok(());
            }
            let size = input.read(&mut piece[..most]).await?;
            if size == 0 {
                self.send(&Ask::InputEnd { id }, &[], None);
                return Ok(());
            }
            room.take(size);
            self.send(&Ask::Input { id, size }, &piece[..size], None);
        }
    }

    /// Takes what a command says until it has ended. No error: the task has ended before.
    async fn hear(
        &self,
        id: u64,
        command: &Cmd,
        heard: &mut mpsc::UnboundedReceiver<Heard>,
        output: Output<'_>,
        room: &Room,
    ) -> Result<Ended, Option<TunnelError>> {
        let failed = |error: std::io::Error| Some(here(&error));
        let mut taken = 0;
        while let Some(Heard { answer, body }) = heard.recv().await {
            match answer {
                Answer::Output { size, .. } => {
                    output.write_all(&body).await.map_err(failed)?;
                    taken += size;
                    if taken >= WINDOW / 4 {
                        self.send(&Ask::Room { id, size: taken }, &[], None);
                        taken = 0;
                    }
                }
                Answer::Taken { size, .. } => room.give(size),
                Answer::Deaf { .. } => room.close(),
                Answer::Ended { status, .. } => {
                    output.flush().await.map_err(failed)?;
                    return Ok(Ended {
                        status,
                        stderr: body,
                    });
                }
                Answer::NotStarted { words, .. } => {
                    let path = command.cwd.as_ref().map(ToString::to_string);
                    return Err(Some(TunnelError::Path {
                        name: self.name.clone(),
                        path: path.unwrap_or_default(),
                        words,
                    }));
                }
                Answer::TimedOut { ended, .. } => return Err(Some(self.timed_out(command, ended))),
                Answer::Ready { .. } | Answer::Pong(_) => {}
            }
        }
        Err(None)
    }

    fn timed_out(&self, command: &Cmd, ended: bool) -> TunnelError {
        TunnelError::TimedOut {
            name: self.name.clone(),
            command: command.to_string(),
            after: command.timeout.unwrap_or_default(),
            ended,
        }
    }

    fn send(&self, ask: &Ask, body: &[u8], sent: Option<oneshot::Sender<()>>) {
        let mut frame = Vec::with_capacity(128 + body.len());
        frames::write(ask, body, &mut frame);
        // Without a task there is nobody to write it; whoever waits for an answer hears that.
        let _ = self.queue.send(Queued { frame, sent });
    }
}

/// A command that is somebody's.
struct Running<'a> {
    wire: &'a Wire,
    id: u64,
    done: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.wire.table.lock().open.remove(&self.id);
        if !self.done {
            self.wire.send(&Ask::End { id: self.id }, &[], None);
        }
    }
}

/// How much of a command's input may be sent.
struct Room {
    bytes: AtomicUsize,
    closed: AtomicBool,
    changed: Notify,
}

impl Default for Room {
    fn default() -> Room {
        Room {
            bytes: AtomicUsize::new(WINDOW),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }
}

impl Room {
    /// Waits until there is some; 0 if there will never be any.
    async fn wait(&self) -> usize {
        loop {
            if self.closed.load(Ordering::Acquire) {
                return 0;
            }
            match self.bytes.load(Ordering::Acquire) {
                0 => self.changed.notified().await,
                bytes => return bytes,
            }
        }
    }

    fn take(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::AcqRel);
    }

    fn give(&self, size: usize) {
        self.bytes.fetch_add(size, Ordering::AcqRel);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

/// The task's own.
struct Drive<F> {
    table: Arc<Table>,
    queued: mpsc::UnboundedReceiver<Queued>,
    answers: Frames<Answer>,
    ended: Option<F>,
}

/// Why the task ends.
enum Why {
    /// Nobody wants it any more.
    Dropped,
    /// It broke; the session's end says why, if nothing stands here.
    Broke(Option<String>),
}

impl<F: FnOnce(&str)> Drive<F> {
    async fn run(mut self, stdin: ChildStdin, stdout: ChildStdout, mut end: SessionEnd) {
        let ping = Ping::default();
        let why = {
            let read = read(stdout, &mut self.answers, &self.table, &ping);
            let write = write(stdin, &mut self.queued, &ping);
            // What has arrived is read before anybody judges from its absence: this machine may have slept.
            tokio::select! {
                biased;
                why = read => why,
                why = write => why,
                (told, words) = end.wait() => Why::Broke(Some(end_words(told, words))),
            }
        };
        let words = match why {
            Why::Dropped => return,
            Why::Broke(Some(words)) => words,
            Why::Broke(None) => match tokio::time::timeout(END_PATIENCE, end.wait()).await {
                Ok((told, words)) => end_words(told, words),
                Err(_) => end_words(None, String::new()),
            },
        };
        self.table.lock().dead = Some(words.clone());
        if let Some(ended) = self.ended.take() {
            ended(&words);
        }
    }
}

impl<F> Drop for Drive<F> {
    fn drop(&mut self) {
        let mut entries = self.table.lock();
        entries
            .dead
            .get_or_insert_with(|| "it was closed here".to_owned());
        entries.open.clear();
    }
}

fn end_words(told: Option<Told>, words: String) -> String {
    match told {
        _ if !words.is_empty() => words,
        Some(Told::End(status)) => format!("the agent there ended with status {status}"),
        _ => "the connection is gone".to_owned(),
    }
}

async fn read(
    mut stdout: ChildStdout,
    answers: &mut Frames<Answer>,
    table: &Table,
    ping: &Ping,
) -> Why {
    let mut piece = vec![0; 64 << 10];
    loop {
        match stdout.read(&mut piece).await {
            Ok(length @ 1..) => answers.push(&piece[..length]),
            Ok(0) | Err(_) => return Why::Broke(None),
        }
        ping.answered();
        match answers.take() {
            Ok(found) => {
                for (answer, body) in found {
                    table.hear(answer, body);
                }
            }
            Err(words) => return Why::Broke(Some(words.to_owned())),
        }
    }
}

/// Writes what is queued, and asks from time to time whether somebody is there.
async fn write(
    mut stdin: ChildStdin,
    queued: &mut mpsc::UnboundedReceiver<Queued>,
    ping: &Ping,
) -> Why {
    let mut number = 0;
    loop {
        let next = tokio::select! {
            biased;
            next = queued.recv() => next,
            silent = ping.due() => {
                if silent {
                    return Why::Broke(Some("it does not answer any more".to_owned()));
                }
                number += 1;
                let mut frame = Vec::new();
                frames::write(&Ask::Ping(number), &[], &mut frame);
                ping.asked();
                Some(Queued { frame, sent: None })
            }
        };
        let Some(Queued { frame, sent }) = next else {
            return Why::Dropped;
        };
        if let Some(sent) = sent {
            let _ = sent.send(());
        }
        // A pipe that is full for long means a network that takes nothing: that is silence too.
        let written = async {
            stdin.write_all(&frame).await?;
            stdin.flush().await
        };
        tokio::select! {
            biased;
            written = written => if written.is_err() {
                return Why::Broke(None);
            },
            () = ping.silence() => {
                return Why::Broke(Some("it does not answer any more".to_owned()));
            }
        }
    }
}

/// When something was last heard, and whether a question waits for an answer.
struct Ping {
    state: Mutex<PingState>,
}

#[derive(Clone, Copy)]
struct PingState {
    heard: Instant,
    asked: Option<Instant>,
}

impl Default for Ping {
    fn default() -> Ping {
        Ping {
            state: Mutex::new(PingState {
                heard: Instant::now(),
                asked: None,
            }),
        }
    }
}

impl Ping {
    fn lock(&self) -> MutexGuard<'_, PingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self) {
        *self.lock() = PingState {
            heard: Instant::now(),
            asked: None,
        };
    }

    fn asked(&self) {
        self.lock().asked = Some(Instant::now());
    }

    /// Waits until something is to be done: to ask (`false`), or to give up (`true`).
    async fn due(&self) -> bool {
        loop {
            let state = *self.lock();
            let (due, silent) = match state.asked {
                Some(asked) => (asked + PING_PATIENCE, true),
                None => (state.heard + PING_EVERY, false),
            };
            if Instant::now() >= due {
                return silent;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    /// Waits until a question was not answered in time, or should have been asked and could not be.
    async fn silence(&self) {
        loop {
            let state = *self.lock();
            let due = state.asked.unwrap_or(state.heard + PING_EVERY) + PING_PATIENCE;
            if Instant::now() >= due {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

fn here(error: &std::io::Error) -> TunnelError {
    TunnelError::Here(error.to_string())
}
