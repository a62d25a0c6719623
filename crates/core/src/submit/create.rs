//! A new experiment: its folder, its document, its rows.

use super::provenance::PATCH;
use super::{Prepared, SubmitError, launchers};
use crate::context::{Context, create_private_dir, write_file};
use crate::store::Store;

/// Writes a new experiment down, with the code that [`Prepared::package`] has packed. Nothing is started.
///
/// What it was made from, by whom, where and by which `command` is kept in the store and as `experiment.json` in the
/// experiment's folder; what was not committed of its code as [`PATCH`].
///
/// # Errors
/// A launcher's program is not there, the id is taken, or the home can't be written; nothing is left behind then.
pub fn create(
    context: &Context,
    store: &mut Store,
    prepared: &Prepared,
    command: &[String],
) -> Result<(), SubmitError> {
    let (plan, id) = (&prepared.plan, &prepared.id);
    launchers::check_tools(context, plan)?;
    let document = &prepared.record(context, command);
    let dir = context.experiment_dir(&plan.title, id);
    let made = || {
        create_private_dir(&dir)?;
        let text = serde_json::to_vec_pretty(document).map_err(std::io::Error::other)?;
        write_file(&dir.join("experiment.json"), &text, 0o600)?;
        if !prepared.collected.patch.is_empty() {
            write_file(&dir.join(PATCH), &prepared.collected.patch, 0o600)?;
        }
        plan.files.iter().try_for_each(|file| {
            let path = dir.join(&file.path);
            if let Some(parent) = path.parent() {
                create_private_dir(parent)?;
            }
            write_file(&path, file.contents.as_bytes(), 0o600)
        })
    };
    let written = made().map_err(SubmitError::Files).and_then(|()| {
        store
            .insert_experiment(id, plan, document, context.clock.now())
            .map_err(SubmitError::Store)
    });
    if written.is_err() {
        let _ = std::fs::remove_dir_all(&dir);
        if let Some(title) = dir.parent() {
            // Only if it holds no other experiment.
            let _ = std::fs::remove_dir(title);
        }
    }
    written
}
