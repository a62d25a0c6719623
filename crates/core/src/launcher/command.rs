//! `command`: words of the user's before the task's command, for launchers that Mizzen does not know.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{COMMAND, Command, Launched, LauncherError, Site, Starter, Starts};

/// The settings of `command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// The words before the task's command. Macros can be used.
    pub command: Vec<String>,
    /// Start it once on each node instead of once for each process: it starts that node's processes itself.
    #[serde(default)]
    pub once_per_node: bool,
    /// Programs that must be there; the first word if not given.
    #[serde(default)]
    pub needs: Option<Vec<String>>,
}

impl Starts for Prefix {
    fn launch(&self, command: &Command<'_>, site: &Site<'_>) -> Result<Launched, LauncherError> {
        let first = self.command.first().filter(|word| !word.is_empty());
        let first = first.ok_or_else(|| LauncherError::Settings {
            launcher: COMMAND.to_owned(),
            reason: "`command` names no program".to_owned(),
        })?;
        let argv = self.command.iter().chain(&command.words).cloned().collect();
        Ok(Launched {
            needs: match &self.needs {
                Some(needs) => needs.clone(),
                None => vec![first.clone()],
            },
            ..command.profiled(
                argv,
                site,
                if self.once_per_node { 1 } else { site.per_node },
            )
        })
    }

    fn starter(&self) -> Starter {
        if self.once_per_node {
            Starter::Itself
        } else {
            Starter::Executor
        }
    }
}
