//! The texts of the scripts: one template each, in which every value is one word of a shell unless the template says
//! otherwise (`|safe`).
//!
//! ```text
//! Batch   ─ batch.sh.jinja   ─▶ <a>.sh            claims, finds addresses, starts and watches the steps, merges records
//! Command ─ command.sh.jinja ─▶ <a>.command.sh    exports, secrets, cd, exec
//! Array   ─ array.sh.jinja   ─▶ batch.sh          unpacks and runs what the unit with the task's index needs
//! ```
//!
//! The escaping is [`quote`], the same that tunnels use.

use std::fmt::Write as _;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use super::array::Array;
use crate::executor::ExecutorMacros;
use crate::tunnel::quote;

/// How the templates escape.
const SHELL: &str = "sh";

/// The templates' names.
const BATCH: &str = "batch";
const COMMAND: &str = "command";
const ARRAY: &str = "array";

/// What the batch script is made from. Fields named `…` in the template with `|safe` are shell text already.
#[derive(Debug, Serialize)]
pub(super) struct Batch<'a> {
    /// The members' names, for the first line.
    pub(super) names: String,
    pub(super) key: &'a str,
    pub(super) attempt: u32,
    /// The script's own path.
    pub(super) path: String,
    pub(super) options: &'a [String],
    pub(super) retries: u32,
    /// E.
    pub(super) directory: &'a str,
    /// Shell text: the output file of a task of an array.
    pub(super) array_output: String,
    /// Nodes of all components.
    pub(super) nodes: u32,
    /// Shell text: the lists of nodes.
    pub(super) nodelists: Vec<String>,
    /// For each component or member, the place of its first node among all.
    pub(super) hosts: Vec<u32>,
    pub(super) port: Option<u16>,
    /// Folders to make before anything starts.
    pub(super) work_folders: Vec<String>,
    /// Shell text of the user's, for all members.
    pub(super) setup: Option<&'a str>,
    /// Nodes whose GPUs' memory is measured.
    pub(super) measured_nodes: Option<u32>,
    /// The first member's name.
    pub(super) first: &'a str,
    pub(super) group: bool,
    /// Some member's ranks are a world.
    pub(super) worlds: bool,
    /// Some member's code is a tree that was sent.
    pub(super) shipped: bool,
    pub(super) members: Vec<BatchMember<'a>>,
    /// Seconds between two starts.
    pub(super) pause: i64,
    /// A failure ends the group.
    pub(super) monitor: bool,
    /// The member whose success ends the group, or -1.
    pub(super) leader: i64,
    /// Whole seconds of the longest grace.
    pub(super) grace: u64,
    /// The signal that comes to the batch script and is passed on.
    pub(super) signal: Option<String>,
    pub(super) signal_setting: &'a str,
}

/// A member in the batch script.
#[derive(Debug, Serialize)]
pub(super) struct BatchMember<'a> {
    pub(super) name: &'a str,
    pub(super) comment: String,
    pub(super) ranks: u32,
    /// Shell text: the file for srun's words.
    pub(super) log: String,
    /// Shell text: the address of its first node.
    pub(super) master: String,
    /// Shell text of the user's, for this member.
    pub(super) setup: Option<&'a str>,
    /// Shell text: lines before the step.
    pub(super) prepare: Vec<String>,
    /// Shell text: srun's arguments, one a line.
    pub(super) arguments: Vec<String>,
    pub(super) grace: String,
    pub(super) timeout: Option<String>,
    /// Its ranks are one world, which one agent on each node starts.
    pub(super) world: Option<BatchWorld>,
}

/// A world of ranks in the batch script.
#[derive(Debug, Serialize)]
pub(super) struct BatchWorld {
    /// As the agents take it.
    pub(super) json: String,
    pub(super) per_node: u32,
}

/// What a member's command is made from.
#[derive(Debug, Serialize)]
pub(super) struct Command<'a> {
    pub(super) job: &'a str,
    pub(super) attempt: u32,
    /// Names, and values as shell text.
    pub(super) env: Vec<(String, String)>,
    pub(super) nproc_per_node: u32,
    /// The step has one task a node, which starts that many processes.
    pub(super) one_a_node: bool,
    /// Shell text: programs that must be on the PATH.
    pub(super) needs: Vec<String>,
    /// Shell text: the nodes on which the GPUs' metrics are sampled, as a pattern of `case`.
    pub(super) metrics: Option<String>,
    /// The file of secrets.
    pub(super) secrets: Option<String>,
    pub(super) workdir: &'a str,
    /// Shell text.
    pub(super) command: String,
}

/// A script can't be made from its template: a mistake in the template, not in what is put in.
#[derive(Debug, thiserror::Error)]
#[error("the template of a script is wrong: {0}")]
pub(super) struct TemplateError(String);

pub(super) fn batch(batch: &Batch<'_>) -> Result<String, TemplateError> {
    fill(BATCH, batch)
}

pub(super) fn command(command: &Command<'_>) -> Result<String, TemplateError> {
    fill(COMMAND, command)
}

/// The templates, made ready once: that takes longer than filling one in.
static TEMPLATES: LazyLock<Result<Environment<'static>, minijinja::Error>> =
    LazyLock::new(environment);

pub(super) fn array(array: &Array) -> Result<String, TemplateError> {
    fill(ARRAY, array)
}

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()?,
    );
    environment.set_auto_escape_callback(|_| AutoEscape::Custom(SHELL.into()));
    environment.set_formatter(|output, state, value| {
        let quoted = matches!(state.auto_escape(), AutoEscape::Custom(name) if name == SHELL)
            && !value.is_safe();
        match value.as_str() {
            Some(text) if quoted => output.write_str(&quote(text))?,
            Some(text) => output.write_str(text)?,
            None => write!(output, "{value}")?,
        }
        Ok(())
    });
    for (name, text) in [
        (BATCH, include_str!("batch.sh.jinja")),
        (COMMAND, include_str!("command.sh.jinja")),
        (ARRAY, include_str!("array.sh.jinja")),
    ] {
        environment.add_template(name, text)?;
    }
    Ok(environment)
}

fn fill(name: &str, context: impl Serialize) -> Result<String, TemplateError> {
    let environment = TEMPLATES
        .as_ref()
        .map_err(|error| TemplateError(error.to_string()))?;
    environment
        .get_template(name)
        .and_then(|template| template.render(Serde(context)))
        .map_err(|error| TemplateError(error.to_string()))
}

/// The names of this executor's variables: NeMo-Run's.
pub(super) fn macros() -> ExecutorMacros {
    ExecutorMacros {
        head_node_ip_var: "head_node_ip".to_owned(),
        nproc_per_node_var: "SLURM_NTASKS_PER_NODE".to_owned(),
        num_nodes_var: "SLURM_NNODES".to_owned(),
        node_rank_var: "SLURM_NODEID".to_owned(),
        het_group_host_var: "het_group_host".to_owned(),
        ft_launcher_cfg_path_var: "FAULT_TOL_CFG_PATH".to_owned(),
    }
}

/// The name belongs to a variable of the macros.
fn is_macro_variable(name: &str) -> bool {
    let macros = macros();
    macros
        .values()
        .iter()
        .any(|(macro_name, variable)| *macro_name != "het_group_host_var" && *variable == name)
        || name
            .strip_prefix(macros.het_group_host_var.as_str())
            .and_then(|rest| rest.strip_prefix('_'))
            .is_some_and(|index| {
                !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())
            })
}

/// A text as one word of a shell, in which the macros' variables are expanded and everything else is literal.
pub(super) fn word(text: &str) -> String {
    if !ExecutorMacros::is_used_in(text) {
        return quote(text);
    }
    let named = macros().substitute(text);
    let (mut result, mut literal) = (String::new(), String::new());
    let mut rest = named.as_str();
    while let Some(position) = rest.find('$') {
        literal.push_str(&rest[..position]);
        rest = &rest[position..];
        let bare = rest[1..].strip_prefix('{').unwrap_or(&rest[1..]);
        let braced = bare.len() + 1 < rest.len();
        let length = bare
            .bytes()
            .take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric())
            .count();
        let name = &bare[..length];
        if is_macro_variable(name) && (!braced || bare[length..].starts_with('}')) {
            if !literal.is_empty() {
                result.push_str(&quote(&literal));
                literal.clear();
            }
            let _ = write!(result, "\"${{{name}}}\"");
            rest = &bare[length + usize::from(braced)..];
        } else {
            literal.push('$');
            rest = &rest[1..];
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() || result.is_empty() {
        result.push_str(&quote(&literal));
    }
    result
}

/// A name that a shell can give a variable.
pub(super) fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// One of Slurm's patterns for a file as shell text, as the batch script knows its parts; `None` if it holds what only
/// Slurm knows. NeMo-Run's `${SLURM_RESTART_COUNT:-0}` is known too.
pub(super) fn pattern(pattern: &str, job_name: &str) -> Option<String> {
    const RESTART: &str = "${SLURM_RESTART_COUNT:-0}";
    let (mut result, mut literal) = (String::new(), String::new());
    let mut rest = pattern;
    let mut variable = |literal: &mut String, text: &str| {
        if !literal.is_empty() {
            result.push_str(&quote(literal));
            literal.clear();
        }
        result.push_str(text);
    };
    while let Some(first) = rest.chars().next() {
        let known = [
            ("%%", None),
            ("%j", Some("\"$id\"")),
            ("%A_%a", Some("\"$id\"")),
            ("%A", Some("\"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}\"")),
            ("%a", Some("\"${SLURM_ARRAY_TASK_ID:-}\"")),
            ("%u", Some("\"$USER\"")),
            ("%N", Some("\"${SLURMD_NODENAME:-}\"")),
            ("%r", Some("\"$restart\"")),
            (RESTART, Some("\"$restart\"")),
        ]
        .into_iter()
        .find_map(|(mark, text)| Some((rest.strip_prefix(mark)?, text)));
        match known {
            Some((after, Some(text))) => {
                variable(&mut literal, text);
                rest = after;
            }
            Some((after, None)) => {
                literal.push('%');
                rest = after;
            }
            None if rest.starts_with("%x") => {
                literal.push_str(job_name);
                rest = &rest[2..];
            }
            None if first == '%' || first == '\\' => return None,
            None => {
                literal.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    if !literal.is_empty() {
        result.push_str(&quote(&literal));
    }
    Some(result)
}

/// A text that may stand in a comment.
pub(super) fn comment(text: &str) -> String {
    text.replace(|character: char| character.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_are_expanded_by_the_shell_and_nothing_else_is() {
        let table = [
            ("$$${head_node_ip_var}:29500", "\"${head_node_ip}\":29500"),
            ("a b $$${node_rank_var}'", "'a b '\"${SLURM_NODEID}\"\"'\""),
            ("$$${het_group_host_var}_3", "\"${het_group_host_3}\""),
            ("${node_rank_var}", "SLURM_NODEID"),
            (
                "$$HOME `x` $$${node_rank_var} $",
                "'$HOME `x` '\"${SLURM_NODEID}\"' $'",
            ),
            (
                "echo $$ ${HOME} $SLURM_NODEID",
                "'echo $$ ${HOME} $SLURM_NODEID'",
            ),
            ("", "''"),
        ];
        for (text, expected) in table {
            assert_eq!(word(text), expected, "{text}");
        }
    }

    #[test]
    fn patterns_of_files() {
        assert_eq!(
            pattern("/a b/log-%x_%j_${SLURM_RESTART_COUNT:-0}.out", "n").unwrap(),
            "'/a b/log-n_'\"$id\"_\"$restart\".out"
        );
        assert_eq!(pattern("/100%%/%A_%a", "n").unwrap(), "'/100%/'\"$id\"");
        assert_eq!(pattern("/a/%t", "n"), None);
    }
}
