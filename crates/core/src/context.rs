//! What the library is told instead of taking it by itself: where the home is, what the environment holds, what time it
//! is, how new ids are drawn, which programs it may start.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use crate::model::{ExperimentId, Timestamp};

/// The surroundings of one command, handed from the binary to every stage that needs them.
#[derive(Debug, Clone)]
pub struct Context {
    /// `$MIZZEN_HOME`, absolute.
    pub home: Utf8PathBuf,
    /// The working directory of the command, absolute.
    pub workdir: Utf8PathBuf,
    /// The environment of the command; what is not UTF-8 is left out.
    pub environment: Arc<BTreeMap<String, String>>,
    /// This machine's name.
    pub host: String,
    /// The user's name.
    pub user: String,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where new ids come from.
    pub ids: Arc<dyn Ids>,
    /// The `mizzen` executable, started again as the supervisor of an experiment.
    pub program: Utf8PathBuf,
    /// The agent's executable for this machine.
    pub agent: Agent,
}

impl Context {
    /// A variable of the environment.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    /// The database of all experiments.
    #[must_use]
    pub fn database(&self) -> Utf8PathBuf {
        self.home.join("mizzen.db")
    }

    /// The folder of an experiment: `experiments/<title>/<id>`.
    #[must_use]
    pub fn experiment_dir(&self, title: &str, id: &ExperimentId) -> Utf8PathBuf {
        self.home.join("experiments").join(title).join(id.as_str())
    }
}

/// The agent's executable: carried inside the binary and written once per version into the home, or a file that is there.
#[derive(Debug, Clone)]
pub enum Agent {
    /// The executable's bytes.
    Embedded(&'static [u8]),
    /// An executable file.
    File(Utf8PathBuf),
}

impl Agent {
    /// The executable itself.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn bytes(&self) -> std::io::Result<Cow<'static, [u8]>> {
        match self {
            Agent::File(path) => fs_err::read(path).map(Cow::Owned),
            Agent::Embedded(bytes) => Ok(Cow::Borrowed(bytes)),
        }
    }

    /// The path of the executable, written to `<home>/agents/<hash>/mizzen-agent` (0700) when it is carried inside and
    /// not there yet.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn path(&self, home: &Utf8Path) -> std::io::Result<Utf8PathBuf> {
        match self {
            Agent::File(path) => Ok(path.clone()),
            Agent::Embedded(bytes) => {
                let folder = home.join("agents").join(agent_version(bytes));
                let path = folder.join(AGENT_NAME);
                let there =
                    fs_err::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64);
                if !there {
                    create_private_dir(&folder)?;
                    let temporary = folder.join(format!("mizzen-agent.{}", std::process::id()));
                    write_file(&temporary, bytes, 0o700)?;
                    fs_err::rename(&temporary, &path)?;
                }
                Ok(path)
            }
        }
    }
}

/// The name of the agent's file.
pub const AGENT_NAME: &str = "mizzen-agent";

/// The name of the folder for an agent with these bytes.
#[must_use]
pub fn agent_version(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Draws new ids.
pub trait Ids: Debug + Send + Sync {
    /// A new experiment's id.
    fn experiment(&self) -> ExperimentId;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_jiff(jiff::Timestamp::now())
    }
}

/// Random ids from the kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn experiment(&self) -> ExperimentId {
        let mut bytes = [0u8; 10];
        // The kernel's generator fails only before it is seeded, at boot; the address of a local is then still better
        // than refusing, since the store refuses an id that it has already.
        if getrandom::fill(&mut bytes).is_err() {
            bytes = jiff::Timestamp::now().as_nanosecond().to_le_bytes()[..10]
                .try_into()
                .unwrap_or(bytes);
        }
        ExperimentId::from_bytes(&bytes)
    }
}

/// Gives the same id each time: for a preview, which is no experiment.
#[derive(Debug, Clone)]
pub struct FixedId(pub ExperimentId);

impl Ids for FixedId {
    fn experiment(&self) -> ExperimentId {
        self.0.clone()
    }
}

/// Makes a folder and its missing parents, each 0700.
///
/// # Errors
/// As mkdir(2).
pub fn create_private_dir(path: &Utf8Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| {
            std::io::Error::new(
                error.kind(),
                format!("can't make the folder {path}: {error}"),
            )
        })
}

/// Writes a file whole or not at all: readers find what was there before, or all of what is there now.
///
/// # Errors
/// It can't be written; what was there before is still there.
pub fn replace_file(path: &Utf8Path, contents: &[u8], mode: u32) -> std::io::Result<()> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let name = path.file_name().unwrap_or_default();
    // Homes are shared between machines: a process's number alone may be another one's as well.
    let temporary = path.with_file_name(format!(".{name}.{:x}", u64::from_ne_bytes(random)));
    let written =
        write_file(&temporary, contents, mode).and_then(|()| fs_err::rename(&temporary, path));
    if written.is_err() {
        let _ = fs_err::remove_file(&temporary);
    }
    written
}

/// Writes a whole file with the given permissions.
///
/// # Errors
/// As open(2) and write(2), with the path.
pub fn write_file(path: &Utf8Path, contents: &[u8], mode: u32) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let with_path = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("can't write {path}: {error}"))
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(with_path)?;
    file.write_all(contents).map_err(with_path)
}
