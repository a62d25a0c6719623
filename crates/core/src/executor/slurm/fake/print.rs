//! What squeue and sacct print (tried with 22.05).

use std::fmt::Write as _;

use super::cluster::{Cluster, SECOND, node_list};
use super::job::{Job, Phase};
use super::{Accounting, Answer, ranges};

/// A time as Slurm writes it, in UTC.
pub(super) fn time(at: Option<i64>) -> String {
    at.and_then(|at| jiff::Timestamp::from_second(at / SECOND).ok())
        .map_or_else(
            || "N/A".to_owned(),
            |at| at.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        )
}

/// An option's value: `--name=value`, or what follows it.
fn value<'a>(argv: &'a [String], names: &[&str]) -> Option<&'a str> {
    let mut words = argv.iter();
    while let Some(word) = words.next() {
        for name in names {
            if word == name {
                return words.next().map(String::as_str);
            }
            if let Some(value) = word
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
            {
                return Some(value);
            }
        }
    }
    None
}

fn given(argv: &[String], names: &[&str]) -> bool {
    argv.iter().any(|word| names.contains(&word.as_str()))
}

/// Ids as in `12,13_2,14+1`.
fn ids(list: &str) -> Vec<(u32, Option<u32>)> {
    list.split(',')
        .filter_map(|id| match id.split_once('_') {
            Some((number, index)) => Some((number.parse().ok()?, Some(index.parse().ok()?))),
            None => Some((id.split('+').next()?.parse().ok()?, None)),
        })
        .collect()
}

/// The letters by which squeue sorts.
fn compact(state: &str) -> &str {
    match state {
        "CANCELLED" => "CA",
        "COMPLETED" => "CD",
        "COMPLETING" => "CG",
        "FAILED" => "F",
        "NODE_FAIL" => "NF",
        "OUT_OF_MEMORY" => "OOM",
        "PENDING" => "PD",
        "PREEMPTED" => "PR",
        "RUNNING" => "R",
        "TIMEOUT" => "TO",
        other => other,
    }
}

pub(super) fn squeue(cluster: &Cluster, argv: &[String]) -> Answer {
    let wanted = value(argv, &["--jobs", "-j"]).map(ids);
    if let Some([(number, index)]) = wanted.as_deref()
        && !cluster.jobs.iter().any(|job| job.is(*number, *index))
    {
        return Answer::fails(1, "slurm_load_jobs error: Invalid job id specified\n");
    }
    let all = value(argv, &["--states", "-t"]).is_some_and(|states| states == "all");
    let Some(format) = value(argv, &["--Format", "-O"]) else {
        return Answer::fails(1, "squeue: error: the fake needs --Format\n");
    };
    let mut fields = Vec::new();
    for part in format.split(',') {
        let (name, rest) = part.split_once(':').unwrap_or((part, "20"));
        let digits = rest
            .find(|sign: char| !sign.is_ascii_digit())
            .unwrap_or(rest.len());
        let width: usize = rest[..digits].parse().unwrap_or(20);
        fields.push((name.to_owned(), width, rest[digits..].to_owned()));
    }
    let mut jobs: Vec<&Job> = cluster
        .jobs
        .iter()
        .filter(|job| all || job.phase != Phase::Ended)
        .filter(|job| {
            wanted
                .as_ref()
                .is_none_or(|ids| ids.iter().any(|(number, index)| job.is(*number, *index)))
        })
        .collect();
    jobs.sort_by_key(|job| compact(job.state()).to_owned());
    let mut text = String::new();
    if !given(argv, &["--noheader", "-h"]) {
        for (name, width, end) in &fields {
            push(&mut text, &name.to_uppercase(), *width, end);
        }
        text.push('\n');
    }
    for job in jobs {
        for (name, width, end) in &fields {
            let Some(field) = squeue_field(job, name) else {
                return Answer::fails(
                    1,
                    &format!("squeue: error: Invalid job format specification: {name}\n"),
                );
            };
            push(&mut text, &field, *width, end);
        }
        text.push('\n');
    }
    Answer::says(&text)
}

/// A field in its width, which counts bytes: what is longer is cut, between two characters here.
fn push(text: &mut String, field: &str, width: usize, end: &str) {
    let cut = &field[..field.floor_char_boundary(width)];
    let blanks = width - cut.len();
    let _ = write!(text, "{cut}{:blanks$}{end}", "");
}

fn squeue_field(job: &Job, name: &str) -> Option<String> {
    let none = || "N/A".to_owned();
    let pending = job.phase == Phase::Pending;
    Some(match name.to_ascii_lowercase().as_str() {
        "jobarrayid" => job.id(),
        "jobid" => job.number.unwrap_or(job.family()).to_string(),
        "state" => job.state().to_owned(),
        "restartcnt" => job.restarts.to_string(),
        "reason" => job.reason.clone(),
        "nodelist" => node_list(&job.nodes),
        "exit_code" => job.exit.to_string(),
        "starttime" => time(job.start.or((job.begin > 0).then_some(job.begin))),
        "endtime" => match (pending, job.end) {
            (_, Some(end)) => time(Some(end)),
            (true, None) if job.start.is_none() && job.begin == 0 => none(),
            (false, None) if job.unit.limit.is_some() => time(
                job.start
                    .zip(job.unit.limit)
                    .map(|(start, limit)| start + limit),
            ),
            _ => "NONE".to_owned(),
        },
        "comment" if job.comment.is_empty() => "(null)".to_owned(),
        "comment" => job.comment.clone(),
        "hetjobid" => job.het.map_or_else(none, |(first, _)| first.to_string()),
        "hetjoboffset" => job.het.map_or_else(none, |(_, offset)| offset.to_string()),
        "name" => job.unit.name.clone(),
        "partition" => job.unit.partition.clone(),
        _ => return None,
    })
}

/// A job at one time, as the accounting has it.
struct Line {
    word: String,
    exit: i32,
    start: Option<i64>,
    end: Option<i64>,
    nodes: String,
    reason: String,
}

pub(super) fn sacct(cluster: &Cluster, argv: &[String]) -> Answer {
    match cluster.settings.accounting {
        Accounting::None => return Answer::fails(1, "Slurm accounting storage is disabled\n"),
        Accounting::Down => {
            return Answer::fails(
                1,
                "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to \
                 host:localhost:6819: Connection refused\nsacct: error: Sending PersistInit msg: Connection refused\n\
                 sacct: error: Problem talking to the database: Connection refused\n",
            );
        }
        Accounting::On | Accounting::Late(_) | Accounting::Deaf => {}
    }
    let wanted = value(argv, &["--jobs", "-j"]).map(ids).unwrap_or_default();
    let fields: Vec<&str> = value(argv, &["--format", "-o"])
        .unwrap_or_default()
        .split(',')
        .collect();
    let known = [
        "jobidraw",
        "jobid",
        "state",
        "exitcode",
        "derivedexitcode",
        "start",
        "end",
        "nodelist",
        "reason",
        "comment",
    ];
    if let Some(bad) = fields
        .iter()
        .find(|field| !known.contains(&field.to_ascii_lowercase().as_str()))
    {
        return Answer::fails(
            1,
            &format!("sacct: error: Invalid field requested: \"{bad}\"\n"),
        );
    }
    let now = cluster.now();
    let seen_until = match cluster.settings.accounting {
        Accounting::Late(seconds) => now - (seconds * SECOND as f64) as i64,
        _ => now,
    };
    let mut text = String::new();
    let mut waiting: Vec<(u32, Vec<u32>, &Job)> = Vec::new();
    let jobs = cluster.archive.iter().chain(&cluster.jobs);
    for job in jobs.filter(|job| wanted.iter().any(|(number, index)| job.is(*number, *index))) {
        if job.submitted > seen_until {
            continue;
        }
        // Waiting tasks of an array are one line.
        if let (None, Some((array, index))) = (job.number, job.array) {
            match waiting.iter_mut().find(|(of, ..)| *of == array) {
                Some((_, indexes, _)) => indexes.push(index),
                None => waiting.push((array, vec![index], job)),
            }
            continue;
        }
        for line in lines(cluster, job, seen_until) {
            print(
                &mut text,
                cluster,
                &fields,
                &job.id(),
                job.number.unwrap_or_default(),
                job,
                &line,
            );
        }
    }
    for (array, indexes, job) in waiting {
        let most = job
            .unit
            .throttle
            .map_or(String::new(), |most| format!("%{most}"));
        let id = format!("{array}_[{}{most}]", ranges(&indexes));
        for line in lines(cluster, job, seen_until) {
            print(&mut text, cluster, &fields, &id, array, job, &line);
        }
    }
    Answer::says(&text)
}

fn lines(cluster: &Cluster, job: &Job, seen_until: i64) -> Vec<Line> {
    let deaf = cluster.settings.accounting == Accounting::Deaf;
    let mut lines: Vec<Line> = job
        .runs
        .iter()
        .filter(|run| run.end <= seen_until && !deaf)
        .map(|run| Line {
            word: run.word.clone(),
            exit: run.exit,
            start: run.start,
            end: Some(run.end),
            nodes: run.nodes.clone(),
            reason: run.reason.clone(),
        })
        .collect();
    let began = job
        .start
        .filter(|_| job.phase != Phase::Pending && job.start.is_some_and(|at| at <= seen_until));
    let ended = job.end.filter(|end| *end <= seen_until && !deaf);
    let word = match (began, ended) {
        (_, Some(_)) if job.phase != Phase::Pending => match job.word {
            // By root: the fake knows no other users.
            "CANCELLED" => "CANCELLED by 0".to_owned(),
            word => word.to_owned(),
        },
        (Some(_), _) => "RUNNING".to_owned(),
        _ => "PENDING".to_owned(),
    };
    let pending = word == "PENDING";
    lines.push(Line {
        exit: if ended.is_some() { job.exit } else { 0 },
        start: if pending { None } else { job.start },
        end: ended.filter(|_| !pending),
        nodes: if pending {
            String::new()
        } else {
            node_list(&job.nodes)
        },
        reason: match job.nodes.is_empty() {
            true => job.reason.clone(),
            false => job.waited.clone(),
        },
        word,
    });
    lines
}

fn print(
    text: &mut String,
    cluster: &Cluster,
    fields: &[&str],
    id: &str,
    number: u32,
    job: &Job,
    line: &Line,
) {
    let when = |at: Option<i64>| at.map_or_else(|| "Unknown".to_owned(), |at| time(Some(at)));
    let values: Vec<String> = fields
        .iter()
        .map(|field| match field.to_ascii_lowercase().as_str() {
            "jobidraw" => number.to_string(),
            "jobid" => id.to_owned(),
            "state" => line.word.clone(),
            // A job that Slurm has ended shows no signal there.
            "exitcode" if line.word.starts_with("CANCELLED") || line.word == "TIMEOUT" => {
                "0:0".to_owned()
            }
            "exitcode" => format!("{}:{}", line.exit >> 8, line.exit & 0x7f),
            "derivedexitcode" => "0:0".to_owned(),
            "start" => when(line.start),
            "end" => when(line.end),
            "nodelist" if line.nodes.is_empty() => "None assigned".to_owned(),
            "nodelist" => line.nodes.clone(),
            "reason" => line.reason.clone(),
            // Kept only with AccountingStoreFlags=job_comment.
            "comment" if cluster.settings.keeps_comments => job.comment.clone(),
            _ => String::new(),
        })
        .collect();
    let _ = writeln!(text, "{}", values.join("|"));
}
