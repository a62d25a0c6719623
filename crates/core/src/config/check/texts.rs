//! `${…}`: every name must stand for something, in the place where it is used.
//!
//! ```text
//! run, args ──┐  pieces ── variable? env? dir? ──→ a caret under the ${…} itself
//! env, workdir┘            (a macro always fits)
//! ```
//!
//! Pitfall: a string's bytes are not the file's bytes (escapes, block texts). The place is found by looking for the `${…}` in the
//! file's text of the value; failing that, the whole value is underlined.

use super::super::diagnostic::{Diagnostic, Span, did_you_mean, quote, suggestion};
use super::super::document::{Node, Table, Value};
use super::super::interpolate::{FOLDERS, Piece, PlacedPiece, parse_placed};
use super::Checker;

/// Where a text stands.
#[derive(Clone, Copy)]
struct Context {
    /// The task; `None` for the defaults.
    task: Option<usize>,
    /// Whether it is an argument of a command, which may become several.
    argument: bool,
}

impl<'a> Checker<'a> {
    pub(super) fn texts(&mut self) {
        for number in 0..self.tasks.len() {
            self.texts_of(self.tasks[number].node, Some(number));
        }
        if let Some(defaults) = self.subject.root.get("defaults") {
            self.texts_of(defaults, None);
        }
    }

    fn texts_of(&mut self, holder: &'a Node, task: Option<usize>) {
        let argument = Context {
            task,
            argument: true,
        };
        let other = Context {
            task,
            argument: false,
        };
        for command in ["run", "args"]
            .iter()
            .filter(|_| task.is_some())
            .filter_map(|key| holder.get(key))
        {
            match &command.value {
                Value::String(text) => {
                    let mut preceding = String::new();
                    for word in shlex::split(text).unwrap_or_default() {
                        self.text(&word, &preceding, command.span, argument);
                        preceding.push_str(&word);
                        preceding.push(' ');
                    }
                }
                Value::List(list) => {
                    for node in list {
                        if let Some(text) = node.string() {
                            self.text(text, "", node.span, argument);
                        }
                    }
                }
                _ => {}
            }
        }
        let workdir = holder.get("workdir").into_iter();
        let variables = holder
            .get("env")
            .and_then(Node::table)
            .into_iter()
            .flat_map(Table::iter)
            .map(|entry| &entry.node);
        for node in workdir.chain(variables) {
            if let Some(text) = node.string() {
                self.text(text, "", node.span, other);
            }
        }
    }

    /// Checks one text. `preceding` is what comes before it in the same value.
    fn text(&mut self, text: &str, preceding: &str, span: Span, context: Context) {
        match parse_placed(text, &self.subject.vocabulary.macros) {
            Err(error) => {
                let place = self.locate(span, preceding, text, &error.range);
                let hint = "`$$` writes a dollar";
                self.push(Diagnostic::at(place, error.kind.to_string(), "").with_hint(hint));
            }
            Ok(pieces) => {
                let alone = context.argument && pieces.len() == 1;
                for PlacedPiece { piece, range } in &pieces {
                    if let Some(problem) = self.piece(piece, context, alone) {
                        let place = self.locate(span, preceding, text, range);
                        let mut diagnostic = Diagnostic::at(place, problem.message, problem.label);
                        diagnostic.hints = problem.hint.into_iter().collect();
                        self.push(diagnostic);
                    }
                }
            }
        }
    }

    /// The place of `text[range]` in the file, as near as can be told.
    fn locate(
        &self,
        span: Span,
        preceding: &str,
        text: &str,
        range: &std::ops::Range<usize>,
    ) -> Span {
        let fragment = &text[range.clone()];
        let earlier =
            preceding.matches(fragment).count() + text[..range.start].matches(fragment).count();
        let raw = self.subject.sources.slice(span);
        match raw.match_indices(fragment).nth(earlier) {
            Some((at, _)) => Span {
                start: span.start + at,
                end: span.start + at + fragment.len(),
                ..span
            },
            None => span,
        }
    }

    fn piece(&self, piece: &Piece, context: Context, alone: bool) -> Option<Problem> {
        match piece {
            Piece::Literal(_) | Piece::Macro(_) => None,
            Piece::Variable(name) => self.variable_piece(name, context),
            Piece::Env { name, default } => {
                let missing = default.is_none() && (self.subject.environment)(name).is_none();
                missing.then(|| Problem {
                    message: format!("the environment has no {}", quote(name)),
                    label: String::new(),
                    hint: Some(format!("`${{env:{name}:-…}}` gives what stands in for it")),
                })
            }
            Piece::Dir(task) => self.directory_piece(task, context, alone),
        }
    }

    fn variable_piece(&self, name: &str, context: Context) -> Option<Problem> {
        let own: &[&str] = context
            .task
            .map(|number| self.tasks[number].variables.as_slice())
            .unwrap_or_default();
        if own.contains(&name) || FOLDERS.contains(&name) {
            return None;
        }
        let known = own
            .iter()
            .copied()
            .chain(FOLDERS)
            .chain(self.subject.vocabulary.macros.iter().map(String::as_str));
        let label = match did_you_mean(name, known) {
            Some(close) => format!("did you mean `${{{close}}}`?"),
            None if context.task.is_none() => "the defaults have no sweep".to_owned(),
            None if own.is_empty() => "the task has no sweep".to_owned(),
            None => suggestion(name, own, "the sweep has"),
        };
        let hint = format!(
            "`$${{{name}}}` leaves it to the shell inside the job; `${{env:{name}}}` takes it from your environment"
        );
        Some(Problem {
            message: format!("unknown variable {}", quote(name)),
            label,
            hint: Some(hint),
        })
    }

    fn directory_piece(&self, name: &str, context: Context, alone: bool) -> Option<Problem> {
        let problem = |message: String, label: &str, hint: Option<String>| {
            Some(Problem {
                message,
                label: label.to_owned(),
                hint,
            })
        };
        let Some(number) = context.task else {
            return problem(
                "`${dir:…}` has no place in the defaults".to_owned(),
                "",
                Some("write it in the task".to_owned()),
            );
        };
        let task = &self.tasks[number];
        if task.name.is_some_and(|(own, _)| own == name) {
            return problem(
                "a task's own directory is not named by `${dir:…}`".to_owned(),
                "",
                Some("the job finds it in $MIZZEN_JOB_DIR".to_owned()),
            );
        }
        let Some(other) = self.by_name.get(name).copied() else {
            return problem(
                format!("unknown task {}", quote(name)),
                &suggestion(name, &self.task_names(), "there are"),
                None,
            );
        };
        // Members of a group start together and find each other in each other's directories.
        let together = task.group.is_some()
            && task.group.map(|group| group.0) == self.tasks[other].group.map(|group| group.0);
        if !together && !self.comes_after(number, other) {
            return problem(
                format!(
                    "{} does not come after {}, whose directory it wants",
                    task.shown(),
                    quote(name)
                ),
                "",
                Some(format!("add {} to its `after`", quote(name))),
            );
        }
        match self.tasks[other].jobs {
            Some(jobs) if jobs > 1 && !alone => {
                let hint = if context.argument {
                    "written as an argument of its own it becomes several"
                } else {
                    "only an argument of a command can become several"
                };
                problem(
                    format!(
                        "{} has {jobs} jobs, so this stands for {jobs} directories",
                        quote(name)
                    ),
                    "",
                    Some(hint.to_owned()),
                )
            }
            _ => None,
        }
    }
}

/// What is wrong with one `${…}`.
struct Problem {
    message: String,
    label: String,
    hint: Option<String>,
}
