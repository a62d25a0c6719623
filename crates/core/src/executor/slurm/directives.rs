//! Settings as options of sbatch: which there are, in what order, and how a `#SBATCH` line is quoted.
//!
//! sbatch splits a `#SBATCH` line itself: blanks part words, `#` begins a comment, quotes and backslashes hide both
//! (`src/sbatch/opt.c`, `get_argument`; tried with 22.05). A line ends at its line end, whatever is quoted.

use std::collections::BTreeMap;

use super::settings::{Flag, Size, SlurmSettings, Text};

/// Flags that can't be given in `additional_parameters`, and what to do instead.
const REFUSED: [(&str, &str); 11] = [
    ("array", "write the points as the task's `sweep`"),
    ("dependency", "use `dependencies` or the task's `after`"),
    ("wrap", "the batch script is made here"),
    ("parsable", "it is given already"),
    ("test-only", "`mizzen doctor` and `mizzen plan` ask that"),
    ("wait", "use `mizzen wait`"),
    ("help", "it would submit nothing"),
    ("usage", "it would submit nothing"),
    ("version", "it would submit nothing"),
    ("quiet", "what sbatch says is needed"),
    ("input", "a job reads nothing"),
];

/// A flag as sbatch has it: `cpu_freq` and `--cpu-freq` are `cpu-freq`.
pub(super) fn flag_name(name: &str) -> String {
    name.trim_start_matches('-').replace('_', "-")
}

/// The number in a dependency: Slurm's own, or a handle's (`slurm://<place>/12/<key>`, NeMo-Run's `slurm://nemo_run/12`).
pub(super) fn job_number(dependency: &str) -> Option<&str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| match part.split_once('_') {
        Some((job, index)) => digits(job) && digits(index),
        None => digits(part),
    };
    dependency.rsplit('/').take(2).find(|part| number(part))
}

/// The settings that are options of sbatch by themselves, by name. Texts are checked by [`problem`].
fn plain(settings: &SlurmSettings) -> Vec<(&'static str, Option<&str>)> {
    fn text(value: Option<&Text>) -> Option<&str> {
        value.map(|text| text.0.as_str())
    }
    vec![
        ("account", settings.account.as_deref()),
        ("begin", settings.begin.as_deref()),
        ("chdir", settings.chdir.as_deref()),
        ("clusters", settings.clusters.as_deref()),
        ("comment", settings.comment.as_deref()),
        ("constraint", settings.constraint.as_deref()),
        ("deadline", settings.deadline.as_deref()),
        ("exclude", settings.exclude.as_deref()),
        ("export", settings.export.as_deref()),
        ("gpus", text(settings.gpus.as_ref())),
        ("gpus-per-node", text(settings.gpus_per_node.as_ref())),
        ("gpus-per-socket", text(settings.gpus_per_socket.as_ref())),
        ("gpus-per-task", text(settings.gpus_per_task.as_ref())),
        ("gres", settings.gres.as_deref()),
        ("licenses", settings.licenses.as_deref()),
        ("mail-type", settings.mail_type.as_deref()),
        ("mail-user", settings.mail_user.as_deref()),
        ("mem", text(settings.mem.as_ref())),
        ("mem-per-cpu", text(settings.mem_per_cpu.as_ref())),
        ("mem-per-gpu", text(settings.mem_per_gpu.as_ref())),
        ("network", settings.network.as_deref()),
        ("nodelist", settings.nodelist.as_deref()),
        ("open-mode", Some(&settings.open_mode)),
        ("partition", settings.partition.as_deref()),
        ("prefer", settings.prefer.as_deref()),
        ("qos", settings.qos.as_deref()),
        ("reservation", settings.reservation.as_deref()),
        ("signal", settings.signal.as_deref()),
        ("switches", text(settings.switches.as_ref())),
        ("time", Some(&settings.time)),
        ("wckey", settings.wckey.as_deref()),
    ]
}

/// What sbatch could not take, as a sentence; `None` if all is well.
pub(super) fn problem(settings: &SlurmSettings) -> Option<String> {
    let details = &settings.job_details;
    let others = [
        ("job_name_prefix", &settings.job_name_prefix),
        ("job_details.job_name", &details.job_name),
        ("job_details.folder", &details.folder),
        ("job_details.stdout", &details.stdout),
        ("job_details.stderr", &details.stderr),
        ("job_details.srun_stdout", &details.srun_stdout),
        ("job_details.srun_stderr", &details.srun_stderr),
    ];
    let settings_texts = plain(settings)
        .into_iter()
        .map(|(name, value)| (name.replace('-', "_"), value));
    let other_texts = others
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_deref()));
    for (name, value) in settings_texts.chain(other_texts) {
        let Some(value) = value else { continue };
        if let Some(words) = text_problem(&name, value) {
            return Some(words);
        }
        if value.is_empty() && name != "comment" && name != "job_name_prefix" {
            return Some(format!("{name}: it is empty: leave it out"));
        }
    }
    for (name, flag) in settings.additional_parameters.iter().flatten() {
        let known = flag_name(name);
        if known.is_empty()
            || !known
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Some(format!(
                "additional_parameters: `{}` is no flag of sbatch: write its long name, such as `cpu-freq`",
                name.escape_debug()
            ));
        }
        if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == known) {
            return Some(format!(
                "additional_parameters: `{known}` can't be given: {instead}"
            ));
        }
        if let Flag::Value(value) = flag
            && let Some(words) = text_problem(&format!("additional_parameters: {known}"), value)
        {
            return Some(words);
        }
    }
    None
}

fn text_problem(name: &str, value: &str) -> Option<String> {
    value.contains(['\n', '\r', '\0']).then(|| {
        format!(
            "{name}: it holds a line end or a NUL byte, which no line of a batch script can carry"
        )
    })
}

/// What the options of one component of a unit hold beside the settings.
pub(super) struct Named<'a> {
    pub(super) job_name: &'a str,
    pub(super) key: &'a str,
    pub(super) output: &'a str,
    pub(super) error: Option<&'a str>,
    pub(super) size: Size,
}

/// The settings as options, without `additional_parameters`.
pub(super) fn flags(settings: &SlurmSettings, size: Size) -> BTreeMap<String, Flag> {
    let value = |text: &str| Flag::Value(text.to_owned());
    let mut options: BTreeMap<String, Flag> = plain(settings)
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), value(text?))))
        .collect();
    let mut number = |name: &str, given: Option<u32>| {
        if let Some(given) = given {
            options.insert(name.to_owned(), Flag::Value(given.to_string()));
        }
    };
    number("cpus-per-task", settings.cpus_per_task);
    number("cpus-per-gpu", settings.cpus_per_gpu);
    number("segment", settings.segment);
    number("nodes", Some(size.nodes));
    if size.by_ntasks {
        number("ntasks", Some(size.ranks));
    }
    if !size.by_ntasks || settings.ntasks_per_node > 1 {
        number("ntasks-per-node", Some(size.per_node));
    }
    if let Some(exclusive) = &settings.exclusive {
        options.insert("exclusive".to_owned(), exclusive.clone());
    }
    if settings.hold {
        options.insert("hold".to_owned(), Flag::On);
    }
    if let Some(nice) = settings.nice {
        options.insert("nice".to_owned(), value(&nice.to_string()));
    }
    match settings.requeue {
        Some(true) => options.insert("requeue".to_owned(), Flag::On),
        Some(false) => options.insert("no-requeue".to_owned(), Flag::On),
        None => None,
    };
    options
}

/// Gives `additional_parameters` their say.
pub(super) fn add_parameters(options: &mut BTreeMap<String, Flag>, settings: &SlurmSettings) {
    for (name, flag) in settings.additional_parameters.iter().flatten() {
        let name = flag_name(name);
        match flag {
            Flag::Off => options.remove(&name),
            given => options.insert(name, given.clone()),
        };
    }
}

/// An option as one text, unquoted; `None` if it is not given.
pub(super) fn option(name: &str, flag: &Flag) -> Option<String> {
    match flag {
        Flag::Off => None,
        Flag::On => Some(format!("--{name}")),
        Flag::Value(text) => Some(format!("--{name}={text}")),
    }
}

/// The options of one component, in canonical order (by name), each quoted for its `#SBATCH` line.
pub(super) fn options(settings: &SlurmSettings, named: &Named<'_>) -> Vec<String> {
    let value = |text: &str| Flag::Value(text.to_owned());
    let mut options = flags(settings, named.size);
    options.insert("job-name".to_owned(), value(named.job_name));
    options.insert("output".to_owned(), value(named.output));
    if let Some(error) = named.error {
        options.insert("error".to_owned(), value(error));
    }
    add_parameters(&mut options, settings);
    options.insert("comment".to_owned(), value(&comment(settings, named.key)));
    options
        .iter()
        .filter_map(|(name, flag)| option(name, flag).map(|text| word(&text)))
        .collect()
}

/// A job's comment. The key is how a job is found again: whatever else the comment says, it is its last word, and the rest
/// is cut so that squeue shows the key.
pub(super) fn comment(settings: &SlurmSettings, key: &str) -> String {
    let additional = settings.additional_parameters.iter().flatten();
    let given = additional
        .filter(|(name, _)| flag_name(name) == "comment")
        .map(|(_, flag)| match flag {
            Flag::Value(text) => text.as_str(),
            Flag::On | Flag::Off => "",
        })
        .next_back();
    match given.or(settings.comment.as_deref()) {
        Some(comment) if !comment.is_empty() => {
            let room = super::queue::COMMENT.saturating_sub(key.len() + 1);
            format!("{} {key}", &comment[..comment.floor_char_boundary(room)])
        }
        _ => key.to_owned(),
    }
}

/// A text as one word of a `#SBATCH` line.
pub(super) fn word(text: &str) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-_=.,:/@%+[]".contains(&byte) || !byte.is_ascii()
    };
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// A path in which Slurm finds no pattern of its own (`%j`).
pub(super) fn literal_path(path: &str) -> String {
    path.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(settings: serde_json::Value) -> Vec<String> {
        let settings = SlurmSettings::from_value(settings).unwrap();
        let size = settings.size();
        options(
            &settings,
            &Named {
                job_name: "n",
                key: "mz-x-0-1",
                output: "/e/o",
                error: None,
                size,
            },
        )
    }

    #[test]
    fn options_are_sorted_and_what_is_off_is_left_out() {
        assert_eq!(
            rendered(json!({
                "account": "a", "exclusive": false, "requeue": false, "nice": -5, "gpus_per_node": 8, "hold": true,
                "comment": "for me", "additional_parameters": {"open_mode": false, "cpu_freq": "high", "spread-job": true},
            })),
            [
                "--account=a",
                "\"--comment=for me mz-x-0-1\"",
                "--cpu-freq=high",
                "--gpus-per-node=8",
                "--hold",
                "--job-name=n",
                "--nice=-5",
                "--no-requeue",
                "--nodes=1",
                "--ntasks-per-node=1",
                "--output=/e/o",
                "--spread-job",
                "--time=00:10:00",
            ]
        );
        let exclusive = rendered(json!({"exclusive": true}));
        assert!(
            exclusive.contains(&"--exclusive".to_owned()),
            "{exclusive:?}"
        );
        let ntasks = rendered(json!({"ntasks": 5, "nodes": 2}));
        assert!(ntasks.contains(&"--ntasks=5".to_owned()));
        assert!(
            !ntasks
                .iter()
                .any(|option| option.starts_with("--ntasks-per-node"))
        );
    }

    #[test]
    fn additional_parameters_win_but_keep_the_key() {
        let options = rendered(json!({
            "partition": "a", "additional_parameters": {"partition": "b", "comment": "x", "nodes": 4},
        }));
        assert!(options.contains(&"--partition=b".to_owned()));
        assert!(options.contains(&"--nodes=4".to_owned()));
        assert!(options.contains(&"\"--comment=x mz-x-0-1\"".to_owned()));
    }

    #[test]
    fn dependencies_name_jobs() {
        for (text, number) in [
            ("12", Some("12")),
            ("slurm://cluster/12_3", Some("12_3")),
            ("slurm://nemo_run/7", Some("7")),
            ("slurm://me@host:22/12_3/mz-x1-0-1", Some("12_3")),
            ("slurm://12/7/x/y", None),
            ("x", None),
            ("", None),
            ("1_", None),
        ] {
            assert_eq!(job_number(text), number, "{text}");
        }
    }
}
