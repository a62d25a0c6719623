//! From documents to a typed experiment, with the place of every value kept on the way.
//!
//! ```text
//! Layer (TOML, YAML, JSON) ── document ──→ Node tree ─┐
//! Layer …                  ── document ──→ Node tree ─┴─ layers ──→ one tree
//! Override (--set, MIZZEN_SET) ───────────── overrides ──→ the tree, changed
//!                                            executors ──→ `extends` resolved
//!            Vocabulary ── vocabulary ──→ schema ─┐
//!                                   Node ── schema, check ──→ [Diagnostic] ──→ Failure, rendered by diagnostic
//!                                   Node ── normalise ──→ document (JSON) ── serde ──→ spec: ExperimentSpec
//!                                   Node ── provenance ──→ where each leaf came from
//! ```
//!
//! Nothing here reads a file, the environment or the clock: texts and a lookup are handed in. All errors of one kind of check are
//! reported at once; documents that cannot be parsed are reported before anything else is looked at.
//!
//! Pitfalls: `${…}` is only checked here and expanded by the planner ([`interpolate`]); a task's [`defaults`](spec::Defaults) are
//! filled in by [`spec::ExperimentSpec::with_defaults`], not in the document.
//!
//! To add a key: [`spec`]. To add a rule between keys: [`check`]. To add a notation: [`document`].

pub mod check;
pub mod diagnostic;
pub mod document;
pub mod duration;
mod executors;
pub mod interpolate;
mod launchers;
mod layers;
pub mod literal;
pub mod names;
mod normalise;
pub mod overrides;
mod provenance;
mod schema;
pub mod shorthand;
mod size;
pub mod spec;
pub mod sweep;
mod vocabulary;

use std::collections::HashSet;

pub use diagnostic::{Diagnostic, Failure, Label, Source, SourceId, SourceMap, Span};
pub use document::Format;
pub use layers::{Layer, Origin};
pub use overrides::Override;
pub use provenance::{Place, Provenance};
pub use size::Size;
pub use spec::ExperimentSpec;
pub use vocabulary::{ExecutorKind, Vocabulary, json_schema};

use document::Node;
use serde::Deserialize as _;

/// An experiment that is right in itself.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The experiment, typed.
    pub spec: ExperimentSpec,
    /// The same as one JSON document; reading it again as an [`ExperimentSpec`] gives `spec`.
    pub document: serde_json::Value,
    /// Where each leaf of the document came from.
    pub provenance: Provenance,
    /// The texts that were read.
    pub sources: SourceMap,
}

/// Reads layers in order, applies overrides in order, and checks the result.
///
/// `environment` answers for `${env:NAME}`; `vocabulary` says which executors, launchers and macros there are.
///
/// # Errors
/// Everything that is wrong, with its place. Never panics, whatever the texts are.
pub fn load(
    layers: &[Layer],
    overrides: &[Override],
    environment: &dyn Fn(&str) -> Option<String>,
    vocabulary: &Vocabulary,
) -> Result<Loaded, Failure> {
    let mut sources = SourceMap::default();
    let mut root = built_in(&mut sources, vocabulary);
    let mut diagnostics = Vec::new();
    let mut experiment_file = None;
    for layer in layers {
        let source = sources.add_file(layer.origin, layer.name.as_str(), &layer.text);
        match document::parse(layer.format, sources.get(source).text(), source) {
            Ok(node) => {
                diagnostics.extend(layers::check_scope(layer.origin, &node));
                if layer.origin == Origin::File {
                    experiment_file = Some(Span::new(source, 0, 0));
                }
                layers::merge(&mut root, node);
            }
            Err(errors) => diagnostics.extend(errors),
        }
    }
    if !diagnostics.is_empty() {
        return Err(Failure {
            diagnostics,
            sources,
        });
    }
    let schema = vocabulary::resolved_schema(vocabulary);
    diagnostics.extend(overrides::apply(
        &mut root,
        overrides,
        &mut sources,
        &schema,
    ));
    let (errors, broken) = executors::resolve(&mut root);
    diagnostics.extend(errors);
    diagnostics.extend(launchers::resolve(&mut root, &vocabulary.launchers));
    diagnostics.extend(schema::validate(&root, &schema));
    diagnostics.extend(check::check(&check::Subject {
        root: &root,
        sources: &sources,
        environment,
        vocabulary,
        broken_executors: &broken,
        experiment_file,
    }));
    if !diagnostics.is_empty() {
        let place = |error: &Diagnostic| error.labels.first().map(|label| label.span);
        let mut seen = HashSet::new();
        diagnostics.retain(|error| seen.insert((error.message.clone(), place(error))));
        diagnostics.sort_by_key(place);
        for span in check::unreferenced_secrets(&root) {
            sources.hide(span);
        }
        return Err(Failure {
            diagnostics,
            sources,
        });
    }
    let document = normalise::document(&root);
    match ExperimentSpec::deserialize(&document) {
        Ok(spec) => Ok(Loaded {
            spec,
            document,
            provenance: Provenance::of(&root),
            sources,
        }),
        Err(error) => Err(Failure {
            diagnostics: vec![Diagnostic::new(format!(
                "the experiment cannot be read: {error}"
            ))],
            sources,
        }),
    }
}

/// The layer below all others: an executor of the first kind, under that kind's name, as the default.
fn built_in(sources: &mut SourceMap, vocabulary: &Vocabulary) -> Node {
    let text = vocabulary
        .executor_kinds
        .first()
        .map_or_else(String::new, |kind| {
            format!(
                "[defaults]\nexecutor = \"{0}\"\n[executors.{0}]\nkind = \"{0}\"\n",
                kind.name
            )
        });
    let source = sources.add_file(Origin::BuiltIn, "built-in", &text);
    document::parse(Format::Toml, &text, source)
        .unwrap_or_else(|_| Node::empty_table(Span::new(source, 0, 0)))
}
