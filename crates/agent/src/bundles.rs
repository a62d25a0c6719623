//! `mizzen-agent bundle …`: the code that a place keeps, for whoever sends it and for the jobs that run it.

use std::ffi::OsString;
use std::io::{self, BufReader, Write as _};
use std::path::PathBuf;

use mizzen_agent::bundle::{TreeHash, have, link, list, receive, remove};

use crate::channel::say;

/// What is done about the code at a place.
#[derive(Debug)]
pub(crate) enum Bundles {
    Receive(PathBuf),
    Have(PathBuf),
    List(PathBuf),
    Link { tree: PathBuf, into: PathBuf },
    Remove(PathBuf),
}

impl Bundles {
    /// Reads the words behind `bundle`.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Bundles, String> {
        let path = |number: usize| PathBuf::from(&arguments[number]);
        let word = arguments.first().and_then(|word| word.to_str());
        match (word, arguments.len()) {
            (Some("receive"), 2) => Ok(Bundles::Receive(path(1))),
            (Some("have"), 2) => Ok(Bundles::Have(path(1))),
            (Some("list"), 2) => Ok(Bundles::List(path(1))),
            (Some("remove"), 2) => Ok(Bundles::Remove(path(1))),
            (Some("link"), 3) => Ok(Bundles::Link {
                tree: path(1),
                into: path(2),
            }),
            _ => Err(
                "`bundle` needs one of: receive B, have B, list B, remove B, link TREE_DIR INTO"
                    .to_owned(),
            ),
        }
    }

    /// Does it; answers with the exit status.
    pub(crate) fn run(self) -> u8 {
        match self.work() {
            Ok(()) => 0,
            Err(text) => {
                say(&text);
                1
            }
        }
    }

    fn work(self) -> Result<(), String> {
        match self {
            Bundles::Receive(place) => {
                let stdin = BufReader::with_capacity(256 << 10, io::stdin().lock());
                let tree = receive(stdin, &place).map_err(|error| error.to_string())?;
                print(&format!("{tree}\n"))
            }
            Bundles::Have(place) => print(&lines(have(&place, &trees()?))),
            Bundles::List(place) => {
                let kept = list(&place).map_err(|error| format!("{}: {error}", place.display()))?;
                print(&lines(
                    kept.iter()
                        .map(|kept| format!("{} {}", kept.tree, kept.used)),
                ))
            }
            Bundles::Link { tree, into } => link(&tree, &into).map_err(|error| error.to_string()),
            Bundles::Remove(place) => {
                remove(&place, &trees()?).map_err(|error| format!("{}: {error}", place.display()))
            }
        }
    }
}

fn lines(of: impl IntoIterator<Item = impl ToString>) -> String {
    of.into_iter().map(|line| line.to_string() + "\n").collect()
}

/// The hashes on stdin, one a line.
fn trees() -> Result<Vec<TreeHash>, String> {
    let text = io::read_to_string(io::stdin()).map_err(|error| format!("stdin: {error}"))?;
    text.lines()
        .map(|line| {
            line.parse()
                .map_err(|error| format!("stdin: {line:?}: {error}"))
        })
        .collect()
}

fn print(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let printed = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    printed.map_err(|error| format!("stdout: {error}"))
}
