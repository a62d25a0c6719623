//! A terminal of a test's own.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc;

use nix::pty::{Winsize, openpty};

use crate::support::{LIMIT, Session};

/// What a terminal has been sent so far, as it comes.
pub(crate) struct Screen {
    pieces: mpsc::Receiver<Vec<u8>>,
    /// All of it.
    pub(crate) seen: String,
    /// What is typed.
    pub(crate) keyboard: File,
}

impl Screen {
    /// Runs a command on a terminal of its own.
    pub(crate) fn start(
        session: &Session,
        words: &[&str],
        columns: u16,
    ) -> (Screen, std::process::Child) {
        let size = Winsize {
            ws_row: 30,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let end = |side: &OwnedFd| Stdio::from(side.try_clone().unwrap());
        let child = session
            .command(words)
            .env("TERM", "xterm-256color")
            .stdin(end(&pty.slave))
            .stdout(end(&pty.slave))
            .stderr(end(&pty.slave))
            .spawn()
            .unwrap();
        let mut reader = File::from(pty.master.try_clone().unwrap());
        let (send, pieces) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if send.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        (
            Screen {
                pieces,
                seen: String::new(),
                keyboard: File::from(pty.master),
            },
            child,
        )
    }

    /// Waits until the text was shown.
    pub(crate) fn until(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.pieces.recv_timeout(LIMIT) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => panic!("the terminal was never shown `{text}`: {:?}", self.seen),
            }
        }
    }
}
