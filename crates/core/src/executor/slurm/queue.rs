//! What squeue and sacct print, as rows.
//!
//! squeue's fields have a width and a sign behind them (`--Format=JobArrayID:48|,…`, squeue(1)), so that a reason or a
//! comment with any text in it can't be taken for another field.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::tunnel::Cmd;

/// No command of Slurm's may take longer.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// So many bytes of a comment are asked for. The key is its last word, so no comment of ours may be longer.
pub(super) const COMMENT: usize = 160;

/// The fields that are asked for, with their widths.
const FIELDS: [(&str, usize); 11] = [
    ("JobArrayID", 48),
    ("State", 24),
    ("RestartCnt", 8),
    ("Reason", 64),
    ("NodeList", 256),
    ("exit_code", 16),
    ("StartTime", 24),
    ("EndTime", 24),
    ("Comment", COMMENT),
    ("HetJobID", 16),
    ("HetJobOffset", 16),
];

/// A job as squeue or sacct tells of it. Texts are Slurm's own; an empty one says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Row {
    /// `12`, or `12_3` in an array; of a heterogeneous job the number of its first component.
    pub(super) id: String,
    pub(super) state: String,
    pub(super) restarts: u32,
    pub(super) reason: String,
    pub(super) nodes: String,
    /// As wait(2) has it.
    pub(super) exit: i32,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) comment: String,
}

impl Row {
    /// The last word of the comment, which is the key of whoever submitted the job, if that was us.
    pub(super) fn key(&self) -> Option<&str> {
        let word = self.comment.rsplit(' ').next()?;
        word.starts_with("mz-").then_some(word)
    }
}

/// Asks for all of the user's jobs at once.
pub(super) fn squeue() -> Cmd {
    let format: Vec<String> = FIELDS
        .iter()
        .map(|(name, width)| format!("{name}:{width}|"))
        .collect();
    Cmd::new([
        "squeue",
        "--me",
        "--noheader",
        "--states=all",
        "--array",
        &format!("--Format={}", format.join(",")),
    ])
    .env("TZ", "UTC")
    .env("SLURM_TIME_FORMAT", "standard")
    .timeout(LIMIT)
}

/// Reads what squeue printed. Of a heterogeneous job only the first component is a row.
pub(super) fn read_squeue(text: &[u8]) -> Vec<Row> {
    text.split(|byte| *byte == b'\n')
        .filter_map(read_line)
        .collect()
}

fn read_line(line: &[u8]) -> Option<Row> {
    let mut rest = line;
    let mut fields: [String; FIELDS.len()] = Default::default();
    for (field, (_, width)) in fields.iter_mut().zip(FIELDS) {
        // Widths count bytes (tried with 22.05), so a character may be cut at the end of its field.
        if rest.get(width) != Some(&b'|') {
            return None;
        }
        let text = String::from_utf8_lossy(&rest[..width]);
        *field = match text.trim_end() {
            "N/A" | "(null)" | "NONE" => String::new(),
            text => text.to_owned(),
        };
        rest = &rest[width + 1..];
    }
    let [
        id,
        state,
        restarts,
        reason,
        nodes,
        exit,
        start,
        end,
        comment,
        het,
        offset,
    ] = fields;
    let id = match (het.as_str(), offset.as_str()) {
        ("" | "0", _) => id,
        (_, "0") => het,
        _ => return None,
    };
    Some(Row {
        id,
        state,
        restarts: restarts.parse().unwrap_or(0),
        reason,
        nodes,
        exit: exit.parse().unwrap_or(0),
        start,
        end,
        comment,
    })
}

/// Asks the accounting for jobs that the controller has forgotten. The time from which it looks is given, since by itself
/// it looks no further back than midnight.
pub(super) fn sacct(ids: &[&str]) -> Cmd {
    Cmd::new([
        "sacct",
        "--noheader",
        "--parsable2",
        "--allocations",
        "--duplicates",
        "--starttime=2000-01-01",
        &format!("--jobs={}", ids.join(",")),
        "--format=JobID,State,ExitCode,Start,End,NodeList,Reason,Comment",
    ])
    .env("TZ", "UTC")
    .env("SLURM_TIME_FORMAT", "standard")
    .timeout(LIMIT)
}

/// A time as Slurm writes it, in UTC because it was told so.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::civil::DateTime = text.parse().ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_jiff(time.timestamp()))
}

/// Reads what sacct printed: for each job its runs, oldest first.
pub(super) fn read_sacct(text: &str) -> Vec<Row> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.splitn(8, '|').collect();
            let [id, state, exit, start, end, nodes, reason, comment] = fields[..] else {
                return None;
            };
            let id = match id.split_once('+') {
                None => id,
                Some((het, "0")) => het,
                Some(_) => return None,
            };
            let (code, signal) = exit.split_once(':').unwrap_or((exit, "0"));
            let (code, signal): (i32, i32) =
                (code.parse().unwrap_or(0), signal.parse().unwrap_or(0));
            Some(Row {
                id: id.to_owned(),
                state: state.to_owned(),
                restarts: 0,
                reason: reason.to_owned(),
                nodes: nodes.to_owned(),
                exit: code << 8 | signal,
                start: start.to_owned(),
                end: end.to_owned(),
                comment: comment.to_owned(),
            })
        })
        .collect()
}

/// The names in a list of nodes, such as `n[1-3,07],login`.
pub(super) fn nodes(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (position, sign) in list.char_indices() {
        match sign {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                expand(&list[start..position], &mut names);
                start = position + 1;
            }
            _ => {}
        }
    }
    expand(&list[start..], &mut names);
    names
}

/// The most names that one list is taken to stand for.
const MOST_NODES: usize = 100_000;

fn expand(name: &str, names: &mut Vec<String>) {
    if name.is_empty() || names.len() > MOST_NODES {
        return;
    }
    let inside = name
        .find('[')
        .and_then(|open| Some((open, open + name[open..].find(']')?)));
    let Some((open, close)) = inside else {
        names.push(name.to_owned());
        return;
    };
    for range in name[open + 1..close].split(',') {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (from.parse::<u64>(), to.parse::<u64>()) else {
            continue;
        };
        for number in first..=last.min(first.saturating_add(MOST_NODES as u64)) {
            let digits = format!("{number:0width$}", width = from.len());
            expand(
                &format!("{}{digits}{}", &name[..open], &name[close + 1..]),
                names,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: [&str; FIELDS.len()]) -> String {
        values
            .iter()
            .zip(FIELDS)
            .map(|(value, (_, width))| format!("{value:width$}|"))
            .collect()
    }

    #[test]
    fn fields_are_read_by_their_width() {
        let text = [
            line([
                "12_3",
                "RUNNING",
                "1",
                "None",
                "n[1-2]",
                "0",
                "2026-11-22T20:55:41",
                "NONE",
                "mine | too mz-abc-0-1",
                "N/A",
                "N/A",
            ]),
            line([
                "5+0",
                "PENDING",
                "0",
                "Priority",
                "",
                "0",
                "N/A",
                "N/A",
                "mz-abc-1-1",
                "5",
                "0",
            ]),
            line([
                "5+1",
                "PENDING",
                "0",
                "Priority",
                "",
                "0",
                "N/A",
                "N/A",
                "mz-abc-1-1",
                "5",
                "1",
            ]),
            "slurm_load_jobs error".to_owned(),
        ]
        .join("\n");
        let rows = read_squeue(text.as_bytes());
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].id, "12_3");
        assert_eq!(rows[0].key(), Some("mz-abc-0-1"));
        assert_eq!((rows[0].restarts, rows[0].end.as_str()), (1, ""));
        assert_eq!((rows[1].id.as_str(), rows[1].nodes.as_str()), ("5", ""));
    }

    #[test]
    fn widths_count_bytes() {
        // 17 characters of two bytes each: counted in characters, the comment would end where the next field does.
        let comment = format!("{} mz-abc-0-1", "ä".repeat(17));
        let values = [
            "1", "PENDING", "0", "", "", "0", "", "", &comment, "N/A", "N/A",
        ];
        let text: String = values
            .iter()
            .zip(FIELDS)
            .map(|(value, (_, width))| format!("{value}{}|", " ".repeat(width - value.len())))
            .collect();
        let rows = read_squeue(text.as_bytes());
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].key(), Some("mz-abc-0-1"));
    }

    #[test]
    fn accounting_is_read() {
        let rows = read_sacct(
            "7|FAILED|3:0|2026-11-22T20:55:43|2026-11-22T20:55:43|n1|None|mz-abc-0-1\n\
             5+0|CANCELLED by 0|0:15|x|y|n1|None|\n5+1|COMPLETED|0:0|x|y|n2|None|\nbroken",
        );
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].exit, rows[0].key()), (768, Some("mz-abc-0-1")));
        assert_eq!((rows[1].id.as_str(), rows[1].exit), ("5", 15));
    }

    #[test]
    fn lists_of_nodes() {
        assert_eq!(nodes("n[1-3,07],login"), ["n1", "n2", "n3", "n07", "login"]);
        assert_eq!(
            nodes("r[1-2]c[08-09]"),
            ["r1c08", "r1c09", "r2c08", "r2c09"]
        );
        assert_eq!(nodes("gpu-a,gpu-b"), ["gpu-a", "gpu-b"]);
        assert!(nodes("").is_empty());
        assert_eq!(nodes("odd[x"), ["odd[x"]);
    }
}
