//! Identical lines that several ranks of an attempt write close together are handed on once.
//!
//! ```text
//! rank 0: X a Y ─┐                     X  ranks 0-1
//!                ├ align ─▶ waiting ─▶ a  rank 0      ─▶ sink, in this order
//! rank 1: X b Y ─┘                     b  rank 1
//!                                      Y  ranks 0-1
//! ```
//!
//! What is waiting is one list. A rank's new lines are laid beside it by their longest common subsequence: a line that is there
//! already is joined, and what stands between two of those is put between them. So a rank's own lines keep their order and none
//! is lost, whatever is made of them. What waits is handed on when every rank has written it, when nobody can join it any more,
//! or when it has waited for long enough.
//! Pitfall: logs have no times. Of logs that are there already, "close together" means by a number of lines.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::time::{Duration, Instant};

use super::LogLine;

/// How long a line that is followed waits for the other ranks to write it too.
const PATIENCE: Duration = Duration::from_millis(250);
/// At most so many lines wait while logs are followed.
const MOST_WAITING: usize = 8192;
/// So many of a rank's own last lines are laid anew when more of it comes: what they belong to may only be seen then.
const ANEW: usize = 64;
/// So many new lines of a rank are compared at once.
const AT_ONCE: usize = 256;
/// At most so many lines of the list are compared with those of a rank.
const MOST_COMPARED: usize = 2048;

/// A line, and who wrote it.
#[derive(Debug, Clone, Copy)]
pub struct FoldedLine<'a> {
    /// The line, as the first of them wrote it.
    pub line: LogLine<'a>,
    /// The ranks that wrote it, ascending.
    pub ranks: &'a [u32],
}

/// Takes folded lines.
pub type FoldedSink<'a> = dyn FnMut(FoldedLine<'_>) -> io::Result<()> + 'a;

/// A line of one rank, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) bytes: Vec<u8>,
    pub(super) ended: bool,
}

/// A line that waits.
#[derive(Debug)]
struct Waiting {
    line: Given,
    hash: u64,
    /// Ascending.
    ranks: Vec<u32>,
    since: Option<Instant>,
}

/// What is known of a rank.
#[derive(Debug, Default, Clone, Copy)]
struct Rank {
    /// The number of its last line among all that ever waited, counted from 1; below the first that waits now: none does.
    last: u64,
    /// How many of its lines wait.
    waiting: usize,
}

/// The lines of one attempt.
#[derive(Debug, Default)]
pub(super) struct Fold {
    list: VecDeque<Waiting>,
    /// How many lines were handed on.
    gone: u64,
    ranks: BTreeMap<u32, Rank>,
    /// How many lines of the list have a hash.
    known: HashMap<u64, u32>,
    hasher: RandomState,
}

impl Fold {
    /// How many lines of a rank wait.
    pub(super) fn waiting(&self, rank: u32) -> usize {
        self.ranks.get(&rank).map_or(0, |rank| rank.waiting)
    }

    /// Takes a rank's next lines.
    pub(super) fn add(&mut self, rank: u32, lines: Vec<Given>, now: Option<Instant>) {
        if lines.is_empty() {
            return;
        }
        let mut new: Vec<Waiting> = lines
            .into_iter()
            .map(|line| Waiting {
                hash: self.hasher.hash_one((&line.bytes, line.ended)),
                line,
                ranks: vec![rank],
                since: now,
            })
            .collect();
        let may_join = new.iter().any(|line| self.known.contains_key(&line.hash));
        for line in &new {
            *self.known.entry(line.hash).or_default() += 1;
        }
        if !may_join {
            let own = self.ranks.entry(rank).or_default();
            own.waiting += new.len();
            self.list.extend(new);
            own.last = self.gone + self.list.len() as u64;
            return;
        }
        let (start, mut lines) = self.take_back(rank);
        lines.append(&mut new);
        let joined = self.align(start, &lines);
        self.merge(rank, start, lines, &joined);
    }

    /// Takes back the rank's last lines that nobody has joined, and says where in the list its others end.
    fn take_back(&mut self, rank: u32) -> (usize, Vec<Waiting>) {
        let own = self.ranks.entry(rank).or_default();
        let Some(last) = own.last.checked_sub(self.gone + 1) else {
            return (0, Vec::new());
        };
        let mut start = 0;
        let mut places = HashSet::new();
        for at in (0..=last as usize).rev() {
            let ranks = &self.list[at].ranks;
            if *ranks == [rank] && places.len() < ANEW {
                places.insert(at);
            } else if ranks.binary_search(&rank).is_ok() {
                start = at + 1;
                break;
            }
        }
        own.waiting -= places.len();
        let tail: Vec<Waiting> = self.list.drain(start..).collect();
        let mut taken = Vec::with_capacity(places.len());
        let mut shifts = Vec::with_capacity(tail.len());
        for (at, waiting) in (start..).zip(tail) {
            shifts.push(taken.len() as u64);
            if places.contains(&at) {
                taken.push(waiting);
            } else {
                self.list.push_back(waiting);
            }
        }
        self.shift(start, &shifts, |last, shift| last - shift);
        (start, taken)
    }

    /// Moves the ranks' last lines along: those from `start` on by so much.
    fn shift(&mut self, start: usize, shifts: &[u64], by: impl Fn(u64, u64) -> u64) {
        let first = self.gone + 1 + start as u64;
        for rank in self.ranks.values_mut() {
            let place = rank.last.checked_sub(first).map(|at| at as usize);
            if let Some(shift) = place.and_then(|at| shifts.get(at)) {
                rank.last = by(rank.last, *shift);
            }
        }
    }

    /// For each new line the place in the list of the line that it joins: ascending, and as many as possible.
    fn align(&self, start: usize, new: &[Waiting]) -> Vec<Option<usize>> {
        let same = |at: usize, line: &Waiting| {
            self.list[at].hash == line.hash && self.list[at].line == line.line
        };
        let mut joined = vec![None; new.len()];
        let mut begin = 0;
        // Mostly ranks write the same for long.
        while begin < new.len()
            && start + begin < self.list.len()
            && same(start + begin, &new[begin])
        {
            joined[begin] = Some(start + begin);
            begin += 1;
        }
        let given: HashSet<u64> = new[begin..].iter().map(|line| line.hash).collect();
        let mine: Vec<usize> = (start + begin..self.list.len())
            .filter(|at| given.contains(&self.list[*at].hash))
            .take(MOST_COMPARED)
            .collect();
        let there: HashSet<u64> = mine.iter().map(|at| self.list[*at].hash).collect();
        let theirs: Vec<usize> = (begin..new.len())
            .filter(|index| there.contains(&new[*index].hash))
            .collect();
        for (index, at) in longest_common(theirs.len(), mine.len(), |index, at| {
            same(mine[at], &new[theirs[index]])
        }) {
            joined[theirs[index]] = Some(mine[at]);
        }
        // A blank line alone says nothing about what belongs together.
        for index in begin..new.len() {
            let blank = new[index].line.bytes.trim_ascii().len() < 2;
            let beside = |index: Option<usize>| {
                index
                    .and_then(|index| joined.get(index))
                    .is_some_and(Option::is_some)
            };
            if blank && !beside(index.checked_sub(1)) && !beside(Some(index + 1)) {
                joined[index] = None;
            }
        }
        joined
    }

    /// Joins and puts in.
    fn merge(&mut self, rank: u32, start: usize, new: Vec<Waiting>, joined: &[Option<usize>]) {
        let count = new.len();
        let mut last = 0;
        let mut known = std::mem::take(&mut self.known);
        let mut join = |waiting: &mut Waiting| {
            waiting.join(rank);
            forget(&mut known, waiting.hash);
        };
        let mut places = joined.iter().flatten().copied().peekable();
        if joined.iter().all(Option::is_some) {
            for at in places {
                join(&mut self.list[at]);
                last = at;
            }
        } else {
            let tail: Vec<Waiting> = self.list.drain(start..).collect();
            let mut shifts = Vec::with_capacity(tail.len());
            let mut moved = 0;
            let mut own = new.into_iter().zip(joined);
            for (at, mut waiting) in (start..).zip(tail) {
                if places.next_if_eq(&at).is_some() {
                    for (line, _) in own.by_ref().take_while(|(_, place)| place.is_none()) {
                        self.list.push_back(line);
                        moved += 1;
                    }
                    join(&mut waiting);
                    last = self.list.len();
                }
                shifts.push(moved);
                self.list.push_back(waiting);
            }
            for (line, _) in own {
                last = self.list.len();
                self.list.push_back(line);
            }
            self.shift(start, &shifts, |last, shift| last + shift);
        }
        self.known = known;
        let own = self.ranks.entry(rank).or_default();
        own.last = self.gone + 1 + last as u64;
        own.waiting += count;
    }

    /// Hands on the first line; answers with the ranks that wrote it, or with none if nothing waits.
    pub(super) fn pop(
        &mut self,
        template: &LogLine<'_>,
        sink: &mut FoldedSink<'_>,
    ) -> io::Result<Vec<u32>> {
        let Some(first) = self.list.pop_front() else {
            return Ok(Vec::new());
        };
        self.gone += 1;
        forget(&mut self.known, first.hash);
        for rank in &first.ranks {
            if let Some(rank) = self.ranks.get_mut(rank) {
                rank.waiting -= 1;
            }
        }
        sink(FoldedLine {
            line: LogLine {
                rank: first.ranks[0],
                bytes: &first.line.bytes,
                ended: first.line.ended,
                ..*template
            },
            ranks: &first.ranks,
        })?;
        Ok(first.ranks)
    }

    /// How many of the first lines need not wait any longer: all `ranks` have written them, or their time is over.
    fn due(&self, ranks: u32, now: Instant) -> usize {
        let whole = self
            .list
            .iter()
            .take_while(|waiting| waiting.ranks.len() >= ranks as usize)
            .count();
        let old = |waiting: &Waiting| {
            waiting
                .since
                .is_none_or(|since| now.saturating_duration_since(since) >= PATIENCE)
        };
        let late = self.list.iter().rposition(old).map_or(0, |at| at + 1);
        whole
            .max(late)
            .max(self.list.len().saturating_sub(MOST_WAITING))
    }
}

/// One line less has this hash.
fn forget(known: &mut HashMap<u64, u32>, hash: u64) {
    if let Some(count) = known.get_mut(&hash) {
        *count -= 1;
        if *count == 0 {
            known.remove(&hash);
        }
    }
}

impl Waiting {
    fn join(&mut self, rank: u32) {
        if let Err(place) = self.ranks.binary_search(&rank) {
            self.ranks.insert(place, rank);
        }
    }
}

/// Pairs of places in two lists that are a longest common subsequence of them.
fn longest_common(
    rows: usize,
    columns: usize,
    same: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let width = columns + 1;
    // The longest from each pair of places to the ends.
    let mut longest = vec![0u16; (rows + 1) * width];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            longest[row * width + column] = if same(row, column) {
                longest[(row + 1) * width + column + 1] + 1
            } else {
                longest[(row + 1) * width + column].max(longest[row * width + column + 1])
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut pairs = Vec::new();
    while row < rows && column < columns {
        if same(row, column) {
            pairs.push((row, column));
            (row, column) = (row + 1, column + 1);
        } else if longest[(row + 1) * width + column] >= longest[row * width + column + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    pairs
}

/// Folds the lines of a [`super::Follower`] as they come.
#[derive(Debug, Default)]
pub struct Folder {
    attempts: HashMap<(u32, u32), Followed>,
    /// The attempts in the order in which they wrote first.
    order: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct Followed {
    job: String,
    ranks: u32,
    fold: Fold,
    /// What came since it was last looked, rank by rank.
    new: BTreeMap<u32, Vec<Given>>,
}

impl Followed {
    /// Lays what is new of all ranks beside each other, some lines of each at a time.
    fn add_new(&mut self, now: Option<Instant>) {
        let mut new: Vec<_> = std::mem::take(&mut self.new)
            .into_iter()
            .map(|(rank, lines)| (rank, lines.into_iter()))
            .collect();
        while !new.is_empty() {
            for (rank, lines) in &mut new {
                self.fold.add(*rank, lines.take(AT_ONCE).collect(), now);
            }
            new.retain(|(_, lines)| lines.len() > 0);
        }
    }
}

impl Folder {
    /// Nothing has come yet.
    #[must_use]
    pub fn new() -> Folder {
        Folder::default()
    }

    /// Takes a line.
    pub fn take(&mut self, line: &LogLine<'_>) {
        let key = (line.job_index, line.attempt);
        let order = &mut self.order;
        let attempt = self.attempts.entry(key).or_insert_with(|| {
            order.push(key);
            Followed {
                job: line.job.to_owned(),
                ranks: line.ranks,
                fold: Fold::default(),
                new: BTreeMap::new(),
            }
        });
        attempt.ranks = attempt.ranks.max(line.ranks);
        attempt.new.entry(line.rank).or_default().push(Given {
            bytes: line.bytes.to_vec(),
            ended: line.ended,
        });
    }

    /// Hands on what need not wait any longer: after [`Folder::take`] of what a look has found, and every tenth of a second.
    ///
    /// # Errors
    /// The sink fails.
    pub fn hand_on(&mut self, now: Instant, sink: &mut FoldedSink<'_>) -> io::Result<()> {
        self.each(|attempt, template| {
            attempt.add_new(Some(now));
            for _ in 0..attempt.fold.due(attempt.ranks, now) {
                attempt.fold.pop(&template, sink)?;
            }
            Ok(())
        })
    }

    /// Hands on everything: nothing more will come.
    ///
    /// # Errors
    /// The sink fails.
    pub fn finish(&mut self, sink: &mut FoldedSink<'_>) -> io::Result<()> {
        self.each(|attempt, template| {
            attempt.add_new(None);
            while !attempt.fold.pop(&template, sink)?.is_empty() {}
            Ok(())
        })
    }

    fn each(
        &mut self,
        mut act: impl FnMut(&mut Followed, LogLine<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        for key in &self.order {
            if let Some(attempt) = self.attempts.get_mut(key) {
                let job = std::mem::take(&mut attempt.job);
                let template = LogLine {
                    job: &job,
                    job_index: key.0,
                    attempt: key.1,
                    rank: 0,
                    ranks: attempt.ranks,
                    bytes: &[],
                    ended: true,
                };
                let acted = act(attempt, template);
                attempt.job = job;
                acted?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEMPLATE: LogLine<'static> = LogLine {
        job: "train",
        job_index: 0,
        attempt: 1,
        rank: 0,
        ranks: 2,
        bytes: &[],
        ended: true,
    };

    fn given(lines: &str) -> Vec<Given> {
        lines
            .split_whitespace()
            .map(|word| Given {
                bytes: word.trim_matches('_').as_bytes().to_vec(),
                ended: true,
            })
            .collect()
    }

    fn all(fold: &mut Fold) -> Vec<(String, Vec<u32>)> {
        let mut shown = Vec::new();
        let mut sink = |line: FoldedLine<'_>| {
            let text = String::from_utf8_lossy(line.line.bytes).into_owned();
            shown.push((text, line.ranks.to_vec()));
            Ok(())
        };
        while !fold.pop(&TEMPLATE, &mut sink).unwrap().is_empty() {}
        shown
    }

    /// `X:0,1 a:0` for what comes of chunks of ranks' lines.
    fn folded(chunks: &[(u32, &str)]) -> String {
        let mut fold = Fold::default();
        for (rank, lines) in chunks {
            fold.add(*rank, given(lines), None);
        }
        let shown = all(&mut fold);
        let words: Vec<String> = shown
            .iter()
            .map(|(text, ranks)| {
                let ranks: Vec<String> = ranks.iter().map(u32::to_string).collect();
                format!("{text}:{}", ranks.join(","))
            })
            .collect();
        words.join(" ")
    }

    #[test]
    fn the_same_is_shown_once_and_the_rest_where_it_belongs() {
        for (chunks, expected) in [
            (
                &[(0, "xx yy"), (1, "xx yy"), (2, "xx yy")][..],
                "xx:0,1,2 yy:0,1,2",
            ),
            (
                &[(0, "xx a1 yy"), (1, "xx b1 b2 yy")],
                "xx:0,1 a1:0 b1:1 b2:1 yy:0,1",
            ),
            (
                &[(1, "xx yy zz"), (0, "xx a1 yy a2 zz")],
                "xx:0,1 a1:0 yy:0,1 a2:0 zz:0,1",
            ),
            (&[(0, "a1 a2"), (1, "b1 b2")], "a1:0 a2:0 b1:1 b2:1"),
            // What belongs together is seen when more comes.
            (
                &[(0, "xx"), (1, "xx b1"), (0, "a1 yy"), (1, "yy")],
                "xx:0,1 a1:0 b1:1 yy:0,1",
            ),
            (&[(0, "xx"), (1, "b1"), (1, "xx")], "b1:1 xx:0,1"),
            // A line twice by one rank is twice there.
            (&[(0, "xx xx"), (1, "xx")], "xx:0,1 xx:0"),
            (&[(0, "yy xx"), (1, "xx yy")], "xx:1 yy:0,1 xx:0"),
            // Blank lines join nothing by themselves.
            (
                &[(0, "aa _ bb"), (1, "cc _ dd")],
                "aa:0 :0 bb:0 cc:1 :1 dd:1",
            ),
            (&[(0, "aa _ bb"), (1, "cc _ bb")], "aa:0 cc:1 :0,1 bb:0,1"),
        ] {
            assert_eq!(folded(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn lines_wait_for_the_others_but_not_for_long() {
        let now = Instant::now();
        let line = |rank: u32, text: &'static str| LogLine {
            rank,
            bytes: text.as_bytes(),
            ..TEMPLATE
        };
        let mut folder = Folder::new();
        let mut shown = Vec::new();
        let mut at = |folder: &mut Folder, after: Duration| {
            let mut sink = |line: FoldedLine<'_>| {
                let text = String::from_utf8_lossy(line.line.bytes).into_owned();
                shown.push(format!("{text}:{:?}", line.ranks));
                Ok(())
            };
            folder.hand_on(now + after, &mut sink).unwrap();
            std::mem::take(&mut shown)
        };
        folder.take(&line(0, "begin"));
        assert!(
            at(&mut folder, Duration::ZERO).is_empty(),
            "rank 1 may write it too"
        );
        folder.take(&line(1, "begin"));
        assert_eq!(at(&mut folder, PATIENCE / 2), ["begin:[0, 1]"]);
        folder.take(&line(0, "mine"));
        assert!(at(&mut folder, PATIENCE).is_empty());
        assert_eq!(at(&mut folder, PATIENCE * 2), ["mine:[0]"]);
        // Too late to be one.
        folder.take(&line(1, "mine"));
        assert_eq!(at(&mut folder, PATIENCE * 4), Vec::<String>::new());
        let mut last = Vec::new();
        folder
            .finish(&mut |line: FoldedLine<'_>| {
                last.push(line.ranks.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(last, [[1]]);
    }

    proptest! {
        /// Whatever is written in whatever pieces: each rank's lines are there, in their order.
        #[test]
        fn no_line_is_lost_or_moved(
            chunks in proptest::collection::vec((0u32..4, proptest::collection::vec(0u8..6, 0..8), any::<bool>()), 0..24)
        ) {
            let mut fold = Fold::default();
            let mut written: BTreeMap<u32, Vec<String>> = BTreeMap::new();
            let mut shown: BTreeMap<u32, Vec<String>> = BTreeMap::new();
            let mut sink = |line: FoldedLine<'_>| {
                assert!(line.ranks.is_sorted() && !line.ranks.is_empty());
                for rank in line.ranks {
                    let text = String::from_utf8_lossy(line.line.bytes).into_owned();
                    shown.entry(*rank).or_default().push(text);
                }
                Ok(())
            };
            for (rank, lines, pop) in chunks {
                let text: Vec<String> = lines.iter().map(|number| if *number == 0 { String::new() } else { format!("line {number}") }).collect();
                written.entry(rank).or_default().extend(text.iter().cloned());
                fold.add(rank, text.into_iter().map(|text| Given { bytes: text.into_bytes(), ended: true }).collect(), None);
                let count = written.get(&rank).map_or(0, Vec::len);
                prop_assert!(fold.waiting(rank) <= count);
                if pop {
                    fold.pop(&TEMPLATE, &mut sink).unwrap();
                }
            }
            while !fold.pop(&TEMPLATE, &mut sink).unwrap().is_empty() {}
            written.retain(|_, lines| !lines.is_empty());
            prop_assert_eq!(shown, written);
            prop_assert!(fold.ranks.values().all(|rank| rank.waiting == 0) && fold.known.is_empty());
        }
    }
}
