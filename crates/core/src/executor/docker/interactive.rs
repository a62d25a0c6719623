//! Sessions at somebody's terminal: the engine's `run` in the foreground, with the executor's settings.
//!
//! ```text
//! DockerSettings ─ options ─▶ sh: who are we there? volumes and network there? ─▶ exec docker run --rm --interactive [--tty] … COMMAND
//! ```
//!
//! It is one container on the first host, and goes when the session ends. It sees the working directory where it is outside if that
//! is on this machine. There is no job's folder: volumes from it are left out.

use super::DockerExecutor;
use super::by_hand;
use super::engine::{Engine, Kind};
use super::options;
use super::payload::{Gpus, RUN_DIR_MARK};
use super::settings::Entrypoint;
use crate::executor::{Executor as _, ExecutorMacros, Interactive};
use crate::model::Env;
use crate::tunnel::{Cmd, quote};

/// The shell that is given where no command is: the best one that the image has.
const SHELL: [&str; 3] = [
    "/bin/sh",
    "-c",
    "if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh",
];
/// Variables that the engine's program itself would take: their values are words, those of others come by its environment, where
/// nobody else sees them.
const OF_PROGRAMS: [&str; 8] = [
    "PATH",
    "HOME",
    "DOCKER_",
    "CONTAINER_",
    "CONTAINERD_",
    "XDG_",
    "LD_",
    "SSH_",
];

/// The command of a session.
///
/// # Errors
/// What can't be, in words for people.
pub(super) fn command(executor: &DockerExecutor, request: &Interactive<'_>) -> Result<Cmd, String> {
    let settings = executor.settings();
    if request.allocate {
        return Err(
            "an engine has no nodes to give: leave out --alloc, and the session is a container"
                .to_owned(),
        );
    }
    let image = settings.container_image.as_deref().unwrap_or_default();
    if image.is_empty() {
        return Err("there is no image: write `container_image`".to_owned());
    }
    let engine = Engine::new(settings);
    let mut script = String::new();
    let mut words = options::network(settings.network.as_deref(), request.name, settings)?;
    if let Some(network) = &settings.network
        && !options::is_the_engines(network)
    {
        let ask = quoted(&engine.words(["network", "inspect", network]));
        let make = quoted(&engine.words(["network", "create", network]));
        script.push_str(&format!(
            "{ask} >/dev/null 2>&1 || {make} >/dev/null || exit\n"
        ));
    }
    let mut sources = Vec::new();
    let mut targets = Vec::new();
    for volume in &settings.volumes {
        if volume.starts_with(RUN_DIR_MARK) {
            continue;
        }
        let (word, target) = options::volume_of(volume, "", &mut sources)?;
        words.push(word);
        targets.push(target);
    }
    if let Some(workdir) = request.workdir {
        let seen = executor.shares_files() && workdir != "/" && !workdir.contains(':');
        if seen && !options::covered(workdir, &targets) {
            words.push(format!("--volume={workdir}:{workdir}"));
            sources.push(workdir.to_owned());
        }
        words.push(format!("--workdir={workdir}"));
    }
    // The engine would make them, as root's.
    for source in &sources {
        let (path, said) = (
            quote(source),
            quote(&format!("error: {source} is not there")),
        );
        script.push_str(&format!(
            "[ -e {path} ] || {{ printf '%s\\n' {said} >&2; exit 1; }}\n"
        ));
    }
    words.extend(
        options::of(settings)?
            .into_iter()
            .filter(|word| !word.starts_with("--restart=") && !word.starts_with("--health-")),
    );
    if engine.kind() == Kind::Podman {
        words.push("--security-opt=label=disable".to_owned());
    } else {
        // Somebody has to pass signals on.
        words.push("--init".to_owned());
    }
    words.push(format!("--pull={}", settings.pull.word()));
    if let Some(gpus) = Gpus::of(settings) {
        words.extend(by_hand::gpus(&gpus, engine.kind()));
    }
    let mut env: Env = settings.env_vars.clone();
    env.extend(request.env);
    let mut command = Cmd::script("", [""; 0]);
    for (name, value) in env.iter() {
        if ExecutorMacros::is_used_in(value) {
            continue;
        }
        if OF_PROGRAMS.iter().any(|of| name.starts_with(of)) {
            words.push(format!("--env={name}={value}"));
        } else {
            words.push(format!("--env={name}"));
            command = command.env(name, value);
        }
    }
    script.push_str(&user(
        &engine,
        settings.user.as_deref(),
        env.get("HOME").is_some(),
    ));
    let inside: Vec<String> = match request.command {
        [] => SHELL.map(str::to_owned).to_vec(),
        words => words.to_vec(),
    };
    let (first, rest) = inside.split_at(1);
    let keep = settings.entrypoint == Entrypoint::Keep;
    if !keep {
        words.push(format!("--entrypoint={}", first[0]));
    }
    words.push(image.to_owned());
    if keep {
        words.extend_from_slice(first);
    }
    words.extend_from_slice(rest);
    let mut head = engine.words(["run", "--rm", "--interactive"]);
    if request.terminal {
        head.push("--tty".to_owned());
    }
    script.push_str(&format!("exec {} \"$@\" {}", quoted(&head), quoted(&words)));
    command.argv[2] = script;
    Ok(command)
}

fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    words.join(" ")
}

/// Lines that put the options of who its processes are into `$@`.
fn user(engine: &Engine, user: Option<&str>, has_home: bool) -> String {
    match user {
        Some("image") => return String::new(),
        Some(name) => return format!("set -- {}\n", quote(&format!("--user={name}"))),
        None => {}
    }
    let home = match has_home {
        true => "",
        false => " --env=HOME=/tmp",
    };
    let keep = match engine.kind() {
        Kind::Docker => "",
        Kind::Podman | Kind::Nerdctl => " --userns=keep-id",
    };
    let me = format!(
        "set --{keep} --user=\"$(id -u):$(id -g)\" --env=USER=\"$(id -un)\" --env=LOGNAME=\"$(id -un)\"{home}"
    );
    let root = "set -- --user=0:0";
    match engine.kind() {
        Kind::Docker => {
            let ask = quoted(&engine.words(["info", "--format={{json .SecurityOptions}}"]));
            format!(
                "if [ \"$(id -u)\" = 0 ]; then {root}\n\
                 else case $({ask} 2>/dev/null) in *rootless*) {root} ;; *) {me} ;; esac; fi\n"
            )
        }
        Kind::Podman | Kind::Nerdctl => {
            format!("if [ \"$(id -u)\" = 0 ]; then {root}; else {me}; fi\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::executor::docker::DockerSettings;

    fn of(
        settings: serde_json::Value,
        change: impl Fn(&mut Interactive<'_>),
    ) -> Result<Cmd, String> {
        let settings: DockerSettings = serde_json::from_value(settings).unwrap();
        let env = [("TOKEN", "hush"), ("PATH", "/opt/it's")]
            .into_iter()
            .collect::<Env>();
        let mut request = Interactive {
            name: "shell",
            command: &[],
            allocate: false,
            terminal: true,
            env: &env,
            workdir: None,
        };
        change(&mut request);
        command(&DockerExecutor::new(settings), &request)
    }

    #[test]
    fn a_session_has_the_settings_and_no_value_of_a_secret_in_its_words() {
        let shell = of(
            json!({
                "container_image": "i", "memory": "1GiB", "pull": "always", "gpus": ["0", "1"], "num_gpus": 1,
                "volumes": ["/data:/data:ro", "/$nemo_run/x:/x"], "env_vars": {"TOKEN": "no", "A": "1"},
            }),
            |request| request.workdir = Some("/data/me"),
        )
        .unwrap();
        let script = &shell.argv[2];
        for part in [
            "exec docker run --rm --interactive --tty \"$@\" ",
            "--memory=1073741824",
            "--pull=always",
            "device=0",
            "--volume=/data:/data:ro",
            "--workdir=/data/me",
            "'--env=TOKEN' ",
            "/opt/it",
            "[ -e /data ]",
        ] {
            assert!(script.contains(part), "{part}: {script}");
        }
        for part in ["hush", "/x", "/data/me:", "--restart", "device=0,1"] {
            assert!(!script.contains(part), "{part}: {script}");
        }
        assert_eq!(shell.env["TOKEN"], "hush");
        assert_eq!(shell.env.get("PATH"), None);
    }

    #[test]
    fn what_cant_be_is_said() {
        let allocated = of(json!({"container_image": "i"}), |one| one.allocate = true);
        assert!(allocated.unwrap_err().contains("--alloc"));
        assert!(
            of(json!({}), |_| {})
                .unwrap_err()
                .contains("container_image")
        );
        let wrong = of(json!({"container_image": "i", "volumes": ["x"]}), |_| {});
        assert!(wrong.unwrap_err().contains("volumes"));
    }
}
