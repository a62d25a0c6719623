//! What a schema cannot say: names that refer to each other, and texts that have rules of their own.
//!
//! ```text
//! Node tree ── tasks ──┬─ names, commands, executors, secrets      (here)
//!                      ├─ after: unknown, itself, circles          (graph.rs)
//!                      ├─ groups: members, leader, executors       (graph.rs)
//!                      ├─ sweeps: empty, unequal, twice, too many  (sweeps.rs)
//!                      └─ ${…}: variables, env, dir                (texts.rs)
//! ```
//!
//! It works on the tree and not on the typed experiment, so that it can run although the schema has found errors, and so that
//! every finding has its place. What has the wrong type is skipped: the schema has reported it.
//!
//! To add a rule: a function on [`Checker`] that pushes diagnostics, called from [`check`].

mod graph;
mod sweeps;
mod texts;

use std::collections::{HashMap, HashSet};

use super::diagnostic::{Diagnostic, SourceMap, Span, list_names, quote, suggestion};
use super::document::{Node, Table, Value};
use super::spec::SecretReference;
use super::vocabulary::Vocabulary;

/// What is checked, and what it is checked against.
pub(super) struct Subject<'a> {
    pub(super) root: &'a Node,
    pub(super) sources: &'a SourceMap,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    pub(super) vocabulary: &'a Vocabulary,
    /// Executors whose `extends` is broken: known, but with nothing to say about them.
    pub(super) broken_executors: &'a HashSet<String>,
    /// The experiment's own file, if there is one.
    pub(super) experiment_file: Option<Span>,
}

/// A name in `after`, with its place.
struct Predecessor<'a> {
    name: &'a str,
    span: Span,
}

/// A task as far as it can be understood.
struct Task<'a> {
    node: &'a Node,
    /// Where to report what is missing.
    anchor: Span,
    name: Option<(&'a str, Span)>,
    after: Vec<Predecessor<'a>>,
    group: Option<(&'a str, Span)>,
    sweep: Option<&'a Node>,
    /// The sweep's variables.
    variables: Vec<&'a str>,
    /// How many jobs it becomes; `None` when that cannot be told.
    jobs: Option<usize>,
}

impl Task<'_> {
    fn shown(&self) -> String {
        self.name.map_or_else(
            || "the task".to_owned(),
            |(name, _)| format!("the task {}", quote(name)),
        )
    }
}

struct Checker<'a> {
    subject: &'a Subject<'a>,
    tasks: Vec<Task<'a>>,
    /// The first task of each name.
    by_name: HashMap<&'a str, usize>,
    errors: Vec<Diagnostic>,
}

/// Finds everything that is wrong between the parts of a document.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let tasks: Vec<Task<'_>> = subject
        .root
        .get("tasks")
        .and_then(Node::list)
        .unwrap_or_default()
        .iter()
        .filter(|node| node.table().is_some())
        .map(|node| read_task(subject, node))
        .collect();
    let mut by_name = HashMap::new();
    for (number, task) in tasks.iter().enumerate() {
        if let Some((name, _)) = task.name {
            by_name.entry(name).or_insert(number);
        }
    }
    let mut checker = Checker {
        subject,
        tasks,
        by_name,
        errors: Vec::new(),
    };
    checker.presence();
    checker.duplicate_names();
    for number in 0..checker.tasks.len() {
        checker.command(number);
        let task = &checker.tasks[number];
        let node = task.node;
        checker.environment(node);
        checker.executor(node);
        checker.sweep(number);
        checker.dependencies(number);
    }
    if let Some(defaults) = subject.root.get("defaults") {
        checker.environment(defaults);
        checker.executor(defaults);
    }
    checker.circles();
    checker.groups();
    checker.texts();
    checker.nul(subject.root);
    checker.errors
}

fn read_task<'a>(subject: &Subject<'_>, node: &'a Node) -> Task<'a> {
    let text = |key: &str| {
        node.get(key)
            .and_then(|value| Some((value.string()?, value.span)))
    };
    let name = text("name");
    let mut after = Vec::new();
    let mut add = |node: &'a Node| {
        let named = if node.table().is_some() {
            node.get("task")
        } else {
            Some(node)
        };
        if let Some((name, span)) = named.and_then(|named| Some((named.string()?, named.span))) {
            after.push(Predecessor { name, span });
        }
    };
    match node.get("after").map(|node| (node, &node.value)) {
        Some((_, Value::List(list))) => list.iter().for_each(&mut add),
        Some((node, _)) => add(node),
        None => {}
    }
    let sweep = node.get("sweep");
    let variables = sweep.map(sweeps::variables).unwrap_or_default();
    let jobs = match sweep {
        Some(sweep) => sweeps::count(sweep),
        None => Some(1),
    };
    Task {
        node,
        anchor: anchor(subject, node, name),
        name,
        after,
        group: text("group"),
        sweep,
        variables,
        jobs,
    }
}

/// A task is reported at its name, or at its first line.
fn anchor(subject: &Subject<'_>, node: &Node, name: Option<(&str, Span)>) -> Span {
    match name {
        Some((_, span)) if subject.sources.get(span.source).is_file() => span,
        _ => node.span,
    }
}

/// The places of secrets that are no references: what stands there may be the secret itself, and is not to be shown.
pub(super) fn unreferenced_secrets(root: &Node) -> Vec<Span> {
    let tasks = root.get("tasks").and_then(Node::list).into_iter().flatten();
    let secrets = tasks
        .chain(root.get("defaults"))
        .filter_map(|holder| holder.get("secrets")?.table());
    let is_reference = |node: &Node| {
        node.string()
            .is_some_and(|text| SecretReference::parse(text).is_some())
    };
    secrets
        .flat_map(Table::iter)
        .filter(|entry| !is_reference(&entry.node))
        .map(|entry| entry.node.span)
        .collect()
}

impl<'a> Checker<'a> {
    fn push(&mut self, diagnostic: Diagnostic) {
        self.errors.push(diagnostic);
    }

    fn task_names(&self) -> Vec<&'a str> {
        self.tasks
            .iter()
            .filter_map(|task| Some(task.name?.0))
            .collect()
    }

    /// An experiment file without tasks does nothing, which nobody means.
    fn presence(&mut self) {
        let empty = match self.subject.root.get("tasks") {
            None => true,
            Some(node) => node.list().is_some_and(<[Node]>::is_empty),
        };
        if let Some(file) = self.subject.experiment_file.filter(|_| empty) {
            let span = self
                .subject
                .root
                .get("tasks")
                .map_or(file, |node| node.span);
            self.push(
                Diagnostic::at(span, "the experiment has no tasks", "").with_hint(
                    "a task is a table in `tasks`, with a `name` and a command in `run`",
                ),
            );
        }
    }

    fn duplicate_names(&mut self) {
        for number in 0..self.tasks.len() {
            let Some((name, span)) = self.tasks[number].name else {
                continue;
            };
            if let Some(first) = self
                .by_name
                .get(name)
                .copied()
                .filter(|first| *first != number)
                && let Some((_, first_span)) = self.tasks[first].name
            {
                self.push(
                    Diagnostic::at(
                        span,
                        format!("two tasks are named {}", quote(name)),
                        "used again here",
                    )
                    .with_label(first_span, "first used here"),
                );
            }
        }
    }

    /// Exactly one of `run`, `script`, `inline` and `module`; `args` and `interpreter` only where they mean something.
    fn command(&mut self, number: usize) {
        const COMMANDS: [&str; 4] = ["run", "script", "inline", "module"];
        let task = &self.tasks[number];
        let Some(table) = task.node.table() else {
            return;
        };
        let present = |key: &str| {
            table
                .entry(key)
                .filter(|entry| !matches!(entry.node.value, Value::Null))
        };
        let given: Vec<_> = table
            .iter()
            .filter(|entry| {
                COMMANDS.contains(&entry.key.as_str()) && !matches!(entry.node.value, Value::Null)
            })
            .collect();
        match given.as_slice() {
            [] => {
                let error = Diagnostic::at(
                    task.anchor,
                    format!("{} has nothing to run", task.shown()),
                    "",
                )
                .with_hint(format!("give it one of {}", list_names(COMMANDS, "or")));
                self.push(error);
            }
            [only] => {
                let misplaced = match only.key.as_str() {
                    "run" => [
                        ("args", "write the arguments into `run`"),
                        ("interpreter", "`run` names its own program"),
                    ]
                    .as_slice(),
                    "inline" => [(
                        "args",
                        "a script's text takes no arguments: it reads the environment",
                    )]
                    .as_slice(),
                    _ => [].as_slice(),
                };
                let errors: Vec<_> = misplaced
                    .iter()
                    .filter_map(|(key, hint)| {
                        let entry = present(key)?;
                        Some(
                            Diagnostic::at(
                                entry.key_span,
                                format!("`{key}` does not go with `{}`", only.key),
                                "",
                            )
                            .with_hint(*hint),
                        )
                    })
                    .collect();
                self.errors.extend(errors);
            }
            [first, second, ..] => {
                let error = Diagnostic::at(
                    second.key_span,
                    format!("{} has more than one thing to run", task.shown()),
                    "and here",
                )
                .with_label(first.key_span, "given here")
                .with_hint(format!(
                    "keep one of {}",
                    list_names(given.iter().map(|entry| entry.key.as_str()), "and")
                ));
                self.push(error);
            }
        }
        let given_nothing = given.is_empty();
        if let Some(entry) = present("args").filter(|_| given_nothing) {
            let span = entry.key_span;
            self.push(Diagnostic::at(
                span,
                "`args` needs a `script` or a `module`",
                "",
            ));
        }
    }

    /// The same variable cannot be plain and secret.
    fn environment(&mut self, holder: &'a Node) {
        let empty = Table::default();
        let plain = holder.get("env").and_then(Node::table).unwrap_or(&empty);
        for secret in holder
            .get("secrets")
            .and_then(Node::table)
            .into_iter()
            .flat_map(Table::iter)
        {
            if let Some(entry) = plain
                .entry(&secret.key)
                .filter(|entry| !matches!(entry.node.value, Value::Null))
            {
                let error = Diagnostic::at(
                    secret.key_span,
                    format!("{} is both in `env` and in `secrets`", quote(&secret.key)),
                    "",
                )
                .with_label(entry.key_span, "also here");
                self.errors.push(error);
            }
        }
    }

    fn executor(&mut self, holder: &'a Node) {
        let Some((name, span)) = holder
            .get("executor")
            .and_then(|node| Some((node.string()?, node.span)))
        else {
            return;
        };
        let known = self.executor_names();
        if known.contains(&name) || self.subject.broken_executors.contains(name) {
            return;
        }
        let error = Diagnostic::at(
            span,
            format!("unknown executor {}", quote(name)),
            suggestion(name, &known, "known are"),
        );
        self.push(error);
    }

    fn executor_names(&self) -> Vec<&'a str> {
        let entries = self
            .subject
            .root
            .get("executors")
            .and_then(Node::table)
            .into_iter()
            .flat_map(Table::iter);
        entries
            .filter(|entry| !matches!(entry.node.value, Value::Null))
            .map(|entry| entry.key.as_str())
            .collect()
    }

    /// No text may hold a NUL: it cannot reach a program.
    fn nul(&mut self, node: &'a Node) {
        match &node.value {
            Value::String(text) if text.contains('\0') => {
                self.push(Diagnostic::at(
                    node.span,
                    "the text holds a NUL character",
                    "no argument and no variable can carry it",
                ));
            }
            Value::List(list) => list.iter().for_each(|node| self.nul(node)),
            Value::Table(table) => table.iter().for_each(|entry| self.nul(&entry.node)),
            _ => {}
        }
    }
}
