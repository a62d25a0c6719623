//! The code that an experiment's jobs run with: packed once, named in the plan, recorded.
//!
//! ```text
//! plan ─ executors ─ packager ─┬ sent: list ─▶ pack ─▶ plan.code (an error stops everything)
//!                              └ in place: list ─▶ pack ─▶ plan.code, as a record (an error is a note in it)
//! ```
//!
//! Executors with the same packager share one tree. Whether jobs run in place was decided when they were planned
//! ([`code_place`]), because their working directories depend on it.

use camino::Utf8Path;

use mizzen_agent::bundle::TreeHash;

use crate::context::Context;
use crate::executor::{self, Executor};
use crate::packager::bundle::Bundles;
use crate::packager::{self, Listing, Note, PackError, Packager};
use crate::plan::{Code, Plan};
use crate::submit::repro::Pinned;

/// The most files of a folder without git whose tree is recorded when jobs run in it: it may be anybody's home.
const RECORDED_FILES: usize = 2_000;
/// The most bytes of such a folder.
const RECORDED_BYTES: u64 = 64 << 20;

/// Where an executor's jobs find their code: below `code` in their own folder, at this place (empty: at its top), or
/// (`None`) where it was written.
pub(super) fn code_place(executor: &dyn Executor, base: &Utf8Path) -> Option<String> {
    let packager = &executor.base().packager;
    if is_in_place(executor) {
        return None;
    }
    match packager {
        Packager::Passthrough(packager) if packager.symlink_from_remote_dir.is_some() => {
            Some(String::new())
        }
        Packager::Passthrough(_) => (!executor.shares_files()).then(String::new),
        packager => Some(packager::position(packager, base).inside),
    }
}

/// As [`code_place`], where the code is decided already: it is never run in place.
pub(super) fn pinned_place(executor: &dyn Executor, pinned: &Pinned) -> Option<String> {
    // The executor does not know its name here; all kept code of an experiment stands in the same folder of it.
    let code = &pinned.otherwise;
    match &executor.base().packager {
        Packager::Passthrough(packager) if packager.symlink_from_remote_dir.is_some() => {
            Some(String::new())
        }
        _ => Some(code.inside.clone()),
    }
}

fn is_in_place(executor: &dyn Executor) -> bool {
    match &executor.base().packager {
        Packager::WorkingTree(tree) => {
            executor.shares_files() && tree.in_place.unwrap_or_else(|| executor.runs_in_place())
        }
        _ => false,
    }
}

/// Packs the code of every executor that jobs run on, and names it in the plan. `base`: the folder that relative paths start
/// from. Answers with what people should know about it.
///
/// # Errors
/// Code that is to be sent can't be packed. For jobs that run where their code is written that is no error.
pub(super) fn package(
    context: &Context,
    plan: &mut Plan,
    base: &Utf8Path,
    keep: bool,
) -> Result<Vec<Note>, super::SubmitError> {
    let mut packed: Vec<(Packager, bool, Option<Code>)> = Vec::new();
    let mut notes = Vec::new();
    for (name, config) in &plan.executors {
        let executor = executor::build(name, config)?;
        let packager = executor.base().packager.clone();
        let in_place = is_in_place(&*executor);
        if !in_place && !has_code(plan, name) && !config.settings.contains_key("packager") {
            // All of its jobs run in folders that are there already.
            continue;
        }
        let known = packed
            .iter()
            .find(|(other, place, _)| *other == packager && *place == in_place);
        let code = match known {
            Some((.., code)) => code.clone(),
            None => {
                let (code, more) = pack(context, &packager, base, in_place, keep)?;
                notes.extend(more);
                packed.push((packager, in_place, code.clone()));
                code
            }
        };
        if let Some(code) = code {
            plan.code.insert(name.clone(), code);
        }
    }
    Ok(notes)
}

/// Some job of the executor starts in its own code.
fn has_code(plan: &Plan, executor: &str) -> bool {
    plan.jobs.iter().any(|job| {
        let inside = format!("/{}/{}", job.name, crate::plan::CODE);
        plan.tasks[job.task as usize].executor == executor
            && (job.workdir.ends_with(&inside) || job.workdir.contains(&format!("{inside}/")))
    })
}

fn pack(
    context: &Context,
    packager: &Packager,
    base: &Utf8Path,
    in_place: bool,
    keep: bool,
) -> Result<(Option<Code>, Vec<Note>), PackError> {
    let kind = packager.kind().to_owned();
    if let Packager::Passthrough(passthrough) = packager {
        let code = passthrough
            .symlink_from_remote_dir
            .clone()
            .map(|remote| Code {
                packager: kind,
                remote: Some(remote),
                ..Code::default()
            });
        return Ok((code, Vec::new()));
    }
    let position = packager::position(packager, base);
    let mut code = Code {
        packager: kind,
        root: position.root.to_string(),
        inside: position.inside,
        in_place,
        ..Code::default()
    };
    let named = if in_place && !is_worth_recording(&position.root, &context.home) {
        Err(None)
    } else {
        name(context, packager, base, keep).map_err(Some)
    };
    match named {
        Ok((named, notes)) => {
            code.tree = named.tree.to_string();
            code.files = named.files;
            code.bytes = named.bytes;
            Ok((Some(code), if in_place { Vec::new() } else { notes }))
        }
        Err(reason) if in_place => {
            code.not_kept = Some(match reason {
                Some(error) => error.to_string(),
                None => format!("{} is no git repository, and it is large", position.root),
            });
            Ok((Some(code), Vec::new()))
        }
        Err(Some(error)) => Err(error),
        Err(None) => Ok((None, Vec::new())),
    }
}

fn name(
    context: &Context,
    packager: &Packager,
    base: &Utf8Path,
    keep: bool,
) -> Result<(Named, Vec<Note>), PackError> {
    let mut listing: Listing = packager::list(packager, base, context)?;
    let notes = std::mem::take(&mut listing.notes);
    let named = if keep {
        let packed = Bundles::open(&context.home)?.pack(&listing, &packager.limits())?;
        Named {
            tree: packed.tree,
            files: packed.files,
            bytes: packed.bytes,
        }
    } else {
        let manifest = Bundles::peek(&context.home).tree_of(&listing)?;
        Named {
            tree: manifest.hash(),
            files: manifest.files(),
            bytes: manifest.bytes(),
        }
    };
    Ok((named, notes))
}

/// A tree, and how large it is.
struct Named {
    tree: TreeHash,
    files: u64,
    bytes: u64,
}

/// A git repository, or a folder of a size that code has.
fn is_worth_recording(root: &Utf8Path, home: &Utf8Path) -> bool {
    if packager::repository(root).as_deref() == Some(root) {
        return true;
    }
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir_utf8() else {
            return false;
        };
        for entry in entries {
            let Ok((entry, kind)) = entry.and_then(|entry| {
                let kind = entry.file_type()?;
                Ok((entry, kind))
            }) else {
                return false;
            };
            files += 1;
            if kind.is_dir() && entry.path() != home {
                folders.push(entry.into_path());
            } else if let Ok(found) = entry.metadata() {
                bytes += found.len();
            }
            if files > RECORDED_FILES || bytes > RECORDED_BYTES {
                return false;
            }
        }
    }
    true
}
