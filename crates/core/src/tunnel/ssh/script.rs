//! What stands around a command on the other side, and what it tells.
//!
//! ```text
//! login shell: exec sh -c 'eval "$(dd bs=1 count=N)"'      the same few signs for all, so that csh and fish take them too
//! stdin:       the script (N bytes), then the command's own input
//! stdout:      … MARK PID\n, then the command's own output
//! stderr:      … MARK start\n, then the command's own, then \nMARK end STATUS\n
//! ```
//!
//! The script travels through standard input: neither arguments nor variables stand in the process table of either
//! machine, and their size is not limited by it. What login files print stands before the marks and is left out.
//! `dd` with single bytes is the one reader that POSIX promises to take no byte too many.

use super::super::command::{plain_path, quote};
use super::super::{Cmd, TunnelError};

/// A command made ready for the other side.
pub(super) struct Script {
    /// What the login shell is given.
    pub(super) line: String,
    /// What is sent before the command's own input.
    pub(super) text: String,
    mark: String,
}

/// How it ended, as it says itself.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Told {
    /// The command ended with this status.
    End(i32),
    /// `pre_command` ended with this status.
    Pre(i32),
    /// The working directory can't be entered.
    Cwd,
}

/// What stands on standard error, taken apart.
#[derive(Debug)]
pub(super) struct Errors {
    /// Before the command: of ssh, of login files, of `pre_command`.
    pub(super) before: Vec<u8>,
    /// The command's own.
    pub(super) own: Vec<u8>,
    /// Its end; `None` if it did not come so far.
    pub(super) told: Option<Told>,
}

impl Script {
    /// Wraps a command. `token` is a word that nobody else says; `shell` is one or more words of plain signs.
    ///
    /// # Errors
    /// The command can't be sent ([`Cmd::check`]).
    pub(super) fn new(
        command: &Cmd,
        shell: &str,
        pre_command: Option<&str>,
        token: &str,
    ) -> Result<Script, TunnelError> {
        command.check()?;
        let mark = format!("mizzen-{token}");
        let mut lines = vec![format!("printf '%s %s\\n' {mark} \"$$\"")];
        if let Some(pre_command) = pre_command {
            lines.push(format!(
                "eval {} </dev/null >&2 || {{ printf '\\n%s pre %s\\n' {mark} \"$?\" >&2; exit 1; }}",
                quote(pre_command)
            ));
        }
        lines.push(format!("printf '%s start\\n' {mark} >&2"));
        if let Some(folder) = &command.cwd {
            // Without CDPATH, which would have its say for relative paths.
            lines.push(format!(
                "CDPATH= cd -- {} || {{ printf '\\n%s cwd 1\\n' {mark} >&2; exit 1; }}",
                quote(&plain_path(folder.as_str()))
            ));
        }
        // What the shell itself says of a command that a signal ended ("Killed") is not the command's.
        lines.push("exec 3>&2 2>/dev/null".to_owned());
        lines.push("( exec 2>&3 3>&-".to_owned());
        for (name, value) in &command.env {
            lines.push(format!("export {name}={}", quote(value)));
        }
        let program = command.program().unwrap_or_default();
        let words = std::iter::once(quote(&program))
            .chain(command.argv[1..].iter().map(|word| quote(word)));
        // By exec: the words of a command are no function, alias or built-in of the shell.
        lines.push(format!("exec {}", words.collect::<Vec<_>>().join(" ")));
        lines.push(")".to_owned());
        lines.push(format!(
            "mizzen_status=$?; printf '\\n%s end %s\\n' {mark} \"$mizzen_status\" >&3; exit \"$mizzen_status\""
        ));
        let text = lines.join("\n");
        let line = format!(
            "exec {shell} -c 'eval \"$(dd bs=1 count={} 2>/dev/null)\"'",
            text.len()
        );
        Ok(Script { line, text, mark })
    }

    /// Where the command's own output begins in what was read so far, and the process that runs it.
    pub(super) fn begin(&self, stdout: &[u8]) -> Option<(usize, i32)> {
        let mark = format!("{} ", self.mark);
        let position = find(stdout, mark.as_bytes())? + mark.len();
        let length = stdout[position..].iter().position(|byte| *byte == b'\n')?;
        let number = std::str::from_utf8(&stdout[position..position + length]).ok()?;
        Some((position + length + 1, number.parse().ok()?))
    }

    /// Takes standard error apart.
    pub(super) fn errors(&self, mut bytes: Vec<u8>) -> Errors {
        let mut told = None;
        let end = format!("\n{} ", self.mark);
        if let Some(position) = find_last(&bytes, end.as_bytes()) {
            let from = position + end.len();
            let length = bytes[from..].iter().position(|byte| *byte == b'\n');
            let line =
                length.and_then(|length| std::str::from_utf8(&bytes[from..from + length]).ok());
            told = line.and_then(read_end);
            if let (Some(_), Some(length)) = (&told, length) {
                bytes.drain(position..=from + length);
            }
        }
        let start = format!("{} start\n", self.mark);
        let own = match find(&bytes, start.as_bytes()) {
            Some(position) => {
                let own = bytes.split_off(position + start.len());
                bytes.truncate(position);
                own
            }
            None => Vec::new(),
        };
        Errors {
            before: bytes,
            own,
            told,
        }
    }
}

/// What is behind the name of a session's file in the name of the one that names its process.
pub(super) const PROCESS: &str = ".process";

/// The text of a file that runs a command with a session's own streams, and removes itself first. Without a terminal it
/// writes down which process is the command, until that has ended.
///
/// # Errors
/// The command can't be sent ([`Cmd::check`]).
pub(super) fn of_session(
    command: &Cmd,
    pre_command: Option<&str>,
    terminal: bool,
) -> Result<String, TunnelError> {
    command.check()?;
    let mut lines = vec!["rm -f -- \"$0\"".to_owned()];
    if let Some(pre_command) = pre_command {
        lines.push(format!(
            "eval {} </dev/null >&2 || exit",
            quote(pre_command)
        ));
    }
    if let Some(folder) = &command.cwd {
        lines.push(format!(
            "CDPATH= cd -- {} || exit",
            quote(&plain_path(folder.as_str()))
        ));
    }
    for (name, value) in &command.env {
        lines.push(format!("export {name}={}", quote(value)));
    }
    let program = command.program().unwrap_or_default();
    let words =
        std::iter::once(quote(&program)).chain(command.argv[1..].iter().map(|word| quote(word)));
    let words = words.collect::<Vec<_>>().join(" ");
    if terminal {
        lines.push(format!("exec {words}"));
    } else {
        let inner = quote("echo \"$$\" >\"$1\"; shift; exec \"$@\"");
        lines.push(format!("sh -c {inner} sh \"$0{PROCESS}\" {words}"));
        lines.push(format!(
            "mizzen_status=$?; rm -f -- \"$0{PROCESS}\"; exit \"$mizzen_status\""
        ));
    }
    Ok(lines.join("\n") + "\n")
}

/// Ends the process group that a command runs in.
pub(super) fn kill(process: i32) -> Cmd {
    let script = r#"
kill -TERM "-$1" 2>/dev/null
for second in 1 2 3; do
    kill -0 "-$1" 2>/dev/null || exit 0
    sleep 1
done
kill -KILL "-$1" 2>/dev/null
exit 0"#;
    Cmd::script(script, [process.to_string()])
}

fn read_end(line: &str) -> Option<Told> {
    let (word, number) = line.split_once(' ')?;
    let number = number.parse().ok()?;
    match word {
        "end" => Some(Told::End(number)),
        "pre" => Some(Told::Pre(number)),
        "cwd" => Some(Told::Cwd),
        _ => None,
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

fn find_last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).rposition(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script::new(&Cmd::new(["true"]), "sh", None, "0").unwrap()
    }

    #[test]
    fn what_login_files_say_is_left_out() {
        let script = script();
        let stdout = b"welcome\nmizzen-0 17\nmizzen-0 18\nown";
        assert_eq!(script.begin(stdout), Some((20, 17)));
        assert_eq!(script.begin(b"welcome\nmizzen-0 17"), None);
        let errors = script.errors(b"hello mizzen-0 start\nown\nmizzen-0 end 255\n".to_vec());
        assert_eq!(errors.before, b"hello ");
        assert_eq!(errors.own, b"own");
        assert_eq!(errors.told, Some(Told::End(255)));
    }

    #[test]
    fn a_command_that_was_cut_tells_nothing() {
        let script = script();
        let errors = script.errors(b"mizzen-0 start\nown\nmizzen-0 en".to_vec());
        assert_eq!(errors.told, None);
        assert_eq!(errors.own, b"own\nmizzen-0 en");
        let errors = script.errors(b"ssh: no\n".to_vec());
        assert_eq!((errors.told, errors.own), (None, Vec::new()));
        assert_eq!(errors.before, b"ssh: no\n");
    }

    #[test]
    fn the_login_shell_sees_plain_signs_only() {
        let command = Cmd::new(["echo", "'!$(x)\n\u{e4}"])
            .env("A", "secret")
            .cwd("a b");
        let script = Script::new(&command, "sh", Some("module load x"), "0").unwrap();
        assert_eq!(
            script.line,
            format!(
                "exec sh -c 'eval \"$(dd bs=1 count={} 2>/dev/null)\"'",
                script.text.len()
            )
        );
    }
}
