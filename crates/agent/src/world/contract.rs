//! What ranks of one world find in their environment, under the names that programs look for, and the files that go with it.
//!
//! Sources: PyTorch's environment variables of `torch.distributed` and of its elastic agent; Open MPI's `OMPI_COMM_WORLD_*` and the
//! `PMI_*` of MPICH's launchers, which many programs read without being MPI programs; JAX's `jax.distributed.initialize`.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use mizzen_agent::protocol::World;

use super::HEARTBEAT_VARIABLE;

/// What the variables are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) world: &'a World,
    /// Counted over all nodes.
    pub(super) rank: u32,
    pub(super) round: u32,
    pub(super) port: u16,
    /// The attempt's folder.
    pub(super) log_dir: &'a Path,
}

/// Where a rank leaves a description of its error.
pub(super) fn error_file(attempt: &Path, rank: u32) -> PathBuf {
    attempt.join(format!("errors/rank-{rank}.json"))
}

/// The file that a rank may touch to say that it lives.
pub(super) fn heartbeat_file(attempt: &Path, rank: u32) -> PathBuf {
    attempt.join(format!("alive/rank-{rank}"))
}

/// Makes the folders that ranks write to. Without them ranks run all the same, only less is known of their ends.
pub(super) fn make_folders(attempt: &Path, heartbeats: bool) {
    let mut folders = vec!["errors"];
    folders.extend(heartbeats.then_some("alive"));
    for folder in folders {
        let _ = fs::DirBuilder::new()
            .mode(0o700)
            .create(attempt.join(folder));
    }
}

/// The error files of a round go into a folder of its own, so that the next round's are not taken for them.
pub(super) fn put_error_files_aside(attempt: &Path, round: u32, ranks: Range<u32>) {
    let folder = attempt.join(format!("errors/{round}"));
    for rank in ranks {
        let file = error_file(attempt, rank);
        if !file.exists() {
            continue;
        }
        let _ = fs::DirBuilder::new().mode(0o700).create(&folder);
        if fs::rename(&file, folder.join(format!("rank-{rank}.json"))).is_err() {
            let _ = fs::remove_file(&file);
        }
    }
}

/// A rank's variables.
pub(super) fn variables(facts: &Facts<'_>) -> Vec<(String, String)> {
    let Facts {
        world,
        rank,
        round,
        port,
        log_dir,
    } = *facts;
    let per_node = world.per_node.max(1);
    let size = (world.nodes * world.per_node).to_string();
    let (number, local, node) = (
        rank.to_string(),
        (rank % per_node).to_string(),
        (rank / per_node).to_string(),
    );
    let (per_node, nodes) = (per_node.to_string(), world.nodes.to_string());
    let address = world.address.as_str();
    let port = port.to_string();
    let coordinator = if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    };
    let (round, restarts) = (round.to_string(), world.max_restarts.to_string());
    let error_file = error_file(log_dir, rank).to_string_lossy().into_owned();
    let mut variables: Vec<(&str, &str)> = vec![
        // torch.distributed's env:// and what torchrun's workers find.
        ("RANK", &number),
        ("LOCAL_RANK", &local),
        ("WORLD_SIZE", &size),
        ("LOCAL_WORLD_SIZE", &per_node),
        ("NODE_RANK", &node),
        ("GROUP_RANK", &node),
        ("GROUP_WORLD_SIZE", &nodes),
        ("ROLE_RANK", &number),
        ("ROLE_WORLD_SIZE", &size),
        ("ROLE_NAME", "default"),
        ("MASTER_ADDR", address),
        ("MASTER_PORT", &port),
        ("TORCHELASTIC_RESTART_COUNT", &round),
        ("TORCHELASTIC_MAX_RESTARTS", &restarts),
        ("TORCHELASTIC_RUN_ID", &world.run_id),
        ("TORCHELASTIC_USE_AGENT_STORE", "False"),
        ("TORCHELASTIC_ERROR_FILE", &error_file),
        ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
        // Open MPI's and MPICH's names.
        ("OMPI_COMM_WORLD_RANK", &number),
        ("OMPI_COMM_WORLD_SIZE", &size),
        ("OMPI_COMM_WORLD_LOCAL_RANK", &local),
        ("OMPI_COMM_WORLD_LOCAL_SIZE", &per_node),
        ("OMPI_COMM_WORLD_NODE_RANK", &local),
        ("PMI_RANK", &number),
        ("PMI_SIZE", &size),
        ("PMI_LOCAL_RANK", &local),
        ("PMI_LOCAL_SIZE", &per_node),
        // JAX.
        ("JAX_COORDINATOR_ADDRESS", &coordinator),
        ("JAX_NUM_PROCESSES", &size),
        ("JAX_PROCESS_ID", &number),
        // Ours.
        ("MIZZEN_RANK", &number),
        ("MIZZEN_LOCAL_RANK", &local),
        ("MIZZEN_WORLD_SIZE", &size),
        ("MIZZEN_LOCAL_WORLD_SIZE", &per_node),
        ("MIZZEN_NODE_RANK", &node),
        ("MIZZEN_NUM_NODES", &nodes),
        ("MIZZEN_RESTART_COUNT", &round),
    ];
    let heartbeat = heartbeat_file(log_dir, rank).to_string_lossy().into_owned();
    if world.hang_timeout.is_some() {
        variables.push((HEARTBEAT_VARIABLE, &heartbeat));
    }
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A rank's share of the devices: those that the job was given, else those that there are.
pub(super) fn devices_of(local: u32, each: u32, devices: &[String]) -> Option<(String, String)> {
    let first = (local * each) as usize;
    let chosen: Vec<String> = if devices.is_empty() {
        let numbers = local * each..(local + 1) * each;
        numbers.map(|number| number.to_string()).collect()
    } else {
        devices
            .iter()
            .skip(first)
            .take(each as usize)
            .cloned()
            .collect()
    };
    (each > 0).then(|| ("CUDA_VISIBLE_DEVICES".to_owned(), chosen.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_shared_out() {
        let devices: Vec<String> = ["4", "5", "6", "GPU-7"].map(str::to_owned).into();
        let of = |local, each, devices: &[String]| devices_of(local, each, devices).unwrap().1;
        assert_eq!(of(0, 1, &devices), "4");
        assert_eq!(of(1, 2, &devices), "6,GPU-7");
        assert_eq!(of(3, 1, &[]), "3");
        assert_eq!(of(4, 1, &devices), "");
        assert_eq!(devices_of(0, 0, &devices), None);
    }
}
