//! What an experiment was made from and where, beside its document: the repository's state, the machine, the Python.
//!
//! ```text
//! git: status, remotes, diff ┐
//! lock files                 ├─▶ Provenance ─▶ the experiment's record; the diff as `code.patch` in its folder
//! this machine               ┘
//! ```
//!
//! It is collected for the record: what can't be had is left out and said, and keeps nobody from running anything. The only
//! program that is started is git.

use std::collections::BTreeMap;

use camino::Utf8Path;
use mizzen_agent::node::Node;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::packager::{Git, repository};

/// The version of the form that this build writes.
const VERSION: u32 = 1;
/// The file in an experiment's folder with what was not committed.
pub const PATCH: &str = "code.patch";
/// A larger diff is not kept as text; the kept tree holds the files all the same.
const LARGEST_PATCH: usize = 10 << 20;
/// What is larger is no lock file.
const LARGEST_LOCK_FILE: u64 = 64 << 20;
/// Files that pin what a project depends on.
const LOCK_FILES: [&str; 9] = [
    "Pipfile.lock",
    "conda-lock.yml",
    "environment.yml",
    "pdm.lock",
    "pixi.lock",
    "poetry.lock",
    "pyproject.toml",
    "requirements.txt",
    "uv.lock",
];

/// What an experiment was made from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The version of this form.
    pub version: u32,
    /// The repository, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitState>,
    /// Files that pin dependencies: the BLAKE3 hash of each by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lock_files: BTreeMap<String, String>,
    /// The machine that it was launched from.
    pub machine: Node,
    /// What could not be had, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// How a repository stood.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GitState {
    /// Its top.
    pub root: String,
    /// The commit; `None` before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch; `None` with a detached head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The remotes' addresses, without what is secret in them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub remotes: BTreeMap<String, String>,
    /// How many tracked files differed from the commit.
    pub changed: u64,
    /// How many files were neither tracked nor ignored.
    pub untracked: u64,
    /// The commits that the submodules stood at.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub submodules: BTreeMap<String, String>,
    /// Bytes of the diff that is kept as [`PATCH`]; 0: there is none.
    pub patch: u64,
}

impl GitState {
    /// Something was not committed.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.changed + self.untracked > 0
    }
}

/// What is recorded, and the diff that belongs to it.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// For the experiment's record.
    pub provenance: Provenance,
    /// For [`PATCH`].
    pub patch: Vec<u8>,
}

/// Collects what there is to know in `base`, the folder that an experiment is launched from. `program`: what it runs here.
#[must_use]
pub fn collect(context: &Context, base: &Utf8Path, program: Option<&str>) -> Collected {
    let mut collected = Collected {
        provenance: of_machine(context, program),
        ..Collected::default()
    };
    let provenance = &mut collected.provenance;
    let top = repository(base);
    let top = top.as_deref();
    for name in LOCK_FILES {
        let path = top.unwrap_or(base).join(name);
        let is_file = path
            .metadata()
            .is_ok_and(|facts| facts.is_file() && facts.len() <= LARGEST_LOCK_FILE);
        if let Some(text) = is_file.then(|| std::fs::read(path).ok()).flatten() {
            let hash = blake3::hash(&text).to_hex().to_string();
            provenance.lock_files.insert(name.to_owned(), hash);
        }
    }
    if let Some(top) = top {
        match state(context, top) {
            Ok((state, patch, missing)) => {
                provenance.git = Some(state);
                provenance.missing.extend(missing);
                collected.patch = patch;
            }
            Err(error) => provenance.missing.push(error.to_string()),
        }
    }
    collected
}

/// What there is to know of an experiment whose code was kept before: the machine alone.
pub(super) fn of_machine(context: &Context, program: Option<&str>) -> Provenance {
    let environment = |name: &str| context.variable(name).map(str::to_owned);
    Provenance {
        version: VERSION,
        machine: Node::here(&context.host, &environment, program),
        ..Provenance::default()
    }
}

type State = (GitState, Vec<u8>, Option<String>);

fn state(context: &Context, top: &Utf8Path) -> Result<State, crate::packager::PackError> {
    let git = Git::new(context, top.as_std_path());
    let status = git.output(&[
        "status",
        "--porcelain=v2",
        "--branch",
        "-z",
        "--untracked-files=all",
        "--no-renames",
    ])?;
    let mut state = GitState {
        root: top.to_string(),
        ..GitState::default()
    };
    for line in status.split(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(line);
        if let Some(commit) = text.strip_prefix("# branch.oid ") {
            state.commit = (commit != "(initial)").then(|| commit.to_owned());
        } else if let Some(branch) = text.strip_prefix("# branch.head ") {
            state.branch = (branch != "(detached)").then(|| branch.to_owned());
        } else if text.starts_with("? ") {
            state.untracked += 1;
        } else if text.starts_with("1 ") || text.starts_with("u ") {
            state.changed += 1;
        }
    }
    if let Ok(remotes) = git.output(&["config", "-z", "--get-regexp", r"^remote\..*\.url$"]) {
        for entry in remotes.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            if let Some((key, url)) = entry.split_once('\n') {
                let name = key.trim_start_matches("remote.").trim_end_matches(".url");
                state.remotes.insert(name.to_owned(), without_secrets(url));
            }
        }
    }
    if top.join(".gitmodules").exists()
        && let Ok(listed) = git.output(&["submodule", "status", "--recursive"])
    {
        for line in String::from_utf8_lossy(&listed).lines() {
            let line = line.trim_start_matches([' ', '+', '-', 'U']);
            if let Some((commit, rest)) = line.split_once(' ') {
                // Behind the path stands what describes the commit, where it is checked out.
                let described = rest
                    .strip_suffix(')')
                    .and_then(|rest| rest.rsplit_once(" ("));
                let path = described.map_or(rest, |(path, _)| path);
                state.submodules.insert(path.to_owned(), commit.to_owned());
            }
        }
    }
    let (mut patch, mut missing) = (Vec::new(), None);
    if state.changed > 0 && state.commit.is_some() {
        let diff = [
            "diff",
            "HEAD",
            "--binary",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--submodule=short",
            // As `git apply` takes it, whatever the user's own settings are.
            "--src-prefix=a/",
            "--dst-prefix=b/",
        ];
        match git.output(&diff) {
            Ok(diff) if diff.len() > LARGEST_PATCH => {
                missing = Some(format!(
                    "the diff to commit {} is larger than {} MiB",
                    state.commit.as_deref().unwrap_or_default(),
                    LARGEST_PATCH >> 20
                ));
            }
            Ok(diff) => patch = diff,
            Err(error) => missing = Some(error.to_string()),
        }
    }
    state.patch = patch.len() as u64;
    Ok((state, patch, missing))
}

/// An address without user, password and whatever stands behind a question mark. What is no URL (`host:path`) has no
/// password in it.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or(authority);
    // The user of ssh says which account, not who may.
    let user = authority
        .rsplit_once('@')
        .map(|(user, _)| user)
        .filter(|user| scheme.starts_with("ssh") && !user.contains(':'));
    match user {
        Some(user) => format!("{scheme}://{user}@{host}{path}"),
        None => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_what_is_secret() {
        for (url, shown) in [
            (
                "git@example.org:team/code.git",
                "git@example.org:team/code.git",
            ),
            ("https://example.org/code", "https://example.org/code"),
            (
                "https://ada:pass@example.org/code",
                "https://example.org/code",
            ),
            (
                "https://ghp_token@example.org/code",
                "https://example.org/code",
            ),
            ("https://a@b:c@example.org/code", "https://example.org/code"),
            (
                "https://example.org/code?token=x#y",
                "https://example.org/code",
            ),
            (
                "ssh://git@example.org:22/code",
                "ssh://git@example.org:22/code",
            ),
            ("ssh://git:pass@example.org/code", "ssh://example.org/code"),
            ("/srv/code.git", "/srv/code.git"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
