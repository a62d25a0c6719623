//! Where PyTorch and Ray are (scripts/frameworks.sh), and copies of the examples that use them.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::support::{Session, repository};

/// The value of PATH with which `python3`, `torchrun` and `ray` are a framework's own. `None`, said aloud, where it is not
/// installed; in CI a failure.
pub(crate) fn path_with(framework: &str) -> Option<String> {
    let asked = Command::new(repository().join("scripts/frameworks.sh"))
        .args(["where", framework])
        .output()
        .unwrap();
    if !asked.status.success() {
        let words = String::from_utf8_lossy(&asked.stderr).into_owned();
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{words}CI skips nothing"
        );
        std::io::stderr()
            .write_all(format!("skipped: {words}").as_bytes())
            .unwrap();
        return None;
    }
    let folder = String::from_utf8(asked.stdout).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    Some(format!("{}/bin:{path}", folder.trim()))
}

/// Copies an example into a session's working directory.
pub(crate) fn copy_example(session: &Session, name: &str) {
    let folder = repository().join("examples").join(name);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let to: &Path = path.file_name().unwrap().as_ref();
        std::fs::copy(&path, session.workdir().join(to)).unwrap();
    }
}
