//! A folder of its own with a cluster on it, for tests here and of the library's users.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use camino::Utf8PathBuf;

use super::{FakeSlurm, Settings};
use crate::context::{Agent, Context, RandomIds, SystemClock};

/// A cluster, and the folder of whoever uses it, which goes with it.
pub struct Ground {
    /// The folder.
    pub at: Utf8PathBuf,
    /// The surroundings of whoever uses it; the clock is the cluster's.
    pub context: Context,
    /// The cluster.
    pub slurm: Arc<FakeSlurm>,
}

impl Ground {
    /// A new one.
    ///
    /// # Errors
    /// The folder can't be made.
    #[expect(
        clippy::disallowed_methods,
        reason = "for tests, which read their own surroundings"
    )]
    pub fn new(settings: Settings) -> std::io::Result<Ground> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mizzen-fake-slurm-{}-{number}", std::process::id());
        let at = Utf8PathBuf::from_path_buf(std::env::temp_dir().join(name))
            .map_err(|path| std::io::Error::other(format!("{} is no text", path.display())))?;
        std::fs::create_dir_all(&at)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let context = Context {
            home: at.join("home"),
            workdir: at.clone(),
            environment: Arc::new([("PATH".to_owned(), path)].into()),
            host: "here".to_owned(),
            user: "me".to_owned(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            program: "/nowhere/mizzen".into(),
            agent: Agent::File("/nowhere/mizzen-agent".into()),
        };
        let slurm = FakeSlurm::new(&context, settings);
        let context = slurm.context_of(&context);
        Ok(Ground { at, context, slurm })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.at);
    }
}
