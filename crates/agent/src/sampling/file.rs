//! The file that samples are written to: grows by lines, and is thinned when it has become too long.
//!
//! A full disk harms nothing: what was written of a line is taken back, and later ones hold the sums all the same.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mizzen_agent::samples::{Sample, thin};

/// A longer file is thinned to half of this.
const LIMIT: u64 = 256 * 1024;

/// A file of samples.
#[derive(Debug)]
pub(super) struct SampleFile {
    path: PathBuf,
    limit: u64,
    open: Option<(File, u64)>,
}

impl SampleFile {
    pub(super) fn new(path: PathBuf) -> SampleFile {
        SampleFile {
            path,
            limit: LIMIT,
            open: None,
        }
    }

    /// Adds a line. What can't be written is left out.
    pub(super) fn add(&mut self, sample: &Sample) {
        if self.append(sample).is_err() {
            // Next time it is opened anew, and ends with a whole line then.
            self.open = None;
        }
    }

    fn append(&mut self, sample: &Sample) -> io::Result<()> {
        let mut line = serde_json::to_vec(sample)?;
        line.push(b'\n');
        let (file, length) = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(open(&self.path)?),
        };
        if *length > 2 * self.limit {
            // It could not be thinned: rather none than more and more.
            return self.thin(&[]);
        }
        if let Err(error) = file.write_all(&line) {
            let _ = file.set_len(*length);
            return Err(error);
        }
        *length += line.len() as u64;
        if *length > self.limit {
            self.thin(&line)?;
        }
        Ok(())
    }

    /// Writes what is left of it beside it, and puts that in its place.
    fn thin(&mut self, newest: &[u8]) -> io::Result<()> {
        let most = usize::try_from(self.limit / 2).unwrap_or(usize::MAX);
        let text = thin(&fs::read(&self.path)?, most.max(newest.len()));
        let beside = self.path.with_extension("tmp");
        let replaced = write(&beside, &text).and_then(|file| {
            fs::rename(&beside, &self.path)?;
            Ok(file)
        });
        match replaced {
            Ok(file) => {
                self.open = Some((file, text.len() as u64));
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_file(&beside);
                Err(error)
            }
        }
    }
}

/// Opens a file, and takes back what is behind its last line end.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok((file, 0));
    }
    let text = fs::read(path)?;
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end as u64 + 1);
    if whole < length {
        file.set_len(whole)?;
    }
    Ok((file, whole))
}

fn write(path: &Path, text: &[u8]) -> io::Result<File> {
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.set_len(0)?;
    file.write_all(text)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use mizzen_agent::samples::UsageSummary;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mizzen-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn sample(number: u32) -> Sample {
        Sample {
            time: f64::from(number) * 10.0,
            over: 10.0,
            cpu: 1.0,
            memory: if number == 77 { 5_000 } else { 1_000 },
            processes: 1,
            usage: Some(UsageSummary {
                samples: u64::from(number),
                ..UsageSummary::default()
            }),
            ..Sample::default()
        }
    }

    #[test]
    fn it_stays_small_for_ever_and_keeps_its_peak() {
        let folder = scratch("samples-thin");
        let path = folder.join("samples-0.jsonl");
        let mut file = SampleFile::new(path.clone());
        file.limit = 16 * 1024;
        for number in 1..=20_000 {
            file.add(&sample(number));
            let length = fs::metadata(&path).unwrap().len();
            assert!(
                length <= file.limit,
                "{length} bytes after {number} samples"
            );
        }
        let text = fs::read_to_string(&path).unwrap();
        let kept: Vec<Sample> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let peak = kept.iter().map(|sample| sample.memory).max();
        assert_eq!(peak, Some(5_000));
        let over: f64 = kept.iter().map(|sample| sample.over).sum();
        assert!((over - 200_000.0).abs() < 1.0, "{over} seconds of 200000");
        assert!((kept.last().unwrap().time - 200_000.0).abs() < 1e-9);
        assert!(kept.last().unwrap().usage.is_some());
        assert!(kept[0].over > 100.0, "what is old tells of longer times");
        assert!(kept[kept.len() - 2].over < 100.0, "what is new does not");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_torn_line_is_taken_back() {
        let folder = scratch("samples-torn");
        let path = folder.join("samples-0.jsonl");
        fs::write(&path, "{\"time\":1.0}\n{\"time\":2").unwrap();
        SampleFile::new(path.clone()).add(&sample(3));
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<Sample> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_cant_be_written_is_left_out() {
        let mut full = SampleFile::new(PathBuf::from("/dev/full"));
        full.add(&sample(1));
        let mut nowhere = SampleFile::new(PathBuf::from("/nowhere/samples-0.jsonl"));
        nowhere.add(&sample(1));
        assert!(full.open.is_none() && nowhere.open.is_none());
    }
}
