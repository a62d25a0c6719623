//! Settings as words for the engine's `run` and `create`.
//!
//! Every option is one word, `--name=value`: whatever a value holds, no engine takes it for another option.

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::engine::Kind;
use super::kwargs;
use super::payload::{RUN_DIR, RUN_DIR_MARK};
use super::settings::{DockerSettings, Healthcheck, OneOrMany};
use crate::executor::RenderedCode;
use crate::tunnel::quote;

/// Options that are ours to give, and what to write instead.
const OURS: [(&str, &str); 12] = [
    ("--name", "mizzen names containers by the job's key"),
    ("--detach", "jobs are always detached"),
    ("-d", "jobs are always detached"),
    ("--rm", "write `keep_containers`"),
    ("--restart", "write `retries`"),
    ("--entrypoint", "write `entrypoint`"),
    ("--workdir", "write `workdir`"),
    ("-w", "write `workdir`"),
    ("--user", "write `user`"),
    ("-u", "write `user`"),
    ("--gpus", "write `num_gpus` or `gpus`"),
    (
        "--cidfile",
        "the container's name is known: it is the job's key",
    ),
];

/// All options that depend on the settings alone.
pub(super) fn of(settings: &DockerSettings) -> Result<Vec<String>, String> {
    let mut words = vec!["--restart=no".to_owned()];
    let mut text = |name: &str, value: Option<&String>| {
        words.extend(value.map(|value| format!("--{name}={value}")));
    };
    text("runtime", settings.runtime.as_ref());
    text("shm-size", settings.shm_size.as_ref());
    text("ipc", settings.ipc_mode.as_ref());
    text("platform", settings.platform.as_ref());
    text(
        "memory",
        settings.memory.map(|size| size.0.to_string()).as_ref(),
    );
    if let Some(cpus) = settings.cpus {
        if !(cpus > 0.0 && cpus.is_finite()) {
            return Err(format!("cpus = {cpus}: write a number over 0, such as 1.5"));
        }
        words.push(format!("--cpus={cpus}"));
    }
    for limit in &settings.ulimits {
        words.push(format!("--ulimit={}", ulimit(limit)?));
    }
    if let Some(check) = &settings.healthcheck {
        words.extend(health(check)?);
    }
    if settings.privileged {
        words.push("--privileged".to_owned());
    }
    for port in &settings.ports {
        words.push(format!("--publish={port}"));
    }
    words.extend(kwargs::words(&settings.additional_kwargs)?);
    for word in &settings.engine_args {
        let name = word.split('=').next().unwrap_or_default();
        if let Some((_, hint)) = OURS.iter().find(|(ours, _)| *ours == name) {
            return Err(format!("engine_args: `{word}` can't be given: {hint}"));
        }
        words.push(word.clone());
    }
    Ok(words)
}

/// `name:soft[:hard]` as the engine takes it.
fn ulimit(limit: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "ulimits: {limit:?}: write \"name:soft\" or \"name:soft:hard\", such as \"memlock:-1:-1\""
        )
    };
    let (name, values) = limit.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<i64>().is_ok_and(|number| number >= -1);
    let mut parts = values.split(':');
    let soft = parts.next().filter(|text| number(text)).ok_or_else(wrong)?;
    let hard = parts.next();
    if name.is_empty() || parts.next().is_some() || hard.is_some_and(|text| !number(text)) {
        return Err(wrong());
    }
    Ok(format!("{name}={soft}:{}", hard.unwrap_or(soft)))
}

fn health(check: &Healthcheck) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    match &check.test {
        Some(OneOrMany::One(text)) => words.push(format!("--health-cmd={text}")),
        Some(OneOrMany::Many(parts)) => match parts.split_first() {
            Some((first, [])) if first == "NONE" => {
                return Ok(vec!["--no-healthcheck".to_owned()]);
            }
            Some((first, [text])) if first == "CMD-SHELL" => {
                words.push(format!("--health-cmd={text}"));
            }
            Some((first, rest)) if first == "CMD" && !rest.is_empty() => {
                let rest: Vec<String> = rest.iter().map(|word| quote(word)).collect();
                words.push(format!("--health-cmd={}", rest.join(" ")));
            }
            _ => {
                return Err(
                    "healthcheck.test: write a text, or a list that begins with \"CMD\", \"CMD-SHELL\" or \"NONE\""
                        .to_owned(),
                );
            }
        },
        None => {}
    }
    let times = [
        ("interval", &check.interval),
        ("timeout", &check.timeout),
        ("start-period", &check.start_period),
    ];
    for (name, time) in times {
        words.extend(
            time.as_ref()
                .map(|time| format!("--health-{name}={}", time.to_flag())),
        );
    }
    words.extend(
        check
            .retries
            .map(|retries| format!("--health-retries={retries}")),
    );
    Ok(words)
}

/// The network is one that engines have by themselves.
pub(super) fn is_the_engines(network: &str) -> bool {
    [
        "bridge",
        "host",
        "none",
        "default",
        "nat",
        "slirp4netns",
        "pasta",
        "private",
    ]
    .contains(&network.split(':').next().unwrap_or_default())
        || ["container:", "ns:"]
            .iter()
            .any(|mark| network.starts_with(mark))
}

/// The network, and how a container is called in it.
pub(super) fn network(
    network: Option<&str>,
    alias: &str,
    settings: &DockerSettings,
) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    if let Some(network) = network {
        if network.is_empty() || network.contains(char::is_whitespace) {
            return Err(format!("network = {network:?}: that is no network's name"));
        }
        words.push(format!("--network={network}"));
        if !is_the_engines(network) {
            words.push(format!("--network-alias={alias}"));
        }
    }
    let shares_name = network.is_some_and(|network| {
        network.starts_with("host")
            || network.starts_with("container:")
            || network.starts_with("ns:")
    });
    if !shares_name && !settings.additional_kwargs.contains_key("hostname") {
        words.push(format!("--hostname={alias}"));
    }
    Ok(words)
}

/// What of the machine a container sees.
pub(super) struct Mounts<'a> {
    pub(super) settings: &'a DockerSettings,
    pub(super) directory: &'a Utf8PathBuf,
    pub(super) job_dir: &'a Utf8PathBuf,
    /// Code that is a folder of the user's.
    pub(super) code: Option<&'a RenderedCode>,
    /// A working directory on this machine that the job sees as it is.
    pub(super) in_place: Option<&'a str>,
}

impl Mounts<'_> {
    /// The options, and the paths that must be there.
    pub(super) fn words(&self) -> Result<(Vec<String>, Vec<String>), String> {
        let mut words = vec![
            volume(self.directory.as_str(), self.directory.as_str()),
            volume(self.job_dir.as_str(), RUN_DIR),
        ];
        let mut sources = Vec::new();
        let mut targets = vec![self.directory.to_string(), RUN_DIR.to_owned()];
        for volume in &self.settings.volumes {
            let (word, target) = volume_of(volume, self.job_dir.as_str(), &mut sources)?;
            words.push(word);
            targets.push(target);
        }
        let own = self.code.map(|code| code.from.as_str());
        for path in own.into_iter().chain(self.in_place) {
            if path == "/" || covered(path, &targets) {
                continue;
            }
            if path.contains(':') {
                return Err(format!(
                    "its folder {path} can't be mounted into a container: it holds a colon"
                ));
            }
            words.push(volume(path, path));
            sources.push(path.to_owned());
        }
        Ok((words, sources))
    }
}

/// Something of what is mounted already is above a path.
pub(super) fn covered(path: &str, targets: &[String]) -> bool {
    targets
        .iter()
        .any(|target| Utf8Path::new(path).starts_with(target))
}

/// A volume of the user's: its word, and where it is inside.
pub(super) fn volume_of(
    text: &str,
    job_dir: &str,
    sources: &mut Vec<String>,
) -> Result<(String, String), String> {
    let wrong = |why: &str| format!("volumes: {text:?}: {why}");
    let mut parts = text.splitn(3, ':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        return Err(wrong("write `source:there` or `source:there:options`"));
    };
    let options = parts.next();
    if !target.starts_with('/') {
        return Err(wrong("the path in the container must begin with a slash"));
    }
    if [AGENT_PATH, RUN_DIR].contains(&target.trim_end_matches('/')) {
        return Err(wrong("that path in the container is mizzen's"));
    }
    let own = source
        .strip_prefix(RUN_DIR_MARK)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let source = match own {
        Some(rest) => format!("{job_dir}{rest}"),
        None if source.starts_with('/') => {
            sources.push(source.to_owned());
            source.to_owned()
        }
        None if source.starts_with(['.', '~']) || source.contains('/') => {
            return Err(wrong(
                "write the whole path of the folder, from the root on",
            ));
        }
        None if is_volume_name(source) => source.to_owned(),
        None => {
            return Err(wrong(
                "a volume's name holds letters, digits and `_.-`; a folder's path begins with a slash",
            ));
        }
    };
    let options = options
        .map(|options| format!(":{options}"))
        .unwrap_or_default();
    let word = format!("--volume={source}:{target}{options}");
    Ok((word, target.to_owned()))
}

const AGENT_PATH: &str = super::payload::AGENT;

fn volume(here: &str, there: &str) -> String {
    format!("--volume={here}:{there}")
}

fn is_volume_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.len() > 1
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
}

/// GPUs by their names, or all.
pub(super) fn gpu_words(names: Option<&[String]>, kind: Kind) -> Vec<String> {
    match (names, kind) {
        // The Container Device Interface's names, which NVIDIA's toolkit writes down.
        (None, Kind::Podman) => vec!["--device=nvidia.com/gpu=all".to_owned()],
        (Some(names), Kind::Podman) => names
            .iter()
            .map(|name| format!("--device=nvidia.com/gpu={name}"))
            .collect(),
        (None, _) => vec!["--gpus=all".to_owned()],
        // The quotes are the option's: without them a comma begins another field.
        (Some(names), _) => vec![format!("--gpus=\"device={}\"", names.join(","))],
    }
}

/// A value of a document as a text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(on.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: serde_json::Value) -> DockerSettings {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn settings_are_options() {
        let words = of(&settings(serde_json::json!({
            "runtime": "nvidia", "shm_size": "16g", "ulimits": ["memlock:-1", "nofile:1024:4096"],
            "ipc_mode": "host", "privileged": true, "memory": "2GiB", "cpus": 1.5, "platform": "linux/amd64",
            "ports": ["127.0.0.1:8080:80"], "engine_args": ["--cap-add=SYS_PTRACE"],
            "healthcheck": {"test": ["CMD", "curl", "it's"], "interval": 1_000_000_000, "timeout": "3s", "retries": 2},
        })))
        .unwrap();
        assert_eq!(
            words,
            [
                "--restart=no",
                "--runtime=nvidia",
                "--shm-size=16g",
                "--ipc=host",
                "--platform=linux/amd64",
                "--memory=2147483648",
                "--cpus=1.5",
                "--ulimit=memlock=-1:-1",
                "--ulimit=nofile=1024:4096",
                "--health-cmd=curl \"it's\"",
                "--health-interval=1000000000ns",
                "--health-timeout=3s",
                "--health-retries=2",
                "--privileged",
                "--publish=127.0.0.1:8080:80",
                "--cap-add=SYS_PTRACE",
            ]
        );
    }

    #[test]
    fn what_cant_be_is_said() {
        let wrong = [
            (serde_json::json!({"ulimits": ["memlock"]}), "name:soft"),
            (
                serde_json::json!({"ulimits": ["memlock:many"]}),
                "name:soft",
            ),
            (serde_json::json!({"cpus": 0.0}), "over 0"),
            (
                serde_json::json!({"engine_args": ["--rm"]}),
                "keep_containers",
            ),
            (
                serde_json::json!({"engine_args": ["--name=x"]}),
                "names containers",
            ),
            (
                serde_json::json!({"healthcheck": {"test": ["curl"]}}),
                "CMD-SHELL",
            ),
        ];
        for (json, word) in wrong {
            let error = of(&settings(json.clone())).unwrap_err();
            assert!(error.contains(word), "{json}: {error}");
        }
    }

    #[test]
    fn volumes() {
        let settings = settings(serde_json::json!({
            "volumes": ["/data:/data:ro", "cache:/opt/cache", "/$nemo_run/out:/out"]
        }));
        let (directory, job_dir) = (Utf8PathBuf::from("/e"), Utf8PathBuf::from("/e/train"));
        let mut mounts = Mounts {
            settings: &settings,
            directory: &directory,
            job_dir: &job_dir,
            code: None,
            in_place: Some("/home/me/project"),
        };
        let (words, sources) = mounts.words().unwrap();
        assert_eq!(
            words,
            [
                "--volume=/e:/e",
                "--volume=/e/train:/nemo_run",
                "--volume=/data:/data:ro",
                "--volume=cache:/opt/cache",
                "--volume=/e/train/out:/out",
                "--volume=/home/me/project:/home/me/project",
            ]
        );
        assert_eq!(sources, ["/data", "/home/me/project"]);
        mounts.in_place = Some("/data/project");
        assert_eq!(mounts.words().unwrap().0.len(), 5);
        for wrong in [
            "data",
            "./data:/data",
            "~/data:/data",
            "/data:data",
            "$x:/y",
            "/x:/mizzen-agent",
        ] {
            let settings = DockerSettings {
                volumes: vec![wrong.to_owned()],
                ..DockerSettings::default()
            };
            let mounts = Mounts {
                settings: &settings,
                ..mounts
            };
            assert!(mounts.words().unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn networks_of_the_engine() {
        for network in ["host", "none", "bridge", "container:x", "slirp4netns:mtu=1"] {
            assert!(is_the_engines(network), "{network}");
        }
        assert!(!is_the_engines("nemo_run"));
        let settings = DockerSettings::default();
        let words = |name| network(name, "train", &settings).unwrap();
        assert_eq!(words(None), ["--hostname=train"]);
        assert_eq!(words(Some("host")), ["--network=host"]);
        assert_eq!(
            words(Some("mine")),
            [
                "--network=mine",
                "--network-alias=train",
                "--hostname=train"
            ]
        );
    }
}
