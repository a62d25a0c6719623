//! `mizzen-agent serve`: runs commands for a tunnel, many at once, over one pair of pipes. What is said is in `frames.rs`
//! of the library.
//!
//! ```text
//!           ┌── Ask ────────▶ start · input · room · end
//! ppoll ────┼── stdin  ◀── waiting input      (at most a window each)
//!           ├── stdout ──▶ Answer::Output     (while there is room)
//!           ├── stderr ──▶ its end is kept
//!           ├── SIGCHLD ─▶ exited; ended once its outputs have ended too
//!           └── time ────▶ SIGTERM · SIGKILL · silence
//! ```
//!
//! Each command is the leader of a process group of its own, which is ended as a whole: when its time is over, when the
//! tunnel asks, or some seconds after the tunnel has gone. A leader that has ended is left a zombie until its command is
//! done with, so that its group's number can be nobody else's. One thread, one `ppoll`, no descriptor that blocks.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mizzen_agent::frames::{self, Answer, Ask, Frames, KEPT, PIECE, SILENCE, Start, WINDOW};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{AccessFlags, Pid};

use crate::channel::say;
use crate::sys;

/// What a pipe or a socket that poll(2) calls writable takes without blocking (`PIPE_BUF`, pipe(7)).
const ATOMIC: usize = 4096;
/// More waiting answers than this, and no output is read.
const ENOUGH: usize = 1 << 20;
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);
/// How long a command may take after the tunnel has gone: one that is in the middle of something may finish.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Serves until the tunnel closes the pipe, or goes silent.
pub(crate) fn serve() -> io::Result<()> {
    let watched: SigSet = [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
    ]
    .into_iter()
    .collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched), None)?;
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut server = Server {
        signals,
        asks: Frames::default(),
        waiting: Vec::new(),
        heard: Instant::now(),
        open: true,
        running: BTreeMap::new(),
    };
    server.answer(
        &Answer::Ready {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
        },
        &[],
    );
    while server.open || !server.running.is_empty() {
        server.turn()?;
    }
    Ok(())
}

struct Server {
    signals: SignalFd,
    asks: Frames<Ask>,
    /// Answers that are not written yet.
    waiting: Vec<u8>,
    heard: Instant,
    open: bool,
    running: BTreeMap<u64, Running>,
}

/// A command that was started.
struct Running {
    leader: Pid,
    stdin: Option<OwnedFd>,
    /// Input that it has not read yet.
    input: Vec<u8>,
    /// Nothing comes behind that.
    input_ends: bool,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// Bytes of output that may be sent.
    room: usize,
    /// The end of what it said.
    said: Vec<u8>,
    /// It has ended, with this status.
    status: Option<i32>,
    /// When it is to be ended.
    due: Option<Instant>,
    ending: Option<Ending>,
}

/// A command that was told to end.
#[derive(Clone, Copy)]
struct Ending {
    /// SIGKILL follows now; then it is given up.
    next: Instant,
    killed: bool,
    /// Its time was over: somebody waits to hear of it.
    timed_out: bool,
}

/// What a descriptor that is polled belongs to.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Asks,
    Answers,
    Stdin(u64),
    Stdout(u64),
    Stderr(u64),
}

impl Server {
    /// Waits for the next thing to happen and does what it calls for.
    fn turn(&mut self) -> io::Result<()> {
        let deadline = self.deadline();
        let ready = self.wait(deadline)?;
        for source in ready {
            match source {
                Source::Signals => self.take_signals()?,
                Source::Asks => self.take_asks(),
                Source::Answers => self.flush(),
                Source::Stdin(id) => self.feed(id),
                Source::Stdout(id) => self.read_output(id),
                Source::Stderr(id) => self.read_errors(id),
            }
        }
        let now = Instant::now();
        if self.open && now >= self.heard + SILENCE {
            say("the tunnel has not been heard of for a minute");
            self.close(AFTERWARDS);
        }
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.tick(id, now);
        }
        self.flush();
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let commands = self.running.values().flat_map(|running| {
            let ending = running.ending.map(|ending| ending.next);
            [ending, running.due.filter(|_| running.ending.is_none())]
        });
        let silence = self.open.then(|| self.heard + SILENCE);
        commands.chain([silence]).flatten().min()
    }

    fn wait(&self, deadline: Option<Instant>) -> io::Result<Vec<Source>> {
        let (input, output) = (io::stdin(), io::stdout());
        let mut polled = vec![(
            Source::Signals,
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        )];
        if self.open {
            polled.push((Source::Asks, PollFd::new(input.as_fd(), PollFlags::POLLIN)));
        }
        if !self.waiting.is_empty() {
            polled.push((
                Source::Answers,
                PollFd::new(output.as_fd(), PollFlags::POLLOUT),
            ));
        }
        let has_room = self.waiting.len() < ENOUGH;
        for (id, running) in &self.running {
            if let Some(stdin) = &running.stdin {
                // Without input to give, poll(2) still says when nobody reads it any more.
                let wanted = if running.input.is_empty() {
                    PollFlags::empty()
                } else {
                    PollFlags::POLLOUT
                };
                polled.push((Source::Stdin(*id), PollFd::new(stdin.as_fd(), wanted)));
            }
            if let Some(stdout) = running
                .stdout
                .as_ref()
                .filter(|_| has_room && running.room > 0)
            {
                polled.push((
                    Source::Stdout(*id),
                    PollFd::new(stdout.as_fd(), PollFlags::POLLIN),
                ));
            }
            if let Some(stderr) = &running.stderr {
                polled.push((
                    Source::Stderr(*id),
                    PollFd::new(stderr.as_fd(), PollFlags::POLLIN),
                ));
            }
        }
        let (sources, mut polled): (Vec<_>, Vec<_>) = polled.into_iter().unzip();
        let left = deadline
            .map(|deadline| TimeSpec::from(deadline.saturating_duration_since(Instant::now())));
        match nix::poll::ppoll(&mut polled, left, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        // Anything at all, a hang-up or an error too: reading or writing then tells.
        let happened = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        Ok(std::iter::zip(sources, &polled)
            .filter(|(_, fd)| happened(fd))
            .map(|(source, _)| source)
            .collect())
    }

    fn take_signals(&mut self) -> io::Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                self.close(Duration::ZERO);
            }
        }
        for running in self.running.values_mut() {
            running.look();
        }
        Ok(())
    }

    fn take_asks(&mut self) {
        let mut piece = [0; 64 << 10];
        match nix::unistd::read(io::stdin(), &mut piece) {
            Err(Errno::EINTR | Errno::EAGAIN) => return,
            // An error means what the end means: nothing more will come.
            Ok(0) | Err(_) => return self.close(AFTERWARDS),
            Ok(length) => self.asks.push(&piece[..length]),
        }
        self.heard = Instant::now();
        match self.asks.take() {
            Ok(asks) => {
                for (ask, body) in asks {
                    self.take(ask, &body);
                }
            }
            Err(words) => {
                say(words);
                self.close(AFTERWARDS);
            }
        }
    }

    fn take(&mut self, ask: Ask, body: &[u8]) {
        match ask {
            Ask::Run(start) => self.start(&start),
            Ask::Ping(number) => self.answer(&Answer::Pong(number), &[]),
            Ask::Input { id, .. } => {
                if let Some(running) = self.running.get_mut(&id)
                    && running.stdin.is_some()
                {
                    running.input.extend_from_slice(body);
                    self.feed(id);
                }
            }
            Ask::InputEnd { id } => {
                if let Some(running) = self.running.get_mut(&id) {
                    running.input_ends = true;
                    self.feed(id);
                }
            }
            Ask::Room { id, size } => {
                if let Some(running) = self.running.get_mut(&id) {
                    running.room = WINDOW.min(running.room.saturating_add(size));
                }
            }
            Ask::End { id } => {
                if let Some(running) = self.running.get_mut(&id) {
                    running.end(false);
                }
            }
        }
    }

    fn start(&mut self, start: &Start) {
        let id = start.id;
        if let Some(folder) = &start.cwd
            && let Err(words) = enterable(folder)
        {
            return self.answer(&Answer::NotStarted { id, words }, &[]);
        }
        match spawn(start) {
            Ok(running) => {
                self.running.insert(id, running);
            }
            // As a shell has it.
            Err(error) => {
                let status = if error.kind() == io::ErrorKind::NotFound {
                    127
                } else {
                    126
                };
                let program = start.argv.first().map_or("", String::as_str);
                let words = format!("{program}: {error}\n");
                let size = words.len();
                self.answer(&Answer::Ended { id, status, size }, words.as_bytes());
            }
        }
    }

    /// Gives a command as much of its input as it takes now.
    fn feed(&mut self, id: u64) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        let Some(stdin) = &running.stdin else {
            return;
        };
        let mut taken = 0;
        let mut deaf = false;
        while taken < running.input.len() {
            match nix::unistd::write(stdin, &running.input[taken..]) {
                Ok(length) => taken += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    deaf = true;
                    break;
                }
            }
        }
        running.input.drain(..taken);
        deaf = deaf || (taken == 0 && is_unread(stdin.as_fd()));
        if deaf || (running.input_ends && running.input.is_empty()) {
            running.stdin = None;
            running.input = Vec::new();
        }
        if taken > 0 {
            self.answer(&Answer::Taken { id, size: taken }, &[]);
        }
        if deaf {
            self.answer(&Answer::Deaf { id }, &[]);
        }
    }

    fn read_output(&mut self, id: u64) {
        let open = self.open;
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        let Some(stdout) = &running.stdout else {
            return;
        };
        let mut piece = [0; PIECE];
        let most = PIECE.min(running.room);
        match nix::unistd::read(stdout, &mut piece[..most]) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(0) | Err(_) => running.stdout = None,
            // What nobody hears is thrown away: the command may go on.
            Ok(_) if !open => {}
            Ok(size) => {
                running.room -= size;
                self.answer(&Answer::Output { id, size }, &piece[..size]);
            }
        }
    }

    fn read_errors(&mut self, id: u64) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        let Some(stderr) = &running.stderr else {
            return;
        };
        let mut piece = [0; PIECE];
        match nix::unistd::read(stderr, &mut piece) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(0) | Err(_) => running.stderr = None,
            Ok(size) => {
                running.said.extend_from_slice(&piece[..size]);
                let surplus = running.said.len().saturating_sub(KEPT);
                running.said.drain(..surplus);
            }
        }
    }

    /// Takes a command further, by time and by what has become of it.
    fn tick(&mut self, id: u64, now: Instant) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        if running.ending.is_none() {
            if running.is_done() {
                let status = running.status.unwrap_or(-1);
                let said = std::mem::take(&mut running.said);
                self.forget(id);
                let size = said.len();
                return self.answer(&Answer::Ended { id, status, size }, &said);
            }
            if running.due.is_some_and(|due| due <= now) {
                running.end(true);
            }
        }
        let Some(mut ending) = running.ending else {
            return;
        };
        let ended = running.status.is_some();
        let over = ending.next <= now;
        if !ended && !over {
            return;
        }
        let given_up = ending.killed && over;
        if !ending.killed {
            // Also when the leader has gone: others of its group may ignore SIGTERM.
            running.signal(Signal::SIGKILL);
            ending.killed = true;
            ending.next = now + GRACE;
            running.ending = Some(ending);
        }
        if ended || given_up {
            self.forget(id);
            if ending.timed_out {
                self.answer(&Answer::TimedOut { id, ended }, &[]);
            }
        }
    }

    /// Is done with a command.
    fn forget(&mut self, id: u64) {
        if let Some(running) = self.running.remove(&id) {
            let _ = waitpid(running.leader, Some(WaitPidFlag::WNOHANG));
        }
    }

    /// The tunnel has gone: what runs may go on for a while.
    fn close(&mut self, patience: Duration) {
        self.open = false;
        self.waiting.clear();
        let due = Instant::now() + patience;
        for running in self.running.values_mut() {
            running.due = Some(running.due.map_or(due, |earlier| earlier.min(due)));
            running.stdin = None;
            running.room = WINDOW;
        }
    }

    fn answer(&mut self, answer: &Answer, body: &[u8]) {
        if self.open {
            frames::write(answer, body, &mut self.waiting);
        }
    }

    /// Writes as much as goes without blocking.
    fn flush(&mut self) {
        let output = io::stdout();
        let mut written = 0;
        while written < self.waiting.len() {
            let mut poll = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
            match nix::poll::poll(&mut poll, PollTimeout::ZERO) {
                Ok(0) => break,
                Err(Errno::EINTR) => continue,
                _ => {}
            }
            let end = self.waiting.len().min(written + ATOMIC);
            match nix::unistd::write(&output, &self.waiting[written..end]) {
                Ok(length) => written += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => return self.close(AFTERWARDS),
            }
        }
        self.waiting.drain(..written);
    }
}

impl Running {
    /// Tells the group to end. `timed_out`: somebody waits to hear of it.
    fn end(&mut self, timed_out: bool) {
        if self.ending.is_none() {
            self.signal(Signal::SIGTERM);
            self.ending = Some(Ending {
                next: Instant::now() + GRACE,
                killed: false,
                timed_out,
            });
        }
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone is what was wanted.
        let _ = sys::signal_group(self.leader.as_raw(), signal as i32);
    }

    /// Looks whether the leader has ended; it stays a zombie.
    fn look(&mut self) {
        if self.status.is_some() {
            return;
        }
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        self.status = match waitid(Id::Pid(self.leader), flags) {
            Ok(WaitStatus::Exited(_, status)) => Some(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => None,
            Err(_) => Some(-1),
        };
    }

    fn is_done(&self) -> bool {
        self.status.is_some() && self.stdout.is_none() && self.stderr.is_none()
    }
}

fn spawn(start: &Start) -> io::Result<Running> {
    let (program, arguments) = start
        .argv
        .split_first()
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(&start.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(folder) = &start.cwd {
        command.current_dir(folder);
    }
    // SAFETY: sigprocmask(2) is async-signal-safe, and nothing here allocates.
    unsafe {
        command.pre_exec(|| {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
                .map_err(io::Error::from)
        });
    }
    let mut child = command.spawn()?;
    let leader = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    let stdin = child.stdin.take().map(OwnedFd::from);
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    for end in [&stdin, &stdout, &stderr].into_iter().flatten() {
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok(Running {
        leader,
        stdin,
        input: Vec::new(),
        input_ends: false,
        stdout,
        stderr,
        room: WINDOW,
        said: Vec::new(),
        status: None,
        due: start
            .timeout
            .and_then(|after| Instant::now().checked_add(Duration::from_millis(after))),
        ending: None,
    })
}

/// Whether a command can be started in a folder.
fn enterable(folder: &str) -> Result<(), String> {
    let words = |error: Errno| error.desc().to_owned();
    match nix::sys::stat::stat(folder) {
        Err(error) => return Err(words(error)),
        Ok(found) if found.st_mode & libc::S_IFMT != libc::S_IFDIR => {
            return Err(words(Errno::ENOTDIR));
        }
        Ok(_) => {}
    }
    nix::unistd::access(folder, AccessFlags::X_OK).map_err(words)
}

/// Whether a pipe's other end is closed.
fn is_unread(pipe: BorrowedFd<'_>) -> bool {
    let mut poll = [PollFd::new(pipe, PollFlags::empty())];
    nix::poll::poll(&mut poll, PollTimeout::ZERO).is_ok() && poll[0].any().unwrap_or(true)
}
