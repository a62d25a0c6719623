//! `${head_node_ip_var}` and friends: names that each executor replaces by its own (the seed's `ExecutorMacros`).
//!
//! ```text
//! "$$${head_node_ip_var}:29500" ─ substitute ─▶ "$head_node_ip:29500"   (a place with a shell, where that is a variable)
//! ```
//!
//! The values are *names* of variables, so a text asks for a value by a dollar before it, written `$$`. Substitution is
//! Python's `string.Template.safe_substitute`, to the letter: `$$` becomes `$`, `$name` and `${name}` are replaced where
//! the name is known, everything else stays as it is (<https://docs.python.org/3/library/string.html#template-strings>).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Role;

/// What an executor puts in the macros' places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorMacros {
    /// The variable with the address of the first node.
    pub head_node_ip_var: String,
    /// The variable with the number of processes a node.
    pub nproc_per_node_var: String,
    /// The variable with the number of nodes.
    pub num_nodes_var: String,
    /// The variable with this node's number.
    pub node_rank_var: String,
    /// The stem of the variables with the groups' hosts: `<stem>_<index>`.
    pub het_group_host_var: String,
    /// The variable with the path of the fault tolerance launcher's parameters.
    #[serde(default = "default_ft_launcher_cfg_path_var")]
    pub ft_launcher_cfg_path_var: String,
}

fn default_ft_launcher_cfg_path_var() -> String {
    "FAULT_TOL_CFG_PATH".to_owned()
}

impl ExecutorMacros {
    /// Stands for the first node's address.
    pub const HEAD_NODE_IP_VAR: &'static str = "${head_node_ip_var}";
    /// Stands for the number of processes a node.
    pub const NPROC_PER_NODE_VAR: &'static str = "${nproc_per_node_var}";
    /// Stands for the number of nodes.
    pub const NUM_NODES_VAR: &'static str = "${num_nodes_var}";
    /// Stands for this node's number.
    pub const NODE_RANK_VAR: &'static str = "${node_rank_var}";
    /// Stands for the path of the fault tolerance launcher's parameters.
    pub const FT_LAUNCHER_CFG_PATH_VAR: &'static str = "${ft_launcher_cfg_path_var}";

    /// The macros' names, as they stand between the braces.
    pub const NAMES: [&'static str; 6] = [
        "head_node_ip_var",
        "nproc_per_node_var",
        "num_nodes_var",
        "node_rank_var",
        "het_group_host_var",
        "ft_launcher_cfg_path_var",
    ];

    /// Stands for the address of the task's own first node, where launchers write it: in a group, each member has its own.
    pub(crate) const MASTER_ADDR_VAR: &'static str = "${master_addr_var}";
    /// Stands for a free port on that node.
    pub(crate) const MASTER_PORT_VAR: &'static str = "${master_port_var}";
    /// Stands for `all` or `none`: whether a process samples the GPUs' metrics.
    pub(crate) const METRICS_VAR: &'static str = "${gpu_metrics_var}";

    /// The macros that launchers write and users don't, and their variables: the same at every place.
    const OF_LAUNCHERS: [(&'static str, &'static str); 3] = [
        ("master_addr_var", "MASTER_ADDR"),
        ("master_port_var", "MASTER_PORT"),
        ("gpu_metrics_var", "MIZZEN_GPU_METRICS"),
    ];

    /// Stands for the host of the group with this number. Unlike the constants it carries the dollar that asks for the
    /// variable's value.
    #[must_use]
    pub fn group_host(index: usize) -> String {
        format!("$$${{het_group_host_var}}_{index}")
    }

    /// The macros and what stands for them.
    #[must_use]
    pub fn values(&self) -> BTreeMap<&'static str, &str> {
        let mut values = BTreeMap::from([
            ("head_node_ip_var", self.head_node_ip_var.as_str()),
            ("nproc_per_node_var", self.nproc_per_node_var.as_str()),
            ("num_nodes_var", self.num_nodes_var.as_str()),
            ("node_rank_var", self.node_rank_var.as_str()),
            ("het_group_host_var", self.het_group_host_var.as_str()),
            (
                "ft_launcher_cfg_path_var",
                self.ft_launcher_cfg_path_var.as_str(),
            ),
        ]);
        values.extend(Self::OF_LAUNCHERS);
        values
    }

    /// Replaces the macros in a text.
    #[must_use]
    pub fn substitute(&self, arg: &str) -> String {
        safe_substitute(arg, &self.values())
    }

    /// Replaces the macros in the arguments and in the environment's values of a copy of the role.
    #[must_use]
    pub fn apply(&self, role: &Role) -> Role {
        let mut role = role.clone();
        for arg in &mut role.args {
            *arg = self.substitute(arg);
        }
        for value in role.env.values_mut() {
            *value = self.substitute(value);
        }
        role
    }

    /// The text may hold a macro. What holds none is no template: the pipeline leaves it alone, dollars and all.
    /// `config::interpolate` uses the same rule the other way round: what it leaves as a template passes here.
    #[must_use]
    pub fn is_used_in(text: &str) -> bool {
        text.match_indices('$').any(|(position, _)| {
            let rest = &text[position + 1..];
            let rest = rest.strip_prefix('{').unwrap_or(rest);
            let own = Self::OF_LAUNCHERS.iter().map(|(name, _)| name);
            Self::NAMES
                .iter()
                .chain(own)
                .any(|name| rest.starts_with(name))
        })
    }
}

/// Python's `string.Template(text).safe_substitute(values)`. Identifiers are ASCII: `[_a-zA-Z][_a-zA-Z0-9]*`.
#[must_use]
pub fn safe_substitute(text: &str, values: &BTreeMap<&str, &str>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        result.push_str(&rest[..position]);
        rest = &rest[position + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
            continue;
        }
        let (name, after) = match rest.strip_prefix('{') {
            None => {
                let length = identifier_length(rest);
                (&rest[..length], &rest[length..])
            }
            Some(inside) => {
                let length = identifier_length(inside);
                match inside[length..].strip_prefix('}') {
                    Some(after) => (&inside[..length], after),
                    None => ("", rest),
                }
            }
        };
        match values.get(name) {
            Some(value) if !name.is_empty() => {
                result.push_str(value);
                rest = after;
            }
            // Unknown, or no name at all: the dollar stands for itself and what follows it is read as text.
            _ => result.push('$'),
        }
    }
    result.push_str(rest);
    result
}

fn identifier_length(text: &str) -> usize {
    let starts = text
        .bytes()
        .next()
        .is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic());
    if !starts {
        return 0;
    }
    text.bytes()
        .take_while(|&byte| byte == b'_' || byte.is_ascii_alphanumeric())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macros() -> ExecutorMacros {
        ExecutorMacros {
            head_node_ip_var: "head_node_ip".to_owned(),
            nproc_per_node_var: "SLURM_NTASKS_PER_NODE".to_owned(),
            num_nodes_var: "SLURM_NNODES".to_owned(),
            node_rank_var: "SLURM_NODEID".to_owned(),
            het_group_host_var: "het_group_host".to_owned(),
            ft_launcher_cfg_path_var: default_ft_launcher_cfg_path_var(),
        }
    }

    #[test]
    fn the_ways_to_write_a_macro() {
        let table = [
            ("$$${head_node_ip_var}", "$head_node_ip"),
            ("${head_node_ip_var}", "head_node_ip"),
            ("$head_node_ip_var:1", "head_node_ip:1"),
            ("$$${het_group_host_var}_2", "$het_group_host_2"),
            ("$het_group_host_var_2", "$het_group_host_var_2"),
            (
                "${unknown} $unknown $ $1 ${ ${} ${1} ${num_nodes_var",
                "${unknown} $unknown $ $1 ${ ${} ${1} ${num_nodes_var",
            ),
            ("$$$$", "$$"),
            ("$$", "$"),
            ("$", "$"),
            ("${é} $é", "${é} $é"),
            ("${${num_nodes_var}}", "${SLURM_NNODES}"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(macros().substitute(text), expected, "{text}");
        }
        assert_eq!(
            macros().substitute(&ExecutorMacros::group_host(1)),
            "$het_group_host_1"
        );
    }

    #[test]
    fn apply_leaves_the_role_that_it_was_given() {
        let role = Role {
            name: "r".to_owned(),
            entrypoint: "${num_nodes_var}".to_owned(),
            args: vec!["--nodes=$$${num_nodes_var}".to_owned()],
            env: [("A", "$${node_rank_var}"), ("B", "$$${node_rank_var}")]
                .into_iter()
                .collect(),
            ..Role::default()
        };
        let before = role.clone();
        let after = macros().apply(&role);
        assert_eq!(role, before);
        assert_eq!(after.args, ["--nodes=$SLURM_NNODES"]);
        assert_eq!(after.env.get("A"), Some("${node_rank_var}"));
        assert_eq!(after.env.get("B"), Some("$SLURM_NODEID"));
        assert_eq!(
            after.entrypoint, "${num_nodes_var}",
            "the entrypoint is no argument"
        );
    }

    #[test]
    fn only_templates_are_touched() {
        assert!(ExecutorMacros::is_used_in("x${node_rank_var}"));
        assert!(ExecutorMacros::is_used_in("x$node_rank_var"));
        assert!(!ExecutorMacros::is_used_in("echo $$ ${HOME} node_rank_var"));
    }
}
