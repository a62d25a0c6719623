//! Git LFS: what git has is a pointer; what belongs to the code is the file.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use super::git::Git;
use super::git_archive::nameless;
use super::listing::{Item, ItemKind, PackError, Source};
use crate::context::Context;

/// How a pointer begins (git-lfs' specification, version 1).
const BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// A pointer has fewer bytes than this, says the specification.
const LONGEST: u64 = 1024;

/// It has a pointer's size and beginning.
pub(super) fn may_be_pointer(source: &Source) -> std::io::Result<bool> {
    if matches!(source, Source::Spooled { len, .. } if *len >= LONGEST) {
        return Ok(false);
    }
    let mut beginning = Vec::with_capacity(BEGINNING.len());
    source
        .reader()?
        .take(BEGINNING.len() as u64)
        .read_to_end(&mut beginning)?;
    Ok(beginning == BEGINNING)
}

/// Where contents may be taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lfs {
    /// What has been fetched already.
    AsItIs,
    /// git-lfs as well, which may fetch them.
    Fetched,
}

/// Puts the files in place of their pointers. `pointers`: numbers of items, and their paths in the repository. Those that git
/// was not told to keep by LFS stay as they are; so do those whose content is not here, whose numbers are the answer.
pub(super) fn fill_in(
    git: &Git<'_>,
    pointers: &[(usize, Vec<u8>)],
    from: Lfs,
    context: &Context,
    items: &mut [Item],
) -> Result<Vec<usize>, PackError> {
    let mut missing = Vec::new();
    if pointers.is_empty() {
        return Ok(missing);
    }
    let ours: HashSet<Vec<u8>> = kept_by_lfs(git, pointers)?.into_iter().collect();
    let objects = objects(git)?;
    for (number, path) in pointers.iter().filter(|(_, path)| ours.contains(path)) {
        let ItemKind::File { source, executable } = &mut items[*number].kind else {
            continue;
        };
        let mut pointer = Vec::new();
        let shown = || String::from_utf8_lossy(path).into_owned();
        source
            .reader()
            .and_then(|mut reader| reader.read_to_end(&mut pointer))
            .map_err(|error| PackError::Read {
                path: shown(),
                reason: error.to_string(),
            })?;
        let file = object(&pointer, &objects).or_else(|| match from {
            Lfs::AsItIs => None,
            Lfs::Fetched => smudged(git, &pointer, context),
        });
        let Some(file) = file else {
            missing.push(*number);
            continue;
        };
        if let Source::Path(path) = source {
            let mode = path
                .metadata()
                .map_or(0, |found| found.permissions().mode());
            *executable = mode & 0o100 != 0;
        }
        let len = file.metadata().map_or(0, |found| found.len());
        *source = Source::Spooled {
            file: Arc::new(file),
            offset: 0,
            len,
        };
    }
    Ok(missing)
}

/// Those of the paths that git's attributes give to LFS.
fn kept_by_lfs(git: &Git<'_>, pointers: &[(usize, Vec<u8>)]) -> Result<Vec<Vec<u8>>, PackError> {
    let arguments = ["check-attr", "-z", "--stdin", "filter"];
    let asked: Vec<u8> = pointers
        .iter()
        .flat_map(|(_, path)| path.iter().copied().chain([0]))
        .collect();
    let output = git.answers(&arguments, &asked)?;
    let answer = git.answer(&arguments, output)?;
    let words: Vec<&[u8]> = answer.split(|byte| *byte == 0).collect();
    Ok(words
        .chunks_exact(3)
        .filter(|words| words[2] == b"lfs")
        .map(|words| words[0].to_owned())
        .collect())
}

/// The folder where git-lfs keeps what it has fetched.
fn objects(git: &Git<'_>) -> Result<PathBuf, PackError> {
    let common = git.output(&["rev-parse", "--git-common-dir"])?;
    let common = String::from_utf8_lossy(&common).trim_end().to_owned();
    Ok(git.folder().join(common).join("lfs/objects"))
}

/// The content that a pointer names, if it is there and has the size that the pointer says.
fn object(pointer: &[u8], objects: &Path) -> Option<File> {
    let text = std::str::from_utf8(pointer).ok()?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let id = value("oid sha256:")?;
    let size: u64 = value("size ")?.parse().ok()?;
    let plain = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path = objects.join(id.get(..2)?).join(id.get(2..4)?).join(id);
    let file = File::open(path).ok().filter(|_| plain)?;
    (file.metadata().ok()?.len() == size).then_some(file)
}

/// The content by the tool itself, which may fetch it.
fn smudged(git: &Git<'_>, pointer: &[u8], context: &Context) -> Option<File> {
    let mut file = nameless(context).ok()?;
    let mut child = git
        .command(&["lfs", "smudge"])
        .stdin(Stdio::piped())
        .stdout(Stdio::from(file.try_clone().ok()?))
        .spawn()
        .ok()?;
    // A pointer is shorter than a pipe is long.
    child.stdin.take()?.write_all(pointer).ok()?;
    if !child.wait().ok()?.success() {
        return None;
    }
    let mut beginning = vec![0; BEGINNING.len()];
    file.seek(SeekFrom::Start(0)).ok()?;
    let is_pointer = file.read_exact(&mut beginning).is_ok() && beginning == BEGINNING;
    (!is_pointer).then_some(file)
}
