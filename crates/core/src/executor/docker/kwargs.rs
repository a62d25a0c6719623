//! `additional_kwargs`: arguments of `containers.run` of Docker's Python library (docker-py 7.1), as words for the engine's `run`.
//!
//! NeMo-Run hands them to that library; here they become the options that say the same. Facts: the library's reference of
//! `ContainerCollection.run`, and docker-run(1).

use serde_json::{Map, Value};

use super::options::text;

/// What form an argument has.
#[derive(Clone, Copy)]
enum Shape {
    /// A text or a number.
    Text,
    /// True or false.
    Bool,
    /// One text, or a list of them.
    List,
    /// A table, as `name<sep>value`; or a list of texts.
    Table(char),
}

use Shape::{Bool, List, Table, Text};

/// The arguments that are options.
const KNOWN: [(&str, &str, Shape); 46] = [
    ("blkio_weight", "blkio-weight", Text),
    ("cap_add", "cap-add", List),
    ("cap_drop", "cap-drop", List),
    ("cgroup_parent", "cgroup-parent", Text),
    ("cgroupns", "cgroupns", Text),
    ("cpu_period", "cpu-period", Text),
    ("cpu_quota", "cpu-quota", Text),
    ("cpu_rt_period", "cpu-rt-period", Text),
    ("cpu_rt_runtime", "cpu-rt-runtime", Text),
    ("cpu_shares", "cpu-shares", Text),
    ("cpuset_cpus", "cpuset-cpus", Text),
    ("cpuset_mems", "cpuset-mems", Text),
    ("device_cgroup_rules", "device-cgroup-rule", List),
    ("devices", "device", List),
    ("dns", "dns", List),
    ("dns_opt", "dns-option", List),
    ("dns_search", "dns-search", List),
    ("domainname", "domainname", Text),
    ("environment", "env", Table('=')),
    ("extra_hosts", "add-host", Table(':')),
    ("group_add", "group-add", List),
    ("hostname", "hostname", Text),
    ("isolation", "isolation", Text),
    ("labels", "label", Table('=')),
    ("links", "link", Table(':')),
    ("mac_address", "mac-address", Text),
    ("mem_limit", "memory", Text),
    ("mem_reservation", "memory-reservation", Text),
    ("mem_swappiness", "memory-swappiness", Text),
    ("memswap_limit", "memory-swap", Text),
    ("oom_kill_disable", "oom-kill-disable", Bool),
    ("oom_score_adj", "oom-score-adj", Text),
    ("pid_mode", "pid", Text),
    ("pids_limit", "pids-limit", Text),
    ("publish_all_ports", "publish-all", Bool),
    ("read_only", "read-only", Bool),
    ("security_opt", "security-opt", List),
    ("stop_signal", "stop-signal", Text),
    ("storage_opt", "storage-opt", Table('=')),
    ("sysctls", "sysctl", Table('=')),
    ("tmpfs", "tmpfs", Table(':')),
    ("userns_mode", "userns", Text),
    ("uts_mode", "uts", Text),
    ("volume_driver", "volume-driver", Text),
    ("volumes_from", "volumes-from", List),
    ("init_path", "init-path", Text),
];

/// Arguments that settings say, or that can't be.
const ELSEWHERE: [(&str, &str); 24] = [
    ("auto_remove", "write `keep_containers`"),
    ("command", "the task says it"),
    ("detach", "jobs are always detached"),
    ("device_requests", "write `num_gpus` or `gpus`"),
    ("entrypoint", "write `entrypoint`"),
    ("healthcheck", "write `healthcheck`"),
    ("image", "write `container_image`"),
    ("init", "the agent is the container's init"),
    ("ipc_mode", "write `ipc_mode`"),
    ("mounts", "write `volumes`"),
    ("name", "mizzen names containers by the job's key"),
    ("network", "write `network`"),
    ("network_mode", "write `network`"),
    ("platform", "write `platform`"),
    ("privileged", "write `privileged`"),
    ("remove", "write `keep_containers`"),
    (
        "restart_policy",
        "write `retries`: mizzen tries again, the engine does not",
    ),
    ("runtime", "write `runtime`"),
    ("shm_size", "write `shm_size`"),
    ("stdin_open", "jobs read nothing"),
    ("tty", "jobs have no terminal"),
    ("ulimits", "write `ulimits`"),
    ("user", "write `user`"),
    ("working_dir", "write `workdir`"),
];

/// The options that say the same.
pub(super) fn words(kwargs: &Map<String, Value>) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for (name, value) in kwargs {
        if value.is_null() {
            continue;
        }
        let wrong = |form: &str| format!("additional_kwargs.{name}: write {form}");
        if let Some((_, hint)) = ELSEWHERE.iter().find(|(known, _)| known == name) {
            return Err(format!("additional_kwargs.{name} can't be given: {hint}"));
        }
        match name.as_str() {
            "nano_cpus" => {
                let nanos = value.as_u64().ok_or_else(|| wrong("a number"))?;
                words.push(format!("--cpus={}", nanos as f64 / 1e9));
                continue;
            }
            "ports" => {
                words.extend(
                    ports(value).ok_or_else(|| wrong("a table such as { \"80/tcp\" = 8080 }"))?,
                );
                continue;
            }
            "volumes" => {
                return Err("additional_kwargs.volumes can't be given: write `volumes`".to_owned());
            }
            "log_config" => {
                words.extend(log_config(value).ok_or_else(|| {
                    wrong("a table such as { type = \"json-file\", config = {} }")
                })?);
                continue;
            }
            _ => {}
        }
        let Some((_, flag, shape)) = KNOWN.iter().find(|(known, _, _)| known == name) else {
            return Err(format!(
                "additional_kwargs.{name}: mizzen knows no such argument of Docker's Python library; an option of the engine's own goes into `engine_args`"
            ));
        };
        match shape {
            Text => {
                let value = text(value).ok_or_else(|| wrong("a text or a number"))?;
                words.push(format!("--{flag}={value}"));
            }
            Bool => {
                if value.as_bool().ok_or_else(|| wrong("true or false"))? {
                    words.push(format!("--{flag}"));
                }
            }
            List => {
                for value in list(value).ok_or_else(|| wrong("a list of texts"))? {
                    words.push(format!("--{flag}={value}"));
                }
            }
            Table(separator) => {
                let pairs = table(value, *separator).ok_or_else(|| wrong("a table of texts"))?;
                words.extend(pairs.into_iter().map(|pair| format!("--{flag}={pair}")));
            }
        }
    }
    if let Some(label) = words
        .iter()
        .find(|word| word.starts_with("--label=mizzen."))
    {
        return Err(format!(
            "additional_kwargs.labels: `{}` is one of mizzen's own",
            label.trim_start_matches("--label=")
        ));
    }
    Ok(words)
}

fn list(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    }
}

fn table(value: &Value, separator: char) -> Option<Vec<String>> {
    match value {
        Value::Object(table) => table
            .iter()
            .map(|(name, value)| match value {
                Value::Null => Some(name.clone()),
                value => text(value).map(|value| match value.as_str() {
                    "" if separator == ':' => name.clone(),
                    value => format!("{name}{separator}{value}"),
                }),
            })
            .collect(),
        other => list(other),
    }
}

/// `{"80/tcp": 8080}`, `{"80/tcp": ["127.0.0.1", 8080]}`, `{"80/tcp": null}` (a free one), `{"80": [8080, 8081]}`.
fn ports(value: &Value) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for (inside, outside) in value.as_object()? {
        let mut publish = |outside: &str| words.push(format!("--publish={outside}{inside}"));
        match outside {
            Value::Null => publish(""),
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(address), port] => {
                    publish(&format!("{address}:{}:", text(port).unwrap_or_default()));
                }
                many => {
                    for port in many {
                        publish(&format!("{}:", text(port)?));
                    }
                }
            },
            port => publish(&format!("{}:", text(port)?)),
        }
    }
    Some(words)
}

fn log_config(value: &Value) -> Option<Vec<String>> {
    let value = value.as_object()?;
    let mut words = Vec::new();
    for (name, value) in value {
        match name.to_ascii_lowercase().as_str() {
            "type" => words.push(format!("--log-driver={}", text(value)?)),
            "config" => {
                let pairs = table(value, '=')?;
                words.extend(pairs.into_iter().map(|pair| format!("--log-opt={pair}")));
            }
            _ => return None,
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<Vec<String>, String> {
        words(json.as_object().unwrap())
    }

    #[test]
    fn arguments_are_options() {
        let words = read(serde_json::json!({
            "cap_add": ["SYS_PTRACE"], "cpuset_cpus": "0-3", "extra_hosts": {"db": "10.0.0.1"},
            "tmpfs": {"/run": "", "/tmp": "size=1g"}, "ports": {"80/tcp": 8080, "81/tcp": ["127.0.0.1", 8081]},
            "read_only": true, "oom_kill_disable": false, "sysctls": {"net.core.somaxconn": 1024},
            "nano_cpus": 1_500_000_000, "log_config": {"type": "json-file", "config": {"max-size": "1m"}},
            "dns": null, "labels": {"team": "x"},
        }))
        .unwrap();
        assert_eq!(
            words,
            [
                "--cap-add=SYS_PTRACE",
                "--cpuset-cpus=0-3",
                "--add-host=db:10.0.0.1",
                "--tmpfs=/run",
                "--tmpfs=/tmp:size=1g",
                "--publish=8080:80/tcp",
                "--publish=127.0.0.1:8081:81/tcp",
                "--read-only",
                "--sysctl=net.core.somaxconn=1024",
                "--cpus=1.5",
                "--log-driver=json-file",
                "--log-opt=max-size=1m",
                "--label=team=x",
            ]
        );
    }

    #[test]
    fn what_settings_say_is_not_said_twice() {
        for (json, word) in [
            (
                serde_json::json!({"restart_policy": {"Name": "always"}}),
                "retries",
            ),
            (serde_json::json!({"detach": false}), "always detached"),
            (serde_json::json!({"cap_ad": ["X"]}), "engine_args"),
            (serde_json::json!({"cap_add": [{}]}), "a list of texts"),
            (
                serde_json::json!({"labels": {"mizzen.key": "x"}}),
                "mizzen's own",
            ),
        ] {
            let error = read(json.clone()).unwrap_err();
            assert!(error.contains(word), "{json}: {error}");
        }
    }
}
