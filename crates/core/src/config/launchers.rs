//! `launchers`: launchers of the document's own, by name.
//!
//! ```text
//! launchers.numa { command = ["numactl", "--"] }          task { launcher = "numa" }  ──→ { kind = "command", command = … }
//! launchers.big  { kind = "torchrun", max_restarts = 3 }  task { launcher = { kind = "big", log_dir = "l" } }  ──→ both
//! ```
//!
//! It happens on the tree, after `extends` and before the schema is looked at: a name becomes the table that it stands for, wherever
//! a launcher may stand, and the settings beside it win.

use super::diagnostic::{Diagnostic, quote};
use super::document::{Entry, Node, Table, Value};
use super::layers::merge;

/// The kind of a launcher that names none.
const COMMAND: &str = "command";
/// The longest chain of launchers.
const CHAIN_LIMIT: usize = 32;

/// Resolves every name of a launcher of the document's own. `known`: the launchers that there are without it.
pub(super) fn resolve(root: &mut Node, known: &[String]) -> Vec<Diagnostic> {
    let Some(named) = root.get("launchers").and_then(Node::table).cloned() else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    for entry in named.iter() {
        if known.contains(&entry.key) {
            errors.push(Diagnostic::at(
                entry.key_span,
                format!("{} is a launcher already", quote(&entry.key)),
                "give yours another name",
            ));
        }
        let mut node = entry.node.clone();
        if !settle(&mut node, &named) {
            errors.push(Diagnostic::at(
                entry.key_span,
                format!("the launcher {} is built on itself", quote(&entry.key)),
                "",
            ));
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    let Some(table) = root.table_mut() else {
        return errors;
    };
    for (key, node) in table.pairs_mut() {
        match (key, &mut node.value) {
            ("defaults", _) => holder(node, &named),
            ("tasks", Value::List(list)) => list.iter_mut().for_each(|node| holder(node, &named)),
            ("executors", Value::Table(executors)) => {
                for (_, executor) in executors.pairs_mut() {
                    launcher(executor, &named);
                }
            }
            ("launchers", Value::Table(launchers)) => {
                for (_, node) in launchers.pairs_mut() {
                    settle(node, &named);
                }
            }
            _ => {}
        }
    }
    errors
}

/// What has a launcher, and may have an executor with another one.
fn holder(node: &mut Node, named: &Table) {
    launcher(node, named);
    let executor = node.table_mut().and_then(|table| table.get_mut("executor"));
    if let Some(executor) = executor {
        launcher(executor, named);
    }
}

fn launcher(holder: &mut Node, named: &Table) {
    let Some(node) = holder
        .table_mut()
        .and_then(|table| table.get_mut("launcher"))
    else {
        return;
    };
    if let Some(name) = node.string() {
        if let Some(found) = named.get(name) {
            let span = node.span;
            *node = found.clone();
            node.span = span;
            settle(node, named);
        }
    } else {
        let kind = node.get("kind").and_then(Node::string);
        if kind.is_some_and(|kind| named.get(kind).is_some()) {
            settle(node, named);
        }
    }
}

/// A table with the settings of all launchers that it is built on. False if it is built on itself.
fn settle(node: &mut Node, named: &Table) -> bool {
    for _ in 0..CHAIN_LIMIT {
        let span = node.span;
        let Some(table) = node.table_mut() else {
            // The schema says what is wrong with it.
            return true;
        };
        let Some(kind) = table.get("kind").and_then(Node::string) else {
            if table.get("kind").is_none() {
                table.insert(Entry {
                    key: "kind".to_owned(),
                    key_span: span,
                    node: Node {
                        value: Value::String(COMMAND.to_owned()),
                        span,
                    },
                });
            }
            return true;
        };
        let Some(base) = named.get(kind) else {
            return true;
        };
        let mut whole = base.clone();
        table.remove("kind");
        let own = std::mem::replace(&mut node.value, Value::Null);
        merge(&mut whole, Node { value: own, span });
        whole.span = span;
        *node = whole;
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Format, Layer, Loaded, Origin, Vocabulary, load};

    fn read(text: &str) -> Result<Loaded, String> {
        let layer = Layer {
            origin: Origin::File,
            name: "e.toml".to_owned(),
            format: Format::Toml,
            text: text.to_owned(),
        };
        let vocabulary = Vocabulary {
            executor_kinds: vec![super::super::ExecutorKind {
                name: "local".to_owned(),
                summary: String::new(),
                schema: json!({"type": "object", "properties": {"launcher": {}}}),
                mixed_groups: false,
            }],
            launchers: vec![
                "none".to_owned(),
                "torchrun".to_owned(),
                "command".to_owned(),
            ],
            macros: Vec::new(),
        };
        load(&[layer], &[], &|_| None, &vocabulary).map_err(|failure| failure.render(false))
    }

    const LAUNCHERS: &str = r#"
        [launchers.numa]
        command = ["numactl", "--"]
        [launchers.patient]
        kind = "torchrun"
        rdzv_conf = "a=1"
        [launchers.more]
        kind = "patient"
        max_restarts = 2
    "#;

    #[test]
    fn names_become_what_they_stand_for() {
        let loaded = read(&format!(
            "{LAUNCHERS}
            [executors.place]
            kind = \"local\"
            launcher = \"numa\"
            [[tasks]]
            name = \"a\"
            run = [\"x\"]
            executor = \"place\"
            launcher = \"more\"
            [[tasks]]
            name = \"b\"
            run = [\"x\"]
            launcher = {{ kind = \"more\", max_restarts = 3 }}
            [[tasks]]
            name = \"c\"
            run = [\"x\"]
            launcher = \"torchrun\""
        ))
        .unwrap();
        let at = |pointer: &str| {
            loaded
                .document
                .pointer(pointer)
                .cloned()
                .unwrap_or(Value::Null)
        };
        let numa = json!({"kind": "command", "command": ["numactl", "--"]});
        assert_eq!(at("/executors/place/launcher"), numa);
        let torchrun =
            |count| json!({"kind": "torchrun", "rdzv_conf": "a=1", "max_restarts": count});
        assert_eq!(at("/tasks/0/launcher"), torchrun(2));
        assert_eq!(at("/tasks/1/launcher"), torchrun(3));
        assert_eq!(
            loaded.spec.tasks[2].launcher.as_ref().unwrap().kind,
            "torchrun"
        );
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let wrong = |text: &str| {
            read(&format!("{text}\n[[tasks]]\nname = \"a\"\nrun = [\"x\"]")).unwrap_err()
        };
        let taken = wrong("[launchers.torchrun]\ncommand = [\"x\"]");
        assert!(
            taken.contains("`torchrun` is a launcher already") && taken.contains("e.toml:1"),
            "{taken}"
        );
        let circle = wrong("[launchers.one]\nkind = \"two\"\n[launchers.two]\nkind = \"one\"");
        assert!(
            circle.contains("the launcher `one` is built on itself"),
            "{circle}"
        );
        let text = wrong("[launchers]\none = \"torchrun\"");
        assert!(text.contains("e.toml:2"), "{text}");
    }
}
