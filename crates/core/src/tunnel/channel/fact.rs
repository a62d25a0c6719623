//! Whether a place was reachable when somebody last tried: a file, written when that changes, for everybody who wants to
//! know without connecting.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::super::TunnelSettings;
use crate::context::{Context, create_private_dir, replace_file};
use crate::model::Timestamp;

/// The file in a place's folder.
const FILE: &str = "connection.json";

/// What is known about the connection to a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFact {
    /// The place, as [`TunnelSettings::place`] names it.
    pub place: String,
    /// Its state.
    pub state: ConnectionState,
    /// Since when, in microseconds since the epoch.
    pub since: Timestamp,
    /// Why it is closed; empty if it is open.
    pub words: String,
}

/// See [`ConnectionFact`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Commands reach the place.
    Open,
    /// They do not.
    Closed,
}

/// What is known about the connection to a place; nothing if nobody has used it yet, or if it is this machine.
#[must_use]
pub fn connection(context: &Context, settings: &TunnelSettings) -> Option<ConnectionFact> {
    Facts::new(context, settings).read()
}

/// The file of one place.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    context: Context,
    place: String,
    folder: Utf8PathBuf,
}

impl Facts {
    pub(super) fn new(context: &Context, settings: &TunnelSettings) -> Facts {
        Facts {
            context: context.clone(),
            place: settings.place(),
            folder: settings.place_dir(context),
        }
    }

    fn read(&self) -> Option<ConnectionFact> {
        let bytes = fs_err::read(self.folder.join(FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn open(&self) {
        self.set(ConnectionState::Open, "");
    }

    pub(super) fn closed(&self, words: &str) {
        self.set(ConnectionState::Closed, words);
    }

    /// Writes it if it is news. It is news only: whatever goes wrong here is not worth failing for.
    fn set(&self, state: ConnectionState, words: &str) {
        let before = self.read().filter(|before| before.state == state);
        if before.as_ref().is_some_and(|before| before.words == words) {
            return;
        }
        let fact = ConnectionFact {
            place: self.place.clone(),
            state,
            since: before.map_or_else(|| self.context.clock.now(), |before| before.since),
            words: words.to_owned(),
        };
        let Ok(bytes) = serde_json::to_vec(&fact) else {
            return;
        };
        // A home that was removed is not made again: whoever did that meant it.
        if self.context.home.is_dir() && create_private_dir(&self.folder).is_ok() {
            let _ = replace_file(&self.folder.join(FILE), &bytes, 0o600);
        }
    }
}
