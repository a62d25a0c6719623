//! Puts a job's code into its folder before the ranks start.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use mizzen_agent::bundle;
use mizzen_agent::protocol::Code;

/// Puts the code where it belongs. What an earlier attempt left there stays.
///
/// # Errors
/// Why it can't be there, in words.
pub(crate) fn put(code: &Code) -> Result<(), String> {
    let (from, to) = (Path::new(&code.from), Path::new(&code.to));
    if code.as_link {
        return match symlink(from, to) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(format!("{}: {error}", code.to))
            }
            _ => Ok(()),
        };
    }
    bundle::link(from, to).map_err(|error| error.to_string())
}
