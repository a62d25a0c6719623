//! What an attempt used: processors, memory, bytes read and written, GPUs.

use mizzen_agent::samples::{GpuUsage, Source, UsageSummary};
use schemars::JsonSchema;
use serde::Serialize;

use super::ExitRecord;

/// What an attempt used, in all or so far. Of several nodes together.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Usage {
    /// How many samples it rests on; 0 for what ended before the first one, of which less is known.
    pub samples: u64,
    /// Seconds that it ran, or has run until the last sample.
    pub seconds: f64,
    /// Seconds of processor time.
    pub cpu_seconds: f64,
    /// Processors that were busy at once, on average.
    pub cpu_mean: f64,
    /// The most of them between two samples.
    pub cpu_peak: Option<f64>,
    /// Bytes of memory on average.
    pub memory_mean: Option<u64>,
    /// The most bytes of memory: of all processes together or, without samples, of the largest one. Of several nodes the sum of
    /// each one's most.
    pub memory_peak: u64,
    /// What the bytes of memory are of: `processes`, where what several share counts once, or `cgroup`.
    pub memory_of: Option<&'static str>,
    /// The most processes at once.
    pub processes_peak: Option<u64>,
    /// Bytes that its processes read, from caches and pipes too.
    pub read: Option<u64>,
    /// Bytes that its processes wrote, likewise.
    pub written: Option<u64>,
    /// Bytes that were fetched from storage, as far as the file system counts them.
    pub disk_read: Option<u64>,
    /// Bytes that were sent to storage, likewise.
    pub disk_written: Option<u64>,
    /// Each GPU that it had, whoever else used it.
    pub gpus: Vec<GpuUse>,
}

/// What a GPU did while an attempt ran.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GpuUse {
    /// The machine that it is in.
    pub host: String,
    /// Its number there.
    pub index: u32,
    /// Its own name.
    pub uuid: String,
    /// Its model.
    pub name: String,
    /// Percent of the time that it was computing, on average; null where it does not tell.
    pub utilization_mean: Option<f64>,
    /// The most of a sample.
    pub utilization_peak: Option<f64>,
    /// Bytes of its memory in use, on average.
    pub memory_mean: u64,
    /// The most bytes in use.
    pub memory_peak: u64,
    /// The bytes that it has.
    pub memory_total: u64,
}

impl Usage {
    /// What an attempt used that has ended.
    #[must_use]
    pub fn of_record(record: &ExitRecord) -> Usage {
        UsageSummary::of_record(record).into()
    }
}

impl From<UsageSummary> for Usage {
    fn from(summary: UsageSummary) -> Usage {
        let sampled = summary.samples > 0;
        let known = |value: u64| sampled.then_some(value);
        Usage {
            samples: summary.samples,
            seconds: summary.seconds,
            cpu_seconds: summary.cpu_seconds,
            cpu_mean: summary.cpu_mean,
            cpu_peak: sampled.then_some(summary.cpu_peak),
            memory_mean: known(summary.memory_mean),
            memory_peak: summary.memory_peak,
            memory_of: sampled.then_some(match summary.source {
                Source::Processes => "processes",
                Source::Cgroup => "cgroup",
            }),
            processes_peak: known(summary.processes_peak),
            read: known(summary.read),
            written: known(summary.written),
            disk_read: known(summary.disk_read),
            disk_written: known(summary.disk_written),
            gpus: summary.gpus.into_iter().map(GpuUse::from).collect(),
        }
    }
}

impl From<GpuUsage> for GpuUse {
    fn from(gpu: GpuUsage) -> GpuUse {
        GpuUse {
            host: gpu.host,
            index: gpu.index,
            uuid: gpu.uuid,
            name: gpu.name,
            utilization_mean: gpu.utilization_mean,
            utilization_peak: gpu.utilization_peak,
            memory_mean: gpu.memory_mean,
            memory_peak: gpu.memory_peak,
            memory_total: gpu.memory_total,
        }
    }
}
