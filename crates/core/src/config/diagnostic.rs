//! What is wrong with what a user wrote, and where: the value and its rendering.
//!
//! ```text
//! Source (name, text) ──→ SourceMap ──┐
//! Span (source, bytes) ──→ Label ──→ Diagnostic ──→ render() ──→ text with a caret under the word
//! ```
//!
//! A [`Diagnostic`] holds no text of a file, only spans into a [`SourceMap`]; rendering is pure and knows neither the terminal's
//! width nor whether it has colours. Lines are cut around the caret, tabs become four spaces, and control characters become
//! visible signs, so that a hostile file cannot drive the terminal.
//!
//! Pitfall: user text inside a message goes through [`quote`], which shortens it and makes it printable.

use std::fmt;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar as _;

use super::layers::Origin;

/// The widest excerpt of a source line, in columns.
const EXCERPT_COLUMNS: usize = 100;
/// What a tab is shown as.
const TAB: &str = "    ";

/// Names one text in a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

/// A range of bytes in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The text that is pointed into.
    pub source: SourceId,
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    /// A span over `start..end` of `source`.
    #[must_use]
    pub const fn new(source: SourceId, start: usize, end: usize) -> Self {
        Self { source, start, end }
    }
}

/// One text that was handed in: a file, or an override.
#[derive(Debug, Clone)]
pub struct Source {
    /// The layer that it belongs to.
    pub origin: Origin,
    /// How it is shown: a path, `--set`, a variable's name.
    pub name: String,
    text: String,
    line_starts: Vec<usize>,
    numbered: bool,
}

impl Source {
    /// The text itself, without a byte order mark.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte, both counted from 1, the column in characters.
    #[must_use]
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let byte = floor_boundary(&self.text, byte);
        let line = self
            .line_starts
            .partition_point(|start| *start <= byte)
            .max(1);
        let start = self.line_starts[line - 1];
        (line, self.text[start..byte].chars().count() + 1)
    }

    /// The text of a line (counted from 1) without its end, and the byte where it starts.
    fn line(&self, number: usize) -> (usize, &str) {
        let start = self.line_starts[number - 1];
        let end = self
            .line_starts
            .get(number)
            .map_or(self.text.len(), |next| *next);
        (start, self.text[start..end].trim_end_matches(['\n', '\r']))
    }

    /// Whether places in it are told as `name:line:column` (files) or by the name alone (overrides).
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.numbered
    }
}

/// The greatest character boundary of `text` that is not after `byte`.
fn floor_boundary(text: &str, byte: usize) -> usize {
    text.floor_char_boundary(byte.min(text.len()))
}

/// All texts that spans can point into.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
}

impl SourceMap {
    /// Adds a file. A byte order mark is dropped: spans count from behind it.
    pub fn add_file(&mut self, origin: Origin, name: impl Into<String>, text: &str) -> SourceId {
        self.add(
            origin,
            name.into(),
            text.strip_prefix('\u{feff}').unwrap_or(text),
            true,
        )
    }

    /// Adds a text that is no file, such as one override.
    pub fn add_text(&mut self, origin: Origin, name: impl Into<String>, text: &str) -> SourceId {
        self.add(origin, name.into(), text, false)
    }

    fn add(&mut self, origin: Origin, name: String, text: &str, numbered: bool) -> SourceId {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        self.sources.push(Source {
            origin,
            name,
            text: text.to_owned(),
            line_starts,
            numbered,
        });
        SourceId(
            u32::try_from(self.sources.len() - 1).expect("fewer than 2³² texts are ever added"),
        )
    }

    /// The source of that id.
    #[must_use]
    pub fn get(&self, id: SourceId) -> &Source {
        &self.sources[id.0 as usize]
    }

    /// The source's text under a span.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        let text = self.get(span.source).text();
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end).max(start);
        &text[start..end]
    }
}

/// A place in a source, with what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What to say beside the caret; may be empty.
    pub text: String,
    /// Whether it is the place of the error (`^^^`) or one that explains it (`---`).
    pub primary: bool,
}

/// One error in what the user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// Where; the first primary one is named in the header.
    pub labels: Vec<Label>,
    /// What to do about it, one line each.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// An error without a place.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            labels: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// An error at a place, with the words beside the caret.
    #[must_use]
    pub fn at(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        let mut diagnostic = Self::new(message);
        diagnostic.labels.push(Label {
            span,
            text: label.into(),
            primary: true,
        });
        diagnostic
    }

    /// Adds a place that explains the error.
    #[must_use]
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
            primary: false,
        });
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Writes the error out as users see it, ending with a line feed.
    #[must_use]
    pub fn render(&self, sources: &SourceMap, color: bool) -> String {
        let theme = Theme::new(color);
        let mut out = theme.paint(theme.error, "error");
        out.push_str(&format!(
            "{}\n",
            theme.paint(theme.strong, &format!(": {}", self.message))
        ));
        let mut groups: Vec<(SourceId, Vec<&Label>)> = Vec::new();
        for label in self
            .labels
            .iter()
            .filter(|label| label.primary)
            .chain(self.labels.iter().filter(|label| !label.primary))
        {
            match groups
                .iter_mut()
                .find(|(source, _)| *source == label.span.source)
            {
                Some((_, labels)) => labels.push(label),
                None => groups.push((label.span.source, vec![label])),
            }
        }
        let gutter = self
            .labels
            .iter()
            .map(|label| {
                sources
                    .get(label.span.source)
                    .position(label.span.start)
                    .0
                    .to_string()
                    .len()
            })
            .max()
            .unwrap_or(1);
        for (source, labels) in groups {
            render_source(&mut out, &theme, sources.get(source), labels, gutter);
        }
        for hint in &self.hints {
            out.push_str(&format!("{}: {hint}\n", theme.paint(theme.hint, "hint")));
        }
        out
    }
}

/// One source's block: the header, then each labelled line with its carets.
fn render_source(
    out: &mut String,
    theme: &Theme,
    source: &Source,
    mut labels: Vec<&Label>,
    gutter: usize,
) {
    let pad = " ".repeat(gutter);
    let (line, column) = source.position(labels[0].span.start);
    let place = if source.numbered {
        format!("{}:{line}:{column}", printable(&source.name))
    } else {
        printable(&source.name)
    };
    out.push_str(&format!(
        "{pad} {} {place}\n",
        theme.paint(theme.frame, "┌─")
    ));
    out.push_str(&format!("{pad} {}\n", theme.paint(theme.frame, "│")));
    labels.sort_by_key(|label| label.span.start);
    let mut shown: Option<(usize, bool)> = None;
    for label in labels {
        let (number, _) = source.position(label.span.start);
        let (start, text) = source.line(number);
        let excerpt = Excerpt::new(
            text,
            label.span.start.saturating_sub(start),
            label.span.end.saturating_sub(start),
        );
        if let Some((last, _)) = shown
            && last + 1 < number
        {
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
            words.push_str(&label.text);
        }
        out.push_str(&format!(
            "{pad} {} {}{}\n",
            theme.paint(theme.frame, "│"),
            " ".repeat(excerpt.before),
            theme.paint(style, &words)
        ));
    }
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
    /// Cuts `line` around the bytes `start..end` of it.
    fn new(line: &str, start: usize, end: usize) -> Self {
        // Only what could be shown is looked at, so that a line of a hundred megabytes costs nothing.
        let start = floor_boundary(line, start);
        let end = floor_boundary(line, end).max(start);
        let lead = floor_boundary(line, start.saturating_sub(EXCERPT_COLUMNS * 4));
        let trail = floor_boundary(line, start.saturating_add(EXCERPT_COLUMNS * 8));
        let cells: Vec<(usize, String, usize)> = line[lead..trail]
            .char_indices()
            .map(|(at, character)| (lead + at, shown(character)))
            .map(|(at, text)| (at, columns(&text), text))
            .map(|(at, width, text)| (at, text, width))
            .collect();
        let total: usize = cells.iter().map(|cell| cell.2).sum();
        let caret = cells.partition_point(|cell| cell.0 < start);
        let last = cells.partition_point(|cell| cell.0 < end);
        if lead == 0 && trail == line.len() && total <= EXCERPT_COLUMNS {
            let before = cells[..caret].iter().map(|cell| cell.2).sum();
            let width = cells[caret..last]
                .iter()
                .map(|cell| cell.2)
                .sum::<usize>()
                .max(1);
            return Self {
                text: cells.into_iter().map(|cell| cell.1).collect(),
                before,
                width,
                whole: true,
            };
        }
        let mut from = caret;
        let mut used = 0;
        while from > 0 && used + cells[from - 1].2 <= EXCERPT_COLUMNS / 2 {
            from -= 1;
            used += cells[from].2;
        }
        let before = used;
        let mut to = caret;
        while to < cells.len() && used + cells[to].2 <= EXCERPT_COLUMNS {
            used += cells[to].2;
            to += 1;
        }
        let cut_left = from > 0 || lead > 0;
        let cut_right = to < cells.len() || trail < line.len();
        let width = cells[caret..last.min(to).max(caret)]
            .iter()
            .map(|cell| cell.2)
            .sum::<usize>()
            .max(1);
        let mut text = String::new();
        if cut_left {
            text.push('…');
        }
        text.extend(cells[from..to].iter().map(|cell| cell.1.as_str()));
        if cut_right {
            text.push('…');
        }
        Self {
            text,
            before: before + usize::from(cut_left),
            width,
            whole: false,
        }
    }
}

fn columns(text: &str) -> usize {
    text.chars()
        .map(|character| character.width().unwrap_or(0))
        .sum()
}

/// How one character of a source is shown.
fn shown(character: char) -> String {
    match character {
        '\t' => TAB.to_owned(),
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character))
            .map(String::from)
            .unwrap_or_default(),
        '\u{7f}' => "␡".to_owned(),
        // Marks that turn the direction of text, or hide: they would make the excerpt lie.
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => "\u{fffd}".to_owned(),
        _ => character.to_string(),
    }
}

/// `text` with everything that could drive a terminal made visible.
fn printable(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// User text inside a message: in backquotes, printable, shortened to some 60 characters.
#[must_use]
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut out = String::from("`");
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            _ => out.push_str(&shown(character)),
        }
    }
    out.push('`');
    out
}

/// Joins quoted names: `` `a`, `b` and `c` `` with the given last word.
#[must_use]
pub fn list_names<'a>(names: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    const MOST: usize = 12;
    let quoted: Vec<String> = names.into_iter().map(quote).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        many if many.len() > MOST => {
            format!("{} and {} more", many[..MOST].join(", "), many.len() - MOST)
        }
        [init @ .., end] => format!("{} {last} {end}", init.join(", ")),
    }
}

/// The candidate that `word` was probably meant to be.
#[must_use]
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const LONGEST: usize = 100;
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count().max(3)) / 3;
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST && *candidate != word)
        .map(|candidate| {
            (
                strsim::osa_distance(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The words beside a caret for an unknown name: the likely one, or the first few that there are.
#[must_use]
pub fn suggestion(word: &str, candidates: &[&str], many: &str) -> String {
    match did_you_mean(word, candidates.iter().copied()) {
        Some(close) => format!("did you mean {}?", quote(close)),
        None if candidates.is_empty() => String::new(),
        None => format!("{many}: {}", list_names(candidates.iter().copied(), "and")),
    }
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

/// Everything that is wrong with the documents, and the texts to show it in. Never empty.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The errors, in the order of the stages that found them.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that they point into.
    pub sources: SourceMap,
}

impl Failure {
    /// All errors, one after the other with an empty line between them.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        self.diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(&self.sources, color))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Failure {}
