//! The texts of the scripts.

use super::payload::{ArraySubmission, Submission};
use crate::executor::ExecutorMacros;

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

/// A name that a shell can give a variable.
pub(super) fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The units as one array, in their order. They must share one ([`Submission::shares_array_with`]).
#[must_use]
pub fn array(units: &[Submission]) -> Option<ArraySubmission> {
    let _ = units;
    None
}
