//! The summary that `torchrun` (and what is built on it, such as `ft_launcher` and `accelerate`) writes when workers failed.
//!
//! ```text
//! torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
//! ============================================================
//! train.py FAILED
//! ------------------------------------------------------------
//! Failures:
//! [1]:
//!   time      : 2026-11-23_03:10:43
//!   host      : n2
//!   rank      : 5 (local_rank: 1)
//!   exitcode  : 1 (pid: 4711)
//!   error_file: /tmp/torchelastic_x/…/error.json, or <N/A>
//!   traceback : Traceback (most recent call last): …, or words
//! ------------------------------------------------------------
//! Root Cause (first observed failure):
//! [0]: …
//! ============================================================
//! ```
//! Source: torch/distributed/elastic/multiprocessing/errors/__init__.py. What it calls the root cause is the failure that it saw
//! first, by whole seconds.

/// A worker that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Worker {
    pub(super) host: String,
    pub(super) rank: Option<u32>,
    /// Its exit status; negative: the number of the signal that ended it.
    pub(super) exit: i32,
    pub(super) error_file: Option<String>,
    /// The lines of its traceback, or of what stands for it.
    pub(super) words: Vec<String>,
    /// It was seen first.
    pub(super) first: bool,
}

/// The exception in which the summary stands.
pub(super) const EXCEPTION: &str = "ChildFailedError";
const ROOT: &str = "Root Cause (first observed failure):";
/// What torchrun says of a worker that left no error file.
const NO_WORDS: &str = "To enable traceback see";

/// The workers of the last summary in these lines: the first observed one first. Empty if there is none.
pub(super) fn failures(lines: &[&str]) -> Vec<Worker> {
    let Some(root) = lines.iter().rposition(|line| line.trim() == ROOT) else {
        return Vec::new();
    };
    let begin = lines[..root]
        .iter()
        .rposition(|line| line.trim() == "Failures:")
        .unwrap_or(root);
    let mut workers = parse(&lines[root + 1..]);
    workers.truncate(1);
    if let Some(first) = workers.first_mut() {
        first.first = true;
    }
    workers.extend(parse(&lines[begin..root]));
    workers
}

fn parse(lines: &[&str]) -> Vec<Worker> {
    let mut workers: Vec<Worker> = Vec::new();
    let mut in_words = false;
    for line in lines {
        let bare = line.trim();
        if bare.len() >= 8 && (bare.chars().all(|c| c == '=') || bare.chars().all(|c| c == '-')) {
            if bare.starts_with('=') {
                break;
            }
            in_words = false;
            continue;
        }
        if bare.starts_with('[')
            && bare.ends_with("]:")
            && bare[1..bare.len() - 2].parse::<u32>().is_ok()
        {
            workers.push(Worker::default());
            in_words = false;
            continue;
        }
        let Some(worker) = workers.last_mut() else {
            continue;
        };
        if in_words {
            worker
                .words
                .push(line.strip_prefix("  ").unwrap_or(line).to_owned());
            continue;
        }
        let Some((name, value)) = bare.split_once(':') else {
            continue;
        };
        let value = value.trim();
        let number = value.split(' ').next().unwrap_or(value);
        match name.trim() {
            "host" => worker.host = value.to_owned(),
            "rank" => worker.rank = number.parse().ok(),
            "exitcode" => worker.exit = number.parse().unwrap_or(0),
            "error_file" if value != "<N/A>" => worker.error_file = Some(value.to_owned()),
            "traceback" => {
                in_words = true;
                if !value.is_empty() && !value.starts_with(NO_WORDS) {
                    worker.words.push(value.to_owned());
                }
            }
            _ => {}
        }
    }
    workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let text = "\
torch.distributed.elastic.multiprocessing.errors.ChildFailedError: 
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-23_03:10:43
  host      : n2
  rank      : 5 (local_rank: 1)
  exitcode  : 1 (pid: 4711)
  error_file: /tmp/torchelastic_a/none_b/attempt_0/1/error.json
  traceback : Traceback (most recent call last):
    File \"train.py\", line 3, in main
      step()
  ValueError: x
  
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-23_03:10:43
  host      : n2
  rank      : 4 (local_rank: 0)
  exitcode  : -11 (pid: 4710)   
  error_file: <N/A>
  traceback : Signal 11 (SIGSEGV) received by PID 4710
============================================================
";
        let lines: Vec<&str> = text.lines().collect();
        let found = failures(&lines);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (
                found[0].first,
                found[0].rank,
                found[0].exit,
                found[0].host.as_str()
            ),
            (true, Some(4), -11, "n2")
        );
        assert_eq!(found[0].words, ["Signal 11 (SIGSEGV) received by PID 4710"]);
        assert_eq!((found[1].rank, found[1].exit), (Some(5), 1));
        assert!(
            found[1]
                .error_file
                .as_deref()
                .unwrap()
                .ends_with("error.json")
        );
        assert_eq!(found[1].words[1], "  File \"train.py\", line 3, in main");
        assert_eq!(found[1].words[3], "ValueError: x");
    }

    #[test]
    fn a_single_failure_without_words() {
        let text = "\
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2023-05-19_16:39:58
  host      : n136-117-136.example.org
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 78970)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================";
        let lines: Vec<&str> = text.lines().collect();
        let found = failures(&lines);
        assert_eq!(found.len(), 1);
        assert!(found[0].words.is_empty() && found[0].error_file.is_none());
        assert_eq!(failures(&["Failures:"]).len(), 0);
    }
}
