//! `after` and `group`: which tasks wait for which, and which start together.
//!
//! ```text
//! task ── after ──→ task          a group counts as one: its members start together,
//!   └── group ──→ group           so a way out of it and back into it is a circle as well
//! ```

use std::collections::{HashMap, HashSet};

use super::super::diagnostic::{Diagnostic, Span, quote, suggestion};
use super::super::document::{Node, Table, Value};
use super::super::executors::arrows;
use super::Checker;

/// One `after`: from the task that waits to the one that it waits for.
#[derive(Clone, Copy)]
struct Edge {
    from: usize,
    to: usize,
    span: Span,
}

impl<'a> Checker<'a> {
    /// Every name in `after` must be another task.
    pub(super) fn dependencies(&mut self, number: usize) {
        let mut errors = Vec::new();
        let task = &self.tasks[number];
        for predecessor in &task.after {
            if task.name.is_some_and(|(name, _)| name == predecessor.name) {
                errors.push(Diagnostic::at(
                    predecessor.span,
                    format!("{} comes after itself", task.shown()),
                    "",
                ));
            } else if !self.by_name.contains_key(predecessor.name) {
                let known: Vec<&str> = self
                    .task_names()
                    .into_iter()
                    .filter(|name| task.name.is_none_or(|(own, _)| own != *name))
                    .collect();
                errors.push(Diagnostic::at(
                    predecessor.span,
                    format!("unknown task {}", quote(predecessor.name)),
                    suggestion(predecessor.name, &known, "there are"),
                ));
            } else if let Some((group, _)) = task.group
                && let Some((other, _)) = self
                    .by_name
                    .get(predecessor.name)
                    .and_then(|other| self.tasks[*other].group)
                && group == other
            {
                errors.push(Diagnostic::at(
                    predecessor.span,
                    format!("{} cannot come after a task of its own group", task.shown()),
                    format!("both start together in the group {}", quote(group)),
                ));
            }
        }
        self.errors.extend(errors);
    }

    fn edges(&self, number: usize) -> impl Iterator<Item = Edge> + '_ {
        let task = &self.tasks[number];
        task.after.iter().filter_map(move |predecessor| {
            let to = *self.by_name.get(predecessor.name)?;
            let apart = to != number
                && (task.group.is_none()
                    || task.group.map(|group| group.0)
                        != self.tasks[to].group.map(|group| group.0));
            apart.then_some(Edge {
                from: number,
                to,
                span: predecessor.span,
            })
        })
    }

    /// Finds circles, each group counting as one task.
    pub(super) fn circles(&mut self) {
        // Units: a task by itself, or all members of a group.
        let mut unit_of = Vec::with_capacity(self.tasks.len());
        let mut members: Vec<Vec<usize>> = Vec::new();
        let mut unit_of_group: HashMap<&str, usize> = HashMap::new();
        for (number, task) in self.tasks.iter().enumerate() {
            let unit = match task.group {
                Some((group, _)) => *unit_of_group.entry(group).or_insert(members.len()),
                None => members.len(),
            };
            if unit == members.len() {
                members.push(Vec::new());
            }
            members[unit].push(number);
            unit_of.push(unit);
        }
        let edges: Vec<Vec<Edge>> = members
            .iter()
            .map(|members| {
                members
                    .iter()
                    .flat_map(|number| self.edges(*number))
                    .collect()
            })
            .collect();
        let mut state = vec![State::New; members.len()];
        let mut found = Vec::new();
        for start in 0..members.len() {
            if state[start] != State::New {
                continue;
            }
            // Depth first, with a stack of our own: a chain of 100,000 tasks is fine.
            let mut path: Vec<(usize, usize, Option<Edge>)> = vec![(start, 0, None)];
            state[start] = State::Open;
            while let Some((unit, next, _)) = path.last_mut() {
                let Some(edge) = edges[*unit].get(*next).copied() else {
                    state[*unit] = State::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                let to = unit_of[edge.to];
                match state[to] {
                    State::New => {
                        state[to] = State::Open;
                        path.push((to, 0, Some(edge)));
                    }
                    State::Open => {
                        let begin = path.iter().position(|(unit, ..)| *unit == to).unwrap_or(0);
                        let mut circle: Vec<Edge> = path[begin + 1..]
                            .iter()
                            .filter_map(|(.., edge)| *edge)
                            .collect();
                        circle.push(edge);
                        found.push(circle);
                    }
                    State::Done => {}
                }
            }
        }
        for circle in found {
            let error = self.circle_error(&circle);
            self.errors.push(error);
        }
    }

    fn circle_error(&self, circle: &[Edge]) -> Diagnostic {
        let name = |number: usize| self.tasks[number].name.map_or("?", |(name, _)| name);
        let mut path: Vec<&str> = Vec::new();
        let mut together = Vec::new();
        let mut previous = circle.last().map(|edge| edge.to);
        for edge in circle {
            if previous != Some(edge.from)
                && let Some(previous) = previous
            {
                together.push((previous, edge.from));
            }
            if path.last() != Some(&name(edge.from)) {
                path.push(name(edge.from));
            }
            path.push(name(edge.to));
            previous = Some(edge.to);
        }
        let span = circle
            .first()
            .map_or(self.subject.root.span, |edge| edge.span);
        let mut error = Diagnostic::at(
            span,
            format!("tasks wait for each other in a circle: {}", arrows(&path)),
            "",
        );
        for (left, right) in together {
            let group = self.tasks[left].group.map_or("", |group| group.0);
            error = error.with_hint(format!(
                "{} and {} start together in the group {}",
                quote(name(left)),
                quote(name(right)),
                quote(group)
            ));
        }
        error
    }

    /// Whether `number` comes after `other`, directly or through others.
    pub(super) fn comes_after(&self, number: usize, other: usize) -> bool {
        let mut seen = HashSet::new();
        let mut waiting = vec![number];
        while let Some(at) = waiting.pop() {
            for edge in self.edges(at) {
                if edge.to == other {
                    return true;
                }
                if seen.insert(edge.to) {
                    waiting.push(edge.to);
                }
            }
        }
        false
    }

    /// Groups have members, a leader among them, one executor, and no sweeps.
    pub(super) fn groups(&mut self) {
        let empty = Table::default();
        let declared = self
            .subject
            .root
            .get("groups")
            .and_then(Node::table)
            .unwrap_or(&empty);
        let known: Vec<&str> = declared
            .iter()
            .filter(|entry| !matches!(entry.node.value, Value::Null))
            .map(|entry| entry.key.as_str())
            .collect();
        let mut members: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut errors = Vec::new();
        for (number, task) in self.tasks.iter().enumerate() {
            let Some((group, span)) = task.group else {
                continue;
            };
            members.entry(group).or_default().push(number);
            if !known.contains(&group) {
                let error = Diagnostic::at(
                    span,
                    format!("unknown group {}", quote(group)),
                    suggestion(group, &known, "known are"),
                );
                errors.push(error.with_hint(format!(
                    "a group is declared by a table `groups.{group}`, which may be empty"
                )));
            }
            if let Some(sweep) = task.sweep {
                errors.push(
                    Diagnostic::at(
                        sweep.span,
                        format!(
                            "{} is a member of a group, so it cannot have a sweep",
                            task.shown()
                        ),
                        "",
                    )
                    .with_label(span, "member here"),
                );
            }
        }
        for entry in declared
            .iter()
            .filter(|entry| !matches!(entry.node.value, Value::Null))
        {
            let group = entry.key.as_str();
            let Some(members) = members.get(group) else {
                errors.push(
                    Diagnostic::at(
                        entry.key_span,
                        format!("the group {} has no members", quote(group)),
                        "",
                    )
                    .with_hint(format!("a task joins with `group = \"{group}\"`")),
                );
                continue;
            };
            let names: Vec<&str> = members
                .iter()
                .filter_map(|number| Some(self.tasks[*number].name?.0))
                .collect();
            if let Some((leader, span)) = entry
                .node
                .get("leader")
                .and_then(|node| Some((node.string()?, node.span)))
                && !names.contains(&leader)
            {
                errors.push(Diagnostic::at(
                    span,
                    format!(
                        "the leader {} is not a member of the group {}",
                        quote(leader),
                        quote(group)
                    ),
                    suggestion(leader, &names, "members are"),
                ));
            }
        }
        for (group, members) in &members {
            errors.extend(self.different_executors(group, members));
        }
        errors.sort_by_key(|error| error.labels.first().map(|label| label.span));
        self.errors.extend(errors);
    }

    /// The kind of an executor, given by its name or as a table.
    fn kind_of(&self, executor: Option<&serde_json::Value>) -> Option<String> {
        let word = |value: &serde_json::Value| value.get("kind")?.as_str().map(str::to_owned);
        match executor? {
            serde_json::Value::String(name) => {
                let executors = self.subject.root.get("executors")?;
                word(&executors.get(name)?.to_json())
            }
            inline => word(inline),
        }
    }

    fn different_executors(&self, group: &str, members: &[usize]) -> Option<Diagnostic> {
        let executor = |number: &usize| {
            let own = self.tasks[*number].node.get("executor");
            let node = own.or_else(|| {
                self.subject
                    .root
                    .get("defaults")
                    .and_then(|defaults| defaults.get("executor"))
            });
            (node.map(Node::to_json), own.map(|node| node.span))
        };
        let kind = |number: &usize| self.kind_of(executor(number).0.as_ref());
        let (first, rest) = members.split_first()?;
        let mixed = |name: &str| {
            let kinds = &self.subject.vocabulary.executor_kinds;
            kinds
                .iter()
                .any(|kind| kind.name == name && kind.mixed_groups)
        };
        if let Some(shared) = kind(first)
            && mixed(&shared)
            && rest
                .iter()
                .all(|number| kind(number).as_ref() == Some(&shared))
        {
            return None;
        }
        let (expected, expected_span) = executor(first);
        rest.iter().find_map(|number| {
            let (found, span) = executor(number);
            if found == expected {
                return None;
            }
            let task = &self.tasks[*number];
            let error = Diagnostic::at(
                span.unwrap_or(task.anchor),
                format!(
                    "the members of the group {} have different executors",
                    quote(group)
                ),
                "another one here",
            );
            Some(error.with_label(
                expected_span.unwrap_or(self.tasks[*first].anchor),
                "the first member's",
            ))
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}
