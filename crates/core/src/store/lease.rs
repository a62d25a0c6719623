//! Who drives an experiment: one process at a time.
//!
//! A lease is a row with its holder's identity and a number that each take-over counts up. On the holder's machine its
//! death is seen at once, by its process; from elsewhere (a home on NFS) by a lease that was not renewed for a while.

use std::time::Duration;

use mizzen_agent::protocol::Identity;
use rusqlite::{OptionalExtension, TransactionBehavior};

use super::{Store, StoreError};
use crate::model::Timestamp;

/// How long a lease lasts that nobody can ask about, in seconds.
const LASTS: f64 = 60.0;
/// How often the holder renews it.
pub(crate) const RENEW: Duration = Duration::from_secs(15);

/// The right to drive one experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub(super) name: String,
    /// Counts the take-overs.
    pub generation: u64,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// The process; `None` once it was given back.
    pub holder: Option<Identity>,
    /// When it was renewed last.
    pub renewed: Timestamp,
    /// Counts the take-overs.
    pub generation: u64,
}

impl LeaseView {
    /// The holder lives, as far as can be known.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        match &self.holder {
            None => false,
            Some(holder) => holder
                .is_alive()
                .unwrap_or_else(|| now.seconds_since(self.renewed) < LASTS),
        }
    }
}

/// A lease can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it and lives.
    #[error("process {} on {} drives the experiment already", .0.pid, .0.host)]
    Held(Identity),
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Takes the lease of an experiment, if nobody alive has it.
    ///
    /// # Errors
    /// Somebody has it, or the store can't be written.
    pub fn take_lease(
        &mut self,
        name: &str,
        holder: &Identity,
        now: Timestamp,
    ) -> Result<Lease, LeaseError> {
        self.prepare_to_write()?;
        let before = self.lease(name)?;
        if let Some(LeaseView {
            holder: Some(other),
            ..
        }) = before.as_ref().filter(|lease| lease.is_live(now))
            && other != holder
        {
            return Err(LeaseError::Held(other.clone()));
        }
        let seen = before.map_or(0, |lease| lease.generation);
        let path = self.path();
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let written = transaction
            .execute(
                "INSERT INTO leases (name, generation, holder, renewed) VALUES (?1, ?2 + 1, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET generation = ?2 + 1, holder = ?3, renewed = ?4 WHERE generation = ?2",
                rusqlite::params![name, seen as i64, holder.to_text(), now.0],
            )
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        if written == 0 {
            // Somebody was faster since we looked.
            return match self.lease(name)?.and_then(|lease| lease.holder) {
                Some(other) => Err(LeaseError::Held(other)),
                None => Err(LeaseError::Store(StoreError::LeaseLost)),
            };
        }
        Ok(Lease {
            name: name.to_owned(),
            generation: seen + 1,
        })
    }

    /// Who holds a lease; `None` if nobody ever had it.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn lease(&self, name: &str) -> Result<Option<LeaseView>, StoreError> {
        self.connection
            .query_row(
                "SELECT generation, holder, renewed FROM leases WHERE name = ?1",
                [name],
                |row| {
                    let holder: String = row.get(1)?;
                    Ok(LeaseView {
                        generation: row.get::<_, i64>(0)? as u64,
                        holder: Identity::from_text(&holder),
                        renewed: Timestamp(row.get(2)?),
                    })
                },
            )
            .optional()
            .map_err(|error| self.failed(&error))
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// It is somebody else's now, or the store can't be written.
    pub fn renew_lease(&mut self, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
        self.write_lease(
            "UPDATE leases SET renewed = ?3 WHERE name = ?1 AND generation = ?2",
            lease,
            now,
        )
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// It is somebody else's now, or the store can't be written.
    pub fn give_lease_back(&mut self, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
        self.write_lease(
            "UPDATE leases SET holder = '', renewed = ?3 WHERE name = ?1 AND generation = ?2",
            lease,
            now,
        )
    }

    fn write_lease(&mut self, sql: &str, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
        let written = self
            .connection
            .execute(
                sql,
                rusqlite::params![lease.name, lease.generation as i64, now.0],
            )
            .map_err(|error| self.failed(&error))?;
        if written == 1 {
            Ok(())
        } else {
            Err(StoreError::LeaseLost)
        }
    }
}
