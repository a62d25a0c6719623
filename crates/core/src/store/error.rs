//! What can go wrong with the store.

use camino::{Utf8Path, Utf8PathBuf};

/// The store can't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A newer mizzen made it.
    #[error("{path} has version {found}, and this mizzen knows {known}")]
    Newer {
        /// The database.
        path: Utf8PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this build knows.
        known: i64,
    },
    /// It is no database, or its pages contradict each other.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// The database.
        path: Utf8PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// It can't be written.
    #[error("{path} can't be written: {detail}")]
    ReadOnly {
        /// The database or the home.
        path: Utf8PathBuf,
        /// What the system says.
        detail: String,
    },
    /// There is no room.
    #[error("no space is left on the disk of {path}")]
    Full {
        /// The database.
        path: Utf8PathBuf,
    },
    /// Somebody holds it for too long.
    #[error("{path} is held by another process for too long")]
    Busy {
        /// The database.
        path: Utf8PathBuf,
    },
    /// There is no such experiment.
    #[error("there is no experiment `{0}`")]
    NoExperiment(String),
    /// There is one with this id already.
    #[error("there is an experiment `{0}` already")]
    Exists(String),
    /// The lease is somebody else's now.
    #[error("another process has taken the experiment over")]
    LeaseLost,
    /// What is stored can't be read as what it should be.
    #[error("{path} holds something unreadable: {detail}")]
    Unreadable {
        /// The database.
        path: Utf8PathBuf,
        /// What.
        detail: String,
    },
    /// Something else.
    #[error("{path}: {detail}")]
    Other {
        /// The database.
        path: Utf8PathBuf,
        /// What SQLite or the system says.
        detail: String,
    },
}

impl StoreError {
    /// A next step for people, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            StoreError::Damaged { path, .. } | StoreError::Unreadable { path, .. } => {
                Some(format!(
                    "`mizzen doctor` looks closer; the jobs' folders beside it are untouched. Move {path} away to start a new one"
                ))
            }
            StoreError::Newer { .. } => {
                Some("use the mizzen that made it, or a newer one".to_owned())
            }
            StoreError::ReadOnly { .. } => Some(
                "give yourself the right to write there, or set MIZZEN_HOME to another folder"
                    .to_owned(),
            ),
            StoreError::Full { .. } => {
                Some("free some space, or set MIZZEN_HOME to another disk".to_owned())
            }
            StoreError::Busy { .. } => {
                Some("try again; `fuser` names the process that holds it".to_owned())
            }
            _ => None,
        }
    }

    pub(super) fn from_sqlite(path: &Utf8Path, error: &rusqlite::Error) -> StoreError {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                StoreError::Damaged { path, detail }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                StoreError::ReadOnly { path, detail }
            }
            Some(ErrorCode::DiskFull) => StoreError::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
            _ => StoreError::Other { path, detail },
        }
    }
}
