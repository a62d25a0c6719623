//! Which schemas hold at a place of the document: what an override's value may be.

use serde_json::Value as Json;

use super::super::document::Node;
use super::super::names;
use super::{accepts, discriminated, discriminator, flatten};

/// The schemas that may hold at one place of the document.
#[derive(Clone)]
pub(crate) struct Candidates<'a> {
    root: &'a Json,
    schemas: Vec<&'a Json>,
}

impl<'a> Candidates<'a> {
    /// Those of the document's root.
    pub(crate) fn of(root: &'a Json) -> Self {
        Self {
            root,
            schemas: vec![root],
        }
    }

    fn leaves(&self) -> Vec<&'a Json> {
        let mut leaves = Vec::new();
        self.schemas
            .iter()
            .for_each(|schema| flatten(self.root, schema, 0, &mut leaves));
        leaves
    }

    /// Those of a key of `node`; when the node has a telling key such as `kind`, only what that one allows.
    pub(crate) fn key(&self, node: Option<&Node>, key: &str) -> Self {
        let mut leaves: Vec<&Json> = self
            .leaves()
            .into_iter()
            .filter(|schema| accepts(self.root, schema, "object", 0))
            .collect();
        if let Some(telling) = discriminator(&leaves)
            && let Some(text) = node
                .and_then(|node| node.get(telling))
                .and_then(Node::string)
        {
            leaves.retain(|candidate| discriminated(candidate, telling).contains(&text));
        }
        let step = |schema: &&'a Json| {
            let own = schema
                .get("properties")
                .and_then(|properties| properties.get(key));
            own.or_else(|| schema.get("additionalProperties"))
                .filter(|schema| schema.is_object())
        };
        Self {
            root: self.root,
            schemas: leaves.iter().filter_map(step).collect(),
        }
    }

    /// Those of the elements of a list.
    pub(crate) fn item(&self) -> Self {
        let schemas = self
            .leaves()
            .into_iter()
            .filter_map(|schema| schema.get("items"))
            .filter(|schema| schema.is_object())
            .collect();
        Self {
            root: self.root,
            schemas,
        }
    }

    /// Whether nothing is known about the place.
    pub(crate) fn is_unknown(&self) -> bool {
        self.schemas.is_empty()
    }

    /// Whether a value of that type (JSON Schema's word) may stand there. Nothing is known to be accepted where nothing is known.
    pub(crate) fn accepts(&self, kind: &str) -> bool {
        self.schemas
            .iter()
            .any(|schema| accepts(self.root, schema, kind, 0))
    }

    /// Whether a length of time stands there.
    pub(crate) fn is_timespan(&self) -> bool {
        self.leaves().iter().any(|schema| {
            schema
                .get(names::FORMAT_KEYWORD)
                .and_then(Json::as_str)
                .is_some_and(|format| format.ends_with("timespan"))
        })
    }
}
