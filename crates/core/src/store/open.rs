//! Opening the database, making it, and moving it to this build's version.

use std::time::Duration;

use camino::Utf8Path;
use rusqlite::{Connection, OpenFlags};

use super::{Store, StoreError};
use crate::context::create_private_dir;

/// The version of the tables that this build reads and writes.
const VERSION: i64 = 1;
const SCHEMA: &str = include_str!("schema.sql");
/// How long to wait for another process's transaction.
const BUSY: Duration = Duration::from_secs(30);
/// The database's name in the home.
const FILE: &str = "mizzen.db";

impl Store {
    /// Opens the store of a home for reading and writing; makes the home (0700) and the store if they aren't there.
    ///
    /// # Errors
    /// It can't be made or written, is damaged, or belongs to a newer mizzen.
    pub fn open(home: &Utf8Path) -> Result<Store, StoreError> {
        create_private_dir(home).map_err(|error| StoreError::ReadOnly {
            path: home.to_owned(),
            detail: error.to_string(),
        })?;
        let path = home.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Store::connect(home, flags)?;
        let failed = |error: &rusqlite::Error| StoreError::from_sqlite(&path, error);
        match store.version()? {
            VERSION => {}
            0 => store.create().map_err(|error| failed(&error))?,
            found => {
                return Err(StoreError::Newer {
                    path,
                    found,
                    known: VERSION,
                });
            }
        }
        if store
            .connection
            .is_readonly(rusqlite::MAIN_DB)
            .map_err(|error| failed(&error))?
        {
            return Err(StoreError::ReadOnly {
                path,
                detail: "the file is read-only".to_owned(),
            });
        }
        Ok(store)
    }

    /// Opens the store of a home for reading only; `None` if there is none yet. Nothing is made or written.
    ///
    /// # Errors
    /// It can't be read, is damaged, or belongs to a newer mizzen.
    pub fn open_existing(home: &Utf8Path) -> Result<Option<Store>, StoreError> {
        let path = home.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        // Read-write if possible: a journal that a killed writer left is then rolled back.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Store::connect(home, flags)?;
        match store.version()? {
            VERSION => Ok(Some(store)),
            0 => Ok(None),
            found => Err(StoreError::Newer {
                path,
                found,
                known: VERSION,
            }),
        }
    }

    fn connect(home: &Utf8Path, flags: OpenFlags) -> Result<Store, StoreError> {
        let path = home.join(FILE);
        let failed = |error: &rusqlite::Error| StoreError::from_sqlite(&path, error);
        let connection =
            Connection::open_with_flags(&path, flags).map_err(|error| failed(&error))?;
        connection
            .busy_timeout(BUSY)
            .map_err(|error| failed(&error))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Store {
            connection,
            home: home.to_owned(),
        })
    }

    fn version(&self) -> Result<i64, StoreError> {
        self.connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|error| self.failed(&error))
    }

    fn create(&self) -> rusqlite::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let _ = std::fs::set_permissions(self.path(), std::fs::Permissions::from_mode(0o600));
        self.settings()?;
        let transaction = rusqlite::Transaction::new_unchecked(
            &self.connection,
            rusqlite::TransactionBehavior::Immediate,
        )?;
        let version: i64 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()
    }

    fn settings(&self) -> rusqlite::Result<()> {
        self.connection
            .pragma_update(None, "journal_mode", "TRUNCATE")
    }

    /// Settings of a connection that writes. Reading connections do without, which keeps them fast.
    pub(super) fn prepare_to_write(&self) -> Result<(), StoreError> {
        let set = || {
            self.settings()?;
            self.connection.pragma_update(None, "synchronous", "FULL")
        };
        set().map_err(|error| self.failed(&error))
    }

    /// The database's path.
    #[must_use]
    pub fn path(&self) -> camino::Utf8PathBuf {
        self.home.join(FILE)
    }

    pub(super) fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.path(), error)
    }

    pub(super) fn unreadable(&self, detail: impl std::fmt::Display) -> StoreError {
        StoreError::Unreadable {
            path: self.path(),
            detail: detail.to_string(),
        }
    }

    /// Lets SQLite look through the whole database.
    ///
    /// # Errors
    /// It is damaged, or can't be read.
    pub fn check(&self) -> Result<(), StoreError> {
        let answer: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| self.failed(&error))?;
        if answer == "ok" {
            Ok(())
        } else {
            Err(StoreError::Damaged {
                path: self.path(),
                detail: answer,
            })
        }
    }

    /// A number that changes when another process has written. Cheap.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        self.connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|error| self.failed(&error))
    }
}
