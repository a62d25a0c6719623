//! Repositories and folders to be packed, in folders of a test's own.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::packager::{ItemKind, Listing, PackError, Packager, Source, list};

/// A folder of one test: a home, and what is to be packed.
pub(crate) struct Scene {
    pub(crate) folder: Utf8PathBuf,
    pub(crate) context: Context,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = Command::new("chmod")
            .args(["-R", "u+rwX", self.folder.as_str()])
            .status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Scene {
    #[expect(
        clippy::disallowed_methods,
        reason = "git needs the PATH of whoever runs the tests"
    )]
    pub(crate) fn new(test: &str) -> Scene {
        let folder = Utf8PathBuf::from_path_buf(std::env::temp_dir())
            .unwrap()
            .join(format!("mizzen-packager-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("home/.mizzen")).unwrap();
        let mut environment: BTreeMap<String, String> = std::env::vars().collect();
        // Nobody's own settings.
        environment.insert("HOME".to_owned(), folder.join("home").into_string());
        environment.insert("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned());
        let context = Context {
            home: folder.join("home/.mizzen"),
            workdir: folder.clone(),
            environment: Arc::new(environment),
            host: "here".to_owned(),
            user: "ada".to_owned(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            program: "/bin/false".into(),
            agent: Agent::Embedded(b""),
        };
        Scene { folder, context }
    }

    pub(crate) fn at(&self, path: &str) -> Utf8PathBuf {
        self.folder.join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn git(&self, folder: &str, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(self.context.environment.iter())
            .args(["-C", self.at(folder).as_str()])
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
            .args([
                "-c",
                "protocol.file.allow=always",
                "-c",
                "init.defaultBranch=main",
            ])
            .args([
                "-c",
                "commit.gpgsign=false",
                "-c",
                "advice.detachedHead=false",
            ])
            .args(words);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "git {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A repository with what is in its folder committed.
    pub(crate) fn repository(&self, folder: &str) {
        fs::create_dir_all(self.at(folder)).unwrap();
        self.git(folder, &["init", "--quiet"]);
        self.commit(folder);
    }

    pub(crate) fn commit(&self, folder: &str) {
        self.git(folder, &["add", "-A"]);
        self.git(
            folder,
            &["commit", "--quiet", "--allow-empty", "-m", "a commit"],
        );
    }

    pub(crate) fn list(&self, packager: &str, base: &str) -> Result<Listing, PackError> {
        let packager: Packager = serde_json::from_str(packager).unwrap();
        list(&packager, &self.at(base), &self.context)
    }

    /// What is selected: each path with what is there. What was deleted is left out, as it is when it is packed.
    pub(crate) fn tree(&self, packager: &str, base: &str) -> Vec<String> {
        shown(&self.list(packager, base).unwrap())
    }

    pub(crate) fn error(&self, packager: &str, base: &str) -> String {
        self.list(packager, base).unwrap_err().to_string()
    }
}

pub(crate) fn shown(listing: &Listing) -> Vec<String> {
    let mut lines: Vec<String> = listing
        .items
        .iter()
        .filter_map(|item| {
            let path = String::from_utf8_lossy(&item.path).into_owned();
            Some(match &item.kind {
                ItemKind::Folder => format!("{path}/"),
                ItemKind::Link { target } => {
                    format!("{path} -> {}", String::from_utf8_lossy(target))
                }
                ItemKind::File { source, executable } => {
                    let mut executable = *executable;
                    if let Source::Path(at) = source {
                        let found = at.symlink_metadata().ok()?;
                        if found.is_symlink() {
                            let target = at.read_link().unwrap();
                            return Some(format!("{path} -> {}", target.display()));
                        }
                        executable = found.permissions().mode() & 0o100 != 0;
                    }
                    let mut text = String::new();
                    source.reader().unwrap().read_to_string(&mut text).unwrap();
                    let mark = if executable { "*" } else { "" };
                    format!("{path}{mark}: {}", text.trim_end())
                }
            })
        })
        .collect();
    lines.sort();
    lines
}

/// Every file below a folder with its content and its time.
pub(crate) fn everything(folder: &Utf8Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.as_std_path().to_owned()];
    while let Some(at) = folders.pop() {
        for entry in at.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let facts = path.symlink_metadata().unwrap();
            if facts.is_dir() {
                folders.push(path);
            } else {
                // Nobody writes into a pipe.
                let text = match facts.is_file() {
                    true => fs::read(&path).unwrap_or_default(),
                    false => Vec::new(),
                };
                found.insert(
                    path.display().to_string(),
                    (text, facts.modified().unwrap()),
                );
            }
        }
    }
    found
}

pub(crate) fn run(path: &Utf8Path) {
    let mut permissions = path.metadata().unwrap().permissions();
    permissions.set_mode(0o755);
    fs::set_permissions(path, permissions).unwrap();
}

pub(crate) const TREE: &str = "\"working_tree\"";
pub(crate) const GIT: &str = "\"git_archive\"";

/// `r` has the submodule `libs/inner`, which has the submodule `deep`; then `inner` moves on without `r`.
pub(crate) fn submodules(scene: &Scene) {
    scene.write("deep/d", "deep");
    scene.repository("deep");
    scene.write("inner/i", "inner");
    scene.repository("inner");
    let deep = scene.at("deep");
    scene.git(
        "inner",
        &["submodule", "--quiet", "add", deep.as_str(), "deep"],
    );
    scene.commit("inner");
    scene.write("r/a", "top");
    scene.write("r/src/s", "source");
    scene.repository("r");
    let inner = scene.at("inner");
    scene.git(
        "r",
        &["submodule", "--quiet", "add", inner.as_str(), "libs/inner"],
    );
    scene.git(
        "r",
        &["submodule", "--quiet", "update", "--init", "--recursive"],
    );
    scene.commit("r");
}
