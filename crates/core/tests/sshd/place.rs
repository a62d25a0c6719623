//! A home, a server and a tunnel between them, and what several tests need.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]
#![allow(
    clippy::allow_attributes,
    dead_code,
    unreachable_pub,
    reason = "shared by several test crates, each of which uses its part"
)]

#[path = "../agent/mod.rs"]
mod agent;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use agent::agent;
use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::tunnel::{
    Cmd, Login, SshConnection, SshTunnel, Tunnel, TunnelError, TunnelSettings, open_masters,
};

use crate::sshd::{LIMIT, Sshd};

/// What every way must bring unchanged.
pub const HOSTILE: &[&str] = &[
    "",
    " ",
    "-n",
    "--",
    "~",
    "*",
    "a b",
    "it's",
    "\"quoted\"",
    "$HOME $(id) `id` ${x}",
    "back\\slash\\",
    "line\nline\n",
    "\n",
    "tab\tbell\u{7}\u{1b}[31m\u{7f}",
    "!!; & | < > ( ) { } [ ] # % ^ = + , . / : @ ?",
    "Gr\u{fc}\u{df}e \u{65e5}\u{672c}\u{8a9e} \u{1f680} e\u{301}",
    "'\\''",
    "\r\n",
];

pub fn every_sign() -> String {
    (1u8..127).map(char::from).collect()
}

pub struct Place {
    pub sshd: Sshd,
}

impl Place {
    pub fn with(more: &str) -> Option<Place> {
        Sshd::start(more).map(|sshd| Place { sshd })
    }

    pub fn folder(&self) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.sshd.folder.clone()).unwrap()
    }

    pub fn context(&self) -> Context {
        context(&self.folder())
    }

    pub fn tunnel(&self) -> SshTunnel {
        SshTunnel {
            ssh_config: Some(self.folder().join("ssh_config")),
            ..SshTunnel::new("box")
        }
    }

    /// A tunnel as the executors have it, with the agents' folder below `jobs`.
    pub fn settings(&self) -> TunnelSettings {
        TunnelSettings::Ssh(SshTunnel {
            job_dir: Some(self.folder().join("jobs")),
            ..self.tunnel()
        })
    }

    pub fn open(&self) -> Arc<dyn Tunnel> {
        self.settings().open(&self.context())
    }

    pub async fn try_connect(
        &self,
        tunnel: &SshTunnel,
        login: Login,
    ) -> Result<SshConnection, TunnelError> {
        tunnel.connect(&self.context(), login, &|_| {}).await
    }

    pub async fn connect(&self) -> SshConnection {
        self.try_connect(&self.tunnel(), Login::Silent)
            .await
            .unwrap()
    }

    pub async fn master(&self) -> i32 {
        let masters = open_masters(&self.context()).await.unwrap();
        i32::try_from(masters[0].process.unwrap()).unwrap()
    }
}

/// Runs a test's future, within a limit.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let within = runtime().block_on(async { tokio::time::timeout(LIMIT * 2, future).await });
    within.expect("the test takes too long")
}

pub fn sh(script: &str) -> Cmd {
    Cmd::script(script, [""; 0])
}

/// All of them, at once.
pub async fn futures<T>(many: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = many.map(|one| Some(Box::pin(one))).collect();
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, result) in waiting.iter_mut().zip(&mut done) {
            if let Some(future) = one
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
                *one = None;
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Whether a process has this word on its command line.
pub fn runs(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| {
            line.split(|byte| *byte == 0)
                .any(|part| part == word.as_bytes())
        })
}

pub fn split(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut parts: Vec<String> = text.split('\0').map(str::to_owned).collect();
    assert_eq!(parts.pop().as_deref(), Some(""));
    parts
}

/// A file's permissions.
pub fn mode(path: &Utf8Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What runs futures.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// What the library is told: everything in one folder.
pub fn context(folder: &Utf8Path) -> Context {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let environment: BTreeMap<String, String> = [
        ("PATH".to_owned(), variable("PATH")),
        ("HOME".to_owned(), folder.to_string()),
    ]
    .into();
    Context {
        home: folder.join("home"),
        workdir: folder.to_owned(),
        environment: Arc::new(environment),
        host: "here".to_owned(),
        user: "me".to_owned(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        program: "/nowhere/mizzen".into(),
        agent: Agent::File(agent().to_owned()),
    }
}
