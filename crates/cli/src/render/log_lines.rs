//! Log lines on standard output: as their bytes are, behind the name of their job, or as JSON.

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use anstyle::{AnsiColor, Style};
use mizzen_core::logs::{
    FoldedLine, FoldedSink, Folder, Followed, Follower, LogLine, Mirroring, Selection,
};
use mizzen_core::model::JobState;
use mizzen_core::store::ExperimentView;

use super::Page;
use super::documents::{Layout, LogLineDocument, json};
use super::text::width;
use crate::output::Output;
use crate::report::Report;

/// The colours that tell jobs apart.
const COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Blue,
    AnsiColor::BrightRed,
];
/// Names that are wider do not push all other lines to the right from the beginning.
const WIDEST_LABEL: usize = 32;
/// So many bytes are written at once.
const BLOCK: usize = 1 << 16;

/// How lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Their bytes, as soon as they are there: a bar that is drawn with `\r` moves. Ranks of one job are told apart.
    Unchanged,
    /// Their bytes and nothing else, even of several ranks.
    Bare,
    /// Behind the job's name and, with several, the rank's number.
    Named,
    /// One JSON object a line.
    Json,
}

impl Form {
    /// What stands before a line that these ranks wrote, of so many.
    fn label(self, job: &str, ranks: &[u32], of: u32) -> Option<String> {
        match self {
            Form::Named if of > 1 => Some(format!("{job}[{}]", numbers(ranks))),
            Form::Named => Some(job.to_owned()),
            Form::Unchanged if of > 1 && ranks.len() > 1 => {
                Some(format!("ranks {}", numbers(ranks)))
            }
            Form::Unchanged if of > 1 => Some(format!("rank {}", numbers(ranks))),
            Form::Unchanged | Form::Bare | Form::Json => None,
        }
    }

    /// Whether lines that several ranks wrote can be shown once: only where it can be said who wrote them.
    pub(crate) const fn can_fold(self) -> bool {
        matches!(self, Form::Unchanged | Form::Named)
    }
}

/// The longest list of ranks that is shown whole.
const LONGEST_NUMBERS: usize = 20;

/// `0-7`, `0,2-5`; of many scattered ones the first and how many there are.
fn numbers(ranks: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for rank in ranks {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == *rank => *end = *rank,
            _ => runs.push((*rank, *rank)),
        }
    }
    let shown = |(first, last): &(u32, u32)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    let mut text = String::new();
    for run in &runs {
        let run = shown(run);
        if text.len() + run.len() > LONGEST_NUMBERS {
            return format!("{text}… ({} of them)", ranks.len());
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&run);
    }
    text
}

/// Shows log lines.
#[derive(Debug)]
pub(crate) struct LogLines {
    form: Form,
    /// Columns of the longest label so far: the lines behind it stand below each other.
    widest: usize,
    /// The last piece that was written had no line end.
    open: bool,
    buffer: Vec<u8>,
}

impl LogLines {
    /// Lines in a form.
    pub(crate) fn new(form: Form) -> LogLines {
        LogLines {
            form,
            widest: 0,
            open: false,
            buffer: Vec::new(),
        }
    }

    /// For the chosen jobs of an experiment: the lines of all stand below each other from the first one on.
    pub(crate) fn of_jobs(form: Form, view: &ExperimentView, chosen: &[u32]) -> LogLines {
        let names = view
            .jobs
            .iter()
            .filter(|job| chosen.is_empty() || chosen.contains(&job.index));
        let widest = names
            .map(|job| width(&job.name))
            .filter(|width| *width <= WIDEST_LABEL)
            .max()
            .unwrap_or(0);
        LogLines {
            widest: if form == Form::Named { widest } else { 0 },
            ..LogLines::new(form)
        }
    }

    /// Leaves room for the labels of lines that all ranks of a job wrote.
    pub(crate) fn with_room_for_ranks(mut self, view: &ExperimentView, chosen: &[u32]) -> LogLines {
        let jobs = view
            .jobs
            .iter()
            .filter(|job| chosen.is_empty() || chosen.contains(&job.index));
        for job in jobs.filter(|job| job.ranks > 1) {
            let ranks: Vec<u32> = (0..job.ranks).collect();
            let label = self.form.label(&job.name, &ranks, job.ranks);
            let width = label.as_deref().map_or(0, width);
            if width <= WIDEST_LABEL {
                self.widest = self.widest.max(width);
            }
        }
        self
    }

    /// Takes one line or piece, and the ranks that wrote it; says whether it is time to write.
    fn take(&mut self, folded: &FoldedLine<'_>, page: &Page) -> bool {
        let line = &folded.line;
        let label = self.form.label(line.job, folded.ranks, line.ranks);
        match (label, self.form) {
            (Some(label), form) => {
                self.widest = self.widest.max(width(&label));
                let padded = format!("{label:<widest$} │", widest = self.widest);
                let color = if form == Form::Named {
                    line.job_index
                } else {
                    line.rank
                };
                self.buffer
                    .extend_from_slice(page.paint(color_of(color), &padded).as_bytes());
                if !line.bytes.is_empty() {
                    self.buffer.push(b' ');
                }
                self.buffer.extend_from_slice(line.bytes);
                self.buffer.push(b'\n');
            }
            (None, Form::Json) => {
                let document = LogLineDocument {
                    job: line.job.to_owned(),
                    attempt: line.attempt,
                    rank: line.rank,
                    line: String::from_utf8_lossy(line.bytes).into_owned(),
                };
                self.buffer
                    .extend_from_slice(json(Layout::Line, &document).as_bytes());
            }
            (None, _) => {
                self.buffer.extend_from_slice(line.bytes);
                if line.ended {
                    self.buffer.push(b'\n');
                }
                self.open = !line.ended && !line.bytes.is_empty();
            }
        }
        self.buffer.len() >= BLOCK
    }

    /// Whether pieces of lines are shown before their end is there.
    fn shows_pieces(&self) -> bool {
        matches!(self.form, Form::Unchanged | Form::Bare)
    }

    /// Hands lines from a reader to standard output.
    ///
    /// # Errors
    /// Nobody reads any longer, or a log can't be read.
    pub(crate) fn show<T>(
        &mut self,
        output: &Output,
        read: impl FnOnce(&mut dyn FnMut(LogLine<'_>) -> io::Result<()>) -> io::Result<T>,
    ) -> Result<T, Report> {
        self.show_folded(output, |sink| {
            read(&mut |line| {
                let ranks = &[line.rank];
                sink(FoldedLine { line, ranks })
            })
        })
    }

    /// As [`LogLines::show`], of lines that may be of several ranks.
    ///
    /// # Errors
    /// As [`LogLines::show`].
    pub(crate) fn show_folded<T>(
        &mut self,
        output: &Output,
        read: impl FnOnce(&mut FoldedSink<'_>) -> io::Result<T>,
    ) -> Result<T, Report> {
        let mut failed = None;
        let answer = read(&mut |line| {
            if self.take(&line, &output.data) {
                let written = output.write(&self.buffer);
                self.buffer.clear();
                if let Err(report) = written {
                    failed = Some(report);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            Ok(())
        });
        if let Some(report) = failed {
            return Err(report);
        }
        if !self.buffer.is_empty() {
            let written = output.write(&self.buffer);
            self.buffer.clear();
            written?;
        }
        answer.map_err(|error| Report::usage(format!("a log can't be read: {error}")))
    }

    /// Where the shown text stands: behind something without a line end.
    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }
}

/// Follows logs and shows what is new.
#[derive(Debug)]
pub(crate) struct Following {
    follower: Follower,
    /// Brings together what several ranks write alike.
    folder: Option<Folder>,
    lines: LogLines,
    /// Jobs that may have written more than was read since they ended.
    ended: BTreeSet<u32>,
    /// Brings here what jobs write elsewhere.
    mirroring: Option<Mirroring>,
}

impl Following {
    /// Follows the selected logs of an experiment, and what brings them here.
    pub(crate) fn new(
        view: &ExperimentView,
        selection: Selection,
        form: Form,
        mirroring: Option<Mirroring>,
    ) -> Following {
        Following {
            lines: LogLines::of_jobs(form, view, &selection.jobs),
            follower: Follower::new(&view.dir, &Followed::all(view), selection),
            folder: None,
            ended: BTreeSet::new(),
            mirroring,
        }
    }

    /// Of an experiment that was seen before it was begun: whatever comes is shown, also an attempt that is over at once.
    pub(crate) fn of_all_that_comes(
        view: &ExperimentView,
        form: Form,
        mirroring: Option<Mirroring>,
    ) -> Following {
        let jobs = Followed::from_now_on(view);
        Following {
            follower: Follower::new(&view.dir, &jobs, Selection::default()),
            ..Following::new(view, Selection::default(), form, mirroring)
        }
    }

    /// Shows lines that several ranks write alike, and close together, once.
    pub(crate) fn folded(mut self, view: &ExperimentView, chosen: &[u32]) -> Following {
        self.lines = self.lines.with_room_for_ranks(view, chosen);
        self.folder = Some(Folder::new());
        self
    }

    /// A job has ended, or may have: its log is read once more to its end.
    pub(crate) fn look_again(&mut self, job: u32) {
        self.ended.insert(job);
    }

    /// Shows everything new; says whether there was something.
    ///
    /// # Errors
    /// As [`LogLines::show`].
    pub(crate) fn pump(&mut self, view: &ExperimentView, output: &Output) -> Result<bool, Report> {
        let Following {
            follower,
            folder,
            lines,
            ended,
            mirroring,
        } = self;
        for words in mirroring.iter().flat_map(Mirroring::words) {
            output.say(&format!("mizzen: {words}"));
        }
        let may_write = |index: u32| {
            ended.contains(&index)
                || view
                    .jobs
                    .get(index as usize)
                    .is_some_and(|job| !job.state.is_final() && job.state != JobState::Unsubmitted)
        };
        let pieces = lines.shows_pieces();
        let news = lines.show_folded(output, |sink| {
            let mut take = bring_together(folder.as_mut(), sink);
            let news = follower.poll(&may_write, &mut take)?;
            if pieces {
                follower.pieces(&mut take)?;
            }
            drop(take);
            if let Some(folder) = folder {
                folder.hand_on(Instant::now(), sink)?;
            }
            Ok(news)
        })?;
        if !news {
            ended.clear();
        }
        Ok(news)
    }

    /// Shows what is left when nothing more will come.
    ///
    /// # Errors
    /// As [`LogLines::show`].
    pub(crate) fn finish(&mut self, view: &ExperimentView, output: &Output) -> Result<(), Report> {
        if let Some(mirroring) = &mut self.mirroring {
            mirroring.end();
        }
        self.ended.extend(view.jobs.iter().map(|job| job.index));
        while self.pump(view, output)? {
            self.ended.extend(view.jobs.iter().map(|job| job.index));
        }
        let Following {
            follower,
            folder,
            lines,
            ..
        } = self;
        lines.show_folded(output, |sink| {
            follower.finish(&mut bring_together(folder.as_mut(), sink))?;
            folder.as_mut().map_or(Ok(()), |folder| folder.finish(sink))
        })
    }

    /// Readable when there is something new; to be followed by [`Following::seen`].
    pub(crate) fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.follower.descriptor()
    }

    /// Takes note of what the descriptor told.
    pub(crate) fn seen(&self) {
        self.follower.wait(std::time::Duration::ZERO);
    }

    /// The shown text ends without a line end.
    pub(crate) const fn is_open(&self) -> bool {
        self.lines.is_open()
    }
}

/// Takes lines of single ranks: those of several go through the folder, if there is one.
fn bring_together<'a>(
    mut folder: Option<&'a mut Folder>,
    sink: &'a mut FoldedSink<'_>,
) -> impl FnMut(LogLine<'_>) -> io::Result<()> + 'a {
    move |line| match &mut folder {
        Some(folder) if line.ranks > 1 => {
            folder.take(&line);
            Ok(())
        }
        _ => {
            let ranks = &[line.rank];
            sink(FoldedLine { line, ranks })
        }
    }
}

fn color_of(number: u32) -> Style {
    COLORS[number as usize % COLORS.len()].on_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(job: &'a str, rank: u32, ranks: u32, bytes: &'a [u8], ended: bool) -> LogLine<'a> {
        LogLine {
            job,
            job_index: 0,
            attempt: 1,
            rank,
            ranks,
            bytes,
            ended,
        }
    }

    fn shown(form: Form, given: &[LogLine<'_>]) -> String {
        let mut lines = LogLines::new(form);
        for line in given {
            let ranks = &[line.rank];
            lines.take(&FoldedLine { line: *line, ranks }, &Page::PLAIN);
        }
        String::from_utf8_lossy(&lines.buffer).into_owned()
    }

    #[test]
    fn the_bytes_of_a_single_rank_stay_as_they_are() {
        let given = [
            line("a", 0, 1, b"10%\r", false),
            line("a", 0, 1, b"20%\r\xff", true),
            line("a", 0, 1, b"", true),
        ];
        let mut lines = LogLines::new(Form::Unchanged);
        for line in &given {
            let ranks = &[line.rank];
            lines.take(&FoldedLine { line: *line, ranks }, &Page::PLAIN);
        }
        assert_eq!(lines.buffer, b"10%\r20%\r\xff\n\n");
    }

    #[test]
    fn several_ranks_and_jobs_are_told_apart() {
        let given = [line("a", 0, 2, b"x", true), line("train", 1, 2, b"", true)];
        assert_eq!(shown(Form::Unchanged, &given), "rank 0 │ x\nrank 1 │\n");
        assert_eq!(shown(Form::Named, &given), "a[0] │ x\ntrain[1] │\n");
        assert_eq!(shown(Form::Bare, &given), "x\n\n");
    }

    #[test]
    fn lines_of_several_ranks_name_them() {
        let mut lines = LogLines::new(Form::Unchanged);
        for ranks in [&[0, 1, 2, 3][..], &[0, 2, 3], &[1]] {
            let line = line("a", ranks[0], 4, b"x", true);
            lines.take(&FoldedLine { line, ranks }, &Page::PLAIN);
        }
        let text = String::from_utf8_lossy(&lines.buffer).into_owned();
        assert_eq!(text, "ranks 0-3 │ x\nranks 0,2-3 │ x\nrank 1      │ x\n");
        assert_eq!(
            Form::Named.label("train", &[0, 1, 2, 5], 8).as_deref(),
            Some("train[0-2,5]")
        );
        let odd: Vec<u32> = (0..40).map(|number| 2 * number).collect();
        assert_eq!(numbers(&odd), "0,2,4,6,8,10,12,14,16… (40 of them)");
    }

    #[test]
    fn json_lines_are_whole_objects() {
        let text = shown(Form::Json, &[line("a", 0, 1, b"\"q\" \xff", true)]);
        assert_eq!(
            text,
            "{\"job\":\"a\",\"attempt\":1,\"rank\":0,\"line\":\"\\\"q\\\" \u{fffd}\"}\n"
        );
    }
}
