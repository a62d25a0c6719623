//! Ranks that an agent starts with no shell between: what a shell elsewhere would make of `$MIZZEN_NODE_RANK`, this does, rank
//! by rank.

use std::collections::BTreeMap;

use mizzen_agent::protocol::Rank;

use super::ExecutorMacros;
use crate::launcher::Launched;
use crate::model::Env;

/// What the variables with the groups' hosts begin with.
const GROUP_HOST: &str = "MIZZEN_GROUP_HOST";

/// The names of the variables that stand for the macros.
pub(super) fn macros() -> ExecutorMacros {
    ExecutorMacros {
        head_node_ip_var: "MIZZEN_HEAD_NODE_IP".to_owned(),
        nproc_per_node_var: "MIZZEN_NPROC_PER_NODE".to_owned(),
        num_nodes_var: "MIZZEN_NUM_NODES".to_owned(),
        node_rank_var: "MIZZEN_NODE_RANK".to_owned(),
        het_group_host_var: GROUP_HOST.to_owned(),
        ft_launcher_cfg_path_var: "FAULT_TOL_CFG_PATH".to_owned(),
    }
}

/// A port at which the launchers of several "nodes" meet: below those that systems give out by themselves, another one for each
/// attempt. Nobody can hold it for them, since they are started by others than who renders this.
pub(super) fn port(key: &str) -> u16 {
    let mixed = key.bytes().fold(0xcbf2_9ce4_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    20_000 + (mixed % 12_000) as u16
}

/// What the ranks of a job have in common.
pub(super) struct Direct<'a> {
    /// What the launcher starts.
    pub(super) launched: &'a Launched,
    /// The variables of all ranks; those that hold macros are each rank's own.
    pub(super) env: &'a Env,
    pub(super) nodes: u32,
    /// Processes a node, as the executor has it.
    pub(super) per_node: u32,
    /// The first node's address.
    pub(super) head: &'a str,
    /// The address of the group with a number.
    pub(super) group_host: &'a dyn Fn(&str) -> Option<String>,
}

impl Direct<'_> {
    /// How many ranks there are.
    pub(super) fn size(&self) -> u32 {
        self.nodes.saturating_mul(self.launched.processes)
    }

    /// A rank by its number.
    pub(super) fn rank(&self, rank: u32) -> Rank {
        let (command, processes) = (&self.launched.argv, self.launched.processes);
        let mut env = Vec::new();
        // Of a world the agent says more.
        if self.size() > 1 && self.launched.world.is_none() {
            env = rank_variables(rank, processes, self.size());
        }
        let uses_macros = command.iter().any(|text| ExecutorMacros::is_used_in(text))
            || self.with_macros().next().is_some();
        if !uses_macros {
            return Rank {
                argv: command.clone(),
                env,
            };
        }
        let values = self.values(rank);
        let expand = |text: &str| expand(text, &values, self.group_host);
        env.extend(
            self.with_macros()
                .map(|(name, value)| (name.to_owned(), expand(value))),
        );
        Rank {
            argv: command.iter().map(|text| expand(text)).collect(),
            env,
        }
    }

    fn with_macros(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env
            .iter()
            .filter(|(_, value)| ExecutorMacros::is_used_in(value))
    }

    fn values(&self, rank: u32) -> BTreeMap<String, String> {
        let node = rank / self.launched.processes.max(1);
        let metrics = self.launched.metrics.as_ref().is_none_or(|metrics| {
            rank.is_multiple_of(self.launched.processes.max(1))
                && metrics
                    .nodes
                    .as_ref()
                    .is_none_or(|nodes| nodes.contains(&node))
        });
        let macros = macros();
        BTreeMap::from([
            (macros.head_node_ip_var, self.head.to_owned()),
            (macros.nproc_per_node_var, self.per_node.to_string()),
            (macros.num_nodes_var, self.nodes.to_string()),
            (macros.node_rank_var, node.to_string()),
            (
                "MIZZEN_GPU_METRICS".to_owned(),
                if metrics { "all" } else { "none" }.to_owned(),
            ),
        ])
    }
}

/// What a program of several ranks reads; the names are PyTorch's.
fn rank_variables(rank: u32, per_node: u32, world: u32) -> Vec<(String, String)> {
    [
        ("RANK", rank),
        ("LOCAL_RANK", rank % per_node),
        ("NODE_RANK", rank / per_node),
        ("WORLD_SIZE", world),
        ("LOCAL_WORLD_SIZE", per_node),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_string()))
    .collect()
}

/// The macros' names, then the values of the variables that they name. Text without a macro is left alone.
fn expand(
    text: &str,
    values: &BTreeMap<String, String>,
    group_host: &dyn Fn(&str) -> Option<String>,
) -> String {
    if !ExecutorMacros::is_used_in(text) {
        return text.to_owned();
    }
    // A dollar that the user doubled must survive the second pass, and a group's host is this machine whatever its number.
    let named = macros().substitute(text);
    let mut result = String::with_capacity(named.len());
    let mut rest = named.as_str();
    while let Some(position) = rest.find('$') {
        result.push_str(&rest[..position]);
        rest = &rest[position..];
        let bare = rest[1..].strip_prefix('{').unwrap_or(&rest[1..]);
        let braced = bare.len() + 1 < rest.len();
        let length = bare
            .bytes()
            .take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric())
            .count();
        let name = &bare[..length];
        let value = values
            .get(name)
            .cloned()
            .or_else(|| group_host(name.strip_prefix(GROUP_HOST)?.strip_prefix('_')?));
        let closes = !braced || bare[length..].starts_with('}');
        match value {
            Some(value) if closes => {
                result.push_str(&value);
                rest = &bare[length + usize::from(braced)..];
            }
            _ => {
                result.push('$');
                rest = &rest[1..];
            }
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_get_a_nodes_values() {
        let launched = Launched {
            processes: 4,
            ..Launched::default()
        };
        let direct = Direct {
            launched: &launched,
            env: &Env::new(),
            nodes: 2,
            per_node: 4,
            head: "127.0.0.1",
            group_host: &|_| None,
        };
        let values = direct.values(4);
        let host = |index: &str| Some(format!("host-{index}"));
        let table = [
            ("$$${head_node_ip_var}:29500", "127.0.0.1:29500"),
            (
                "$$${node_rank_var}/$$${num_nodes_var}*$$${nproc_per_node_var}",
                "1/2*4",
            ),
            ("$$${het_group_host_var}_3", "host-3"),
            ("${node_rank_var}", "MIZZEN_NODE_RANK"),
            ("$$HOME $$${node_rank_var} $", "$HOME 1 $"),
            (
                "echo $$ ${HOME} $MIZZEN_NODE_RANK",
                "echo $$ ${HOME} $MIZZEN_NODE_RANK",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &values, &host), expected, "{text}");
        }
    }
}
