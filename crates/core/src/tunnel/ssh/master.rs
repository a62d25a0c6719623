//! One login a host: finding, opening and closing the processes that hold connections (ssh's ControlMasters).
//!
//! ```text
//! the user's own (`ssh -G` names its socket) ─┐
//! ours: <folder>/<hash>                       ├─ alive? ─ yes ──▶ Master
//!         └─ <hash>.lock held ── ssh -fNM ────┘
//! ```
//!
//! Ours stand in `$MIZZEN_HOME/ssh` (0700), or in `$XDG_RUNTIME_DIR` or `/tmp` where the path of a socket would get too
//! long: unix(7) gives it 108 bytes, and ssh adds 17 while it makes one. Their names are a hash of where they lead, as `ssh -G`
//! says it (user, machine, port, way), and of this machine, since homes are shared between machines and sockets are not. So
//! two names of one account share a login; which key opened it does not matter.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::super::TunnelError;
use super::alive::{self, Heard};
use super::words::login_failure;
use super::{Login, SshTunnel};
use crate::context::{Context, create_private_dir, write_file};
use crate::model::Timestamp;

/// The longest path of a socket.
const LONGEST_SOCKET: usize = 85;
/// How long a connection of ours stays open without being used.
const PERSIST: &str = "24h";
/// How long one process waits for another one's login, which may wait for its user.
const LOCK_PATIENCE: Duration = Duration::from_secs(300);
/// How often it looks.
const LOCK_PACE: Duration = Duration::from_millis(50);
/// What asks a master on this machine answers at once, or never.
const CONTROL_PATIENCE: Duration = Duration::from_secs(10);

/// A master that was alive a moment ago.
#[derive(Debug, Clone)]
pub(super) struct Master {
    pub(super) socket: Utf8PathBuf,
    /// It is ours to close.
    pub(super) ours: bool,
    /// It was opened just now.
    pub(super) fresh: bool,
}

/// A connection of ours that is, or was, open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenMaster {
    /// Its settings.
    pub tunnel: SshTunnel,
    /// When it was opened.
    pub opened: Timestamp,
    /// Its process; `None` if it has gone.
    pub process: Option<u32>,
}

/// What is written down beside a socket.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    tunnel: SshTunnel,
    opened: Timestamp,
    host: String,
}

/// A master to use: the user's own, ours, or a new one.
pub(super) async fn get(
    tunnel: &SshTunnel,
    context: &Context,
    login: Login,
    say: &(dyn Fn(&[u8]) + Sync),
) -> Result<Master, TunnelError> {
    let effective = Effective::ask(tunnel, context).await?;
    let socket = socket(&effective, context)?;
    if let Some(master) = open_one(context, &effective, &socket).await? {
        return Ok(master);
    }
    let name = tunnel.name();
    if login == Login::Never {
        return Err(TunnelError::NotOpen { name });
    }
    let _lock = lock(&socket, &name).await?;
    // Another process may have logged in while this one waited.
    if let Some(master) = open_one(context, &effective, &socket).await? {
        return Ok(master);
    }
    // What is left is a dead master's.
    let _ = fs_err::remove_file(&socket);
    log_in(tunnel, context, login, say, &effective, &socket).await?;
    let note = Note {
        tunnel: tunnel.clone(),
        opened: context.clock.now(),
        host: context.host.clone(),
    };
    let note = serde_json::to_vec(&note).map_err(|error| TunnelError::Here(error.to_string()))?;
    write_file(&socket.with_extension("json"), &note, 0o600).map_err(here)?;
    Ok(Master {
        socket,
        ours: true,
        fresh: true,
    })
}

/// Closes ours.
pub(super) async fn close(tunnel: &SshTunnel, context: &Context) -> Result<bool, TunnelError> {
    let effective = Effective::ask(tunnel, context).await?;
    let socket = socket(&effective, context)?;
    let was_open = check(context, &socket).await?.is_some();
    if was_open {
        let mut command = control(context, &socket, "exit")?;
        output(&mut command, CONTROL_PATIENCE).await?;
    }
    for path in [
        socket.clone(),
        socket.with_extension("json"),
        socket.with_extension("log"),
    ] {
        let _ = fs_err::remove_file(path);
    }
    Ok(was_open)
}

/// The connections of ours on this machine, in the order of their names; also those that have gone since, until they are
/// closed or opened again.
///
/// # Errors
/// The folder can't be read, or `ssh` can't be run.
pub async fn open_masters(context: &Context) -> Result<Vec<OpenMaster>, TunnelError> {
    let mut found = Vec::new();
    let Ok(folder) = folder(context) else {
        return Ok(found);
    };
    let Ok(entries) = fs_err::read_dir(&folder) else {
        return Ok(found);
    };
    for entry in entries {
        let Ok(path) = Utf8PathBuf::from_path_buf(entry.map_err(here)?.path()) else {
            continue;
        };
        if path.extension() != Some("json") {
            continue;
        }
        let note: Option<Note> = fs_err::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(note) = note.filter(|note| note.host == context.host) else {
            continue;
        };
        found.push(OpenMaster {
            process: check(context, &path.with_extension("")).await?,
            tunnel: note.tunnel,
            opened: note.opened,
        });
    }
    found.sort_by_key(|master| master.tunnel.name());
    Ok(found)
}

/// The name or address that ssh connects to.
pub(super) async fn host_name(
    tunnel: &SshTunnel,
    context: &Context,
) -> Result<String, TunnelError> {
    let effective = Effective::ask(tunnel, context).await?;
    Ok(effective.host_name.unwrap_or_else(|| tunnel.host.clone()))
}

/// What `ssh -G` says about a host.
#[derive(Debug, Default)]
struct Effective {
    control_path: Option<Utf8PathBuf>,
    host_name: Option<String>,
    asks_alive: bool,
    has_timeout: bool,
    /// What makes two connections differ.
    identity: Vec<String>,
}

impl Effective {
    async fn ask(tunnel: &SshTunnel, context: &Context) -> Result<Effective, TunnelError> {
        let mut command = ssh(context);
        destination(&mut command, tunnel, context)?;
        command.args(["-G", "--", &tunnel.host]);
        let answer = output(&mut command, CONTROL_PATIENCE).await?;
        if !answer.status.success() {
            return Err(TunnelError::Configuration {
                name: tunnel.name(),
                words: super::super::last_words(&answer.stderr),
            });
        }
        let mut effective = Effective::default();
        for line in String::from_utf8_lossy(&answer.stdout).lines() {
            if let Some(name) = line.strip_prefix("hostname ") {
                effective.host_name = Some(name.to_owned());
            }
            match line.split_once(' ') {
                // Older versions show it as it is written: then it can't be known.
                Some(("controlpath", path)) if path.starts_with('/') && !path.contains('%') => {
                    effective.control_path = Some(path.into());
                }
                Some((
                    "hostname" | "user" | "port" | "proxyjump" | "proxycommand" | "hostkeyalias"
                    | "bindaddress" | "bindinterface",
                    _,
                )) => effective.identity.push(line.to_owned()),
                Some(("serveraliveinterval", seconds)) => effective.asks_alive = seconds != "0",
                Some(("connecttimeout", seconds)) => {
                    effective.has_timeout = seconds.parse::<u32>().is_ok();
                }
                _ => {}
            }
        }
        Ok(effective)
    }
}

async fn open_one(
    context: &Context,
    effective: &Effective,
    socket: &Utf8Path,
) -> Result<Option<Master>, TunnelError> {
    let theirs = effective
        .control_path
        .iter()
        .map(|path| (path.as_path(), false));
    for (path, ours) in std::iter::once((socket, true)).chain(theirs) {
        if check(context, path).await?.is_some() {
            return Ok(Some(Master {
                socket: path.to_owned(),
                ours,
                fresh: false,
            }));
        }
    }
    Ok(None)
}

/// Logs in and leaves a master behind.
async fn log_in(
    tunnel: &SshTunnel,
    context: &Context,
    login: Login,
    say: &(dyn Fn(&[u8]) + Sync),
    effective: &Effective,
    socket: &Utf8Path,
) -> Result<(), TunnelError> {
    let name = tunnel.name();
    let mut command = ssh(context);
    destination(&mut command, tunnel, context)?;
    command.args(["-M", "-N", "-f", "-S", &escaped(socket)]);
    command.args(["-o", &format!("ControlPersist={PERSIST}")]);
    // The connection is for commands: what the user has set up for sessions by hand would be set up twice.
    for option in [
        "ClearAllForwardings=yes",
        "ForwardX11=no",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "RequestTTY=no",
        "NumberOfPasswordPrompts=1",
    ] {
        command.args(["-o", option]);
    }
    if !effective.asks_alive {
        command.args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2"]);
    }
    if !effective.has_timeout {
        command.args(["-o", "ConnectTimeout=20"]);
    }
    let asks = login == Login::Terminal;
    // What the master says later belongs to nobody's terminal; what it says while asking does.
    let log = socket.with_extension("log");
    if !asks {
        let _ = fs_err::remove_file(&log);
        write_file(&log, b"", 0o600).map_err(here)?;
        command.args(["-o", "BatchMode=yes", "-E", log.as_str()]);
        // The ssh of a jump host is told nothing of batch mode: it finds neither a terminal nor a window to ask on.
        command.env("SSH_ASKPASS_REQUIRE", "never");
        // SAFETY: setsid(2) is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()
                    .map(drop)
                    .map_err(std::io::Error::from)
            });
        }
    }
    command.args(["--", &tunnel.host]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(if asks { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().map_err(no_ssh)?;
    let mut said = Vec::new();
    let status = match child.stderr.take() {
        None => child.wait().await.map_err(here)?,
        Some(mut stderr) => {
            // Until the process in front has ended, not until the end of its words: the master that it leaves behind may
            // hold them open.
            let mut part = [0u8; 1024];
            loop {
                tokio::select! {
                    biased;
                    read = stderr.read(&mut part) => match read {
                        Ok(0) | Err(_) => break child.wait().await.map_err(here)?,
                        Ok(length) => {
                            say(&part[..length]);
                            said.extend_from_slice(&part[..length]);
                        }
                    },
                    status = child.wait() => break status.map_err(here)?,
                }
            }
        }
    };
    if !asks {
        said = fs_err::read(&log).unwrap_or_default();
    }
    if status.success() && check(context, socket).await?.is_some() {
        return Ok(());
    }
    Err(login_failure(&name, &said, !asks))
}

/// The process of the master behind a socket, if it lives.
async fn check(context: &Context, socket: &Utf8Path) -> Result<Option<u32>, TunnelError> {
    if !socket.exists() {
        return Ok(None);
    }
    match alive::ask(socket).await {
        Heard::Process(process) => return Ok(Some(process)),
        Heard::Nobody => return Ok(None),
        Heard::Odd => {}
    }
    let mut command = control(context, socket, "check")?;
    let answer = output(&mut command, CONTROL_PATIENCE).await?;
    if !answer.status.success() {
        return Ok(None);
    }
    // "Master running (pid=1234)"
    let text = String::from_utf8_lossy(&answer.stderr).into_owned()
        + &String::from_utf8_lossy(&answer.stdout);
    let number = text.split("pid=").nth(1).map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().unwrap_or(0)
    });
    Ok(Some(number.unwrap_or(0)))
}

/// `ssh` that can reach nothing but a master: neither a configuration nor a network leads anywhere else.
pub(super) fn through(context: &Context, socket: &Utf8Path) -> Command {
    let mut command = ssh(context);
    command.args(["-F", "none", "-S", &escaped(socket)]);
    for option in ["ControlMaster=no", "ProxyCommand=false", "BatchMode=yes"] {
        command.args(["-o", option]);
    }
    command
}

/// `ssh` by a master while it is there, else by a login of its own; without the host.
pub(super) fn jump(
    tunnel: &SshTunnel,
    context: &Context,
    socket: &Utf8Path,
) -> Result<Command, TunnelError> {
    let mut command = ssh(context);
    command.args(["-S", &escaped(socket)]);
    for option in ["ControlMaster=no", "RemoteCommand=none", "RequestTTY=no"] {
        command.args(["-o", option]);
    }
    destination(&mut command, tunnel, context)?;
    Ok(command)
}

/// What stands for the host where only the socket counts.
pub(super) const NO_HOST: &str = "none";

fn control(context: &Context, socket: &Utf8Path, word: &str) -> Result<Command, TunnelError> {
    let mut command = through(context, socket);
    command.args(["-O", word, NO_HOST]);
    Ok(command)
}

fn ssh(context: &Context) -> Command {
    let mut command = Command::new("ssh");
    command
        .env_clear()
        .envs(context.environment.iter())
        .current_dir("/")
        .kill_on_drop(true);
    command
}

/// Who and where.
fn destination(
    command: &mut Command,
    tunnel: &SshTunnel,
    context: &Context,
) -> Result<(), TunnelError> {
    if let Some(config) = &tunnel.ssh_config {
        command.args(["-F", existing(tunnel, context, config)?.as_str()]);
    }
    if let Some(user) = &tunnel.user {
        command.args(["-l", user]);
    }
    if let Some(port) = tunnel.port {
        command.args(["-p", &port.to_string()]);
    }
    if let Some(identity) = &tunnel.identity {
        // By `-o`, since `-i` only warns of what is not there and takes no `%%`.
        let path = existing(tunnel, context, identity)?;
        let path = escaped(&path).replace('\\', "\\\\").replace('"', "\\\"");
        command.args([
            "-o",
            &format!("IdentityFile=\"{path}\""),
            "-o",
            "IdentitiesOnly=yes",
        ]);
    }
    Ok(())
}

/// A file of the settings: `~/` is the home, what is relative is so to the working directory.
fn existing(
    tunnel: &SshTunnel,
    context: &Context,
    path: &Utf8Path,
) -> Result<Utf8PathBuf, TunnelError> {
    let path = match (path.as_str().strip_prefix("~/"), context.variable("HOME")) {
        (Some(rest), Some(home)) => Utf8Path::new(home).join(rest),
        _ => context.workdir.join(path),
    };
    match fs_err::File::open(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(TunnelError::Configuration {
            name: tunnel.name(),
            words: error.to_string(),
        }),
    }
}

/// A path in which ssh replaces nothing.
fn escaped(path: &Utf8Path) -> String {
    path.as_str().replace('%', "%%")
}

/// Where the socket of a tunnel is, or will be; its folder is made.
fn socket(effective: &Effective, context: &Context) -> Result<Utf8PathBuf, TunnelError> {
    let mut parts = effective.identity.clone();
    parts.sort();
    let text = serde_json::to_vec(&(&context.host, parts))
        .map_err(|error| TunnelError::Here(error.to_string()))?;
    let folder = folder(context)?;
    create_private_dir(&folder).map_err(here)?;
    let found = fs_err::symlink_metadata(&folder).map_err(here)?;
    let mine = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw();
    if !mine || found.permissions().mode() & 0o077 != 0 {
        return Err(TunnelError::Here(format!(
            "{folder} must be a folder of yours that is closed to others (chmod 700)"
        )));
    }
    Ok(folder.join(&blake3::hash(&text).to_hex()[..16]))
}

/// The folder of sockets.
fn folder(context: &Context) -> Result<Utf8PathBuf, TunnelError> {
    let user = nix::unistd::geteuid();
    let runtime = context
        .variable("XDG_RUNTIME_DIR")
        .filter(|path| path.starts_with('/'));
    // Two homes of one user must not share a short folder's sockets: each has its own notes.
    let home = &blake3::hash(context.home.as_str().as_bytes()).to_hex()[..8];
    let candidates = [
        Some(context.home.join("ssh")),
        runtime.map(|path| Utf8Path::new(path).join(format!("mizzen-{home}"))),
        Some(Utf8PathBuf::from(format!("/tmp/mizzen-{user}-{home}"))),
    ];
    candidates
        .into_iter()
        .flatten()
        .find(|folder| {
            let plain = !folder.as_str().contains("${");
            plain && escaped(folder).len() + 17 <= LONGEST_SOCKET
        })
        .ok_or_else(|| {
            TunnelError::Here("there is no folder with a path short enough for a socket".to_owned())
        })
}

/// Held while one logs in, so that no two do.
async fn lock(
    socket: &Utf8Path,
    name: &str,
) -> Result<nix::fcntl::Flock<std::fs::File>, TunnelError> {
    use nix::fcntl::{Flock, FlockArg};
    let path = socket.with_extension("lock");
    write_file(&path, b"", 0o600).map_err(here)?;
    let mut file = std::fs::File::options()
        .write(true)
        .open(&path)
        .map_err(here)?;
    let wait = async {
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, nix::errno::Errno::EWOULDBLOCK)) => file = again,
                Err((_, error)) => {
                    return Err(TunnelError::Here(format!("can't lock {path}: {error}")));
                }
            }
            tokio::time::sleep(LOCK_PACE).await;
        }
    };
    match tokio::time::timeout(LOCK_PATIENCE, wait).await {
        Ok(lock) => lock,
        Err(_) => Err(TunnelError::Unreachable {
            name: name.to_owned(),
            words: "another process has been logging in for minutes".to_owned(),
        }),
    }
}

/// Runs to the end, within a time.
async fn output(
    command: &mut Command,
    patience: Duration,
) -> Result<std::process::Output, TunnelError> {
    command.stdin(Stdio::null());
    match tokio::time::timeout(patience, command.output()).await {
        Ok(output) => output.map_err(no_ssh),
        Err(_) => Err(TunnelError::Here(
            "`ssh` does not answer on this machine".to_owned(),
        )),
    }
}

/// `ssh` can't be started.
pub(super) fn no_ssh(error: std::io::Error) -> TunnelError {
    TunnelError::Here(format!(
        "can't run `ssh`: {error}; Debian's package is openssh-client"
    ))
}

fn here(error: std::io::Error) -> TunnelError {
    TunnelError::Here(error.to_string())
}
