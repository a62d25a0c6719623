//! What jobs used, as people read it: cells of a table, and a line.

use mizzen_core::model::{GpuUse, Usage};

use super::text::{bytes, count, printable};
use super::time::duration;

/// With more GPUs than this each is not told of by itself.
const EACH: usize = 8;

/// `3.9 (4.0)`: processors, mean and peak. Nothing for what was never sampled.
pub(crate) fn processors(usage: &Usage) -> String {
    usage.cpu_peak.map_or(String::new(), |peak| {
        format!("{:.1} ({peak:.1})", usage.cpu_mean)
    })
}

/// `10.1 (12.3) GiB`.
pub(crate) fn memory(usage: &Usage) -> String {
    usage
        .memory_mean
        .map_or(String::new(), |mean| both_bytes(mean, usage.memory_peak))
}

/// `93 (100) %`, over all GPUs. What they do not tell is left out.
pub(crate) fn gpus(usage: &Usage) -> String {
    let Some((mean, peak)) = utilization(&usage.gpus) else {
        return String::new();
    };
    format!("{mean:.0} ({peak:.0}) %")
}

/// All of it in words, GPUs on lines of their own.
pub(crate) fn lines(usage: &Usage) -> Vec<String> {
    let mut parts = vec![match usage.cpu_peak {
        Some(peak) => format!("{:.1} processors (peak {peak:.1})", usage.cpu_mean),
        None => format!("{} of processor time", duration(usage.cpu_seconds)),
    }];
    parts.push(match usage.memory_mean {
        Some(mean) => format!("memory {} (peak {})", bytes(mean), bytes(usage.memory_peak)),
        None => format!("memory peak {}", bytes(usage.memory_peak)),
    });
    for (word, all, disk) in [
        ("read", usage.read, usage.disk_read),
        ("wrote", usage.written, usage.disk_written),
    ] {
        let disk = disk.filter(|disk| *disk > 0);
        let disk = disk.map_or(String::new(), |disk| format!(" ({} on disk)", bytes(disk)));
        parts.extend(all.map(|all| format!("{word} {}{disk}", bytes(all))));
    }
    if let Some(most) = usage.processes_peak.filter(|most| *most > 1) {
        parts.push(format!("at most {most} processes"));
    }
    let mut lines = vec![parts.join(", ")];
    if usage.gpus.len() > EACH {
        let busy = match utilization(&usage.gpus) {
            Some((mean, peak)) => format!(" {mean:.0} % busy (peak {peak:.0} %),"),
            None => String::new(),
        };
        let of = |value: fn(&GpuUse) -> u64| usage.gpus.iter().map(value).max().unwrap_or(0);
        lines.push(format!(
            "{}:{busy} memory peak {} of {}",
            count(usage.gpus.len(), "GPU"),
            bytes(of(|gpu| gpu.memory_peak)),
            bytes(of(|gpu| gpu.memory_total))
        ));
        return lines;
    }
    let several = usage.gpus.iter().any(|gpu| gpu.host != usage.gpus[0].host);
    for gpu in &usage.gpus {
        let host = if several {
            format!(" on {}", printable(&gpu.host))
        } else {
            String::new()
        };
        let busy = match (gpu.utilization_mean, gpu.utilization_peak) {
            (Some(mean), Some(peak)) => format!("{mean:.0} % busy (peak {peak:.0} %), "),
            _ => String::new(),
        };
        lines.push(format!(
            "GPU {}{host}: {busy}memory {} (peak {} of {}), {}",
            gpu.index,
            bytes(gpu.memory_mean),
            bytes(gpu.memory_peak),
            bytes(gpu.memory_total),
            printable(&gpu.name)
        ));
    }
    lines
}

/// The mean and the peak over all GPUs that tell.
fn utilization(gpus: &[GpuUse]) -> Option<(f64, f64)> {
    let means: Vec<f64> = gpus.iter().filter_map(|gpu| gpu.utilization_mean).collect();
    let peak = gpus
        .iter()
        .filter_map(|gpu| gpu.utilization_peak)
        .reduce(f64::max)?;
    Some((means.iter().sum::<f64>() / means.len().max(1) as f64, peak))
}

/// Two amounts with the unit of the greater one.
fn both_bytes(mean: u64, peak: u64) -> String {
    let (mut scale, mut unit) = (1.0, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if peak as f64 / scale >= 1024.0 {
            scale *= 1024.0;
            unit = next;
        }
    }
    format!(
        "{:.1} ({:.1}) {unit}",
        mean as f64 / scale,
        peak as f64 / scale
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: u32, host: &str, utilization: Option<f64>) -> GpuUse {
        GpuUse {
            host: host.to_owned(),
            index,
            uuid: format!("GPU-{host}-{index}"),
            name: "NVIDIA H100".to_owned(),
            utilization_mean: utilization,
            utilization_peak: utilization.map(|mean| mean + 10.0),
            memory_mean: 60 << 30,
            memory_peak: 70 << 30,
            memory_total: 80 << 30,
        }
    }

    fn short() -> Usage {
        Usage {
            samples: 0,
            seconds: 0.5,
            cpu_seconds: 0.25,
            cpu_mean: 0.5,
            cpu_peak: None,
            memory_mean: None,
            memory_peak: 3 << 20,
            memory_of: None,
            processes_peak: None,
            read: None,
            written: None,
            disk_read: None,
            disk_written: None,
            gpus: Vec::new(),
        }
    }

    #[test]
    fn mean_and_peak_side_by_side() {
        let mut usage = Usage {
            samples: 5,
            cpu_mean: 2.0,
            cpu_peak: Some(3.94),
            memory_mean: Some(512 << 20),
            memory_peak: 3 << 30,
            memory_of: Some("processes"),
            processes_peak: Some(4),
            read: Some(10 << 20),
            written: Some(1 << 20),
            disk_read: Some(0),
            disk_written: Some(1 << 19),
            gpus: vec![gpu(0, "n1", Some(80.0)), gpu(1, "n2", None)],
            ..short()
        };
        assert_eq!(processors(&usage), "2.0 (3.9)");
        assert_eq!(memory(&usage), "0.5 (3.0) GiB");
        assert_eq!(gpus(&usage), "80 (90) %");
        assert_eq!(
            lines(&usage),
            [
                "2.0 processors (peak 3.9), memory 512.0 MiB (peak 3.0 GiB), read 10.0 MiB, \
                 wrote 1.0 MiB (512.0 KiB on disk), at most 4 processes",
                "GPU 0 on n1: 80 % busy (peak 90 %), memory 60.0 GiB (peak 70.0 GiB of 80.0 GiB), NVIDIA H100",
                "GPU 1 on n2: memory 60.0 GiB (peak 70.0 GiB of 80.0 GiB), NVIDIA H100",
            ]
        );
        usage.gpus = (0..16).map(|index| gpu(index, "n1", Some(50.0))).collect();
        assert_eq!(
            lines(&usage)[1],
            "16 GPUs: 50 % busy (peak 60 %), memory peak 70.0 GiB of 80.0 GiB"
        );
    }

    #[test]
    fn of_what_was_short_less_is_known() {
        let usage = short();
        let cells = [processors(&usage), memory(&usage), gpus(&usage)];
        assert_eq!(cells, ["", "", ""]);
        assert_eq!(
            lines(&usage),
            ["0.2s of processor time, memory peak 3.0 MiB"]
        );
    }
}
