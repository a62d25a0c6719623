//! sbatch: what it reads in scripts and arguments, and what it says no to, in its own words (tried with 22.05).

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::Utf8Path;

use super::cluster::{Accepted, Cluster, SECOND};
use super::job::{Dependency, DependencyKind, Phase, Unit};
use super::{Accounting, Answer};

/// Options with a value.
const WITH_VALUE: &[&str] = &[
    "account",
    "array",
    "batch",
    "bb",
    "bbf",
    "begin",
    "chdir",
    "cluster-constraint",
    "clusters",
    "comment",
    "constraint",
    "container",
    "core-spec",
    "cores-per-socket",
    "cpu-freq",
    "cpus-per-gpu",
    "cpus-per-task",
    "deadline",
    "delay-boot",
    "dependency",
    "distribution",
    "error",
    "exclude",
    "export",
    "export-file",
    "extra-node-info",
    "gid",
    "gpu-bind",
    "gpu-freq",
    "gpus",
    "gpus-per-node",
    "gpus-per-socket",
    "gpus-per-task",
    "gres",
    "gres-flags",
    "hint",
    "input",
    "job-name",
    "kill-on-invalid-dep",
    "licenses",
    "mail-type",
    "mail-user",
    "mcs-label",
    "mem",
    "mem-bind",
    "mem-per-cpu",
    "mem-per-gpu",
    "mincpus",
    "network",
    "nodefile",
    "nodelist",
    "nodes",
    "ntasks",
    "ntasks-per-core",
    "ntasks-per-gpu",
    "ntasks-per-node",
    "ntasks-per-socket",
    "open-mode",
    "output",
    "partition",
    "power",
    "prefer",
    "priority",
    "profile",
    "qos",
    "reservation",
    "signal",
    "sockets-per-node",
    "switches",
    "thread-spec",
    "threads-per-core",
    "time",
    "time-min",
    "tmp",
    "uid",
    "wait-all-nodes",
    "wckey",
    "wrap",
];
/// Options without one, and with one that may be left out.
const WITHOUT: &[&str] = &[
    "contiguous",
    "hold",
    "ignore-pbs",
    "no-kill",
    "no-requeue",
    "overcommit",
    "oversubscribe",
    "parsable",
    "quiet",
    "reboot",
    "requeue",
    "spread-job",
    "test-only",
    "use-min-nodes",
    "verbose",
    "wait",
    "exclusive",
    "nice",
    "get-user-env",
    "propagate",
];
const SHORT: &[(&str, &str)] = &[
    ("-A", "account"),
    ("-a", "array"),
    ("-b", "begin"),
    ("-C", "constraint"),
    ("-c", "cpus-per-task"),
    ("-D", "chdir"),
    ("-d", "dependency"),
    ("-e", "error"),
    ("-J", "job-name"),
    ("-N", "nodes"),
    ("-n", "ntasks"),
    ("-o", "output"),
    ("-p", "partition"),
    ("-q", "qos"),
    ("-t", "time"),
    ("-w", "nodelist"),
    ("-x", "exclude"),
];
/// How long sbatch waits by itself for a place in a queue that is full, in seconds: 15 times, each a second longer.
const PATIENCE: i64 = 120;

type Options = BTreeMap<String, String>;

/// A refusal of the controller's.
fn refused(words: &str) -> Answer {
    Answer::fails(
        1,
        &format!("sbatch: error: Batch job submission failed: {words}\n"),
    )
}

/// Runs sbatch. Time may pass in it.
pub(super) fn sbatch(
    cluster: &mut Cluster,
    cwd: &Utf8Path,
    argv: &[String],
    patience: Option<f64>,
) -> Answer {
    let mut options = Options::new();
    let script = match read(&argv[1..], &mut options) {
        Ok(script) => script,
        Err(answer) => return answer,
    };
    let Some(script) = script else {
        return Answer::fails(
            1,
            "sbatch: error: This does not look like a batch script.  The first\n",
        );
    };
    let text = match std::fs::read(cwd.join(&script)) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => {
            return Answer::fails(1, &format!("sbatch: error: Unable to open file {script}\n"));
        }
    };
    if !text.starts_with("#!") {
        return Answer::fails(
            1,
            "sbatch: error: This does not look like a batch script.  The first\n\
             sbatch: error: line must start with #! followed by the path to an interpreter.\n\
             sbatch: error: For instance: #!/bin/sh\n",
        );
    }
    let components = match components(&text, &options) {
        Ok(components) => components,
        Err(answer) => return answer,
    };
    let request = match Wanted::read(cwd, &script, components) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    if let Err(answer) = request.allowed(cluster) {
        return answer;
    }
    if options.contains_key("test-only") {
        let id = cluster.next;
        return Answer::says_beside(&format!(
            "sbatch: Job {id} to start at {} using 1 processors on nodes n1 in partition main\n",
            super::print::time(Some(cluster.now()))
        ));
    }
    // The queue is full: sbatch waits, and says so only on standard error.
    let wanted = request.count();
    let mut waited = 0;
    while cluster.jobs.len() + wanted > cluster.settings.max_job_count {
        if waited >= PATIENCE || patience.is_some_and(|patience| waited as f64 >= patience) {
            return match patience {
                Some(patience) if patience <= PATIENCE as f64 => Answer::late(),
                _ => Answer::fails(
                    1,
                    "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n\
                     sbatch: error: Batch job submission failed: Resource temporarily unavailable\n",
                ),
            };
        }
        cluster.advance(SECOND);
        waited += 1;
    }
    let id = request.hand_in(cluster);
    let name = match &cluster.settings.cluster_name {
        Some(name) => format!(";{name}"),
        None => String::new(),
    };
    match options.contains_key("parsable") {
        true => Answer::says(&format!("{id}{name}\n")),
        false => Answer::says(&format!("Submitted batch job {id}\n")),
    }
}

/// Reads arguments, up to the script's path.
fn read(words: &[String], options: &mut Options) -> Result<Option<String>, Answer> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            return Ok(words.next().cloned());
        }
        if !word.starts_with('-') {
            return Ok(Some(word.clone()));
        }
        let (given, mut value) = match word.split_once('=') {
            Some((given, value)) => (given, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let short = SHORT
            .iter()
            .find(|(short, _)| given.starts_with(short) && !given.starts_with("--"));
        let name = match (given.strip_prefix("--"), short) {
            (Some(name), _) => name,
            (None, Some((short, name))) => {
                let rest = &word[short.len()..];
                value = (!rest.is_empty()).then(|| rest.to_owned());
                name
            }
            (None, None) if given == "-H" => "hold",
            (None, None) => return Err(unknown(given)),
        };
        if WITHOUT.contains(&name) {
            options.insert(name.to_owned(), value.unwrap_or_default());
        } else if WITH_VALUE.contains(&name) {
            let Some(value) = value.or_else(|| words.next().cloned()) else {
                return Err(Answer::fails(
                    255,
                    &format!(
                        "sbatch: option '--{name}' requires an argument\nTry \"sbatch --help\" for more information\n"
                    ),
                ));
            };
            options.insert(name.to_owned(), value);
        } else {
            return Err(unknown(given));
        }
    }
    Ok(None)
}

fn unknown(given: &str) -> Answer {
    Answer::fails(
        255,
        &format!(
            "sbatch: unrecognized option '{given}'\nTry \"sbatch --help\" for more information\n"
        ),
    )
}

/// The options of each component: what the script says, under what the arguments say.
fn components(text: &str, arguments: &Options) -> Result<Vec<Options>, Answer> {
    let mut components = vec![Options::new()];
    // Comments and empty lines may stand between; the first command ends it.
    for line in text
        .lines()
        .take_while(|line| line.trim().is_empty() || line.starts_with('#'))
    {
        let Some(rest) = line.strip_prefix("#SBATCH") else {
            continue;
        };
        let words = shlex::split(rest).unwrap_or_default();
        if words
            .first()
            .is_some_and(|word| word == "hetjob" || word == "packjob")
        {
            components.push(Options::new());
            continue;
        }
        if let Some(last) = components.last_mut() {
            read(&words, last)?;
        }
    }
    for component in &mut components {
        component.extend(
            arguments
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    Ok(components)
}

/// What sbatch asks the controller for.
struct Wanted {
    units: Vec<(Arc<Unit>, String)>,
    options: Vec<Options>,
    array: Option<(Vec<u32>, Option<usize>)>,
    broken_array: bool,
    begin: Option<i64>,
    broken_dependency: bool,
}

impl Wanted {
    fn read(cwd: &Utf8Path, script: &str, options: Vec<Options>) -> Result<Wanted, Answer> {
        let first = &options[0];
        let array = first.get("array").map(|text| indexes(text));
        let throttle = array.as_ref().and_then(|array| array.as_ref()?.1);
        let dependencies = first.get("dependency").map(|text| dependencies(text));
        let mut units = Vec::new();
        for one in &options {
            let limit = match one.get("time") {
                None => None,
                Some(text) => match seconds(text) {
                    Some(seconds) => Some(seconds * SECOND),
                    None => {
                        return Err(Answer::fails(
                            255,
                            "sbatch: error: Invalid --time specification\n",
                        ));
                    }
                },
            };
            let nodes = match one
                .get("nodes")
                .map(|text| text.split('-').next().unwrap_or(text).parse())
            {
                None => 1,
                Some(Ok(nodes)) => nodes,
                Some(Err(_)) => {
                    let text = &one["nodes"];
                    return Err(Answer::fails(
                        255,
                        &format!("sbatch: error: \"{text}\" is not a valid node count\n"),
                    ));
                }
            };
            let unit = Unit {
                directory: cwd.to_string(),
                script: script.to_owned(),
                dependencies: dependencies.clone().flatten().unwrap_or_default(),
                kill_invalid: first
                    .get("kill-on-invalid-dep")
                    .is_some_and(|word| word == "yes"),
                requeue: !one.contains_key("no-requeue"),
                limit,
                nodes,
                throttle,
                partition: one
                    .get("partition")
                    .cloned()
                    .unwrap_or_else(|| "main".to_owned()),
                exclude: one
                    .get("exclude")
                    .map(|list| super::super::queue::nodes(list))
                    .unwrap_or_default(),
                name: one.get("job-name").cloned().unwrap_or_else(|| {
                    Utf8Path::new(script)
                        .file_name()
                        .unwrap_or_default()
                        .to_owned()
                }),
            };
            units.push((
                Arc::new(unit),
                one.get("comment").cloned().unwrap_or_default(),
            ));
        }
        let begin = match first.get("begin") {
            None => None,
            Some(text) => match text.strip_prefix("now+").and_then(seconds_of_begin) {
                Some(seconds) => Some(seconds * SECOND),
                None => {
                    return Err(Answer::fails(
                        255,
                        &format!(
                            "Invalid time specification (pos=0): {text}\nsbatch: error: Invalid --begin specification\n"
                        ),
                    ));
                }
            },
        };
        Ok(Wanted {
            broken_array: array.as_ref().is_some_and(Option::is_none),
            array: array.flatten(),
            broken_dependency: dependencies.as_ref().is_some_and(Option::is_none),
            units,
            options,
            begin,
        })
    }

    fn count(&self) -> usize {
        match &self.array {
            Some((indexes, _)) => indexes.len(),
            None => self.units.len(),
        }
    }

    /// What the controller checks before it takes a job.
    fn allowed(&self, cluster: &Cluster) -> Result<(), Answer> {
        let settings = &cluster.settings;
        for (options, (unit, _)) in self.options.iter().zip(&self.units) {
            if !settings.partitions.contains(&unit.partition) {
                let words = format!(
                    "sbatch: error: invalid partition specified: {}\n",
                    unit.partition
                );
                let last = match options.contains_key("test-only") {
                    true => "allocation failure: Invalid partition name specified\n".to_owned(),
                    false => refused("Invalid partition name specified").stderr,
                };
                return Err(Answer::fails(1, &format!("{words}{last}")));
            }
            if options.contains_key("reservation") {
                return Err(refused("Requested reservation is invalid"));
            }
            // Without accounting nobody looks at accounts.
            if settings.accounting != Accounting::None {
                if options
                    .get("account")
                    .is_some_and(|name| !settings.accounts.contains(name))
                {
                    return Err(refused(
                        "Invalid account or account/partition combination specified",
                    ));
                }
                if options.get("qos").is_some_and(|name| name != "normal") {
                    return Err(refused("Invalid qos specification"));
                }
            }
        }
        if self.broken_dependency {
            return Err(refused("Job dependency problem"));
        }
        let most = settings.max_array_size;
        let too_big = |(indexes, _): &(Vec<u32>, Option<usize>)| {
            indexes.is_empty() || indexes.iter().any(|index| *index as usize >= most)
        };
        if self.broken_array || self.array.as_ref().is_some_and(too_big) {
            return Err(refused("Invalid job array specification"));
        }
        if let Some((word, most)) = &settings.max_submit {
            let mine = cluster
                .jobs
                .iter()
                .filter(|job| job.phase != Phase::Ended)
                .count();
            if mine + self.count() > *most {
                return Err(Answer::fails(
                    1,
                    &format!(
                        "sbatch: error: {word}\nsbatch: error: Batch job submission failed: Job violates accounting/QOS \
                         policy (job submit limit, user's size and/or time limits)\n"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The controller takes it.
    fn hand_in(self, cluster: &mut Cluster) -> u32 {
        let first = &self.options[0];
        let held = first.contains_key("hold");
        let begin = self.begin.map_or(0, |after| cluster.now() + after);
        let id = cluster.number();
        cluster.accepted.push(Accepted {
            id,
            comment: self.units[0].1.clone(),
            script: self.units[0].0.script.clone(),
            tasks: self.array.as_ref().map(|(indexes, _)| indexes.len()),
            dependency: first.get("dependency").cloned().unwrap_or_default(),
        });
        if let Some((indexes, _)) = self.array {
            let (unit, comment) = &self.units[0];
            for index in indexes {
                let mut job = Cluster::waiting(Arc::clone(unit), comment.clone(), held, begin);
                job.array = Some((id, index));
                cluster.add(job);
            }
            return id;
        }
        let hetjob = self.units.len() > 1;
        for (offset, (unit, comment)) in (0..).zip(self.units) {
            let mut job = Cluster::waiting(unit, comment, held, begin);
            job.number = Some(if offset == 0 { id } else { cluster.number() });
            job.het = hetjob.then_some((id, offset));
            cluster.add(job);
        }
        id
    }
}

/// The indexes of `0-3,7`, `0-9:2`, and how many of them may run: `%2`.
pub(super) fn indexes(text: &str) -> Option<(Vec<u32>, Option<usize>)> {
    let (list, most) = match text.split_once('%') {
        Some((list, most)) => (list, Some(most.parse().ok()?)),
        None => (text, None),
    };
    let mut indexes = Vec::new();
    for part in list.trim_matches(['[', ']']).split(',') {
        let (range, step) = match part.split_once(':') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        if to < from || to > 5_000_000 {
            return None;
        }
        indexes.extend((from..=to).step_by(step));
    }
    indexes.sort_unstable();
    indexes.dedup();
    Some((indexes, most))
}

fn dependencies(text: &str) -> Option<Vec<Dependency>> {
    let mut all = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (word, ids) = part.split_once(':')?;
        let kind = match word {
            "after" => DependencyKind::Start,
            "afterany" => DependencyKind::Any,
            "afterok" | "aftercorr" => DependencyKind::Ok,
            "afternotok" => DependencyKind::NotOk,
            _ => return None,
        };
        let mut on = Vec::new();
        for id in ids.split(':') {
            let (number, index) = match id.split_once('_') {
                Some((number, index)) => (number, Some(index.parse().ok()?)),
                None => (id, None),
            };
            on.push((number.split('+').next()?.parse().ok()?, index));
        }
        all.push(Dependency { kind, on });
    }
    Some(all)
}

/// A time limit: minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s.
fn seconds(text: &str) -> Option<i64> {
    let numbers = |text: &str| -> Option<Vec<i64>> {
        text.split(':')
            .map(|number| number.parse().ok().filter(|number| *number >= 0))
            .collect()
    };
    Some(match text.split_once('-') {
        Some((days, rest)) => {
            let days: i64 = days.parse().ok()?;
            let rest = numbers(rest)?;
            let [hours, minutes, seconds] = match rest[..] {
                [hours] => [hours, 0, 0],
                [hours, minutes] => [hours, minutes, 0],
                [hours, minutes, seconds] => [hours, minutes, seconds],
                _ => return None,
            };
            ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        }
        None => match numbers(text)?[..] {
            [minutes] => minutes * 60,
            [minutes, seconds] => minutes * 60 + seconds,
            [hours, minutes, seconds] => (hours * 60 + minutes) * 60 + seconds,
            _ => return None,
        },
    })
}

/// What stands behind `now+`: seconds, or a number and a unit.
fn seconds_of_begin(text: &str) -> Option<i64> {
    let end = text
        .find(|sign: char| !sign.is_ascii_digit())
        .unwrap_or(text.len());
    let number: i64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim_end_matches('s') {
        "" | "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86400,
        "week" => 604_800,
        _ => return None,
    };
    Some(number * unit)
}
