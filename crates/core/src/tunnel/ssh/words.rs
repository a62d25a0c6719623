//! What ssh's own words mean: its exit status is 255 for everything.
//!
//! The words are those of OpenSSH's ssh.c, sshconnect.c, sshconnect2.c and mux.c (8.0 to 9.9), which speaks English only.

use super::super::{TunnelError, last_words};

/// A login that failed.
pub(super) fn login_failure(name: &str, stderr: &[u8], could_prompt: bool) -> TunnelError {
    let text = String::from_utf8_lossy(stderr).into_owned();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let name = name.to_owned();
    let words = match last_words(stderr) {
        words if words.is_empty() => "ssh says nothing".to_owned(),
        words => words,
    };
    if says(&[
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "HOST IDENTIFICATION HAS CHANGED",
    ]) {
        TunnelError::WrongHostKey { name }
    } else if says(&["Host key verification failed", "host key is known for"]) {
        TunnelError::UnknownHost { name }
    } else if says(&[
        "Permission denied (",
        "Too many authentication failures",
        "No more authentication methods",
        "No supported authentication methods",
    ]) {
        TunnelError::Authentication {
            name,
            could_prompt,
            words,
        }
    } else if says(&[
        "Bad configuration option",
        "bad configuration options",
        "Can't open user config file",
        "Bad owner or permissions on",
        "unknown option",
        "command-line line 0",
        "Bad number",
        "Bad port",
    ]) {
        TunnelError::Configuration { name, words }
    } else if says(&["UNKNOWN port 65535"]) {
        // sshconnect.c, ssh_proxy_connect: with ControlPersist what is on the way has nowhere to say why.
        let words = "the jump host or proxy on the way did not let us through; `ssh` to it by hand says why";
        TunnelError::Unreachable {
            name,
            words: words.to_owned(),
        }
    } else {
        TunnelError::Unreachable { name, words }
    }
}

/// The use of a connection that failed before the command began.
pub(super) fn use_failure(name: &str, stderr: &[u8]) -> TunnelError {
    let text = String::from_utf8_lossy(stderr);
    let name = name.to_owned();
    if text.contains("Session open refused by peer") || text.contains("session request failed") {
        TunnelError::Busy { name }
    } else {
        TunnelError::Unreachable {
            name,
            words: "the connection is gone".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let of = |text: &str| login_failure("h", text.as_bytes(), true);
        let unreachable = "ssh: connect to host h port 22: Connection refused";
        assert!(
            matches!(of(unreachable), TunnelError::Unreachable { words, .. } if words == unreachable)
        );
        assert!(matches!(
            of("me@h: Permission denied (publickey,password)."),
            TunnelError::Authentication {
                could_prompt: true,
                ..
            }
        ));
        assert!(matches!(
            of(
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed."
            ),
            TunnelError::WrongHostKey { .. }
        ));
        assert!(matches!(
            of("Host key verification failed."),
            TunnelError::UnknownHost { .. }
        ));
        assert!(matches!(
            of("f: line 1: Bad configuration option: x"),
            TunnelError::Configuration { .. }
        ));
        assert!(matches!(of(""), TunnelError::Unreachable { .. }));
    }
}
