//! What GPUs do, by `nvidia-smi`: one process that tells again and again, as long as the job runs.
//!
//! ```text
//! nvidia-smi --query-gpu=… --loop=10 ── pipe ──▶ read (never waits) ─▶ lines ─▶ sums of each GPU
//! ```
//!
//! NVIDIA's library can't be loaded here: the agent is static so that it runs anywhere, and a static program's `dlopen` needs the very
//! C library that it was built with. Without `nvidia-smi`, or without a driver, nothing is known of GPUs and nothing else is lost.
//! Pitfall: it is the agent's child and none of the job's: the agent must know it as one that is nobody's.

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mizzen_agent::process_table::ProcessStat;
use mizzen_agent::samples::{GpuSample, GpuUsage};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{AccessFlags, access};

use crate::program::Program;
use crate::spawn::Spawner;
use crate::surroundings::surroundings;
use crate::sys;

const PROGRAM: &str = "nvidia-smi";
const QUERY: &str = "--query-gpu=index,uuid,name,utilization.gpu,memory.used,memory.total";
/// Seconds between two words of it.
const PERIOD: u32 = 10;
/// It is asked to speak less often if it uses more of a processor than this, measured over so long that its start counts little.
const MOST_OF_CPU: f64 = 0.0005;
const MEASURED_OVER: Duration = Duration::from_secs(120);
/// But never less often than every so many seconds.
const LONGEST_PERIOD: u32 = 320;
/// One that has ended by itself is started again after this, so many times.
const AGAIN: Duration = Duration::from_secs(300);
const MOST_STARTS: u32 = 10;
const MEBIBYTE: u64 = 1 << 20;

/// The GPUs of a job.
#[derive(Debug)]
pub(super) struct Gpus {
    program: PathBuf,
    /// Which, as `--id` takes them; empty: all that there are.
    which: String,
    host: String,
    period: u32,
    running: Option<Running>,
    starts: u32,
    again_at: Option<Instant>,
    sums: Vec<Sums>,
}

#[derive(Debug)]
struct Running {
    pid: i32,
    /// When it was started, as the kernel counts.
    start: Option<u64>,
    output: File,
    /// Since when its use of the processor is measured; `None` once that was done.
    measured_since: Option<Instant>,
    /// The beginning of a line.
    rest: Vec<u8>,
}

/// All that was told of a GPU.
#[derive(Debug, Default)]
struct Sums {
    usage: GpuUsage,
    told: u64,
    utilization: f64,
    memory: u64,
    /// Since the last sample.
    recent: Recent,
}

#[derive(Debug, Default, Clone, Copy)]
struct Recent {
    told: u64,
    utilization: f64,
    memory: u64,
}

impl Gpus {
    /// Looks for `nvidia-smi` in the agent's PATH. `devices`: as in `CUDA_VISIBLE_DEVICES`; none means all.
    pub(super) fn find(devices: &[String], host: &str) -> Option<Gpus> {
        // A part of a GPU tells nothing of its own.
        if devices.iter().any(|device| device.starts_with("MIG-")) {
            return None;
        }
        let search = surroundings()
            .iter()
            .find(|(name, _)| name == b"PATH")
            .map_or(&b"/usr/bin:/bin"[..], |(_, value)| value);
        let program = search
            .split(|byte| *byte == b':')
            .filter(|folder| !folder.is_empty())
            .map(|folder| Path::new(std::ffi::OsStr::from_bytes(folder)).join(PROGRAM))
            .find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok())?;
        Some(Gpus {
            program,
            which: devices.join(","),
            host: host.to_owned(),
            period: PERIOD,
            running: None,
            starts: 0,
            again_at: None,
            sums: Vec::new(),
        })
    }

    /// The process that is to be left alone when the job's are ended.
    pub(super) fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// Starts it if it isn't running. True if it is another process than before.
    pub(super) fn keep_running(&mut self, now: Instant, spawner: &Spawner) -> bool {
        if self.running.is_some()
            || self.starts >= MOST_STARTS
            || self.again_at.is_some_and(|at| now < at)
        {
            return false;
        }
        self.starts += 1;
        self.again_at = Some(now + AGAIN);
        self.running = self.start(now, spawner);
        self.running.is_some()
    }

    fn start(&self, now: Instant, spawner: &Spawner) -> Option<Running> {
        let mut argv = vec![
            PROGRAM.to_owned(),
            QUERY.to_owned(),
            "--format=csv,noheader,nounits".to_owned(),
            format!("--loop={}", self.period),
        ];
        if !self.which.is_empty() {
            argv.push(format!("--id={}", self.which));
        }
        let argv: Result<Vec<CString>, _> = argv.into_iter().map(CString::new).collect();
        let env = surroundings()
            .iter()
            .filter_map(|(name, value)| CString::new([name, &b"="[..], value].concat()).ok());
        let program = Program {
            name: PROGRAM.to_owned(),
            path: CString::new(self.program.as_os_str().as_bytes()).ok()?,
            argv: argv.ok()?,
            env: env.collect(),
            workdir: CString::from(c"/"),
            share: None,
        };
        let (output, input): (OwnedFd, OwnedFd) = nix::unistd::pipe2(OFlag::O_CLOEXEC).ok()?;
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
        let pid = spawner.spawn(&program, input.as_fd()).ok()?;
        Some(Running {
            pid,
            start: ProcessStat::read(pid).map(|stat| stat.start),
            output: File::from(output),
            measured_since: Some(now),
            rest: Vec::new(),
        })
    }

    /// Takes in what it has said.
    pub(super) fn read(&mut self, now: Instant) {
        let Some(running) = &mut self.running else {
            return;
        };
        let mut piece = [0; 4096];
        let ended = loop {
            match running.output.read(&mut piece) {
                Ok(0) => break true,
                Ok(length) => running.rest.extend(&piece[..length]),
                Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
            }
            if running.rest.len() > 1 << 20 {
                break true;
            }
        };
        let whole = running.rest.iter().rposition(|byte| *byte == b'\n');
        let lines = running.rest.drain(..whole.map_or(0, |end| end + 1));
        let lines = String::from_utf8_lossy(&lines.collect::<Vec<u8>>()).into_owned();
        let lived = running
            .measured_since
            .map(|since| now.saturating_duration_since(since))
            .filter(|lived| *lived >= MEASURED_OVER);
        let too_much = lived.is_some_and(|lived| {
            running.measured_since = None;
            let used = super::tree::cpu_seconds(running.pid).unwrap_or(0.0);
            used > lived.as_secs_f64() * MOST_OF_CPU
        });
        for line in lines.lines() {
            self.take(line);
        }
        if ended {
            self.stop();
        } else if too_much && self.period < LONGEST_PERIOD {
            self.period *= 2;
            self.stop();
            // That is our doing.
            self.starts = self.starts.saturating_sub(1);
            self.again_at = None;
        }
    }

    /// `0, GPU-8f3c…, NVIDIA H100, 93, 61234, 81559`: percent and mebibytes; `[N/A]` for what a device does not tell.
    fn take(&mut self, line: &str) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [index, uuid, name, utilization, used, total] = fields[..] else {
            return;
        };
        let (Ok(index), Ok(used)) = (index.parse::<u32>(), used.parse::<u64>()) else {
            return;
        };
        let place = self.sums.iter().position(|sums| sums.usage.uuid == uuid);
        let place = place.unwrap_or_else(|| {
            self.sums.push(Sums::default());
            self.sums.len() - 1
        });
        let sums = &mut self.sums[place];
        let bytes = used * MEBIBYTE;
        let usage = &mut sums.usage;
        usage.host.clone_from(&self.host);
        usage.index = index;
        usage.uuid = uuid.to_owned();
        usage.name = name.to_owned();
        usage.samples += 1;
        sums.memory += used;
        usage.memory_mean = sums.memory * MEBIBYTE / usage.samples;
        usage.memory_peak = usage.memory_peak.max(bytes);
        usage.memory_total = total.parse::<u64>().unwrap_or(0) * MEBIBYTE;
        sums.recent.memory = sums.recent.memory.max(bytes);
        if let Ok(percent) = utilization.parse::<f64>() {
            sums.told += 1;
            sums.utilization += percent;
            usage.utilization_mean = Some(sums.utilization / sums.told as f64);
            usage.utilization_peak = Some(usage.utilization_peak.unwrap_or(0.0).max(percent));
            sums.recent.told += 1;
            sums.recent.utilization += percent;
        }
    }

    /// All so far.
    pub(super) fn usage(&self) -> Vec<GpuUsage> {
        self.sums.iter().map(|sums| sums.usage.clone()).collect()
    }

    /// What was told since this was asked last, in the order of [`Gpus::usage`].
    pub(super) fn since_last(&mut self) -> Vec<GpuSample> {
        let sample = |sums: &mut Sums| {
            let recent = std::mem::take(&mut sums.recent);
            GpuSample {
                utilization: (recent.told > 0).then(|| recent.utilization / recent.told as f64),
                memory: recent.memory,
            }
        };
        self.sums.iter_mut().map(sample).collect()
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // Its end may have been taken by wait4(2), and its number be somebody else's by now.
            let is_it = ProcessStat::read(running.pid)
                .is_some_and(|stat| Some(stat.start) == running.start);
            if is_it {
                let _ = sys::signal_process(running.pid, libc::SIGKILL);
            }
        }
    }
}

impl Drop for Gpus {
    fn drop(&mut self) {
        self.stop();
    }
}
