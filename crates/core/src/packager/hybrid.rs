//! Several packagers side by side, or one over the other.

use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt as _;

use camino::Utf8Path;

use super::listing::{Item, ItemKind, Listing, PackError, Source};
use super::settings::{HybridPackager, Packager};
use crate::context::Context;

pub(super) fn list(
    packager: &HybridPackager,
    base: &Utf8Path,
    context: &Context,
) -> Result<Listing, PackError> {
    let mut all = Listing {
        root: base.to_owned(),
        ..Listing::default()
    };
    // Which item of `all` has a path, and whose it is.
    let mut known: HashMap<Vec<u8>, (usize, &str)> = HashMap::new();
    for (name, part) in &packager.sub_packagers {
        let plain =
            !name.is_empty() && name.split('/').all(|part| !["", ".", ".."].contains(&part));
        if !plain && !packager.extract_at_root {
            return Err(PackError::Settings(format!(
                "the sub-packager `{}` has a name that no folder in the code can have",
                name.escape_debug()
            )));
        }
        if matches!(part, Packager::Passthrough(_)) {
            return Err(PackError::Settings(format!(
                "the sub-packager `{}` is of the kind `none`, which packs nothing: take it out",
                name.escape_debug()
            )));
        }
        let listing = super::list(part, base, context)?;
        all.notes.extend(listing.notes);
        for mut item in listing.items {
            if !packager.extract_at_root {
                item.path = [name.as_bytes(), b"/", &item.path].concat();
            }
            match known.get(&item.path) {
                None => {
                    known.insert(item.path.clone(), (all.items.len(), name));
                    all.items.push(item);
                }
                Some((index, other)) => same(&all.items[*index], &item, other, name)?,
            }
        }
    }
    Ok(all)
}

/// Two packagers may have a path in common if they have the same there.
fn same(one: &Item, other: &Item, first: &str, second: &str) -> Result<(), PackError> {
    let path = String::from_utf8_lossy(&one.path).into_owned();
    let unreadable = |error: std::io::Error| PackError::Read {
        path: path.clone(),
        reason: error.to_string(),
    };
    let link = |kind: &ItemKind| match kind {
        ItemKind::Link { target } => Some(target.clone()),
        ItemKind::File {
            source: Source::Path(path),
            ..
        } => path
            .read_link()
            .ok()
            .map(|target| target.into_os_string().into_vec()),
        _ => None,
    };
    if let (Some(one), Some(other)) = (link(&one.kind), link(&other.kind))
        && one == other
    {
        return Ok(());
    }
    let equal = match (&one.kind, &other.kind) {
        (ItemKind::File { source: one, .. }, ItemKind::File { source: other, .. }) => {
            one.same_as(other).map_err(unreadable)?
        }
        (ItemKind::Folder, ItemKind::Folder) => true,
        _ => false,
    };
    if equal {
        return Ok(());
    }
    Err(PackError::Settings(format!(
        "{path} comes from the sub-packagers `{first}` and `{second}`, and differs: take it out of one of them, or set `extract_at_root = false`"
    )))
}
