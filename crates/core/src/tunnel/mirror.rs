//! Copies what jobs leave at a place that does not see our files.

use camino::Utf8Path;

use super::{Tunnel, TunnelError};

/// Copies the folders of the jobs' attempts from `there` to `here`, as they are now.
///
/// # Errors
/// As [`Tunnel::get`].
pub async fn mirror_once(
    tunnel: &dyn Tunnel,
    there: &Utf8Path,
    here: &Utf8Path,
    jobs: &[String],
) -> Result<(), TunnelError> {
    for job in jobs {
        let folder = Utf8Path::new(job).join("attempts");
        tunnel
            .get(&there.join(&folder), &here.join(&folder))
            .await?;
    }
    Ok(())
}
