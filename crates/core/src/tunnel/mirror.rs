//! Copies what jobs write at a place that does not see our files: as they write it, or what is there now.
//!
//! ```text
//! there/<job>/attempts/<n>/rank-<r>.log, samples-<w>.jsonl, exit.json
//!    └─ mizzen-agent follow, or PASS again and again ── News + bytes ──▶ here/<job>/attempts/<n>/…
//! ```
//!
//! A log is copied from where the copy ends and each piece is written at its own offset: several mirrors of one log may
//! work at once, and one that was cut off goes on where it was. A record is put in its place by a rename, after the logs
//! of its attempt.
//!
//! Pitfall: what comes from there is not believed to be a path: only names that `following::is_file` knows are written.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::following::{Ask, Follow, News, attempt_number, is_file, is_followed};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

use super::command::plain_path;
use super::transfer::token;
use super::{Cmd, Tunnel, TunnelError};
use crate::context::create_private_dir;

/// Bytes that may be under way between the tunnel and the files.
const UNDER_WAY: usize = 256 << 10;
/// A longer line is none of ours.
const LONGEST_LINE: u64 = 64 << 10;
/// A larger record is none of ours.
const LARGEST_RECORD: u64 = 64 << 20;
/// Between two looks where no agent runs.
const PACE: Duration = Duration::from_secs(1);
/// The shortest and the longest pause before the place is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// One look by POSIX's `sh`, for places where the agent can't run. Reads lines `ID KNOWN FOLDER`, where KNOWN is
/// `|FILE=BYTES|FILE=BYTES|`; tells the same as the agent does with `--once`. A record is told of after the logs of its
/// attempt, and only if it was there before they were looked at.
const PASS: &str = r#"
tell() { # FILE: what is behind the known bytes
    size=$(wc -c <"$folder/$1" 2>/dev/null) || return 0
    size=$((size)) from=0 restart=
    case $known in *"|$1="*) from=${known#*"|$1="}; from=${from%%"|"*} ;; esac
    [ "$size" -ne "$from" ] || return 0
    if [ "$size" -lt "$from" ]; then restart=',"restart":true'; fi
    case $1 in */exit.json) from=0 ;; esac
    [ -z "$restart" ] || from=0
    printf '{"id":%s,"file":"%s","offset":%s,"size":%s%s}\n' "$id" "$1" "$from" "$((size - from))" "$restart"
    if [ "$size" -gt 0 ]; then tail -c "+$((from + 1))" "$folder/$1" | head -c "$((size - from))"; fi
}
while IFS=' ' read -r id known folder; do
    for attempt in "$folder"/*/; do
        attempt=${attempt%/} attempt=${attempt##*/}
        case $attempt in *[!0-9]*) continue ;; esac
        ended=
        if [ -f "$folder/$attempt/exit.json" ]; then ended=yes; fi
        for file in "$folder/$attempt"/rank-*.log "$folder/$attempt"/samples-*.jsonl; do
            name=${file##*/}
            case ${name#samples-} in *[!A-Za-z0-9-]*.jsonl | .jsonl) continue ;; esac
            if [ -f "$file" ]; then tell "$attempt/$name"; fi
        done
        if [ -n "$ended" ]; then tell "$attempt/exit.json"; fi
    done
    printf '{"id":%s,"quiet":true}\n' "$id"
done"#;

/// Copies the logs and the records of the jobs' attempts from `there` to `here`, as they are now.
///
/// # Errors
/// As [`Tunnel::exec`]; a file can't be written here.
pub async fn mirror_once(
    tunnel: &dyn Tunnel,
    there: &Utf8Path,
    here: &Utf8Path,
    jobs: &[String],
) -> Result<(), TunnelError> {
    let copy = Copy::new(tunnel, there, here, jobs);
    copy.once(tunnel.agent().await?.as_deref()).await
}

/// Copies the logs and the records of the jobs' attempts from `there` to `here` while they grow, until `until` resolves;
/// what was there by then is here at the end. A place that can't be reached is tried again and again; `say` is told, and
/// told `None` once it is reached.
///
/// # Errors
/// Something on this side, which trying again does not mend; or the place can't be reached when `until` has resolved.
pub async fn mirror(
    tunnel: &dyn Tunnel,
    there: &Utf8Path,
    here: &Utf8Path,
    jobs: &[String],
    until: impl Future + Send,
    say: &(dyn Fn(Option<&TunnelError>) + Sync),
) -> Result<(), TunnelError> {
    let copy = Copy::new(tunnel, there, here, jobs);
    let mut until = Until {
        future: pin!(async {
            until.await;
        }),
        over: false,
    };
    let mut pause = PAUSES.0;
    let mut agent_works = true;
    let broken = AtomicBool::new(false);
    let heard = AtomicBool::new(false);
    let hear = || {
        heard.store(true, Relaxed);
        if broken.swap(false, Relaxed) {
            say(None);
        }
    };
    loop {
        let agent = tunnel.agent().await;
        let tried = match &agent {
            Err(error) => Err(error.clone()),
            Ok(agent) if until.over => return copy.once(agent.as_deref()).await,
            Ok(Some(agent)) if agent_works => copy.follow(agent, &mut until, &hear).await,
            Ok(_) => copy.once(None).await.inspect(|()| hear()),
        };
        if heard.swap(false, Relaxed) {
            pause = PAUSES.0;
        }
        let error = match tried {
            Ok(()) if until.over => return Ok(()),
            Ok(()) => {
                until.wait(PACE).await;
                continue;
            }
            Err(error) => error,
        };
        let lasting = matches!(error, TunnelError::Here(_) | TunnelError::Unsendable(_));
        if lasting || until.over && agent.is_err() {
            return Err(error);
        }
        agent_works &= !matches!(error, TunnelError::Failed { .. });
        broken.store(true, Relaxed);
        say(Some(&error));
        until.wait(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// A future that is waited for at several places.
struct Until<'a> {
    future: Pin<&'a mut (dyn Future<Output = ()> + Send)>,
    over: bool,
}

impl Until<'_> {
    async fn resolved(&mut self) {
        if !self.over {
            self.future.as_mut().await;
            self.over = true;
        }
    }

    /// For a time at most.
    async fn wait(&mut self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.resolved()).await;
    }
}

/// What is copied.
struct Copy<'a> {
    tunnel: &'a dyn Tunnel,
    /// The jobs' folders of attempts, there and here, by their numbers in the frames.
    folders: Vec<(Utf8PathBuf, Utf8PathBuf)>,
}

impl<'a> Copy<'a> {
    fn new(tunnel: &'a dyn Tunnel, there: &Utf8Path, here: &Utf8Path, jobs: &[String]) -> Copy<'a> {
        let folders = jobs.iter().map(|job| {
            let folder = Utf8Path::new(job).join("attempts");
            (there.join(&folder), here.join(&folder))
        });
        Copy {
            tunnel,
            folders: folders.collect(),
        }
    }

    /// One look: by the agent, or by the script where it does not run.
    async fn once(&self, agent: Option<&Utf8Path>) -> Result<(), TunnelError> {
        if let Some(agent) = agent {
            let command = Cmd::new([agent.as_str(), "follow", "--once"]);
            let asks = self.asks()?;
            match self.take(&command, &mut &asks[..], &|| {}).await {
                Err(TunnelError::Failed { .. }) => {}
                taken => return taken,
            }
        }
        let command = Cmd::script(PASS, [""; 0]).env("LC_ALL", "C");
        let lines = self.lines()?;
        self.take(&command, &mut &lines[..], &|| {}).await
    }

    /// Until the connection breaks, or `until` has resolved and all is here.
    async fn follow(
        &self,
        agent: &Utf8Path,
        until: &mut Until<'_>,
        heard: &(dyn Fn() + Sync),
    ) -> Result<(), TunnelError> {
        let command = Cmd::new([agent.as_str(), "follow"]);
        let asks = self.asks()?;
        let (mut ours, mut theirs) = tokio::io::duplex(UNDER_WAY);
        let feed = async {
            // The other end is read as long as the command lives; after that nobody waits for this.
            let _ = ours.write_all(&asks).await;
            until.resolved().await;
            drop(ours);
            std::future::pending::<()>().await;
        };
        let take = self.take(&command, &mut theirs, heard);
        let taken = tokio::select! {
            taken = take => taken,
            () = feed => Ok(()),
        };
        match taken {
            Ok(()) if !until.over => Err(TunnelError::Interrupted {
                name: self.tunnel.name(),
                words: "the agent that follows the logs has ended".to_owned(),
            }),
            taken => taken,
        }
    }

    /// Runs a command and writes what it tells.
    async fn take(
        &self,
        command: &Cmd,
        input: super::Input<'_>,
        heard: &(dyn Fn() + Sync),
    ) -> Result<(), TunnelError> {
        let (mut writer, reader) = tokio::io::duplex(UNDER_WAY);
        let run = async {
            let ended = self.tunnel.exec(command, input, &mut writer).await;
            drop(writer);
            ended
        };
        let (ended, written) = tokio::join!(run, self.write(reader, heard));
        // What can't be written here also ends the command; what a command that broke said last may be cut off.
        if let Err(error @ TunnelError::Here(_)) = written {
            return Err(error);
        }
        let ended = ended?;
        if ended.status != 0 {
            return Err(TunnelError::Failed {
                command: command.argv[..2].join(" "),
                status: ended.status,
                words: super::last_words(&ended.stderr),
            });
        }
        written
    }

    /// Writes frames into files until they end.
    async fn write(
        &self,
        reader: DuplexStream,
        heard: &(dyn Fn() + Sync),
    ) -> Result<(), TunnelError> {
        let mut reader = BufReader::with_capacity(64 << 10, reader);
        let wrong = |words: &str| TunnelError::Interrupted {
            name: self.tunnel.name(),
            words: words.to_owned(),
        };
        loop {
            let mut line = Vec::new();
            let mut start = (&mut reader).take(LONGEST_LINE);
            if start.read_until(b'\n', &mut line).await.map_err(here)? == 0 {
                return Ok(());
            }
            let news: News = serde_json::from_slice(&line)
                .map_err(|_| wrong("what follows the logs there said something else"))?;
            heard();
            if news.quiet {
                continue;
            }
            let id = usize::try_from(news.id).unwrap_or(usize::MAX);
            let (Some((_, folder)), true) = (self.folders.get(id), is_file(&news.file)) else {
                return Err(wrong("what follows the logs there tells of another file"));
            };
            let path = folder.join(&news.file);
            let body = (&mut reader).take(news.size);
            let written = if path.ends_with(mizzen_agent::protocol::EXIT_RECORD) {
                write_record(&path, body, news.size).await
            } else {
                write_log(&path, body, &news).await
            };
            if written.map_err(|error| TunnelError::Here(format!("can't write {path}: {error}")))?
                < news.size
            {
                return Err(wrong("it broke in the middle of a file"));
            }
        }
    }

    /// What the agent reads.
    fn asks(&self) -> Result<Vec<u8>, TunnelError> {
        let mut asks = Vec::new();
        for (id, (there, here)) in (0..).zip(&self.folders) {
            let ask = Ask::Follow(Follow {
                id,
                folder: there.to_string(),
                known: known(here),
            });
            serde_json::to_writer(&mut asks, &ask).map_err(|error| here_words(&error))?;
            asks.push(b'\n');
        }
        Ok(asks)
    }

    /// What the script reads.
    fn lines(&self) -> Result<Vec<u8>, TunnelError> {
        let mut lines = String::new();
        for (id, (there, here)) in self.folders.iter().enumerate() {
            if there.as_str().contains('\n') {
                return Err(TunnelError::Unsendable(format!(
                    "the folder {there:?} has a line end in its name"
                )));
            }
            let known: String = known(here)
                .iter()
                .map(|(file, size)| format!("{file}={size}|"))
                .collect();
            lines.push_str(&format!("{id} |{known} {}\n", plain_path(there.as_str())));
        }
        Ok(lines.into_bytes())
    }
}

fn here(error: std::io::Error) -> TunnelError {
    here_words(&error)
}

fn here_words(error: &dyn std::fmt::Display) -> TunnelError {
    TunnelError::Here(error.to_string())
}

/// How much of which file is here.
fn known(folder: &Utf8Path) -> BTreeMap<String, u64> {
    let mut known = BTreeMap::new();
    for attempt in names(folder) {
        if attempt_number(&attempt).is_none() {
            continue;
        }
        for name in names(&folder.join(&attempt)) {
            let metadata = std::fs::metadata(folder.join(&attempt).join(&name));
            if let (true, Ok(metadata)) = (is_followed(&name), metadata) {
                known.insert(format!("{attempt}/{name}"), metadata.len());
            }
        }
    }
    known
}

fn names(folder: &Utf8Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Writes a piece at its offset; says how much there was.
async fn write_log(
    path: &Utf8Path,
    mut body: impl AsyncReadExt + Unpin,
    news: &News,
) -> std::io::Result<u64> {
    make_parent(path)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if news.restart {
        file.set_len(0)?;
    }
    let mut written = 0;
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = body.read(&mut piece).await?;
        if length == 0 {
            return Ok(written);
        }
        file.write_all_at(&piece[..length], news.offset + written)?;
        written += length as u64;
    }
}

/// Replaces a file by a whole one; says how much there was.
async fn write_record(
    path: &Utf8Path,
    mut body: impl AsyncReadExt + Unpin,
    size: u64,
) -> std::io::Result<u64> {
    if size > LARGEST_RECORD {
        return Err(std::io::Error::other("it is too large for a record"));
    }
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).await?;
    let read = bytes.len() as u64;
    if read == size {
        make_parent(path)?;
        let token = token().map_err(std::io::Error::other)?;
        let beside = path.with_extension(format!("json.{token}"));
        let placed = crate::context::write_file(&beside, &bytes, 0o600)
            .and_then(|()| std::fs::rename(&beside, path));
        if placed.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        placed?;
    }
    Ok(read)
}

fn make_parent(path: &Utf8Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => create_private_dir(parent),
        _ => Ok(()),
    }
}
