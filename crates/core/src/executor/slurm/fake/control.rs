//! scancel, scontrol, sinfo (tried with 22.05).

use std::fmt::Write as _;

use super::cluster::{Cluster, node_list};
use super::job::{Job, Phase};
use super::sbatch::indexes;
use super::{Accounting, Answer};

/// An id as scancel and scontrol take it: a number, and the index of a task.
fn id(text: &str) -> Option<(u32, Option<Vec<u32>>)> {
    let (number, index) = match text.split_once('_') {
        Some((number, index)) => (number, Some(indexes(index)?.0)),
        None => (text.split('+').next()?, None),
    };
    Some((number.parse().ok()?, index))
}

/// The jobs that an id means.
fn jobs_of(cluster: &Cluster, number: u32, wanted: Option<&Vec<u32>>) -> Vec<usize> {
    let is = |job: &Job| match wanted {
        Some(list) => job
            .array
            .is_some_and(|(array, index)| array == number && list.contains(&index)),
        None => job.is(number, None),
    };
    (0..cluster.jobs.len())
        .filter(|position| is(&cluster.jobs[*position]))
        .collect()
}

pub(super) fn scancel(cluster: &mut Cluster, argv: &[String]) -> Answer {
    let mut signal = None;
    let mut mine = false;
    let mut ids = Vec::new();
    let mut words = argv[1..].iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--me" => mine = true,
            "-u" | "--user" => {
                words.next();
                mine = true;
            }
            "-s" | "--signal" => signal = words.next().cloned(),
            other => match other.strip_prefix("--signal=") {
                Some(name) => signal = Some(name.to_owned()),
                None if other.starts_with('-') => {}
                None => match id(other) {
                    Some(id) => ids.push(id),
                    None => {
                        return Answer::fails(
                            1,
                            &format!("scancel: error: Invalid job id {other}\n"),
                        );
                    }
                },
            },
        }
    }
    if ids.is_empty() && !mine {
        return Answer::fails(1, "scancel: error: No job identification provided\n");
    }
    // With a signal a job that is over is an error; without one it is not.
    let only_signal = signal.is_some_and(|name| name != "KILL" && name != "9");
    let mut said = String::new();
    if mine {
        ids = Vec::new();
        for job in &cluster.jobs {
            if !ids.iter().any(|(number, _)| *number == job.family()) {
                ids.push((job.family(), None));
            }
        }
    }
    for (number, wanted) in ids {
        let found = jobs_of(cluster, number, wanted.as_ref());
        let open: Vec<String> = found
            .iter()
            .map(|position| &cluster.jobs[*position])
            .filter(|job| job.phase != Phase::Ended)
            .map(Job::id)
            .collect();
        if only_signal {
            if open.is_empty() {
                let _ = writeln!(
                    said,
                    "scancel: error: Kill job error on job id {number}: Invalid job id specified"
                );
            }
            continue;
        }
        for name in open {
            if let Some(position) = cluster.jobs.iter().position(|job| job.id() == name) {
                cluster.cancel(position, wanted.is_some());
            }
        }
    }
    if said.is_empty() {
        Answer::says("")
    } else {
        Answer::fails(1, &said)
    }
}

pub(super) fn scontrol(cluster: &mut Cluster, argv: &[String]) -> Answer {
    let words: Vec<&str> = argv[1..]
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with('-'))
        .collect();
    match words[..] {
        ["show", "config"] => config(cluster),
        ["show", "job", name] => show(cluster, name),
        ["requeue", name] => each(cluster, name, |cluster, number| {
            cluster.requeue(number, false)
        }),
        ["requeuehold", name] => each(cluster, name, |cluster, number| {
            cluster.requeue(number, true)
        }),
        ["hold", name] => each(cluster, name, |cluster, number| {
            cluster.jobs[number].held = true;
            cluster.wake();
            Ok(())
        }),
        ["release", name] => each(cluster, name, |cluster, number| {
            let job = &mut cluster.jobs[number];
            job.held = false;
            job.reason = "None".to_owned();
            cluster.wake();
            Ok(())
        }),
        ["update", ..] => update(cluster, &words[1..]),
        _ => Answer::fails(1, &format!("invalid keyword: {}\n", words.join(" "))),
    }
}

/// Does something with every job of an id.
fn each(
    cluster: &mut Cluster,
    name: &str,
    mut act: impl FnMut(&mut Cluster, usize) -> Result<(), &'static str>,
) -> Answer {
    let found = id(name).map(|(number, wanted)| jobs_of(cluster, number, wanted.as_ref()));
    let Some(found) = found.filter(|found| !found.is_empty()) else {
        return Answer::fails(1, &format!("Invalid job id specified for job {name}\n"));
    };
    for number in found {
        if let Err(words) = act(cluster, number) {
            return Answer::fails(1, &format!("{words} for job {name}\n"));
        }
    }
    Answer::says("")
}

fn update(cluster: &mut Cluster, words: &[&str]) -> Answer {
    let pairs: Vec<(String, &str)> = words
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let value = |name: &str| {
        pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| *value)
    };
    if let (Some(node), Some(state)) = (value("nodename"), value("state")) {
        match state.to_ascii_lowercase().as_str() {
            "down" | "fail" => cluster.break_node(node),
            _ => {
                cluster.down.remove(node);
                cluster.wake();
            }
        }
        return Answer::says("");
    }
    let Some(name) = value("jobid") else {
        return Answer::fails(1, "No valid entity in update command\n");
    };
    let comment = value("comment").map(str::to_owned);
    each(cluster, name, |cluster, number| {
        if let Some(comment) = &comment {
            cluster.jobs[number].comment.clone_from(comment);
        }
        Ok(())
    })
}

fn config(cluster: &Cluster) -> Answer {
    let settings = &cluster.settings;
    let accounting = match settings.accounting {
        Accounting::None => "accounting_storage/none",
        _ => "accounting_storage/slurmdbd",
    };
    let flags = if settings.keeps_comments {
        "job_comment"
    } else {
        "(null)"
    };
    let lines: [(&str, String); 8] = [
        ("AccountingStorageType", accounting.to_owned()),
        ("AccountingStoreFlags", flags.to_owned()),
        ("ClusterName", "test".to_owned()),
        ("JobRequeue", "1".to_owned()),
        ("MaxArraySize", settings.max_array_size.to_string()),
        ("MaxJobCount", settings.max_job_count.to_string()),
        ("MinJobAge", format!("{} sec", settings.min_job_age)),
        ("SLURM_VERSION", "22.05.8".to_owned()),
    ];
    let mut text = format!(
        "Configuration data as of {}\n",
        super::print::time(Some(cluster.now()))
    );
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<23} = {value}");
    }
    text.push_str("\nSlurmctld(primary) at vm is UP\n");
    Answer::says(&text)
}

fn show(cluster: &Cluster, name: &str) -> Answer {
    let found = id(name).map(|(number, wanted)| jobs_of(cluster, number, wanted.as_ref()));
    let Some(found) = found.filter(|found| !found.is_empty()) else {
        return Answer::fails(1, "slurm_load_jobs error: Invalid job id specified\n");
    };
    let unknown = |at: Option<i64>| {
        at.map_or_else(|| "Unknown".to_owned(), |at| super::print::time(Some(at)))
    };
    let mut text = String::new();
    for number in found {
        let job = &cluster.jobs[number];
        let _ = write!(text, "JobId={}", job.number.unwrap_or(job.family()));
        if let Some((array, index)) = job.array {
            let _ = write!(text, " ArrayJobId={array} ArrayTaskId={index}");
        }
        if let Some((first, offset)) = job.het {
            let _ = write!(text, " HetJobId={first} HetJobOffset={offset}");
        }
        let _ = writeln!(
            text,
            " JobName={} JobState={} Reason={} Requeue={} Restarts={} ExitCode={}:{} StartTime={} EndTime={} Partition={} \
             NodeList={} Command={}/{} WorkDir={} Comment={} ",
            job.unit.name,
            job.state(),
            job.reason.replace(' ', "_"),
            u8::from(job.unit.requeue),
            job.restarts,
            job.exit >> 8,
            job.exit & 0x7f,
            unknown(job.start),
            unknown(job.end),
            job.unit.partition,
            node_list(&job.nodes),
            job.unit.directory,
            job.unit.script,
            job.unit.directory,
            job.comment,
        );
    }
    Answer::says(&text)
}

/// `sinfo --Node --noheader --format=%N|%T [--nodes=LIST]`, and no other.
pub(super) fn sinfo(cluster: &Cluster, argv: &[String]) -> Answer {
    let wanted = argv
        .iter()
        .find_map(|word| word.strip_prefix("--nodes="))
        .map(super::super::queue::nodes);
    let mut text = String::new();
    for number in 1..=cluster.settings.nodes {
        let name = format!("n{number}");
        if wanted.as_ref().is_some_and(|names| !names.contains(&name)) {
            continue;
        }
        let busy = cluster
            .jobs
            .iter()
            .any(|job| job.phase == Phase::Running && job.nodes.contains(&name));
        let state = match (cluster.down.contains(&name), busy) {
            (true, _) => "down",
            (false, true) => "mixed",
            (false, false) => "idle",
        };
        let _ = writeln!(text, "{name}|{state}");
    }
    Answer::says(&text)
}
