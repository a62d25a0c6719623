//! From a diagnostic to the text with carets that users see.
//!
//! ```text
//! Diagnostic ── labels by source, then by line ──→ header ┌─, lines │, carets ^^^ and --- ──→ hints
//! ```

use std::ops::Range;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar as _;

use super::words::{printable, shown};
use super::{Diagnostic, Label, SourceId, SourceMap, floor_boundary};

/// The widest excerpt of a source line, in columns.
const EXCERPT_COLUMNS: usize = 100;

/// Writes a diagnostic out.
pub(super) fn render(diagnostic: &Diagnostic, sources: &SourceMap, color: bool) -> String {
    let theme = Theme::new(color);
    let mut out = theme.paint(theme.error, "error");
    out.push_str(&theme.paint(
        theme.strong,
        &format!(": {}", printable(&diagnostic.message)),
    ));
    out.push('\n');
    let labels = || diagnostic.labels.iter();
    let mut groups: Vec<(SourceId, Vec<&Label>)> = Vec::new();
    for label in labels()
        .filter(|label| label.primary)
        .chain(labels().filter(|label| !label.primary))
    {
        match groups
            .iter_mut()
            .find(|(source, _)| *source == label.span.source)
        {
            Some((_, labels)) => labels.push(label),
            None => groups.push((label.span.source, vec![label])),
        }
    }
    let line_of = |label: &Label| sources.get(label.span.source).position(label.span.start).0;
    let gutter = labels()
        .map(|label| line_of(label).to_string().len())
        .max()
        .unwrap_or(1);
    for (source, labels) in groups {
        render_source(&mut out, &theme, sources, source, labels, gutter);
    }
    for hint in &diagnostic.hints {
        out.push_str(&format!(
            "{}: {}\n",
            theme.paint(theme.hint, "hint"),
            printable(hint)
        ));
    }
    out
}

/// One source's block: the header, then each labelled line with its carets.
fn render_source(
    out: &mut String,
    theme: &Theme,
    sources: &SourceMap,
    id: SourceId,
    mut labels: Vec<&Label>,
    gutter: usize,
) {
    let source = sources.get(id);
    let pad = " ".repeat(gutter);
    let bar = theme.paint(theme.frame, "│");
    let (line, column) = source.position(labels[0].span.start);
    let name = printable(&source.name);
    let place = if source.is_file() {
        format!("{name}:{line}:{column}")
    } else {
        name
    };
    out.push_str(&format!(
        "{pad} {} {place}\n{pad} {bar}\n",
        theme.paint(theme.frame, "┌─")
    ));
    labels.sort_by_key(|label| label.span.start);
    // The last line that was shown, and whether all of it was: a long one is cut anew for each label.
    let mut shown: Option<(usize, bool)> = None;
    for label in labels {
        let (number, _) = source.position(label.span.start);
        let (start, text) = source.line(number);
        let range = label.span.start.saturating_sub(start)..label.span.end.saturating_sub(start);
        let excerpt = Excerpt::new(text, range, &|byte| sources.is_hidden(id, start + byte));
        if shown.is_some_and(|(last, _)| last + 1 < number) {
            out.push_str(&format!("{pad} {}\n", theme.paint(theme.frame, "·")));
        }
        if shown != Some((number, true)) {
            let numbered = theme.paint(theme.frame, &format!("{number:>gutter$} │"));
            out.push_str(format!("{numbered} {}", excerpt.text).trim_end());
            out.push('\n');
        }
        shown = Some((number, excerpt.whole));
        let (style, mark) = if label.primary {
            (theme.error, "^")
        } else {
            (theme.frame, "-")
        };
        let mut words = mark.repeat(excerpt.width);
        if !label.text.is_empty() {
            words.push(' ');
            words.push_str(&printable(&label.text));
        }
        out.push_str(&format!(
            "{pad} {bar} {}{}\n",
            " ".repeat(excerpt.before),
            theme.paint(style, &words)
        ));
    }
}

/// One character as it is shown.
struct Cell {
    byte: usize,
    text: String,
    columns: usize,
}

fn columns(cells: &[Cell]) -> usize {
    cells.iter().map(|cell| cell.columns).sum()
}

/// What is shown of a line, and where in it the caret stands.
struct Excerpt {
    text: String,
    /// Columns before the caret.
    before: usize,
    /// Columns of the caret, at least one.
    width: usize,
    /// Whether the whole line is shown.
    whole: bool,
}

impl Excerpt {
    /// Cuts `line` around a range of its bytes.
    fn new(line: &str, range: Range<usize>, is_hidden: &dyn Fn(usize) -> bool) -> Self {
        let start = floor_boundary(line, range.start);
        let end = floor_boundary(line, range.end).max(start);
        // Only what could be shown is looked at, so that a line of a hundred megabytes costs nothing.
        let lead = floor_boundary(line, start.saturating_sub(EXCERPT_COLUMNS * 4));
        let trail = floor_boundary(line, start.saturating_add(EXCERPT_COLUMNS * 8));
        let cell = |(at, character): (usize, char)| {
            let byte = lead + at;
            let text = if is_hidden(byte) {
                "*".to_owned()
            } else {
                shown(character)
            };
            let columns = text
                .chars()
                .map(|character| character.width().unwrap_or(0))
                .sum();
            Cell {
                byte,
                text,
                columns,
            }
        };
        let cells: Vec<Cell> = line[lead..trail].char_indices().map(cell).collect();
        let caret = cells.partition_point(|cell| cell.byte < start);
        let last = cells.partition_point(|cell| cell.byte < end);
        let whole = lead == 0 && trail == line.len() && columns(&cells) <= EXCERPT_COLUMNS;
        let (from, to) = if whole {
            (0, cells.len())
        } else {
            window(&cells, caret)
        };
        let mut text = String::new();
        if from > 0 || lead > 0 {
            text.push('…');
        }
        let cut = usize::from(!text.is_empty());
        text.extend(cells[from..to].iter().map(|cell| cell.text.as_str()));
        if to < cells.len() || trail < line.len() {
            text.push('…');
        }
        let width = columns(&cells[caret..last.clamp(caret, to.max(caret))]).max(1);
        Self {
            text,
            before: cut + columns(&cells[from..caret]),
            width,
            whole,
        }
    }
}

/// The cells around the caret that fit: half of the columns before it, the rest behind.
fn window(cells: &[Cell], caret: usize) -> (usize, usize) {
    let mut from = caret;
    let mut used = 0;
    while from > 0 && used + cells[from - 1].columns <= EXCERPT_COLUMNS / 2 {
        from -= 1;
        used += cells[from].columns;
    }
    let mut to = caret;
    while to < cells.len() && used + cells[to].columns <= EXCERPT_COLUMNS {
        used += cells[to].columns;
        to += 1;
    }
    (from, to)
}

/// The styles of one rendering; plain when there are no colours.
struct Theme {
    color: bool,
    error: Style,
    strong: Style,
    frame: Style,
    hint: Style,
}

impl Theme {
    fn new(color: bool) -> Self {
        Self {
            color,
            error: AnsiColor::Red.on_default().bold(),
            strong: Style::new().bold(),
            frame: AnsiColor::Blue.on_default().bold(),
            hint: AnsiColor::Cyan.on_default().bold(),
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}
