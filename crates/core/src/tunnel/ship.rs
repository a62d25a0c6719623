//! The agent's executable to the other side: once for each version, whole or not at all, and tried.
//!
//! [`ship`] does it by commands, and works everywhere. [`Served`] is the short way: one session in which the agent is looked
//! for, sent if it is missing, and started to serve. On many machines a session takes a tenth of a second, most of it in
//! login files.

use std::borrow::Cow;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::transfer::{failure, token};
use super::{Cmd, Tunnel, TunnelError};
use crate::context::{AGENT_NAME, Context, agent_version};

/// How long trying may take, a slow file system and `pre_command` included.
const TRY_LIMIT: Duration = Duration::from_secs(60);
/// How long sending may take, over a slow line.
pub(super) const SEND_LIMIT: Duration = Duration::from_secs(600);
/// What the scripts say once the file is whole.
const WHOLE: &str = "whole";

/// `$1`: the folder, from the home if it is relative, `$2`: the file's name, `$3`: its size. Says where it is if it is there and whole, and whether it
/// runs. What the shell says of a file that it can't execute is an answer, not a failure.
const TRY: &str = r#"
case $1 in /*) path=$1/$2 ;; *) path=${HOME:-$PWD}/$1/$2 ;; esac
[ -f "$path" ] && [ "$(wc -c <"$path" 2>/dev/null)" -eq "$3" ] 2>/dev/null || { echo missing; exit 0; }
[ -x "$path" ] || chmod 700 -- "$path" 2>/dev/null
if "$path" --version >/dev/null 2>&1 </dev/null; then echo "whole runs $path"; else echo "whole fails $path"; fi"#;

/// As [`TRY`], with `$4`: a name that nobody else has. Reads the file from standard input.
const SEND: &str = r#"
umask 077
case $1 in /*) folder=$1 ;; *) folder=${HOME:-$PWD}/$1 ;; esac
mkdir -p -- "$folder" && cat >"$folder/$4" || { rm -f -- "$folder/$4"; exit 1; }
if [ "$(wc -c <"$folder/$4")" -ne "$3" ]; then rm -f -- "$folder/$4"; echo 'it did not arrive whole' >&2; exit 1; fi
chmod 700 -- "$folder/$4" && mv -f -- "$folder/$4" "$folder/$2" || { rm -f -- "$folder/$4"; exit 1; }"#;

/// As [`SEND`], if the file is not there and whole; then it becomes `serve`. Says `missing` before it reads the file, and where
/// the file is before it starts it. `head -c` takes no byte too many from a pipe, but is in POSIX only since 2024: where it is
/// not, the script ends, and [`ship`] is left.
const SERVE: &str = r#"
case $1 in /*) folder=$1 ;; *) folder=${HOME:-$PWD}/$1 ;; esac
whole() { [ -f "$1" ] && [ "$(wc -c <"$1" 2>/dev/null)" -eq "$2" ] 2>/dev/null; }
if ! whole "$folder/$2" "$3"; then
    (
        umask 077
        mkdir -p -- "$folder" && : >"$folder/$4" || exit
        echo missing
        if head -c "$3" >"$folder/$4" && whole "$folder/$4" "$3" && chmod 700 -- "$folder/$4"; then
            mv -f -- "$folder/$4" "$folder/$2"
        else
            rm -f -- "$folder/$4"
            exit 1
        fi
    ) || exit
fi
[ -x "$folder/$2" ] || chmod 700 -- "$folder/$2" 2>/dev/null
printf 'whole %s\n' "$folder/$2"
exec "$folder/$2" serve"#;

/// The command of the short way, and what to send when it says [`MISSING`].
pub(super) struct Served<'context> {
    /// What becomes `serve`.
    pub(super) command: Cmd,
    /// The executable.
    pub(super) bytes: Cow<'context, [u8]>,
}

/// What [`Served::command`] says when it waits for the executable.
pub(super) const MISSING: &str = "missing";

impl<'context> Served<'context> {
    /// For the agent below `job_dir`, as [`ship`].
    ///
    /// # Errors
    /// The executable can't be read on this machine.
    pub(super) fn new(
        context: &'context Context,
        job_dir: Option<&Utf8Path>,
    ) -> Result<Served<'context>, TunnelError> {
        let (bytes, words) = agent(context, job_dir)?;
        let name = format!("{AGENT_NAME}.{}", token()?);
        Ok(Served {
            command: Cmd::script(SERVE, words.into_iter().chain([name])),
            bytes,
        })
    }

    /// The executable's path, from a line that the command says before it becomes `serve`.
    pub(super) fn path(line: &str) -> Option<Utf8PathBuf> {
        let (word, path) = line.split_once(' ')?;
        (word == WHOLE).then(|| Utf8PathBuf::from(path))
    }
}

/// The agent's executable, and the folder, the name and the size that it has on the other side.
fn agent<'context>(
    context: &'context Context,
    job_dir: Option<&Utf8Path>,
) -> Result<(Cow<'context, [u8]>, [String; 3]), TunnelError> {
    let bytes = context
        .agent
        .bytes()
        .map_err(|error| TunnelError::Here(error.to_string()))?;
    let folder = job_dir
        .unwrap_or(Utf8Path::new(""))
        .join(".mizzen/agents")
        .join(agent_version(&bytes));
    let words = [
        folder.to_string(),
        AGENT_NAME.to_owned(),
        bytes.len().to_string(),
    ];
    Ok((bytes, words))
}

/// The agent below `job_dir`, or below the home folder of the other side; `None` if it does not run there.
pub(super) async fn ship<T: Tunnel + ?Sized>(
    tunnel: &T,
    job_dir: Option<&Utf8Path>,
) -> Result<Option<Utf8PathBuf>, TunnelError> {
    let (bytes, words) = agent(tunnel.context(), job_dir)?;
    if let Some(found) = find(tunnel, &words).await? {
        return Ok(found);
    }
    let name = format!("{AGENT_NAME}.{}", token()?);
    let send = Cmd::script(SEND, words.iter().cloned().chain([name]))
        .env("LC_ALL", "C")
        .timeout(SEND_LIMIT);
    let sent = tunnel.run(&send.stdin(bytes)).await?;
    if sent.status != 0 {
        return Err(failure(tunnel, &words[0], &sent.stderr));
    }
    Ok(find(tunnel, &words).await?.flatten())
}

/// `None`: it is not there; `Some(None)`: it does not run.
async fn find<T: Tunnel + ?Sized>(
    tunnel: &T,
    words: &[String; 3],
) -> Result<Option<Option<Utf8PathBuf>>, TunnelError> {
    let command = Cmd::script(TRY, words.clone()).timeout(TRY_LIMIT);
    let answer = tunnel.run(&command).await?.ok(&command)?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let mut parts = text.trim_end_matches('\n').splitn(3, ' ');
    Ok(match (parts.next(), parts.next(), parts.next()) {
        (Some(WHOLE), Some("runs"), Some(path)) => Some(Some(Utf8PathBuf::from(path))),
        (Some(WHOLE), ..) => Some(None),
        _ => None,
    })
}
