//! One experiment as one file, to be handed to somebody else.
//!
//! ```text
//! export: record, plan, events ┐                                    ┌ header ─ checked ─▶ staging folder ─ every hash ─┐
//!         attempts, code.patch ├─ tar ─ zstd ─▶ NAME.mizzen ─ import ┤                                                  ├─▶ home
//!         bundles of its trees ┘                                    └ nothing is placed before all of it is known to be whole ┘
//! ```
//!
//! The header comes first and names every entry with its path, size and hash; the members of the tar have numbers for names.
//! Whatever is not as the header says is refused.
//! Values of variables whose names say that they are private are left out; logs are handed on as they were written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::str::FromStr;
use std::time::Duration;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use mizzen_agent::bundle::{TreeHash, receive};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SubmitError;
use super::preview::{MASK, is_private};
use crate::context::{Context, create_private_dir};
use crate::model::{EventKind, ExperimentId, Timestamp};
use crate::packager::PackError;
use crate::packager::bundle::Bundles;
use crate::plan::Plan;
use crate::store::{Store, StoreError};

/// What stands in the record of an imported experiment.
const FROM: &str = "mizzen";
/// A staging folder is left over if nobody has touched it for so long.
const LEFT_OVER: Duration = Duration::from_secs(24 * 3600);

/// The version of the archive's form.
const VERSION: u32 = 1;
/// The first entry.
const HEADER: &str = "header.json";
const RECORD: &str = "record.json";
const PLAN: &str = "plan.json";
const EVENTS: &str = "events.jsonl";
/// The folder of files that belong into the experiment's.
const FILES: &str = "files";
/// The folder of bundles, each called by its tree.
const BUNDLES: &str = "bundles";
/// A header is not larger than this.
const LARGEST_HEADER: u64 = 64 << 20;
/// Text is hardly ever compressed to less than a thousandth; what claims to be is made to fill a disk.
const RATIO: u64 = 1_000;
/// So much may come out of any archive, however small.
const SMALL: u64 = 64 << 20;
/// What staging folders are called.
const STAGING: &str = ".archive-";
/// The time of all entries: 2000-01-01T00:00:00Z.
const TIME: u64 = 946_684_800;

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the form.
    pub version: u32,
    /// The experiment's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// When it was created, in microseconds since the epoch.
    pub created: i64,
    /// The machine that it was exported on.
    pub host: String,
    /// The version of mizzen that exported it.
    pub mizzen: String,
    /// All further entries, in order: path, size, BLAKE3 hash.
    pub entries: Vec<HeaderEntry>,
}

/// An entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderEntry {
    /// Its path.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Its BLAKE3 hash.
    pub hash: String,
}

/// An experiment can't be handed on, or taken in.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no archive of ours, or not whole.
    #[error("{path} is no whole export of mizzen: {reason}; nothing was imported")]
    Archive {
        /// The archive.
        path: Utf8PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another experiment has the id.
    #[error("another experiment has the id {0} here; nothing was imported")]
    Taken(ExperimentId),
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    Files {
        /// Which.
        path: Utf8PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store, or what is kept of the code.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> ArchiveError {
        ArchiveError::Submit(error.into())
    }
}

fn at(path: &Utf8Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| ArchiveError::Files { path, source }
}

/// What was exported.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Files beside record, plan and events.
    pub files: usize,
    /// Trees of code.
    pub trees: usize,
    /// Trees that are named and not kept any more.
    pub missing: Vec<String>,
    /// The archive's bytes.
    pub bytes: u64,
}

/// What of an entry's content is where.
enum Content {
    Bytes(Vec<u8>),
    File(Utf8PathBuf),
}

/// Writes an experiment that is over to `dest`, whole or not at all.
///
/// # Errors
/// There is no such experiment, it still runs, or a file can't be read or written.
pub fn export(
    context: &Context,
    store: &Store,
    id: &ExperimentId,
    dest: &Utf8Path,
) -> Result<Exported, ArchiveError> {
    let summary = store.summary(id)?;
    if !summary.is_over() {
        return Err(SubmitError::Running(id.clone()).into());
    }
    let mut record = store.document(id)?;
    hide(&mut record);
    hide_in_command(&mut record);
    let plan = store.plan(id)?;
    let mut plan_json = serde_json::to_value(&plan).unwrap_or_default();
    hide(&mut plan_json);
    let mut events = Vec::new();
    for event in store.events_since(id, 0)? {
        let line = serde_json::json!([event.time.0, event.kind]);
        events.extend(line.to_string().into_bytes());
        events.push(b'\n');
    }
    let dir = context.experiment_dir(&plan.title, id);
    let mut contents: Vec<(String, Content)> = vec![
        (
            RECORD.to_owned(),
            Content::Bytes(record.to_string().into_bytes()),
        ),
        (
            PLAN.to_owned(),
            Content::Bytes(plan_json.to_string().into_bytes()),
        ),
        (EVENTS.to_owned(), Content::Bytes(events)),
    ];
    for file in kept_files(&dir, &plan)? {
        let path = file.strip_prefix(&dir).unwrap_or(&file).to_string();
        contents.push((format!("{FILES}/{path}"), Content::File(file)));
    }
    let files = contents.len() - 3;
    let staging = Staging::new(context)?;
    let bundles = Bundles::open(&context.home).map_err(packing)?;
    let (mut trees, mut missing) = (0, Vec::new());
    let mut named: Vec<&String> = plan.code.values().map(|code| &code.tree).collect();
    named.sort();
    named.dedup();
    for name in named.into_iter().filter(|name| !name.is_empty()) {
        let path = staging.folder.join(name);
        let tree = TreeHash::from_str(name).map_err(|error| ArchiveError::Files {
            path: path.clone(),
            source: io::Error::other(error.to_string()),
        })?;
        if bundles.manifest(&tree).ok().flatten().is_none() {
            missing.push(name.clone());
            continue;
        }
        let mut file = BufWriter::new(File::create(&path).map_err(at(&path))?);
        bundles.stream(&tree, &[], &mut file).map_err(packing)?;
        file.flush().map_err(at(&path))?;
        contents.push((format!("{BUNDLES}/{name}"), Content::File(path)));
        trees += 1;
    }
    let mut header = Header {
        version: VERSION,
        id: id.to_string(),
        title: plan.title.clone(),
        created: summary.created.0,
        host: context.host.clone(),
        mizzen: env!("CARGO_PKG_VERSION").to_owned(),
        entries: Vec::with_capacity(contents.len()),
    };
    for (path, content) in &contents {
        let (size, hash) = match content {
            Content::Bytes(bytes) => (bytes.len() as u64, blake3::hash(bytes)),
            Content::File(file) => hash_of(file).map_err(at(file))?,
        };
        header.entries.push(HeaderEntry {
            path: path.clone(),
            size,
            hash: hash.to_hex().to_string(),
        });
    }
    let staged = dest.with_file_name(format!(
        ".{}.{}",
        dest.file_name().unwrap_or_default(),
        std::process::id()
    ));
    let written = write(&staged, &header, &contents).and_then(|bytes| {
        std::fs::rename(&staged, dest)?;
        Ok(bytes)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    Ok(Exported {
        files,
        trees,
        missing,
        bytes: written.map_err(at(dest))?,
    })
}

fn packing(error: crate::packager::bundle::BundleError) -> ArchiveError {
    ArchiveError::Submit(PackError::from(error).into())
}

fn hash_of(path: &Utf8Path) -> io::Result<(u64, blake3::Hash)> {
    let mut hasher = blake3::Hasher::new();
    let size = io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok((size, hasher.finalize()))
}

/// What belongs to the experiment's history: attempts of its jobs, its patch.
fn kept_files(dir: &Utf8Path, plan: &Plan) -> Result<Vec<Utf8PathBuf>, ArchiveError> {
    let mut files = Vec::new();
    let patch = dir.join(super::provenance::PATCH);
    if patch.is_file() {
        files.push(patch);
    }
    for job in &plan.jobs {
        let mut folders = vec![dir.join(&job.name).join("attempts")];
        while let Some(folder) = folders.pop() {
            let entries = match folder.read_dir_utf8() {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(at(&folder)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(at(&folder))?;
                let kind = entry.file_type().map_err(at(entry.path()))?;
                if kind.is_dir() {
                    folders.push(entry.into_path());
                } else if kind.is_file() {
                    files.push(entry.into_path());
                }
            }
        }
    }
    files.sort();
    Ok(files)
}

fn write(dest: &Utf8Path, header: &Header, contents: &[(String, Content)]) -> io::Result<u64> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(dest)?;
    let zstd = zstd::Encoder::new(BufWriter::new(file), 3)?;
    let mut tar = tar::Builder::new(zstd);
    let mut add = |name: &str, size: u64, content: &mut dyn Read| {
        let mut tar_header = tar::Header::new_gnu();
        tar_header.set_mtime(TIME);
        tar_header.set_mode(0o600);
        tar_header.set_size(size);
        tar.append_data(&mut tar_header, name, content)
    };
    let text = serde_json::to_vec(header).map_err(io::Error::other)?;
    add(HEADER, text.len() as u64, &mut &text[..])?;
    for (number, ((_, content), entry)) in contents.iter().zip(&header.entries).enumerate() {
        let name = number.to_string();
        match content {
            Content::Bytes(bytes) => add(&name, entry.size, &mut &bytes[..])?,
            // A log that went on growing is cut where it was measured.
            Content::File(file) => add(&name, entry.size, &mut File::open(file)?.take(entry.size))?,
        }
    }
    let mut file = tar.into_inner()?.finish()?;
    file.flush()?;
    Ok(file.get_ref().metadata()?.len())
}

/// Hides the values of private variables. References of secrets are none.
fn hide(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                if key == "env" || key == "env_vars" {
                    hide_variables(value);
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

fn hide_variables(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                if is_private(name) {
                    *value = MASK.into();
                }
            }
        }
        Value::Array(pairs) => {
            for pair in pairs {
                if let Some([Value::String(name), value]) =
                    pair.as_array_mut().map(Vec::as_mut_slice)
                    && is_private(name)
                {
                    *value = MASK.into();
                }
            }
        }
        _ => {}
    }
}

/// The same in the words of the command line: `--env NAME=VALUE`.
fn hide_in_command(record: &mut Value) {
    let words = record.get_mut("command").and_then(Value::as_array_mut);
    for word in words.into_iter().flatten() {
        let Some(text) = word.as_str() else { continue };
        let assignment = text.strip_prefix("--env=").unwrap_or(text);
        if let Some((name, _)) = assignment.split_once('=')
            && is_private(name.rsplit('.').next().unwrap_or(name))
        {
            let kept = text.len() - assignment.len() + name.len();
            *word = format!("{}={MASK}", &text[..kept]).into();
        }
    }
}

/// A folder in the home that goes away.
struct Staging {
    folder: Utf8PathBuf,
}

impl Staging {
    fn new(context: &Context) -> Result<Staging, ArchiveError> {
        let number = getrandom::u64().unwrap_or_default();
        let experiments = context.home.join("experiments");
        // What was killed has left its folder.
        for entry in experiments.read_dir_utf8().into_iter().flatten().flatten() {
            let age = entry
                .metadata()
                .and_then(|facts| facts.modified())
                .ok()
                .and_then(|time| time.elapsed().ok());
            if entry.file_name().starts_with(STAGING) && age.is_some_and(|age| age > LEFT_OVER) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let folder = experiments.join(format!("{STAGING}{number:016x}"));
        create_private_dir(&folder).map_err(at(&folder))?;
        Ok(Staging { folder })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What was imported.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The experiment.
    pub id: ExperimentId,
    /// Its title.
    pub title: String,
    /// It was here already, and nothing was written.
    pub known: bool,
}

/// Takes an exported experiment in. It keeps its id; it can be shown, read, compared and run again, never driven.
///
/// # Errors
/// The archive is not whole, or another experiment has the id: nothing is written then.
pub fn import(
    context: &Context,
    store: &mut Store,
    path: &Utf8Path,
) -> Result<Imported, ArchiveError> {
    let staging = Staging::new(context)?;
    let wrong = |reason: String| ArchiveError::Archive {
        path: path.to_owned(),
        reason,
    };
    let header = unpack(path, &staging.folder)?;
    let id = ExperimentId::parse(&header.id).map_err(|error| wrong(error.to_string()))?;
    let read = |name: &str| {
        let path = staging.folder.join(name);
        std::fs::read_to_string(&path).map_err(|error| wrong(format!("{name}: {error}")))
    };
    let plan: Plan =
        serde_json::from_str(&read(PLAN)?).map_err(|error| wrong(format!("{PLAN}: {error}")))?;
    let mut record: serde_json::Map<String, Value> = serde_json::from_str(&read(RECORD)?)
        .map_err(|error| wrong(format!("{RECORD}: {error}")))?;
    let trees = check_plan(&plan, &header).map_err(wrong)?;
    let mut events: Vec<(Timestamp, EventKind)> = Vec::new();
    for line in read(EVENTS)?.lines() {
        let (time, kind): (i64, EventKind) =
            serde_json::from_str(line).map_err(|error| wrong(format!("{EVENTS}: {error}")))?;
        events.push((Timestamp(time), kind));
    }
    if !matches!(events.last(), Some((_, EventKind::Finished { .. }))) {
        return Err(wrong("its experiment had not ended".to_owned()));
    }
    if let Ok(known) = store.plan(&id) {
        // Private values are not in the archive.
        let mut ours = serde_json::to_value(&known).unwrap_or_default();
        hide(&mut ours);
        let same = serde_json::to_value(&plan).is_ok_and(|theirs| theirs == ours);
        return match same {
            true => Ok(Imported {
                id,
                title: plan.title,
                known: true,
            }),
            false => Err(ArchiveError::Taken(id)),
        };
    }
    let mut bundled = Vec::new();
    for tree in trees {
        let bundle = staging.folder.join(BUNDLES).join(tree.to_string());
        let Ok(file) = File::open(&bundle) else {
            continue;
        };
        let checked = staging.folder.join("checked");
        let found = receive(io::BufReader::new(file), checked.as_std_path())
            .map_err(|error| wrong(error.to_string()))?;
        if found != tree {
            return Err(wrong(format!(
                "the bundle {tree} holds the tree {}",
                found.short()
            )));
        }
        bundled.push(bundle);
    }
    record.insert(
        "imported".to_owned(),
        serde_json::json!({
            "from": FROM,
            "version": header.mizzen,
            "id": header.id,
            "folder": header.host,
        }),
    );
    let record = Value::Object(record);
    let dir = context.experiment_dir(&plan.title, &id);
    remove_leftover(&dir, &id)?;
    let bundles = Bundles::open(&context.home).map_err(packing)?;
    for bundle in bundled {
        let mut file = File::open(&bundle).map_err(at(&bundle))?;
        bundles.absorb(&mut file).map_err(packing)?;
    }
    let files = staging.folder.join(FILES);
    create_private_dir(&files).map_err(at(&files))?;
    let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
    let experiment = files.join("experiment.json");
    crate::context::write_file(&experiment, &text, 0o600).map_err(at(&experiment))?;
    let title = dir.parent().unwrap_or(&dir).to_owned();
    create_private_dir(&title).map_err(at(&title))?;
    std::fs::rename(&files, &dir).map_err(at(&dir))?;
    let added = store.insert_history(&id, &plan, &record, Timestamp(header.created), &events);
    if !matches!(added, Ok(true)) {
        let _ = std::fs::remove_dir_all(&dir);
        let _ = std::fs::remove_dir(&title);
    }
    match added? {
        true => Ok(Imported {
            id,
            title: plan.title,
            known: false,
        }),
        false => Err(ArchiveError::Taken(id)),
    }
}

/// A folder without an experiment in the store: what an import that was killed has left, or somebody's.
fn remove_leftover(dir: &Utf8Path, id: &ExperimentId) -> Result<(), ArchiveError> {
    if !dir.exists() {
        return Ok(());
    }
    let record = std::fs::read(dir.join("experiment.json")).unwrap_or_default();
    let record: Value = serde_json::from_slice(&record).unwrap_or_default();
    let imported = &record["imported"];
    if imported["from"] != FROM || imported["id"] != id.as_str() {
        return Err(ArchiveError::Taken(id.clone()));
    }
    std::fs::remove_dir_all(dir).map_err(at(dir))
}

/// Names from elsewhere become names of folders here. Answers with the trees of its code.
fn check_plan(plan: &Plan, header: &Header) -> Result<BTreeSet<TreeHash>, String> {
    let plain =
        |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    if plan.title != header.title || !plain(&plan.title) {
        return Err(format!("its title is {:?}", plan.title));
    }
    let mut names = BTreeSet::new();
    for job in &plan.jobs {
        if !plain(&job.name) || job.task as usize >= plan.tasks.len() {
            return Err(format!("it has a job {:?}", job.name));
        }
        if !names.insert(job.name.as_str()) {
            return Err(format!("it has two jobs {:?}", job.name));
        }
    }
    let mut next = 0;
    for task in &plan.tasks {
        let group_is_there = task
            .group
            .is_none_or(|group| (group as usize) < plan.groups.len());
        let after_is_there =
            { task.after.iter() }.all(|dependency| (dependency.task as usize) < plan.tasks.len());
        if task.first_job != next || !group_is_there || !after_is_there {
            return Err(format!("its task {:?} does not fit into it", task.name));
        }
        next = task.first_job.saturating_add(task.jobs);
    }
    if next as usize != plan.jobs.len() {
        return Err(format!(
            "its tasks have {next} jobs, and it has {}",
            plan.jobs.len()
        ));
    }
    for group in &plan.groups {
        let mut numbers = group.jobs.iter().chain(&group.leader);
        if !numbers.all(|job| (*job as usize) < plan.jobs.len()) {
            return Err(format!("its group {:?} has jobs that are none", group.name));
        }
    }
    let mut trees = BTreeSet::new();
    for code in plan.code.values() {
        let inside = Utf8Path::new(&code.inside);
        if !inside
            .components()
            .all(|part| matches!(part, Utf8Component::Normal(_)))
        {
            return Err(format!("its jobs start in {inside:?} of its code"));
        }
        if !code.tree.is_empty() {
            let tree = TreeHash::from_str(&code.tree);
            trees.insert(tree.map_err(|_| format!("its code is called {:?}", code.tree))?);
        }
    }
    Ok(trees)
}

/// Unpacks an archive into a folder of ours and checks every entry against its header.
fn unpack(path: &Utf8Path, into: &Utf8Path) -> Result<Header, ArchiveError> {
    let wrong = |reason: String| ArchiveError::Archive {
        path: path.to_owned(),
        reason,
    };
    let unreadable = |error: io::Error| wrong(error.to_string());
    let file = File::open(path).map_err(at(path))?;
    let length = file.metadata().map_err(at(path))?.len();
    let zstd = zstd::Decoder::new(file).map_err(unreadable)?;
    let mut tar = tar::Archive::new(zstd);
    // Raw: what other members say of names and sizes is not read, however long it is.
    let mut entries = tar.entries().map_err(unreadable)?.raw(true);
    let mut first = entries
        .next()
        .ok_or_else(|| wrong("it is empty".to_owned()))?
        .map_err(unreadable)?;
    if &*first.path_bytes() != HEADER.as_bytes()
        || !first.header().entry_type().is_file()
        || first.size() > LARGEST_HEADER
    {
        return Err(wrong("it does not begin with a header".to_owned()));
    }
    let mut text = Vec::new();
    first.read_to_end(&mut text).map_err(unreadable)?;
    let header: Header =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("its header: {error}")))?;
    if header.version > VERSION {
        return Err(wrong(format!(
            "it was written by mizzen {}, in a form that this version does not know: use a newer one",
            header.mizzen
        )));
    }
    let claimed = header
        .entries
        .iter()
        .fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
    if claimed > SMALL.max(length.saturating_mul(RATIO)) {
        return Err(wrong(format!("its {length} bytes claim to hold {claimed}")));
    }
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for entry in &header.entries {
        if !belongs(&entry.path) || !named.insert(&entry.path) {
            return Err(wrong(format!("it holds {:?}", entry.path)));
        }
    }
    let mut expected = header.entries.iter().enumerate();
    for entry in entries {
        let mut entry = entry.map_err(unreadable)?;
        let (number, named) = expected
            .next()
            .ok_or_else(|| wrong("it holds more than its header names".to_owned()))?;
        let name = &named.path;
        if *entry.path_bytes() != *number.to_string().as_bytes()
            || !entry.header().entry_type().is_file()
            || entry.size() != named.size
        {
            return Err(wrong(format!("{name:?} is not what its header says")));
        }
        let target = into.join(name);
        if let Some(folder) = target.parent() {
            create_private_dir(folder).map_err(at(folder))?;
        }
        crate::context::write_file(&target, b"", 0o600).map_err(at(&target))?;
        let file = File::options()
            .append(true)
            .open(&target)
            .map_err(at(&target))?;
        let mut writer = Hashing {
            hasher: blake3::Hasher::new(),
            file,
        };
        io::copy(&mut entry, &mut writer).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => at(&target)(error),
            _ => wrong(format!("{name:?}: {error}")),
        })?;
        if writer.hasher.finalize().to_hex().as_str() != named.hash {
            return Err(wrong(format!("{name:?} is damaged")));
        }
    }
    match expected.next() {
        Some((_, missing)) => Err(wrong(format!("{:?} is missing", missing.path))),
        None => Ok(header),
    }
}

struct Hashing {
    hasher: blake3::Hasher,
    file: File,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whether an entry may have this path.
fn belongs(path: &str) -> bool {
    let parts: Vec<Utf8Component<'_>> = Utf8Path::new(path).components().collect();
    let names: Vec<&str> = path.split('/').collect();
    let plain = parts.len() == names.len()
        && parts
            .iter()
            .all(|part| matches!(part, Utf8Component::Normal(_)))
        && !path.contains('\0');
    plain
        && match names.as_slice() {
            [RECORD | PLAN | EVENTS] => true,
            [BUNDLES, tree] => TreeHash::from_str(tree).is_ok(),
            [FILES, super::provenance::PATCH] => true,
            [FILES, job, "attempts", rest @ ..] => !job.starts_with('.') && !rest.is_empty(),
            _ => false,
        }
}
