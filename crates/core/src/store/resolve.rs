//! From what a user types to an experiment: an id, a unique prefix of one, a title (its newest), or `latest`.

use rusqlite::OptionalExtension;

use super::{Store, StoreError};
use crate::model::ExperimentId;

/// The text names no experiment, or several.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It names none.
    #[error("there is no experiment `{text}`")]
    None {
        /// What the user typed.
        text: String,
        /// Titles that look like it.
        similar: Vec<String>,
    },
    /// It is the beginning of several ids.
    #[error("`{text}` is the beginning of several ids: {}", candidates.join(", "))]
    Ambiguous {
        /// What the user typed.
        text: String,
        /// The ids.
        candidates: Vec<String>,
    },
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The experiment that `text` names.
    ///
    /// # Errors
    /// It names none or several.
    pub fn resolve(&self, text: &str) -> Result<ExperimentId, ResolveError> {
        let failed = |error: rusqlite::Error| ResolveError::Store(self.failed(&error));
        let newest = |sql: &str, text: &str| -> rusqlite::Result<Option<String>> {
            self.connection
                .query_row(sql, [text], |row| row.get(0))
                .optional()
        };
        let found = if text == "latest" {
            newest(
                "SELECT id FROM experiments WHERE ?1 = 'latest' ORDER BY number DESC LIMIT 1",
                text,
            )
            .map_err(failed)?
        } else {
            let by_id = newest("SELECT id FROM experiments WHERE id = ?1", text).map_err(failed)?;
            let by_title = || {
                newest(
                    "SELECT id FROM experiments WHERE title = ?1 ORDER BY number DESC LIMIT 1",
                    text,
                )
            };
            match by_id {
                Some(id) => Some(id),
                None => match by_title().map_err(failed)? {
                    Some(id) => Some(id),
                    None => self.by_prefix(text)?,
                },
            }
        };
        match found {
            Some(id) => ExperimentId::parse(&id)
                .map_err(|error| ResolveError::Store(self.unreadable(error))),
            None => Err(ResolveError::None {
                text: text.to_owned(),
                similar: self.similar_titles(text)?,
            }),
        }
    }

    fn by_prefix(&self, text: &str) -> Result<Option<String>, ResolveError> {
        if ExperimentId::parse(text).is_err() {
            return Ok(None);
        }
        let end = format!("{text}~");
        let candidates = self
            .connection
            .prepare("SELECT id FROM experiments WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 6")
            .and_then(|mut statement| {
                statement
                    .query_map([text, &end], |row| row.get(0))?
                    .collect::<Result<Vec<String>, _>>()
            })
            .map_err(|error| self.failed(&error))?;
        if candidates.len() > 1 {
            return Err(ResolveError::Ambiguous {
                text: text.to_owned(),
                candidates,
            });
        }
        Ok(candidates.into_iter().next())
    }

    fn similar_titles(&self, text: &str) -> Result<Vec<String>, StoreError> {
        let titles = self
            .connection
            .prepare("SELECT DISTINCT title FROM experiments")
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| row.get(0))?
                    .collect::<Result<Vec<String>, _>>()
            })
            .map_err(|error| self.failed(&error))?;
        let mut near: Vec<(f64, String)> = titles
            .into_iter()
            .map(|title| (strsim::jaro_winkler(&title, text), title))
            .filter(|(likeness, _)| *likeness > 0.8)
            .collect();
        near.sort_by(|left, right| right.0.total_cmp(&left.0));
        Ok(near.into_iter().take(3).map(|(_, title)| title).collect())
    }
}
