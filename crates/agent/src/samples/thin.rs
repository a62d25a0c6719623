//! Keeps a file of samples small: the older a sample is, the longer the time that it may tell of.

use super::{GpuSample, Sample};

/// At first a sample is put together with its neighbour if both together tell of no more than this share of their age.
const SHARE: f64 = 1.0 / 256.0;
/// With this share all are put together.
const MOST: f64 = 1024.0;

/// Puts neighbours together until the text has at most `limit` bytes, as near as can be; the newest stays as it is, with the sums.
/// Lines that are no samples are left out. Peaks stay peaks, and means stay means.
#[must_use]
pub fn thin(text: &[u8], limit: usize) -> Vec<u8> {
    let lines = text.split(|byte| *byte == b'\n');
    let mut samples: Vec<Sample> = lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let newest = samples.len().saturating_sub(1);
    for sample in samples.iter_mut().take(newest) {
        sample.usage = None;
    }
    let mut share = SHARE;
    let mut text = written(&samples);
    while text.len() > limit && samples.len() > 1 {
        samples = if share < MOST {
            put_together(samples, share)
        } else {
            // They tell of no time: something else has written them.
            samples.split_off(samples.len() / 2)
        };
        share *= 2.0;
        text = written(&samples);
    }
    text
}

fn written(samples: &[Sample]) -> Vec<u8> {
    let mut text = Vec::new();
    for sample in samples {
        // Numbers and plain texts can always be written.
        if let Ok(line) = serde_json::to_vec(sample) {
            text.extend(line);
            text.push(b'\n');
        }
    }
    text
}

fn put_together(samples: Vec<Sample>, share: f64) -> Vec<Sample> {
    let newest = samples.len().saturating_sub(1);
    // By the time that later ones tell of, and not by a clock, which somebody may have set.
    let mut age: f64 = samples.iter().map(|sample| sample.over).sum();
    let mut thinned: Vec<Sample> = Vec::new();
    for (number, sample) in samples.into_iter().enumerate() {
        age -= sample.over;
        match thinned.last_mut() {
            Some(before) if number != newest && before.over + sample.over <= age * share => {
                *before = both(before, &sample);
            }
            _ => thinned.push(sample),
        }
    }
    thinned
}

fn both(one: &Sample, other: &Sample) -> Sample {
    let over = one.over + other.over;
    let mean = |a: f64, b: f64| super::share(a * one.over + b * other.over, over);
    let gpus = (0..one.gpus.len().max(other.gpus.len())).map(|number| {
        match (one.gpus.get(number), other.gpus.get(number)) {
            (Some(a), Some(b)) => GpuSample {
                utilization: match (a.utilization, b.utilization) {
                    (Some(a), Some(b)) => Some(mean(a, b)),
                    (a, b) => a.or(b),
                },
                memory: a.memory.max(b.memory),
            },
            (a, b) => a.or(b).copied().unwrap_or_default(),
        }
    });
    Sample {
        time: other.time,
        over,
        cpu: mean(one.cpu, other.cpu),
        memory: one.memory.max(other.memory),
        processes: one.processes.max(other.processes),
        gpus: gpus.collect(),
        usage: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: u32, over: f64) -> Vec<Sample> {
        let sample = |number: u32| Sample {
            time: f64::from(number) * over,
            over,
            cpu: f64::from(number % 2),
            memory: u64::from(number),
            gpus: vec![GpuSample {
                utilization: number.is_multiple_of(2).then_some(80.0),
                memory: u64::from(number),
            }],
            ..Sample::default()
        };
        (0..count).map(sample).collect()
    }

    fn read(text: &[u8]) -> Vec<Sample> {
        let lines = text.split(|byte| *byte == b'\n');
        lines
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[test]
    fn means_and_peaks_stay_what_they_are() {
        let before = samples(1000, 10.0);
        let after = read(&thin(&written(&before), 8 * 1024));
        assert!(
            after.len() < 200 && after.len() > 20,
            "{} lines",
            after.len()
        );
        let busy = |samples: &[Sample]| -> f64 {
            samples.iter().map(|sample| sample.cpu * sample.over).sum()
        };
        assert!((busy(&before) - busy(&after)).abs() < 1e-6);
        assert!(
            after.is_sorted_by_key(|sample| sample.memory),
            "each is a peak"
        );
        assert_eq!(after.last(), before.last());
        let gpus = after.iter().map(|sample| sample.gpus[0].utilization);
        assert!(gpus.flatten().all(|mean| (mean - 80.0).abs() < 1e-9));
    }

    #[test]
    fn it_ends_whatever_the_lines_say() {
        for over in [0.0, -1.0, 1e300] {
            let text = thin(&written(&samples(500, over)), 2048);
            assert!(text.len() <= 2048, "{over}: {}", text.len());
        }
        assert_eq!(read(&thin(b"no\n{\"time\":1.0}\n{\"ti", 10)).len(), 1);
    }
}
