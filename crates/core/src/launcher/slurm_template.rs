//! `slurm_template`: a script of the user's in place of the command, once for each process.
//!
//! ```text
//! template_path | template_inline ─┐
//! template_vars, command, argv ────┴─ template.rs ─▶ launcher/script.sh ◀─ bash
//! ```
//!
//! A file is read when the experiment is planned (`submit::launchers`): what runs is what was there then.

use minijinja::Value;
use minijinja::value::Serde;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::template::{fill, line, safe};
use super::{Command, Launched, LauncherError, SCRIPTS, SLURM_TEMPLATE, Site, Starter, Starts};
use crate::plan::JobFile;

/// The settings of `slurm_template`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmTemplate {
    /// The file with the template.
    pub template_path: Option<String>,
    /// The template itself. In it `{{ command }}` is the command, quoted for a shell, and `{{ argv }}` the list of its words.
    pub template_inline: Option<String>,
    /// Further values for the template: each is one word of a shell, `{{ name|safe }}` the text as it is.
    pub template_vars: serde_json::Map<String, serde_json::Value>,
}

impl Starts for SlurmTemplate {
    fn launch(&self, command: &Command<'_>, site: &Site<'_>) -> Result<Launched, LauncherError> {
        let Some(quote) = site.quote else {
            return Err(LauncherError::Place {
                launcher: SLURM_TEMPLATE.to_owned(),
                lacks: "a place where a script can replace the command".to_owned(),
            });
        };
        let refuse = |reason: String| LauncherError::Settings {
            launcher: SLURM_TEMPLATE.to_owned(),
            reason,
        };
        let name = self.template_path.as_deref().unwrap_or("template_inline");
        let text = match (&self.template_inline, &self.template_path) {
            (Some(text), _) => text,
            (None, Some(path)) => return Err(refuse(format!("{path} was not read"))),
            (None, None) => {
                return Err(refuse(
                    "it needs `template_path` or `template_inline`".to_owned(),
                ));
            }
        };
        let launched = command.profiled(command.words.clone(), site, site.per_node);
        let mut values: std::collections::BTreeMap<String, Value> = self
            .template_vars
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(Serde(value))))
            .collect();
        let own = [
            ("command", safe(line(&launched.argv, quote))),
            ("argv", Value::from(launched.argv.clone())),
            ("job", Value::from(site.job)),
            ("job_dir", Value::from(site.job_dir)),
            ("nodes", Value::from(site.nodes)),
            ("nproc_per_node", Value::from(site.per_node)),
        ];
        for (name, value) in own {
            // The user's own values win over names that NeMo-Run has not got.
            if name == "command" || !values.contains_key(name) {
                values.insert(name.to_owned(), value);
            }
        }
        let script = fill(name, text, &Value::from(values), quote).map_err(|reason| {
            LauncherError::Template {
                launcher: SLURM_TEMPLATE.to_owned(),
                reason,
            }
        })?;
        let path = format!("{SCRIPTS}/script.sh");
        let file = format!("{}/{path}", site.job_dir);
        Ok(Launched {
            argv: if script.starts_with("#!") {
                vec![file]
            } else {
                vec!["bash".to_owned(), file]
            },
            files: vec![JobFile {
                path,
                contents: script,
                executable: true,
            }],
            ..launched
        })
    }

    fn starter(&self) -> Starter {
        Starter::Executor
    }
}
