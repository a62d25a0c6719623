//! Files and folders from one side to the other, whole or not at all.
//!
//! ```text
//! SEND (tar -c) ──▶ RECEIVE (tar -x into .mizzen-<token>/ beside the target) ──both well──▶ PLACE (rename)
//!                                                                            ──else──────▶ DROP
//! ```
//!
//! Both sides run the same scripts, which need POSIX's `sh` and a `tar`; where they run makes the only difference between
//! putting and getting. An archive that was cut between two members looks whole to GNU tar, so that placing waits for the
//! sender's own word as well.

use std::fmt::Write;

use camino::Utf8Path;
use tokio::io::AsyncWriteExt;

use super::command::plain_path;
use super::local::LocalTunnel;
use super::{Cmd, Ended, Tunnel, TunnelError, last_words};

/// What a sender of files says where it is asked what it has.
const FOLDER: &str = "folder";
/// See [`FOLDER`].
const FILE: &str = "file";

/// `$1`: a path. Says what it is.
const KIND: &str = r#"
if [ -d "$1" ]; then echo folder; elif [ -f "$1" ]; then echo file
elif [ -e "$1" ]; then echo 'neither a file nor a folder' >&2; exit 1
else ls -d -- "$1" >/dev/null || exit 1; echo 'gone' >&2; exit 1; fi"#;

/// `$1`: a path, `$2`: its kind. A link is followed at the top only.
const SEND: &str = r#"
[ "$2" = folder ] && exec tar -cf - -C "$1" .
case $1 in */*) parent=${1%/*}/ ;; *) parent=. ;; esac
exec tar -chf - -C "$parent" "./${1##*/}""#;

/// `$1`: the target, `$2`: the staging folder's name.
const RECEIVE: &str = r#"
umask 077
case $1 in */*) parent=${1%/*}/ ;; *) parent=./ ;; esac
mkdir -p -- "$parent" && mkdir -- "$parent$2" "$parent$2/new" && exec tar -xpof - -C "$parent$2/new""#;

/// `$1`: the target, `$2`: the staging folder's name, `$3`: the kind, `$4`: a file's name in the archive.
const PLACE: &str = r#"
case $1 in */*) staging=${1%/*}/$2 ;; *) staging=./$2 ;; esac
if [ "$3" = folder ]; then
    if [ -e "$1" ] || [ -L "$1" ]; then mv -f -- "$1" "$staging/old" || exit 1; fi
    mv -f -- "$staging/new" "$1" || { [ -e "$staging/old" ] && mv -f -- "$staging/old" "$1"; exit 1; }
elif [ -d "$1" ] && [ ! -L "$1" ]; then
    echo 'is a folder' >&2
    exit 1
else
    if [ -d "$1" ]; then rm -f -- "$1" || exit 1; fi
    mv -f -- "$staging/new/$4" "$1" || exit 1
fi
chmod -R u+rwx -- "$staging" && rm -rf -- "$staging" || :"#;

/// `$1`: the target, `$2`: the staging folder's name.
const DROP: &str = r#"
case $1 in */*) staging=${1%/*}/$2 ;; *) staging=./$2 ;; esac
if [ -d "$staging" ]; then chmod -R u+rwx -- "$staging"; rm -rf -- "$staging"; fi"#;

/// From this machine.
pub(super) async fn put<T: Tunnel + ?Sized>(
    tunnel: &T,
    here: &Utf8Path,
    there: &Utf8Path,
) -> Result<(), TunnelError> {
    let local = this_side(tunnel);
    transfer(&*local, here, tunnel, there).await
}

/// To this machine.
pub(super) async fn get<T: Tunnel + ?Sized>(
    tunnel: &T,
    there: &Utf8Path,
    here: &Utf8Path,
) -> Result<(), TunnelError> {
    let local = this_side(tunnel);
    transfer(tunnel, there, &*local, here).await
}

fn this_side<T: Tunnel + ?Sized>(tunnel: &T) -> std::sync::Arc<dyn Tunnel> {
    let context = tunnel.context();
    LocalTunnel::default().connect(context)
}

async fn transfer<A: Tunnel + ?Sized, B: Tunnel + ?Sized>(
    from: &A,
    source: &Utf8Path,
    to: &B,
    target: &Utf8Path,
) -> Result<(), TunnelError> {
    let (source, target) = (path(from, source)?, path(to, target)?);
    let name = file_name(from, &source)?;
    file_name(to, &target)?;
    let kind = from.run(&script(KIND, [source.clone()])).await?;
    let kind = match (kind.status, kind.stdout.starts_with(FOLDER.as_bytes())) {
        (0, true) => FOLDER,
        (0, false) => FILE,
        _ => return Err(failure(from, &source, &kind.stderr)),
    };
    let staging = format!(".mizzen-{}", token()?);
    let received = copy(from, &source, kind, to, &target, &staging).await;
    let placed = match received {
        Ok(()) => {
            let words = [target.clone(), staging.clone(), kind.to_owned(), name];
            match to.run(&script(PLACE, words)).await {
                Ok(placed) if placed.status == 0 => return Ok(()),
                Ok(placed) => Err(failure(to, &target, &placed.stderr)),
                // Whether it was placed is not known, and the connection that could tell is gone.
                Err(error) => return Err(error),
            }
        }
        Err(error) => Err(error),
    };
    let _ = to.run(&script(DROP, [target, staging])).await;
    placed
}

/// Sends and receives at once; well only if both are.
async fn copy<A: Tunnel + ?Sized, B: Tunnel + ?Sized>(
    from: &A,
    source: &str,
    kind: &str,
    to: &B,
    target: &str,
    staging: &str,
) -> Result<(), TunnelError> {
    let send = script(SEND, [source.to_owned(), kind.to_owned()]);
    let receive = script(RECEIVE, [target.to_owned(), staging.to_owned()]);
    let (mut writer, mut reader) = tokio::io::duplex(1 << 16);
    let sending = async move {
        let mut nothing = tokio::io::empty();
        let ended = from.exec(&send, &mut nothing, &mut writer).await;
        let _ = writer.shutdown().await;
        ended
    };
    let receiving = async move {
        let mut nothing = tokio::io::sink();
        let ended = to.exec(&receive, &mut reader, &mut nothing).await;
        // A sender must not wait for somebody who no longer reads.
        drop(reader);
        ended
    };
    let (sent, received) = tokio::join!(sending, receiving);
    let received = received?;
    if received.status != 0 {
        return Err(failure(to, target, &received.stderr));
    }
    let sent = sent?;
    if sent.status != 0 && !only_grew(&sent) {
        return Err(failure(from, source, &sent.stderr));
    }
    Ok(())
}

/// A log that is written meanwhile is sent as it was; GNU tar says so with status 1.
fn only_grew(sent: &Ended) -> bool {
    let text = String::from_utf8_lossy(&sent.stderr);
    sent.status == 1
        && !text.trim().is_empty()
        && text
            .lines()
            .all(|line| line.ends_with("file changed as we read it"))
}

/// A script whose messages are in English, so that they can be told apart.
fn script(text: &str, arguments: impl IntoIterator<Item = String>) -> Cmd {
    Cmd::script(text, arguments).env("LC_ALL", "C")
}

/// A path that is no option and ends in a name.
fn path<T: Tunnel + ?Sized>(side: &T, path: &Utf8Path) -> Result<String, TunnelError> {
    let text = path.as_str().trim_end_matches('/');
    if text.is_empty() || text.contains('\0') {
        return Err(TunnelError::Path {
            name: side.name(),
            path: path.to_string(),
            words: "no path of a file or folder".to_owned(),
        });
    }
    Ok(plain_path(text).into_owned())
}

fn file_name<T: Tunnel + ?Sized>(side: &T, path: &str) -> Result<String, TunnelError> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if matches!(name, "." | "..") {
        return Err(TunnelError::Path {
            name: side.name(),
            path: path.to_owned(),
            words: "a path must end in a name".to_owned(),
        });
    }
    Ok(name.to_owned())
}

pub(super) fn failure<T: Tunnel + ?Sized>(side: &T, path: &str, stderr: &[u8]) -> TunnelError {
    let words = last_words(stderr);
    let (name, path) = (side.name(), path.to_owned());
    let refusals = [
        "Permission denied",
        "Read-only file system",
        "Operation not permitted",
    ];
    if refusals.iter().any(|refusal| words.contains(refusal)) {
        TunnelError::NoPermission { name, path, words }
    } else {
        TunnelError::Path { name, path, words }
    }
}

/// Sixteen letters and digits that nobody else has.
pub(super) fn token() -> Result<String, TunnelError> {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| TunnelError::Here(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
