//! The samples of one member: sums, means and peaks, and its file.

use std::path::PathBuf;
use std::time::Instant;

use mizzen_agent::samples::{GpuSample, GpuUsage, Sample, Source, UsageSummary};

use super::file::SampleFile;
use super::tree::Io;
use crate::sys::Usage;

/// Over less than this no peak is measured: the kernel's own numbers are rough.
const SHORTEST: f64 = 0.5;

/// What a look has found of one member.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    /// Processor time so far, of what has ended too.
    pub(super) cpu_seconds: f64,
    pub(super) memory: u64,
    /// The memory is that of the control group.
    pub(super) of_group: bool,
    pub(super) processes: u64,
    /// Of the processes that are there.
    pub(super) io: Io,
}

/// The samples of one member.
#[derive(Debug)]
pub(super) struct Series {
    file: SampleFile,
    began: Instant,
    last: Instant,
    summary: UsageSummary,
    /// Bytes of memory times seconds.
    memory_seconds: f64,
    memory_last: u64,
    /// Of the processes that have ended, as far as the agent has taken their ends.
    ended: Io,
}

impl Series {
    pub(super) fn new(path: PathBuf, began: Instant) -> Series {
        Series {
            file: SampleFile::new(path),
            began,
            last: began,
            summary: UsageSummary::default(),
            memory_seconds: 0.0,
            memory_last: 0,
            ended: Io::default(),
        }
    }

    pub(super) fn child_ended(&mut self, io: Io) {
        self.ended.add(io);
    }

    /// `micros`: the time of the clock on the wall.
    pub(super) fn add(
        &mut self,
        now: Instant,
        micros: i64,
        reading: &Reading,
        gpus: &[GpuUsage],
        recent: &[GpuSample],
    ) {
        let over = now.saturating_duration_since(self.last).as_secs_f64();
        let seconds = now.saturating_duration_since(self.began).as_secs_f64();
        let first = self.summary.samples == 0;
        let before = if first {
            reading.memory
        } else {
            self.memory_last
        };
        self.memory_seconds += (before as f64 + reading.memory as f64) / 2.0 * over;
        self.memory_last = reading.memory;
        self.last = now;
        let mut io = self.ended;
        io.add(reading.io);
        let summary = &mut self.summary;
        // Processes that end in the middle of a look may be missing from it.
        let cpu_seconds = reading.cpu_seconds.max(summary.cpu_seconds);
        let cpu = (cpu_seconds - summary.cpu_seconds) / over.max(SHORTEST);
        summary.samples += 1;
        summary.seconds = seconds;
        summary.cpu_seconds = cpu_seconds;
        summary.cpu_mean = cpu_seconds / seconds.max(SHORTEST);
        summary.cpu_peak = summary.cpu_peak.max(cpu);
        summary.memory_mean = (self.memory_seconds / seconds.max(SHORTEST)) as u64;
        summary.memory_peak = summary.memory_peak.max(reading.memory);
        summary.source = if reading.of_group {
            Source::Cgroup
        } else {
            Source::Processes
        };
        summary.processes_peak = summary.processes_peak.max(reading.processes);
        summary.read = summary.read.max(io.read);
        summary.written = summary.written.max(io.written);
        summary.disk_read = summary.disk_read.max(io.disk_read);
        summary.disk_written = summary.disk_written.max(io.disk_written);
        summary.gpus = gpus.to_vec();
        self.file.add(&Sample {
            time: micros as f64 / 1e6,
            over,
            cpu,
            memory: reading.memory,
            processes: reading.processes,
            gpus: recent.to_vec(),
            usage: Some(summary.clone()),
        });
    }

    /// What it used in all. `ended`: what the kernel has told of the processes that were waited for, which by now are all of them.
    pub(super) fn finish(
        &self,
        seconds: f64,
        ended: Usage,
        gpus: Vec<GpuUsage>,
    ) -> Option<UsageSummary> {
        let mut summary = self.summary.clone();
        if summary.samples == 0 {
            return None;
        }
        let sampled = (self.last - self.began).as_secs_f64();
        let since = seconds - sampled;
        let cpu_seconds = (ended.user_seconds + ended.system_seconds).max(summary.cpu_seconds);
        if since >= SHORTEST {
            let cpu = (cpu_seconds - summary.cpu_seconds) / since;
            summary.cpu_peak = summary.cpu_peak.max(cpu);
        }
        summary.seconds = seconds.max(sampled);
        summary.cpu_seconds = cpu_seconds;
        summary.cpu_mean = cpu_seconds / summary.seconds.max(1e-3);
        summary.cpu_peak = summary.cpu_peak.max(summary.cpu_mean);
        summary.memory_peak = summary.memory_peak.max(ended.peak_memory);
        summary.read = summary.read.max(self.ended.read);
        summary.written = summary.written.max(self.ended.written);
        summary.disk_read = summary.disk_read.max(self.ended.disk_read);
        summary.disk_written = summary.disk_written.max(self.ended.disk_written);
        summary.gpus = gpus;
        Some(summary)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn means_peaks_and_sums() {
        let began = Instant::now();
        let folder = std::env::temp_dir().join(format!("mizzen-series-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut series = Series::new(folder.join("samples-0.jsonl"), began);
        let reading = |cpu_seconds, memory, read| Reading {
            cpu_seconds,
            memory,
            processes: 2,
            io: Io {
                read,
                ..Io::default()
            },
            ..Reading::default()
        };
        let at = |seconds| began + Duration::from_secs(seconds);
        series.add(at(2), 0, &reading(2.0, 1000, 10), &[], &[]);
        series.add(at(4), 0, &reading(10.0, 3000, 50), &[], &[]);
        // A process has ended, and its parent's end was not taken: it is in no number of this look.
        series.add(at(6), 0, &reading(9.0, 1000, 20), &[], &[]);
        series.child_ended(Io {
            read: 60,
            ..Io::default()
        });
        let ended = Usage {
            user_seconds: 11.0,
            system_seconds: 1.0,
            peak_memory: 2000,
        };
        let summary = series.finish(8.0, ended, Vec::new()).unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(summary.cpu_seconds, 12.0) && near(summary.cpu_mean, 1.5));
        assert!(near(summary.cpu_peak, 4.0), "{summary:?}");
        assert_eq!((summary.memory_peak, summary.memory_mean), (3000, 1666));
        assert_eq!((summary.read, summary.processes_peak), (60, 2));
        assert_eq!(summary.samples, 3);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
