//! What a job uses while it runs: what the agent writes down of it, and how that is read.
//!
//! ```text
//! agent ── every few seconds ──▶ <attempt>/samples-<node>.jsonl    one Sample a line; the last one holds the sums so far
//!       └─ at the end ─────────▶ exit.json: usage                  UsageSummary
//! status, show ◀── the record of what has ended, the last lines of what runs ── UsageSummary::together
//! ```
//!
//! A file of samples stays small however long the job runs: [`thin()`] puts old samples together.

mod thin;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use thin::thin;

use crate::record::ExitRecord;

/// More of a file's end than one line takes.
const LAST_BYTES: u64 = 64 * 1024;

/// What an attempt used, so far or in the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageSummary {
    /// How many samples were taken; 0: none was, and only what the kernel tells of an ended process is known.
    pub samples: u64,
    /// Seconds from the start to the end, or to the last sample.
    pub seconds: f64,
    /// Seconds of processor time, in user mode and in the kernel.
    pub cpu_seconds: f64,
    /// The processors that were busy at once on average.
    pub cpu_mean: f64,
    /// The most of them between two samples.
    pub cpu_peak: f64,
    /// Bytes of memory on average.
    pub memory_mean: u64,
    /// The most bytes of memory. Of several nodes the sum of each one's most.
    pub memory_peak: u64,
    /// Where memory and processor time are from.
    pub source: Source,
    /// The most processes at once.
    pub processes_peak: u64,
    /// Bytes that its processes asked to read: from files, from pipes, cached or not.
    pub read: u64,
    /// Bytes that they wrote, likewise.
    pub written: u64,
    /// Bytes that were fetched from storage, as far as the file system counts them.
    pub disk_read: u64,
    /// Bytes that were sent to storage, likewise.
    pub disk_written: u64,
    /// Each GPU.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuUsage>,
}

/// What numbers are of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The job's processes, added up. What several of them share counts once.
    #[default]
    Processes,
    /// The control group that holds the job and nothing else.
    Cgroup,
}

/// What a job used of a GPU, whoever else used it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuUsage {
    /// The machine that it is in.
    pub host: String,
    /// Its number there, as the driver counts.
    pub index: u32,
    /// Its name for ever.
    pub uuid: String,
    /// Its model.
    pub name: String,
    /// How many samples were taken of it.
    pub samples: u64,
    /// The share of time in which it was computing, in percent, on average; none where it does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization_mean: Option<f64>,
    /// The greatest share of a sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization_peak: Option<f64>,
    /// Bytes of its memory in use on average.
    pub memory_mean: u64,
    /// The most bytes in use.
    pub memory_peak: u64,
    /// The bytes that it has.
    pub memory_total: u64,
}

/// One line of a file of samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// When, in seconds since the epoch.
    pub time: f64,
    /// The seconds since the line before, which this one tells of.
    pub over: f64,
    /// The processors that were busy.
    pub cpu: f64,
    /// The most bytes of memory that were seen.
    pub memory: u64,
    /// How many processes there were at most.
    pub processes: u64,
    /// The GPUs, in the order of [`UsageSummary::gpus`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSample>,
    /// All up to here; of old lines left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageSummary>,
}

/// A GPU in a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuSample {
    /// Percent of the time that it was computing, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// The most bytes of its memory in use.
    pub memory: u64,
}

/// The name of a file of samples. `writer`: a node's number, or the one process of a node that it is of.
#[must_use]
pub fn file_name(writer: &str) -> String {
    format!("samples-{writer}.jsonl")
}

/// Whether a name in an attempt's folder is that of a file of samples.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    let writer = name
        .strip_prefix("samples-")
        .and_then(|rest| rest.strip_suffix(".jsonl"));
    writer.is_some_and(|writer| {
        !writer.is_empty()
            && writer
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_alphanumeric())
    })
}

impl UsageSummary {
    /// What an attempt used: by its samples, or by what the kernel said of its processes when they had ended.
    #[must_use]
    pub fn of_record(record: &ExitRecord) -> UsageSummary {
        let known = record.usage.clone();
        known.unwrap_or_else(|| {
            UsageSummary::without_samples(
                (record.ended - record.started) as f64 / 1e6,
                record.user_seconds + record.system_seconds,
                record.peak_memory,
            )
        })
    }

    /// Of what ended before a sample was taken.
    #[must_use]
    pub fn without_samples(seconds: f64, cpu_seconds: f64, memory_peak: u64) -> UsageSummary {
        let seconds = seconds.max(0.0);
        UsageSummary {
            seconds,
            cpu_seconds,
            cpu_mean: share(cpu_seconds, seconds),
            memory_peak,
            ..UsageSummary::default()
        }
    }

    /// Several that ran side by side, as one: what is used is added up, a GPU that several saw counts once.
    /// `None` of none.
    #[must_use]
    pub fn together(parts: impl IntoIterator<Item = UsageSummary>) -> Option<UsageSummary> {
        let mut parts = parts.into_iter();
        let mut sum = parts.next()?;
        for part in parts {
            sum.samples = sum.samples.max(part.samples);
            sum.seconds = sum.seconds.max(part.seconds);
            sum.cpu_seconds += part.cpu_seconds;
            sum.cpu_peak += part.cpu_peak;
            sum.memory_mean += part.memory_mean;
            sum.memory_peak += part.memory_peak;
            sum.processes_peak += part.processes_peak;
            sum.read += part.read;
            sum.written += part.written;
            sum.disk_read += part.disk_read;
            sum.disk_written += part.disk_written;
            if part.source != sum.source {
                sum.source = Source::Processes;
            }
            for gpu in part.gpus {
                let is_it = |known: &&mut GpuUsage| {
                    (&known.host, &known.uuid, known.index) == (&gpu.host, &gpu.uuid, gpu.index)
                };
                match sum.gpus.iter_mut().find(is_it) {
                    // Who has looked more often knows better.
                    Some(known) if known.samples < gpu.samples => *known = gpu,
                    Some(_) => {}
                    None => sum.gpus.push(gpu),
                }
            }
        }
        sum.cpu_mean = share(sum.cpu_seconds, sum.seconds);
        sum.gpus
            .sort_by(|one, other| (&one.host, one.index).cmp(&(&other.host, other.index)));
        Some(sum)
    }

    /// What an attempt that runs has used so far, by the samples in its folder.
    #[must_use]
    pub fn of_running(attempt: &Path) -> Option<UsageSummary> {
        let entries = fs::read_dir(attempt).ok()?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_file_name(name))
            .collect();
        names.sort_unstable();
        UsageSummary::together(
            names
                .iter()
                .filter_map(|name| last_sample(&attempt.join(name)).ok()??.usage),
        )
    }
}

/// An amount over a time; 0 over none.
pub(crate) fn share(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

/// The last whole line of a file of samples.
fn last_sample(path: &Path) -> io::Result<Option<Sample>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes)?;
    // What is behind the last line end is still being written.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let line = bytes[..whole].rsplit(|byte| *byte == b'\n').next();
    Ok(line.and_then(|line| serde_json::from_slice(line).ok()))
}
