//! Which processors a rank may use: a share of those that the job has, never more.

use std::fs;

use mizzen_agent::protocol::Bind;

/// A set of processors, as sched_setaffinity(2) takes it.
#[derive(Clone, Copy)]
pub(crate) struct Share(libc::cpu_set_t);

impl std::fmt::Debug for Share {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.processors()).finish()
    }
}

impl Share {
    fn of(processors: &[usize]) -> Share {
        // SAFETY: a bit set, all zeroes is the empty one.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for processor in processors {
            if *processor < libc::CPU_SETSIZE as usize {
                // SAFETY: the number is below the set's size.
                unsafe { libc::CPU_SET(*processor, &mut set) };
            }
        }
        Share(set)
    }

    fn processors(&self) -> Vec<usize> {
        (0..libc::CPU_SETSIZE as usize)
            // SAFETY: the numbers are below the set's size.
            .filter(|processor| unsafe { libc::CPU_ISSET(*processor, &self.0) })
            .collect()
    }

    pub(crate) const fn as_ptr(&self) -> *const libc::cpu_set_t {
        &raw const self.0
    }
}

/// The processors that this process may use.
fn allowed() -> Vec<usize> {
    // SAFETY: as above; the call fills the set, whose size is told.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live local of the size that is told; 0 is this thread.
    let answer = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if answer < 0 {
        return Vec::new();
    }
    Share(set).processors()
}

/// The share of one of `ranks` ranks; `None` for all that the job has.
pub(super) fn share(bind: Bind, place: u32, ranks: u32) -> Option<Share> {
    let allowed = allowed();
    let chosen = match bind {
        Bind::None => return None,
        Bind::Cores => equal_share(&in_neighbourhood(&allowed), place, ranks),
        Bind::Numa => numa_share(&allowed, numa_nodes(), place, ranks),
    };
    (!chosen.is_empty()).then(|| Share::of(&chosen))
}

/// Threads for a rank: as many as it has processors.
pub(super) fn threads(share: Option<&Share>, ranks: u32) -> u32 {
    let count = match share {
        Some(share) => share.processors().len(),
        None => allowed().len() / ranks.max(1) as usize,
    };
    u32::try_from(count).unwrap_or(1).max(1)
}

/// Neighbours of the list, the first ranks one more where it does not come out even; one each, in turns, if there are more ranks.
fn equal_share(processors: &[usize], place: u32, ranks: u32) -> Vec<usize> {
    let (count, ranks, place) = (processors.len(), ranks.max(1) as usize, place as usize);
    if count == 0 {
        return Vec::new();
    }
    if ranks >= count {
        return vec![processors[place % count]];
    }
    let first = place * count / ranks;
    let last = (place + 1) * count / ranks;
    processors[first.min(count)..last.min(count)].to_vec()
}

/// Threads of one core next to each other: a rank gets whole cores where that is possible.
fn in_neighbourhood(processors: &[usize]) -> Vec<usize> {
    let mut keyed: Vec<(usize, usize, usize)> = processors
        .iter()
        .map(|processor| {
            let read = |file: &str| {
                let path = format!("/sys/devices/system/cpu/cpu{processor}/topology/{file}");
                fs::read_to_string(path).ok()?.trim().parse().ok()
            };
            (
                read("physical_package_id").unwrap_or(0),
                read("core_id").unwrap_or(*processor),
                *processor,
            )
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(.., processor)| processor).collect()
}

fn numa_share(allowed: &[usize], nodes: Vec<Vec<usize>>, place: u32, ranks: u32) -> Vec<usize> {
    let nodes: Vec<Vec<usize>> = nodes
        .into_iter()
        .map(|processors| {
            processors
                .into_iter()
                .filter(|processor| allowed.contains(processor))
                .collect::<Vec<_>>()
        })
        .filter(|processors| !processors.is_empty())
        .collect();
    if nodes.is_empty() {
        return allowed.to_vec();
    }
    let node = place as usize * nodes.len() / ranks.max(1) as usize;
    nodes[node.min(nodes.len() - 1)].clone()
}

fn numa_nodes() -> Vec<Vec<usize>> {
    let read = |number: usize| {
        fs::read_to_string(format!("/sys/devices/system/node/node{number}/cpulist")).ok()
    };
    // Numbers may be missing, as of nodes without processors.
    (0..64)
        .filter_map(read)
        .map(|list| processors_of(&list))
        .collect()
}

/// Reads the kernel's `0-3,8`.
fn processors_of(list: &str) -> Vec<usize> {
    let mut processors = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse(), last.parse::<usize>()) {
            processors.extend(first..=last.min(libc::CPU_SETSIZE as usize));
        }
    }
    processors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        let processors: Vec<usize> = (0..10).collect();
        let shares: Vec<Vec<usize>> = (0..4)
            .map(|rank| equal_share(&processors, rank, 4))
            .collect();
        assert_eq!(shares.concat(), processors);
        assert!(shares.iter().all(|share| (2..=3).contains(&share.len())));
        assert_eq!(equal_share(&processors, 11, 20), [1]);
        assert_eq!(equal_share(&[], 0, 2), Vec::<usize>::new());
    }

    #[test]
    fn neighbours_share_a_numa_node() {
        let nodes = || vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]];
        let allowed: Vec<usize> = (1..8).collect();
        let of = |place| numa_share(&allowed, nodes(), place, 4);
        // The third node is none of the job's.
        assert_eq!([of(0), of(1)], [[1, 2, 3], [1, 2, 3]]);
        assert_eq!([of(2), of(3)], [[4, 5, 6, 7], [4, 5, 6, 7]]);
        assert_eq!(numa_share(&allowed, Vec::new(), 0, 1), allowed);
    }

    #[test]
    fn the_kernels_lists_are_read() {
        assert_eq!(processors_of("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(processors_of("\n"), Vec::<usize>::new());
        assert_eq!(processors_of("x,1-y,3"), [3]);
    }

    #[test]
    fn a_share_is_within_what_is_allowed() {
        let allowed = allowed();
        let share = share(Bind::Cores, 0, 2).unwrap();
        assert!(share.processors().iter().all(|one| allowed.contains(one)));
        assert_eq!(threads(Some(&share), 2) as usize, share.processors().len());
        assert!(threads(None, u32::MAX) == 1);
    }
}
