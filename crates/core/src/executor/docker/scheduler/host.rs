//! A machine with an engine: the way there, and what is known of it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::OnceCell;

use super::super::engine::{Engine, Kind, LIMIT, Refusal, refusal, words};
use crate::context::{Context, create_private_dir, replace_file};
use crate::executor::SubmitError;
use crate::tunnel::{Archive, Cmd, Tunnel, TunnelError, TunnelSettings};

/// Tells who we are; of an engine whose containers may be somebody else's users, what it says of its security. `$1`: ask it.
const WHO: &str = r#"id -u; id -g; id -un
if [ "$1" = ask ] && [ "$(id -u)" != 0 ]; then shift; "$@"; fi"#;

/// Prints those of the paths on standard input that are not there.
const MISSING: &str =
    r#"while IFS= read -r path; do [ -e "$path" ] || printf '%s\n' "$path"; done"#;

/// Prints each of the files on standard input as a line, `-` for one that is not there; what only a link tells (`?`) as well.
const LINES: &str = r#"while IFS= read -r file; do
  if [ -f "$file" ]; then tr -d '\n' <"$file"; echo
  elif [ -L "${file%/*}/agent" ] || [ -L "${file%/*}/job" ]; then echo '?'
  else echo -; fi
done"#;

/// What is known of a machine.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) user: String,
    /// Containers' root is whoever launches.
    pub(super) rootless: bool,
    /// Where the agent's executable is; `None` where it can't run.
    pub(super) agent: Option<Utf8PathBuf>,
}

/// A file that a container's agent leaves.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Left {
    /// Its line.
    Line(String),
    /// It has begun, and left no such file.
    Claim,
    Nothing,
}

/// A machine with an engine.
pub(super) struct Host {
    pub(super) tunnel: Arc<dyn Tunnel>,
    /// For people.
    pub(super) name: String,
    /// Its files are ours.
    pub(super) here: bool,
    /// The folder where we keep what concerns it.
    pub(super) folder: Utf8PathBuf,
    facts: OnceCell<Facts>,
    /// Why nothing is heard of it.
    silent: Mutex<Option<String>>,
}

impl Host {
    pub(super) fn new(
        tunnel: &TunnelSettings,
        connection: Arc<dyn Tunnel>,
        context: &Context,
    ) -> Host {
        let here = matches!(tunnel, TunnelSettings::Local(_));
        Host {
            tunnel: connection,
            name: match here {
                true => context.host.clone(),
                false => tunnel.place(),
            },
            here,
            folder: tunnel.place_dir(context),
            facts: OnceCell::new(),
            silent: Mutex::new(None),
        }
    }

    pub(super) fn silence(&self) -> Option<String> {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.clone()
    }

    pub(super) fn set_silence(&self, words: Option<String>) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// What is known of it: asked once.
    pub(super) async fn facts(&self, engine: &Engine) -> Result<&Facts, SubmitError> {
        self.facts
            .get_or_try_init(|| async {
                let ask = match engine.kind() {
                    Kind::Docker => "ask",
                    Kind::Podman | Kind::Nerdctl => "-",
                };
                let question = engine.words(["info", "--format={{json .SecurityOptions}}"]);
                let arguments = [ask.to_owned()].into_iter().chain(question);
                let command = Cmd::script(WHO, arguments).timeout(LIMIT);
                let finished = self.tunnel.run(&command).await.map_err(unsent)?;
                if finished.status != 0 {
                    return Err(refused(engine, self, finished.status, &finished.stderr));
                }
                let text = String::from_utf8_lossy(&finished.stdout);
                let mut lines = text.lines();
                let mut number = || lines.next().and_then(|line| line.trim().parse().ok());
                let (Some(uid), Some(gid)) = (number(), number()) else {
                    return Err(SubmitError::Rejected(format!(
                        "{} does not tell who we are: {text:?}",
                        self.name
                    )));
                };
                let user = lines.next().unwrap_or_default().trim().to_owned();
                let rest: String = lines.collect();
                Ok(Facts {
                    uid,
                    gid,
                    user,
                    rootless: match engine.kind() {
                        Kind::Docker => rest.contains("rootless"),
                        Kind::Podman | Kind::Nerdctl => uid != 0,
                    },
                    agent: self.tunnel.agent().await.map_err(unsent)?,
                })
            })
            .await
    }

    /// Writes files: absolute paths, what they hold, their modes.
    pub(super) async fn write(
        &self,
        directory: &str,
        files: Vec<(String, Vec<u8>, u32)>,
        time: u64,
    ) -> Result<(), SubmitError> {
        if files.is_empty() {
            return Ok(());
        }
        if self.here {
            for (path, bytes, mode) in files {
                let path = Utf8Path::new(directory).join(path);
                if let Some(folder) = path.parent() {
                    create_private_dir(folder).map_err(|error| storage(folder, &error))?;
                }
                replace_file(&path, &bytes, mode).map_err(|error| storage(&path, &error))?;
            }
            return Ok(());
        }
        let mut archive = Archive::new(time);
        for (path, bytes, mode) in files {
            archive.file(directory, &path, &bytes, mode);
        }
        let sent = archive.send(self.tunnel.as_ref(), LIMIT).await;
        sent.map_err(|error| match unsent(error) {
            // Nothing was submitted yet.
            SubmitError::Uncertain(words) => SubmitError::Unreachable(words),
            other => other,
        })
    }

    /// The addresses behind a machine's name, as this host knows it.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, SubmitError> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let command = Cmd::new(["getent", "ahosts", name]).timeout(LIMIT);
        let finished = self.tunnel.run(&command).await.map_err(unsent)?;
        let text = String::from_utf8_lossy(&finished.stdout);
        let mut found: Vec<IpAddr> = Vec::new();
        for word in text.lines().filter_map(|line| line.split(' ').next()) {
            found.extend(word.parse().ok().filter(|one| !found.contains(one)));
        }
        match found.is_empty() {
            true => Err(SubmitError::Rejected(format!(
                "{} does not know the address of {name}: write it as the first host's `address` in `hosts`",
                self.name
            ))),
            false => Ok(found),
        }
    }

    /// Those of the paths that are not there.
    pub(super) async fn missing(&self, paths: &[String]) -> Result<Vec<String>, SubmitError> {
        if self.here {
            let missing = |path: &&String| std::fs::symlink_metadata(path).is_err();
            return Ok(paths.iter().filter(missing).cloned().collect());
        }
        let finished = self.tunnel.run(&missing_of(paths)).await.map_err(unsent)?;
        let text = String::from_utf8_lossy(&finished.stdout);
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// What agents have left: one answer for each path.
    pub(super) async fn left(&self, paths: &[String]) -> Result<Vec<Left>, TunnelError> {
        if self.here {
            return Ok(paths
                .iter()
                .map(|path| left_here(Utf8Path::new(path)))
                .collect());
        }
        let list: String = paths.iter().map(|path| format!("{path}\n")).collect();
        let command = Cmd::script(LINES, [""; 0])
            .stdin(list.into_bytes())
            .timeout(LIMIT);
        let finished = self.tunnel.run(&command).await?.ok(&command)?;
        let text = String::from_utf8_lossy(&finished.stdout);
        let mut lines = text.lines();
        Ok(paths
            .iter()
            .map(|_| match lines.next() {
                None | Some("-") => Left::Nothing,
                Some("?") => Left::Claim,
                Some(line) => Left::Line(line.to_owned()),
            })
            .collect())
    }
}

/// Prints those of the paths that are not there.
pub(in super::super) fn missing_of(paths: &[String]) -> Cmd {
    let list: String = paths.iter().map(|path| format!("{path}\n")).collect();
    Cmd::script(MISSING, [""; 0])
        .stdin(list.into_bytes())
        .timeout(LIMIT)
}

fn left_here(path: &Utf8Path) -> Left {
    if let Ok(text) = std::fs::read_to_string(path) {
        return Left::Line(text);
    }
    let claim = |name| {
        let beside = path.with_file_name(name);
        std::fs::symlink_metadata(beside).is_ok()
    };
    match claim("agent") || claim("job") {
        true => Left::Claim,
        false => Left::Nothing,
    }
}

fn storage(path: &Utf8Path, error: &std::io::Error) -> SubmitError {
    let words = format!("{path} can't be written: {error}");
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            SubmitError::Later(words)
        }
        _ => SubmitError::Rejected(words),
    }
}

/// What a tunnel's error means for a command that may have been run.
pub(super) fn unsent(error: TunnelError) -> SubmitError {
    SubmitError::from(error)
}

/// What an engine's refusal means.
pub(super) fn refused(engine: &Engine, host: &Host, status: i32, stderr: &[u8]) -> SubmitError {
    let said = words(stderr);
    if status == 127 && !said.to_ascii_lowercase().contains("oci") {
        return SubmitError::Rejected(format!(
            "there is no program `{}` on {}: install it, or write another `engine`",
            engine.name(),
            host.name
        ));
    }
    match refusal(&said) {
        Refusal::NoEngine => SubmitError::Unreachable(format!("{}: {said}", host.name)),
        Refusal::ForNow => SubmitError::Later(format!("{}: {said}", host.name)),
        // Somebody else who sent the same has taken back what was made.
        Refusal::NoContainer => SubmitError::Later(format!("{}: {said}", host.name)),
        _ if said.is_empty() => SubmitError::Rejected(format!(
            "`{}` ended with status {status} on {}",
            engine.name(),
            host.name
        )),
        _ => SubmitError::Rejected(said),
    }
}

/// A text that nobody guesses, kept in a file: whoever comes first makes it.
pub(super) fn token(path: &Utf8Path) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = path.parent() {
        create_private_dir(folder)?;
    }
    let made = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(mut file) => {
            let mut bytes = [0; 16];
            std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            file.write_all(text.as_bytes())?;
            Ok(text)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::read_to_string(path)
        }
        Err(error) => Err(error),
    }
}
