//! Builds the agent that the `mizzen` executable carries inside: small, and static where the toolchain allows it, so that
//! one file runs on any machine of the same architecture.
//!
//! It is built by a cargo of its own (profile `agent`, a target folder of its own under `OUT_DIR`), because the flags and
//! the profile of the executable that carries it must not reach it. `MIZZEN_AGENT` names another file at run time.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told everything by its environment"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../agent/src");
    println!("cargo::rerun-if-changed=../agent/Cargo.toml");
    match build_agent() {
        Ok(executable) => {
            println!(
                "cargo::rustc-env=MIZZEN_AGENT_EXECUTABLE={}",
                executable.display()
            );
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build_agent() -> Result<PathBuf, String> {
    let variable = |name: &str| env::var(name).map_err(|_| format!("cargo did not set {name}"));
    let target = variable("TARGET")?;
    let folder = PathBuf::from(variable("OUT_DIR")?).join("agent-target");
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../..");

    let static_flags: &[&str] = if target.contains("-linux-gnu") {
        &["-C target-feature=+crt-static", ""]
    } else {
        &[""]
    };
    let mut last = String::new();
    for flags in static_flags {
        // Without the network first: all is fetched already, since this crate needs the agent's library itself.
        for offline in [true, false] {
            match cargo(&workspace, &folder, &target, flags, offline) {
                Ok(()) => return Ok(folder.join(&target).join("agent/mizzen-agent")),
                Err(message) => last = message,
            }
        }
        if !flags.is_empty() {
            println!(
                "cargo::warning=the agent could not be linked statically (is the C library's `libc.a` there?)"
            );
        }
    }
    Err(format!(
        "the agent could not be built: {}",
        last.replace('\n', " / ")
    ))
}

fn cargo(
    workspace: &Path,
    folder: &Path,
    target: &str,
    flags: &str,
    offline: bool,
) -> Result<(), String> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "--profile",
            "agent",
            "--package",
            "mizzen-agent",
            "--bin",
            "mizzen-agent",
        ])
        .args(["--target", target, "--target-dir"])
        .arg(folder);
    if workspace.join("Cargo.lock").is_file() {
        command.arg("--locked");
    }
    if offline {
        command.arg("--offline");
    }
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let outer = name.starts_with("CARGO_") && !stays(&name);
        if outer
            || matches!(
                &*name,
                "RUSTFLAGS" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER" | "CLIPPY_ARGS"
            )
        {
            command.env_remove(&*name);
        }
    }
    command.env("RUSTFLAGS", flags);
    let output = command
        .output()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// Variables that say where cargo finds things and how many jobs it may run at once; all others are about this build.
fn stays(name: &str) -> bool {
    ["CARGO_HOME", "CARGO_MAKEFLAGS"].contains(&name)
        || ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}
