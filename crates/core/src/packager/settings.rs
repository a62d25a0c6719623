//! Packagers as documents have them: `packager = "git_archive"`, or a table with `kind` and settings.
//!
//! The names and the fields are NeMo-Run's; `working_tree` and the limits are ours.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::listing::Limits;
use crate::config::Size;

/// How the user's code reaches the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind")]
pub enum Packager {
    /// Not at all (NeMo-Run's `Packager`).
    #[serde(rename = "none")]
    Passthrough(PassthroughPackager),
    /// The tree as it stands.
    #[serde(rename = "working_tree")]
    WorkingTree(WorkingTreePackager),
    /// What git has.
    #[serde(rename = "git_archive")]
    GitArchive(GitArchivePackager),
    /// What fits patterns.
    #[serde(rename = "pattern")]
    Pattern(PatternPackager),
    /// Several of them.
    #[serde(rename = "hybrid")]
    Hybrid(HybridPackager),
}

impl Default for Packager {
    fn default() -> Packager {
        Packager::WorkingTree(WorkingTreePackager::default())
    }
}

/// Nothing is packed: the job runs in what is there. The fields are NeMo-Run's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PassthroughPackager {
    /// Launchers that have a debug mode switch it on.
    pub debug: bool,
    /// A folder at the place that is linked to as the job's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symlink_from_remote_dir: Option<String>,
}

/// The working tree as it stands: what git tracks, changed or not, and what is new in it and not ignored. Without git, all that
/// `.gitignore` and `.mizzenignore` don't name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkingTreePackager {
    /// Launchers that have a debug mode switch it on.
    pub debug: bool,
    /// Jobs run in the tree itself, where their place sees it, and the tree is only recorded; without a word they do so on
    /// this machine, where nothing waits in a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_place: Option<bool>,
    /// The most bytes of all files together, as a number or such as "2GiB".
    pub max_size: TotalSize,
    /// The most bytes of one file.
    pub max_file_size: FileSize,
}

/// What git has recorded at `ref`. The fields are NeMo-Run's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GitArchivePackager {
    /// Launchers that have a debug mode switch it on.
    pub debug: bool,
    /// The folder of the repository, if it is not the one that the experiment is launched from.
    pub basepath: String,
    /// Only this folder of the repository; it becomes the top.
    pub subpath: String,
    /// A commit, branch or tag.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The submodules, at the commits that `ref` records.
    pub include_submodules: bool,
    /// Files beside those of git: a path that `find` would take, or a list of them.
    pub include_pattern: Patterns,
    /// What the paths of these files are relative to: one for each pattern.
    pub include_pattern_relative_path: Patterns,
    /// Refuse if something is not committed.
    pub check_uncommitted_changes: bool,
    /// Refuse if something is not tracked.
    pub check_untracked_files: bool,
    /// The most bytes of all files together, as a number or such as "2GiB".
    pub max_size: TotalSize,
    /// The most bytes of one file.
    pub max_file_size: FileSize,
}

impl Default for GitArchivePackager {
    fn default() -> GitArchivePackager {
        GitArchivePackager {
            debug: false,
            basepath: String::new(),
            subpath: String::new(),
            reference: "HEAD".to_owned(),
            include_submodules: true,
            include_pattern: Patterns::default(),
            include_pattern_relative_path: Patterns::default(),
            check_uncommitted_changes: false,
            check_untracked_files: false,
            max_size: TotalSize::default(),
            max_file_size: FileSize::default(),
        }
    }
}

/// What fits patterns. The fields are NeMo-Run's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatternPackager {
    /// Launchers that have a debug mode switch it on.
    #[serde(default)]
    pub debug: bool,
    /// Files: a path that `find` would take, or a list of them.
    pub include_pattern: Patterns,
    /// What the paths of these files are relative to: one for each pattern.
    pub relative_path: Patterns,
    /// The most bytes of all files together, as a number or such as "2GiB".
    #[serde(default)]
    pub max_size: TotalSize,
    /// The most bytes of one file.
    #[serde(default)]
    pub max_file_size: FileSize,
}

/// Several packagers, each in a folder of its own name. The fields are NeMo-Run's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HybridPackager {
    /// Launchers that have a debug mode switch it on.
    pub debug: bool,
    /// The packagers by folder.
    pub sub_packagers: BTreeMap<String, Packager>,
    /// All at the top, without folders. The same path with different contents is an error.
    pub extract_at_root: bool,
    /// The most bytes of all files together, as a number or such as "2GiB".
    pub max_size: TotalSize,
    /// The most bytes of one file.
    pub max_file_size: FileSize,
}

impl Packager {
    /// Its kind, as documents have it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Packager::Passthrough(_) => "none",
            Packager::WorkingTree(_) => "working_tree",
            Packager::GitArchive(_) => "git_archive",
            Packager::Pattern(_) => "pattern",
            Packager::Hybrid(_) => "hybrid",
        }
    }

    /// How much may be packed.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let (total, file) = match self {
            Packager::Passthrough(_) => (TotalSize::default(), FileSize::default()),
            Packager::WorkingTree(it) => (it.max_size, it.max_file_size),
            Packager::GitArchive(it) => (it.max_size, it.max_file_size),
            Packager::Pattern(it) => (it.max_size, it.max_file_size),
            Packager::Hybrid(it) => (it.max_size, it.max_file_size),
        };
        Limits {
            total: total.0.0,
            file: file.0.0,
        }
    }
}

const KINDS: [&str; 5] = ["working_tree", "git_archive", "pattern", "hybrid", "none"];

impl<'de> Deserialize<'de> for Packager {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Packager, D::Error> {
        #[derive(Deserialize)]
        #[serde(tag = "kind")]
        enum Table {
            #[serde(rename = "none")]
            Passthrough(PassthroughPackager),
            #[serde(rename = "working_tree")]
            WorkingTree(WorkingTreePackager),
            #[serde(rename = "git_archive")]
            GitArchive(GitArchivePackager),
            #[serde(rename = "pattern")]
            Pattern(PatternPackager),
            #[serde(rename = "hybrid")]
            Hybrid(HybridPackager),
        }
        let table = match Value::deserialize(deserializer)? {
            Value::String(kind) => serde_json::json!({ "kind": kind }),
            Value::Object(mut table) => {
                // A setting alone changes that of the default, as everywhere; a folder that is linked to is no packing.
                if table.get("kind").is_none_or(Value::is_null) {
                    let linked = table
                        .get("symlink_from_remote_dir")
                        .is_some_and(|value| !value.is_null());
                    if !linked {
                        table.remove("symlink_from_remote_dir");
                    }
                    let kind = if linked { "none" } else { "working_tree" };
                    table.insert("kind".to_owned(), kind.into());
                }
                Value::Object(table)
            }
            other => other,
        };
        Ok(
            match Table::deserialize(table).map_err(de::Error::custom)? {
                Table::Passthrough(it) => Packager::Passthrough(it),
                Table::WorkingTree(it) => Packager::WorkingTree(it),
                Table::GitArchive(it) => Packager::GitArchive(it),
                Table::Pattern(it) => Packager::Pattern(it),
                Table::Hybrid(it) => Packager::Hybrid(it),
            },
        )
    }
}

impl JsonSchema for Packager {
    fn schema_name() -> Cow<'static, str> {
        "Packager".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = |kind: &str, schema: Schema| {
            let mut schema = schema.to_value();
            if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
                properties.shift_insert(
                    0,
                    "kind".to_owned(),
                    serde_json::json!({ "type": "string", "const": kind, "x-mizzen-noun": "kind of packager" }),
                );
            }
            // A table without a kind is one of these two.
            if !["working_tree", "none"].contains(&kind) {
                let required = schema.get("required").cloned().unwrap_or_default();
                let mut required: Vec<Value> = required.as_array().cloned().unwrap_or_default();
                required.insert(0, "kind".into());
                schema["required"] = required.into();
            }
            schema
        };
        let tables = [
            table("working_tree", WorkingTreePackager::json_schema(generator)),
            table("git_archive", GitArchivePackager::json_schema(generator)),
            table("pattern", PatternPackager::json_schema(generator)),
            table("hybrid", HybridPackager::json_schema(generator)),
            table("none", PassthroughPackager::json_schema(generator)),
        ];
        let mut any = vec![serde_json::json!({
            "type": "string", "enum": KINDS, "x-mizzen-noun": "kind of packager"
        })];
        any.extend(tables);
        json_schema!({
            "description": "How the user's code reaches the job: a kind, or a table with `kind` and its settings. Without `kind` they are those of `working_tree`, or of `none` if `symlink_from_remote_dir` is among them.",
            "anyOf": any
        })
    }
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns(pub Vec<String>);

impl Serialize for Patterns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Patterns, D::Error> {
        match Value::deserialize(deserializer)? {
            // NeMo-Run's word for none.
            Value::String(text) if text.is_empty() => Ok(Patterns::default()),
            Value::String(text) => Ok(Patterns(vec![text])),
            other => Vec::deserialize(other)
                .map(Patterns)
                .map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Patterns {
    fn schema_name() -> Cow<'static, str> {
        "Patterns".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string", "minLength": 1 } },
            ]
        })
    }
}

/// The most bytes of all files together: 1 GiB unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct TotalSize(pub Size);

impl Default for TotalSize {
    fn default() -> TotalSize {
        TotalSize(Size(1 << 30))
    }
}

/// The most bytes of one file: 100 MiB unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct FileSize(pub Size);

impl Default for FileSize {
    fn default() -> FileSize {
        FileSize(Size(100 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packagers_are_a_word_or_a_table() {
        let read = |text: &str| serde_json::from_str::<Packager>(text);
        assert_eq!(read("\"working_tree\"").unwrap(), Packager::default());
        assert_eq!(
            read(r#"{"debug":true,"symlink_from_remote_dir":null}"#).unwrap(),
            Packager::WorkingTree(WorkingTreePackager {
                debug: true,
                ..WorkingTreePackager::default()
            })
        );
        assert_eq!(
            read(r#"{"symlink_from_remote_dir":"/code"}"#).unwrap(),
            Packager::Passthrough(PassthroughPackager {
                debug: false,
                symlink_from_remote_dir: Some("/code".to_owned()),
            })
        );
        let git = read(r#"{"kind":"git_archive","ref":"v1","include_pattern":"a/*"}"#).unwrap();
        let Packager::GitArchive(it) = &git else {
            panic!("{git:?}");
        };
        assert_eq!(
            (it.reference.as_str(), it.include_pattern.0.len()),
            ("v1", 1)
        );
        let again = serde_json::to_string(&git).unwrap();
        assert_eq!(read(&again).unwrap(), git);
        assert!(read(r#"{"kind":"git_archive","rev":"v1"}"#).is_err());
        assert!(read("\"zip\"").is_err());
    }
}
