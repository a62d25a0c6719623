//! What a tunnel says to `mizzen-agent serve` and hears from it: many commands over one pair of pipes.
//!
//! ```text
//! tunnel ── Ask ────▶ serve     run · input · input_end · room · end · ping
//!        ◀── Answer ── serve    ready · output · taken · deaf · ended · not_started · timed_out · pong
//! ```
//!
//! A frame is one line of JSON, and behind it as many bytes as its `size` says, if it has one. `id` names a command; the
//! tunnel chooses it and uses none twice. Answers about an id that nobody knows any more are ignored, on both sides.
//!
//! **Nobody waits for somebody slow.** Each command's output, and each command's input, may have [`WINDOW`] bytes under way
//! that its reader has not taken: `room` and `taken` say that so many more may come. So one command whose output nobody
//! reads stops itself only.
//!
//! **Nobody is believed to live.** The tunnel pings; serve that hears nothing at all for [`SILENCE`] ends what it has in
//! hand and itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of one stream that may be under way.
pub const WINDOW: usize = 256 << 10;
/// The most bytes behind one line.
pub const PIECE: usize = 32 << 10;
/// How much of a command's standard error is kept: its end.
pub const KEPT: usize = 64 << 10;
/// How long serve goes on without hearing anything.
pub const SILENCE: Duration = Duration::from_secs(60);
/// A longer line is none of ours: no list of arguments that a system accepts comes near it.
const LONGEST_LINE: usize = 64 << 20;

/// From the tunnel to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Start a command.
    Run(Start),
    /// Bytes for its standard input.
    Input {
        /// The command.
        id: u64,
        /// How many bytes follow.
        size: usize,
    },
    /// Its standard input ends here.
    InputEnd {
        /// The command.
        id: u64,
    },
    /// So many bytes of its output were taken: as many more may come.
    Room {
        /// The command.
        id: u64,
        /// Bytes.
        size: usize,
    },
    /// End it; nobody waits for its end any more.
    End {
        /// The command.
        id: u64,
    },
    /// To be answered by a pong with the same number.
    Ping(u64),
}

/// A command to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Its name here.
    pub id: u64,
    /// The program, looked up on PATH unless it holds a slash, and its arguments.
    pub argv: Vec<String>,
    /// Variables on top of serve's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The working directory, from serve's own if it is relative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Milliseconds after which its process group is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// From serve to the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// Serve is up: the first line.
    Ready {
        /// The agent's version.
        version: String,
        /// Its process id.
        process: u32,
    },
    /// A command's standard output.
    Output {
        /// The command.
        id: u64,
        /// How many bytes follow.
        size: usize,
    },
    /// The command was given so many bytes of its input: as many more may come.
    Taken {
        /// The command.
        id: u64,
        /// Bytes.
        size: usize,
    },
    /// The command reads no more input.
    Deaf {
        /// The command.
        id: u64,
    },
    /// The command has ended, and so have its outputs; the end of its standard error follows.
    Ended {
        /// The command.
        id: u64,
        /// Its exit status; 128 + the signal's number if a signal ended it; 127 or 126 if the program is not there or
        /// can't be executed.
        status: i32,
        /// How many bytes follow.
        size: usize,
    },
    /// Nothing was started: the working directory can't be entered.
    NotStarted {
        /// The command.
        id: u64,
        /// Why.
        words: String,
    },
    /// The command's time was over.
    TimedOut {
        /// The command.
        id: u64,
        /// It was ended.
        ended: bool,
    },
    /// Answers a ping.
    Pong(u64),
}

/// What may stand in a frame's line.
pub trait Header: Serialize + DeserializeOwned {
    /// How many bytes follow the line.
    fn size(&self) -> usize;
}

impl Header for Ask {
    fn size(&self) -> usize {
        match self {
            Ask::Input { size, .. } => *size,
            _ => 0,
        }
    }
}

impl Header for Answer {
    fn size(&self) -> usize {
        match self {
            Answer::Output { size, .. } | Answer::Ended { size, .. } => *size,
            _ => 0,
        }
    }
}

/// Adds a frame to what is to be written.
pub fn write(header: &impl Header, body: &[u8], to: &mut Vec<u8>) {
    debug_assert_eq!(header.size(), body.len());
    // Headers are made of numbers and texts, which always have a JSON form; the only writer is memory.
    if serde_json::to_writer(&mut *to, header).is_ok() {
        to.push(b'\n');
        to.extend_from_slice(body);
    }
}

/// Reads frames from bytes that come in any pieces.
#[derive(Debug)]
pub struct Frames<H> {
    buffer: Vec<u8>,
    /// A line was read, and the bytes behind it are not all there.
    open: Option<H>,
}

impl<H> Default for Frames<H> {
    fn default() -> Frames<H> {
        Frames {
            buffer: Vec::new(),
            open: None,
        }
    }
}

impl<H: Header> Frames<H> {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the frames that are whole, in order.
    ///
    /// # Errors
    /// What comes is no frame: nothing behind it can be trusted. The text holds nothing of it, since it may be secret.
    pub fn take(&mut self) -> Result<Vec<(H, Vec<u8>)>, &'static str> {
        let mut found = Vec::new();
        let mut position = 0;
        loop {
            let rest = &self.buffer[position..];
            let header = match self.open.take() {
                Some(header) => header,
                None => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                        if rest.len() > LONGEST_LINE {
                            return Err("a line is longer than any of ours");
                        }
                        break;
                    };
                    let header: H = serde_json::from_slice(&rest[..end])
                        .map_err(|_| "a line is not what it should be")?;
                    if header.size() > KEPT {
                        return Err("a piece is larger than any of ours");
                    }
                    position += end + 1;
                    header
                }
            };
            let rest = &self.buffer[position..];
            let size = header.size();
            if rest.len() < size {
                self.open = Some(header);
                break;
            }
            found.push((header, rest[..size].to_vec()));
            position += size;
        }
        self.buffer.drain(..position);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_any_pieces() {
        let frames = [
            (Answer::Pong(7), &b""[..]),
            (Answer::Output { id: 1, size: 5 }, b"a\nb\0{"),
            (Answer::Output { id: 2, size: 0 }, b""),
            (
                Answer::Ended {
                    id: 1,
                    status: 3,
                    size: 2,
                },
                b"\n\n",
            ),
        ];
        let mut bytes = Vec::new();
        for (header, body) in &frames {
            write(header, body, &mut bytes);
        }
        for size in [1, 2, 7, bytes.len()] {
            let mut reader = Frames::<Answer>::default();
            let mut read = Vec::new();
            for piece in bytes.chunks(size) {
                reader.push(piece);
                read.extend(reader.take().unwrap());
            }
            let read: Vec<(Answer, &[u8])> = read
                .iter()
                .map(|(header, body)| (header.clone(), &body[..]))
                .collect();
            assert_eq!(read, frames);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_without_its_text() {
        for text in [
            "hunter2\n",
            "{\"dance\":1}\n",
            "{\"output\":{\"id\":1,\"size\":99999999}}\n",
        ] {
            let mut reader = Frames::<Answer>::default();
            reader.push(text.as_bytes());
            assert!(!reader.take().unwrap_err().contains("hunter2"));
        }
    }
}
