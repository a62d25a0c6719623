//! The agent's executable, for tests that send or start it.

use std::process::Command;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};

/// The agent's executable, as new as its sources.
pub(crate) fn agent() -> &'static Utf8Path {
    static AGENT: OnceLock<Utf8PathBuf> = OnceLock::new();
    AGENT.get_or_init(|| {
        let test = Utf8PathBuf::from_path_buf(std::env::current_exe().unwrap()).unwrap();
        // <target>/debug/deps/<test>
        let target = test.ancestors().nth(3).unwrap();
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--package", "mizzen-agent"])
            .args(["--bin", "mizzen-agent", "--target-dir", target.as_str()])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "the agent can't be built");
        target.join("debug/mizzen-agent")
    })
}
