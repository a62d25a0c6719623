//! Secrets by reference: `env:NAME`, `file:PATH`, `cmd:COMMAND`. They are resolved when a job is sent, on the machine
//! that sends it, and are written nowhere.

use std::collections::BTreeMap;

/// A secret can't be had. The value is never part of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not of a known form.
    #[error("`{0}` is no reference to a secret: write env:NAME, file:PATH or cmd:COMMAND")]
    Form(String),
    /// The variable is not set.
    #[error("the variable {0} is not set in the environment of the process that starts the job")]
    Variable(String),
    /// The file can't be read.
    #[error("the file {path} can't be read: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// The command failed.
    #[error("the command `{command}` gave no secret: {reason}")]
    Command {
        /// Which.
        command: String,
        /// Why.
        reason: String,
    },
    /// The value can't be in an environment.
    #[error("the secret {0} is not UTF-8 text without NUL")]
    Text(String),
}

/// The value that a reference stands for. One line end at the end of a file or of a command's output is dropped.
///
/// # Errors
/// There is no such value, or it can't stand in an environment.
pub fn resolve(
    reference: &str,
    environment: &BTreeMap<String, String>,
) -> Result<String, SecretError> {
    let bytes = if let Some(name) = reference.strip_prefix("env:") {
        environment
            .get(name)
            .ok_or_else(|| SecretError::Variable(name.to_owned()))?
            .clone()
            .into_bytes()
    } else if let Some(path) = reference.strip_prefix("file:") {
        let path = match (path.strip_prefix("~/"), environment.get("HOME")) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            _ => path.to_owned(),
        };
        let failed = |error: std::io::Error| SecretError::File {
            path: path.clone(),
            reason: error.to_string(),
        };
        without_line_end(std::fs::read(&path).map_err(failed)?)
    } else if let Some(command) = reference.strip_prefix("cmd:") {
        let failed = |reason: String| SecretError::Command {
            command: command.to_owned(),
            reason,
        };
        let words = shlex::split(command).filter(|words| !words.is_empty());
        let words =
            words.ok_or_else(|| failed("its quotes are not closed, or it is empty".to_owned()))?;
        let output = std::process::Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs(environment)
            .stdin(std::process::Stdio::null())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(output.status.to_string()));
        }
        without_line_end(output.stdout)
    } else {
        return Err(SecretError::Form(reference.to_owned()));
    };
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(SecretError::Text(reference.to_owned())),
    }
}

fn without_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_and_errors_do_not_tell_values() {
        let environment = BTreeMap::from([
            ("TOKEN".to_owned(), "s3cret".to_owned()),
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ]);
        assert_eq!(resolve("env:TOKEN", &environment).unwrap(), "s3cret");
        assert_eq!(resolve("cmd:echo 'a b'", &environment).unwrap(), "a b");
        let file = std::env::temp_dir().join(format!("mizzen-secret-{}", std::process::id()));
        std::fs::write(&file, "from a file\r\n").unwrap();
        assert_eq!(
            resolve(&format!("file:{}", file.display()), &environment).unwrap(),
            "from a file"
        );
        std::fs::remove_file(&file).unwrap();
        for (reference, text) in [
            ("env:NO", "NO is not set"),
            ("plain", "no reference"),
            ("cmd:false", "exit status: 1"),
            ("file:/no/such", "No such file"),
        ] {
            let error = resolve(reference, &environment).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
