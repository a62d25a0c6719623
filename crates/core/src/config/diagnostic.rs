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

mod render;
mod words;

use std::fmt;

use super::layers::Origin;

pub use words::{did_you_mean, list_names, quote, suggestion};

/// How many bytes lie between two marks.
const MARK: usize = 4096;

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
    /// The characters before each [`MARK`]th byte, so that a column in a line of megabytes is found at once. Empty for ASCII.
    marks: Vec<usize>,
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
        (line, self.characters(byte) - self.characters(start) + 1)
    }

    /// The characters before a byte.
    fn characters(&self, byte: usize) -> usize {
        let Some(before) = self.marks.get(byte / MARK) else {
            return byte;
        };
        before + starts(&self.text.as_bytes()[byte / MARK * MARK..byte])
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

/// How many characters begin in these bytes.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

fn marks(text: &str) -> Vec<usize> {
    if text.is_ascii() {
        return Vec::new();
    }
    let mut before = 0;
    let mut marks = vec![0];
    for chunk in text.as_bytes().chunks(MARK) {
        before += starts(chunk);
        marks.push(before);
    }
    marks
}

/// The greatest character boundary of `text` that is not after `byte`.
fn floor_boundary(text: &str, byte: usize) -> usize {
    text.floor_char_boundary(byte.min(text.len()))
}

/// All texts that spans can point into.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
    hidden: Vec<Span>,
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
            marks: marks(text),
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

    /// Keeps what stands there from being shown: it may be a secret.
    pub fn hide(&mut self, span: Span) {
        self.hidden.push(span);
    }

    /// Whether the byte of that source is not to be shown.
    fn is_hidden(&self, source: SourceId, byte: usize) -> bool {
        self.hidden
            .iter()
            .any(|span| span.source == source && (span.start..span.end).contains(&byte))
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
        render::render(self, sources, color)
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
    /// All errors, one after the other with an empty line between them; of very many only the first, and a count.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        const MOST: usize = 50;
        let shown = self
            .diagnostics
            .iter()
            .take(MOST)
            .map(|diagnostic| diagnostic.render(&self.sources, color));
        let rest = self.diagnostics.len().saturating_sub(MOST);
        let more = (rest > 0).then(|| {
            Diagnostic::new(format!("and {rest} more errors like these"))
                .render(&self.sources, color)
        });
        shown.chain(more).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Failure {}
