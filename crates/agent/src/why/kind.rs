//! What kinds of failures there are, and what follows from each.

use serde::{Deserialize, Serialize};

/// Kinds of failures that are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WhyKind {
    /// A Python exception that nobody caught, of no other kind of these.
    Exception,
    /// A Rust program panicked, a C assertion failed, a C++ exception was not caught.
    Panic,
    /// A Python module is not installed where the job runs.
    MissingModule,
    /// A shared library is missing or too old.
    MissingLibrary,
    /// The program did not take its arguments.
    Usage,
    /// The program, or the script that it was to run, is not there.
    NotFound,
    /// A file may not be read, written or run by this user.
    PermissionDenied,
    /// The file is no program for this machine.
    NotExecutable,
    /// The kernel, or whoever limits the job's memory, ended it for using too much.
    OutOfMemory,
    /// The program was refused memory.
    MemoryError,
    /// The GPU's memory was not enough.
    GpuOutOfMemory,
    /// CUDA, or a library on it, reported an error.
    CudaError,
    /// The GPU itself is in trouble: memory errors, lost from the bus.
    GpuFault,
    /// There is no usable GPU, or no driver for it.
    NoGpu,
    /// NCCL reported an error.
    NcclError,
    /// Ranks waited for others that did not come, until their time was over.
    CollectiveTimeout,
    /// Not all ranks found each other.
    Rendezvous,
    /// Another rank or a server closed the connection or was not there.
    PeerLost,
    /// A port that was to be listened on is in use.
    PortTaken,
    /// Shared memory (`/dev/shm`) is used up.
    SharedMemory,
    /// A bus error.
    BusError,
    /// A segmentation fault.
    SegmentationFault,
    /// An instruction that the processor doesn't have.
    IllegalInstruction,
    /// The program ended itself by SIGABRT.
    Aborted,
    /// Another signal that says that the program did something wrong.
    Fault,
    /// A disk is full.
    DiskFull,
    /// The user's quota is used up.
    QuotaExceeded,
    /// A file system failed, or can only be read.
    FileSystem,
    /// Too many files are open.
    TooManyFiles,
    /// No more processes or threads may be started.
    TooManyProcesses,
    /// Told to end by SIGTERM or a signal like it.
    Terminated,
    /// Told to end by SIGINT.
    Interrupted,
    /// Ended by SIGKILL; by whom is not known.
    Killed,
    /// A scheduler took its nodes for something else.
    Preempted,
    /// A scheduler's time limit was over.
    TimeLimit,
    /// A node was lost.
    NodeFailure,
    /// It ended itself with a status, without a word that is known.
    ExitStatus,
    /// No sign of life for too long.
    Hung,
    /// A kind that a newer Mizzen knows.
    #[serde(other)]
    Other,
}

impl WhyKind {
    /// It may well be the consequence of another rank's failure: the words say no more than that somebody else was gone or
    /// did not come.
    #[must_use]
    pub const fn is_follower(self) -> bool {
        matches!(
            self,
            WhyKind::PeerLost
                | WhyKind::CollectiveTimeout
                | WhyKind::Rendezvous
                | WhyKind::NcclError
        )
    }

    /// The rank did what it was told to by a signal from outside.
    #[must_use]
    pub const fn is_told(self) -> bool {
        matches!(
            self,
            WhyKind::Terminated | WhyKind::Interrupted | WhyKind::Killed
        )
    }

    /// Something was used up, taken or broken: that is the reason, whatever followed from it.
    pub(super) const fn is_about_resources(self) -> bool {
        matches!(
            self,
            WhyKind::MemoryError
                | WhyKind::GpuOutOfMemory
                | WhyKind::CudaError
                | WhyKind::GpuFault
                | WhyKind::NoGpu
                | WhyKind::PortTaken
                | WhyKind::SharedMemory
                | WhyKind::DiskFull
                | WhyKind::QuotaExceeded
                | WhyKind::FileSystem
                | WhyKind::TooManyFiles
                | WhyKind::TooManyProcesses
        )
    }

    /// What a person may do about it, where that is the same for all of its kind.
    pub(super) const fn hint(self) -> Option<&'static str> {
        Some(match self {
            WhyKind::MissingModule => "install it in the Python environment in which the job runs",
            WhyKind::MissingLibrary => {
                "the library path (LD_LIBRARY_PATH, `module load`) or the container's image lacks it"
            }
            WhyKind::OutOfMemory => {
                "ask for more memory, or use less: fewer data loader workers, smaller batches in memory"
            }
            WhyKind::GpuOutOfMemory => {
                "a smaller batch, activation checkpointing or more GPUs to shard over need less of it; other processes on the GPU count too"
            }
            WhyKind::GpuFault => {
                "the hardware is at fault: leave this node out and tell its administrators"
            }
            WhyKind::NoGpu => {
                "look whether the job asks for GPUs, what CUDA_VISIBLE_DEVICES says, and whether driver and CUDA fit"
            }
            WhyKind::NcclError => "NCCL_DEBUG=WARN in the job's environment says more",
            WhyKind::CollectiveTimeout => {
                "a rank was slow, stuck or gone: look at the one that wrote least, or run with TORCH_DISTRIBUTED_DEBUG=DETAIL"
            }
            WhyKind::PortTaken => {
                "let the launcher choose the port (`ranks` and `torchrun` do unless told otherwise), or set a free one"
            }
            WhyKind::SharedMemory => {
                "raise the container's shared memory (`--shm-size`, `--ipc=host`) or use fewer data loader workers"
            }
            WhyKind::BusError => {
                "often /dev/shm is too small: raise the container's shared memory (`--shm-size`, `--ipc=host`) or use fewer data loader workers"
            }
            WhyKind::IllegalInstruction => "the program was built for another processor",
            WhyKind::TooManyFiles => {
                "raise `ulimit -n`, or share tensors by `torch.multiprocessing.set_sharing_strategy('file_system')`"
            }
            WhyKind::TooManyProcesses => {
                "raise `ulimit -u` or the job's process limit, or set OMP_NUM_THREADS"
            }
            WhyKind::Killed => {
                "often the out-of-memory killer of the machine or container: the kernel's log (dmesg) tells"
            }
            _ => return None,
        })
    }
}
