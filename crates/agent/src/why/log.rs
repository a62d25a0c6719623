//! A rank's last words: what torchrun's summary, uncaught exceptions and messages in them say.

use std::path::Path;

use super::lines::{self, Line};
use super::messages::{self, shortened};
use super::traceback::{self, Origin, Raised};
use super::{
    NEAR_END, Why, WhyKind, by_signal, error_file, of_chain, of_words, recorded, signals, torchrun,
    with_place,
};

/// Says no more than that a process which it had started failed.
fn is_wrapper(raised: &Raised) -> bool {
    [torchrun::EXCEPTION, "CalledProcessError"].contains(&raised.name())
}

/// A rank's last words, taken apart.
pub(super) struct Log {
    pub(super) lines: Vec<Line>,
}

impl Log {
    pub(super) fn new(lines: &[String]) -> Log {
        Log {
            lines: lines.iter().map(|line| lines::plain(line)).collect(),
        }
    }

    /// The lines behind a tag, with their numbers.
    fn of_tag(&self, tag: &str) -> (Vec<&str>, Vec<usize>) {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, line)| line.tag == tag)
            .map(|(number, line)| (line.text.as_str(), number))
            .unzip()
    }

    /// What torchrun's summary says: of its workers the one that is to blame.
    pub(super) fn summary(&self) -> Option<Why> {
        let (lines, _) = self.of_tag("");
        let workers = torchrun::failures(&lines);
        if workers.is_empty() {
            return None;
        }
        let explained: Vec<Option<Why>> = workers
            .iter()
            .map(|worker| self.of_worker(worker, workers.len() == 1))
            .collect();
        let own = |why: &Option<Why>| why.as_ref().is_some_and(Why::is_own);
        let follows = |why: &Option<Why>| why.as_ref().is_some_and(|why| why.kind.is_follower());
        // One that ended by itself without a word is still no follower.
        let silent = || {
            (0..workers.len()).find(|place| explained[*place].is_none() && workers[*place].exit > 0)
        };
        let chosen = if follows(&explained[0]) {
            explained.iter().position(own).or_else(silent).unwrap_or(0)
        } else {
            0
        };
        let alone = !explained.iter().any(follows);
        let worker = &workers[chosen];
        let mut why = match explained.into_iter().nth(chosen).flatten() {
            Some(why) => why,
            // None of its own: a traceback without a name on it is somebody's, and the culprit's if no other is known.
            None => self
                .uncaught(self.lines.len())
                .or_else(|| self.said(NEAR_END))
                .filter(|why| why.is_own() || alone)
                .unwrap_or_else(|| {
                    Why::new(WhyKind::ExitStatus, format!("exit code {}", worker.exit))
                }),
        };
        why.rank = why.rank.or(worker.rank);
        why.host =
            Some(short_host(&worker.host)).filter(|host| !host.is_empty() && host != "localhost");
        Some(why)
    }

    /// What is known of one of torchrun's workers: its words in the summary, else its lines above it.
    fn of_worker(&self, worker: &torchrun::Worker, alone: bool) -> Option<Why> {
        let words: Vec<&str> = worker.words.iter().map(String::as_str).collect();
        if let Some(chain) = traceback::chains(&words).last() {
            return Some(of_chain(chain));
        }
        let file = worker.error_file.as_deref().map(Path::new);
        if let Some(why) = file
            .and_then(error_file::read)
            .and_then(|file| recorded(&file))
        {
            return Some(why);
        }
        let signal = Some(-worker.exit).filter(|signal| *signal > 0);
        if signal.is_some_and(signals::is_fault) {
            let place = alone.then(|| self.place_of_fault()).flatten();
            let (kind, words) = signals::meaning(signal?);
            return Some(Why::new(kind, with_place(words, place)));
        }
        if let Some(rank) = worker.rank {
            let own: Vec<Line> = self
                .lines
                .iter()
                .filter(|line| lines::rank_of(&line.tag) == Some(rank))
                .cloned()
                .collect();
            let own = Log { lines: own };
            let near = own.lines.len();
            if let Some(why) = own.uncaught(near).or_else(|| own.said(NEAR_END)) {
                return Some(why);
            }
        }
        if let Some(why) = words.first().and_then(|words| of_words(words)) {
            return Some(why);
        }
        by_signal(signal)
    }

    /// The exception that nobody caught, in so many last lines. With several processes in one log: of their last ones the
    /// earliest that does not only follow another.
    pub(super) fn uncaught(&self, near: usize) -> Option<Why> {
        let mut found: Vec<(usize, Why, Option<u32>)> = Vec::new();
        for tag in lines::tags(&self.lines) {
            let (lines, numbers) = self.of_tag(tag);
            let chains = traceback::chains(&lines);
            let real = |chain: &&Vec<Raised>| {
                chain
                    .last()
                    .is_some_and(|raised| raised.origin == Origin::Main && !is_wrapper(raised))
            };
            let threads = |chain: &&Vec<Raised>| {
                chain
                    .last()
                    .is_some_and(|raised| raised.origin == Origin::Thread)
            };
            let mut candidates: Vec<&Vec<Raised>> = chains.iter().filter(real).collect();
            // Without a tag several processes may have written: all of theirs are looked at where a launcher failed.
            let launcher = chains
                .iter()
                .any(|chain| chain.last().is_some_and(is_wrapper));
            if !launcher {
                candidates.drain(..candidates.len().saturating_sub(1));
            }
            if candidates.is_empty() {
                candidates = chains.iter().filter(threads).collect();
                candidates.drain(..candidates.len().saturating_sub(1));
            }
            for chain in candidates {
                let at = chain.last().map_or(0, |raised| numbers[raised.at]);
                if at + near >= self.lines.len() {
                    found.push((at, of_chain(chain), lines::rank_of(tag)));
                }
            }
        }
        found.sort_by_key(|(at, ..)| *at);
        let own = found.iter().position(|(_, why, _)| why.is_own());
        let (_, mut why, rank) = match own {
            Some(own) => found.swap_remove(own),
            None => found.into_iter().next()?,
        };
        why.rank = rank;
        Some(why)
    }

    /// A message that means something, in so many last lines; the last one that is no mere consequence, else the last.
    pub(super) fn said(&self, near: usize) -> Option<Why> {
        let begin = self.lines.len().saturating_sub(near);
        let weak_begin = self.lines.len().saturating_sub(5);
        let mut follower = None;
        for at in (begin..self.lines.len()).rev() {
            let Some((why, weak)) = self.meaning(at) else {
                continue;
            };
            if weak && at < weak_begin {
                continue;
            }
            if why.is_own() {
                return Some(why);
            }
            follower.get_or_insert(why);
        }
        follower
    }

    /// What a line means, and whether it may mean nothing.
    fn meaning(&self, at: usize) -> Option<(Why, bool)> {
        let line = self.lines[at].text.as_str();
        if let Some(why) = self.uncaught_elsewhere(at) {
            return Some((why, false));
        }
        let meaning = messages::meaning(line)?;
        Some((of_words(line)?, meaning.weak))
    }

    /// Errors without a traceback: of C++, Rust and Go, and of Python before it has begun.
    fn uncaught_elsewhere(&self, at: usize) -> Option<Why> {
        let line = self.lines[at].text.as_str();
        let next = || {
            let tag = &self.lines[at].tag;
            let mut rest = self.lines[at + 1..].iter().filter(|line| line.tag == *tag);
            rest.next().map(|line| line.text.as_str())
        };
        if let Some(class) = line.strip_prefix("terminate called after throwing an instance of ") {
            let what = next().and_then(|next| next.trim().strip_prefix("what():"));
            let what = what.map_or_else(
                || class.trim_matches('\'').to_owned(),
                |what| what.trim().to_owned(),
            );
            return Some(of_words(&what).unwrap_or_else(|| {
                Why::new(
                    WhyKind::Panic,
                    format!("C++ exception: {}", shortened(&what)),
                )
            }));
        }
        if line.starts_with("thread '") && line.contains(" panicked at ") {
            let (_, place) = line.split_once(" panicked at ")?;
            let (words, place) = match place.strip_prefix('\'') {
                // Before Rust 1.73: 'message', src/main.rs:2:5
                Some(old) => old.rsplit_once("', ")?,
                None => (next().unwrap_or_default(), place.trim_end_matches(':')),
            };
            let file = place.rsplit('/').next().unwrap_or(place);
            let file = file.rsplit_once(':').map_or(file, |(file, _column)| file);
            return Some(Why::new(
                WhyKind::Panic,
                format!("panic: {} ({file})", shortened(words)),
            ));
        }
        // Python says nothing of a traceback where the program itself can't be read.
        let unreadable = ["SyntaxError: ", "IndentationError: ", "TabError: "];
        if unreadable.iter().any(|class| line.starts_with(class)) {
            let mut before = self.lines[..at].iter().rev().take(5);
            let (file, number) = before
                .find_map(|line| line.text.strip_prefix("  File \"")?.split_once("\", line "))?;
            let file = file.rsplit('/').next().unwrap_or(file);
            return Some(Why::new(
                WhyKind::Exception,
                format!("{} ({file}:{number})", shortened(line)),
            ));
        }
        line.starts_with("panic: ")
            .then(|| Why::new(WhyKind::Panic, shortened(line)))
    }

    /// Where Python was when it met a fault, if its fault handler says so (most recent call first).
    pub(super) fn place_of_fault(&self) -> Option<String> {
        let stack = self
            .lines
            .iter()
            .rposition(|line| line.text.starts_with("Fatal Python error: "))?;
        let foreign = ["/site-packages/", "/dist-packages/", "/lib/python3"];
        self.lines[stack..]
            .iter()
            .skip_while(|line| !line.text.starts_with("Current thread"))
            .skip(1)
            .take_while(|line| !line.text.is_empty())
            .filter_map(|line| {
                let (file, rest) = line
                    .text
                    .strip_prefix("  File \"")?
                    .split_once("\", line ")?;
                let number = rest.split(' ').next()?;
                let own = !file.starts_with('<') && !foreign.iter().any(|part| file.contains(part));
                own.then(|| format!("{}:{number}", file.rsplit('/').next().unwrap_or(file)))
            })
            .next()
    }
}

/// `n2` of `n2.cluster.example.org`; addresses stay.
fn short_host(host: &str) -> String {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return host.to_owned();
    }
    host.split('.').next().unwrap_or(host).to_owned()
}
