//! The two pipes to the supervisor: commands in, reports out, one JSON object a line; and what is said to people.
//!
//! The agent must not hang on a supervisor that does not read: reports wait in memory and leave in pieces that a pipe
//! with room takes at once. A supervisor that is gone is no error, the records stand in files.
//! Pitfall: a line holds the job's environment, secrets included. No part of one is ever repeated, not even by way of
//! an error's text: only where and how it went wrong.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use mizzen_agent::protocol::{Command, Report};

/// A longer line is not taken: no environment and no argument list that a system accepts comes near it.
const LONGEST_LINE: usize = 64 << 20;
/// A pipe or a socket that poll(2) calls writable takes so much without blocking (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;
/// How long a report may wait for the next one.
const LATER: Duration = Duration::from_millis(3);

/// What reading brought.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Whole commands, in order.
    Commands(Vec<Command>),
    /// The supervisor has closed its end.
    Closed,
}

/// The supervisor's commands, from standard input.
#[derive(Debug)]
pub(crate) struct Commands {
    buffer: Vec<u8>,
    /// Within a line that is too long, and is being left out.
    skipping: bool,
}

impl Commands {
    pub(crate) fn new() -> Commands {
        Commands {
            buffer: Vec::new(),
            skipping: false,
        }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'static> {
        // SAFETY: standard input is open for the whole life of the program: the runtime opens it if its starter
        // didn't, and nothing here closes it.
        unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) }
    }

    /// Reads once; to be called when poll(2) says that it will not block.
    pub(crate) fn read(&mut self) -> Incoming {
        let mut piece = [0; 64 * 1024];
        match nix::unistd::read(self.descriptor(), &mut piece) {
            Err(Errno::EINTR | Errno::EAGAIN) => Incoming::Commands(Vec::new()),
            // An error means what the end means: nothing more will come.
            Ok(0) | Err(_) => {
                if !self.buffer.is_empty() {
                    say(
                        "left out the last command, which was not complete when the channel closed",
                    );
                }
                Incoming::Closed
            }
            Ok(length) => Incoming::Commands(self.take(&piece[..length])),
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.buffer.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if !std::mem::take(&mut self.skipping) {
                commands.extend(parse(&self.buffer));
            }
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > LONGEST_LINE && !self.skipping {
            say("left out a command that is longer than 64 MiB");
            self.skipping = true;
        }
        if self.skipping {
            self.buffer = Vec::new();
        }
        commands
    }
}

fn parse(line: &[u8]) -> Option<Command> {
    if line.trim_ascii().is_empty() {
        return None;
    }
    match serde_json::from_slice(line) {
        Ok(command) => Some(command),
        Err(error) => {
            say(&format!(
                "left out a line that is no command of protocol.rs: {}",
                without_content(&error)
            ));
            None
        }
    }
}

/// What is wrong with a document, without any of its text.
pub(crate) fn without_content(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Io => "it can't be read",
        Category::Syntax => "it is not JSON",
        Category::Data => "a name or a type is not one that is expected",
        Category::Eof => "it ends too early",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// The reports, to standard output; or to nobody.
#[derive(Debug)]
pub(crate) struct Reports {
    waiting: Vec<u8>,
    open: bool,
    /// Sent with the next report, at the latest at this time.
    later: Option<(Instant, Report)>,
}

impl Reports {
    /// `open`: somebody wants them.
    pub(crate) fn new(open: bool) -> Reports {
        Reports {
            waiting: Vec::new(),
            later: None,
            open,
        }
    }

    /// Sends a report with the next one, or by itself after a moment: of a job that is over at once the supervisor is
    /// told once, not woken twice.
    pub(crate) fn send_later(&mut self, report: Report) {
        self.later = Some((Instant::now() + LATER, report));
    }

    /// When [`Reports::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.later.as_ref().map(|(due, _)| *due)
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some((_, report)) = self.later.take_if(|(due, _)| *due <= now) {
            self.send(&report);
        }
    }

    pub(crate) fn send(&mut self, report: &Report) {
        if let Some((_, earlier)) = self.later.take() {
            self.put(&earlier);
        }
        self.put(report);
        self.flush();
    }

    fn put(&mut self, report: &Report) {
        if !self.open {
            return;
        }
        // Reports are made of numbers and texts, which always have a JSON form.
        if serde_json::to_writer(&mut self.waiting, report).is_ok() {
            self.waiting.push(b'\n');
        }
    }

    pub(crate) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes as much as goes without blocking.
    pub(crate) fn flush(&mut self) {
        let output = std::io::stdout();
        let output = output.as_fd();
        let mut written = 0;
        while written < self.waiting.len() {
            let mut poll = [PollFd::new(output, PollFlags::POLLOUT)];
            match nix::poll::poll(&mut poll, PollTimeout::ZERO) {
                Ok(0) => break,
                Err(Errno::EINTR) => continue,
                _ => {}
            }
            let end = self.waiting.len().min(written + PIECE);
            match nix::unistd::write(output, &self.waiting[written..end]) {
                Ok(length) => written += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    self.open = false;
                    written = self.waiting.len();
                }
            }
        }
        self.waiting.drain(..written);
    }
}

/// Says something to people, on standard error. There is nobody to tell when that fails.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("mizzen-agent: {text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_any_pieces_and_bad_ones_are_left_out() {
        let text = b"{\"signal\":{\"key\":\"k\",\"signal\":10}}\nnonsense\n\n{\"dance\":1}\n\xff\xfe\n{\"signal\":{\"key\":\"l\",\"signal\":12}}\n";
        for size in [1, 2, 7, text.len()] {
            let mut channel = Commands::new();
            let commands: Vec<Command> = text
                .chunks(size)
                .flat_map(|piece| channel.take(piece))
                .collect();
            assert!(
                matches!(&commands[..], [Command::Signal { key: a, signal: 10 }, Command::Signal { key: b, signal: 12 }] if a == "k" && b == "l")
            );
        }
    }

    #[test]
    fn an_errors_text_holds_nothing_of_the_line() {
        let error =
            serde_json::from_str::<Command>(r#"{"run":{"key":"hunter2","members":"hunter2"}}"#)
                .unwrap_err();
        assert!(!without_content(&error).contains("hunter2"));
    }
}
