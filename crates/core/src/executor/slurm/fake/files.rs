//! What a job writes at the place while it "runs": the claim of its attempt, signs of life, records. No process is started.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::record::{ExitRecord, FirstFailure, Outcome, RECORD_VERSION, RankExit};

use super::job::{Job, Work};

/// A member of a unit: one job of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its folder, absolute.
    pub folder: Utf8PathBuf,
    /// The attempt that it was submitted as.
    pub attempt: u32,
    /// The unit's key.
    pub key: String,
    /// How many ranks it has.
    pub ranks: u32,
}

impl Member {
    pub(super) fn attempt_dir(&self, restarts: u32) -> Utf8PathBuf {
        self.folder
            .join("attempts")
            .join((self.attempt + restarts).to_string())
    }
}

/// The member whose script a job is, by the layout of the files: `<job>/submit/<a>.sh`, for a task of an array as its line
/// of `arrays/<key>/keys` says.
pub(super) fn guess(job: &Job) -> Option<Member> {
    let given = Utf8Path::new(&job.unit.directory).join(&job.unit.script);
    let mut key = job
        .comment
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    let script = match job.array {
        None => given,
        Some((_, index)) => {
            let keys = std::fs::read_to_string(given.with_file_name("keys")).ok()?;
            let mut words = keys.lines().nth(index as usize)?.splitn(4, ' ');
            words.next()?.clone_into(&mut key);
            Utf8Path::new(&job.unit.directory).join(words.nth(2)?)
        }
    };
    let attempt = script.file_stem()?.parse().ok()?;
    let folder = script
        .parent()
        .filter(|parent| parent.ends_with("submit"))?;
    Some(Member {
        folder: folder.parent()?.to_owned(),
        attempt,
        key,
        ranks: 1,
    })
}

/// A job begins with a member's attempt. False: the attempt is claimed already, nothing is written.
pub(super) fn begin(member: &Member, restarts: u32, claim: &str, work: &Work, now: i64) -> bool {
    let folder = member.attempt_dir(restarts);
    let made = std::fs::create_dir_all(&folder);
    if made.is_err() || symlink(claim, folder.join("job")).is_err() {
        return false;
    }
    for rank in 0..member.ranks {
        let ranks = folder.join("ranks").join(rank.to_string());
        let heartbeat = ranks.join("heartbeat");
        if std::fs::create_dir_all(&ranks).is_err() {
            return false;
        }
        write(&heartbeat, "");
        write(
            &folder.join(format!("rank-{rank}.log")),
            &format!("{} began\n", member.key),
        );
        if !work.beats {
            let then = SystemTime::UNIX_EPOCH + Duration::from_micros(now.unsigned_abs());
            if let Ok(file) = std::fs::File::options().append(true).open(&heartbeat) {
                let _ = file.set_modified(then);
            }
        }
    }
    true
}

/// Writes a file by rename, as the agent does. What can't be written is not there, as at a place that is full.
pub(super) fn write(path: &Utf8Path, text: &str) {
    let temporary = path.with_extension("new");
    if std::fs::write(&temporary, text).is_ok() {
        let _ = std::fs::rename(&temporary, path);
    }
}

/// A member's record.
pub(super) fn record(
    member: &Member,
    host: &str,
    outcome: Outcome,
    exit: i32,
    started: i64,
    ended: i64,
) -> String {
    let (code, signal) = match outcome {
        Outcome::Interrupted => (None, Some(libc::SIGTERM)),
        Outcome::OutOfMemory => (None, Some(libc::SIGKILL)),
        _ => (Some(exit >> 8), None),
    };
    let first_failure =
        matches!(outcome, Outcome::Failed | Outcome::OutOfMemory).then(|| FirstFailure {
            rank: 0,
            last_lines: vec![format!("{} began", member.key)],
            ..FirstFailure::default()
        });
    let rank = RankExit {
        code,
        signal,
        error: None,
        ended,
        host: None,
    };
    let record = ExitRecord {
        version: RECORD_VERSION,
        key: member.key.clone(),
        name: member.folder.file_name().unwrap_or_default().to_owned(),
        host: host.to_owned(),
        outcome,
        started,
        ended,
        user_seconds: 0.0,
        system_seconds: 0.0,
        peak_memory: 0,
        ranks: vec![rank; member.ranks as usize],
        first_failure,
        devices: Vec::new(),
        stragglers: 0,
        nodes: Vec::new(),
        restarts: Vec::new(),
        usage: None,
    };
    serde_json::to_string(&record).unwrap_or_default()
}
