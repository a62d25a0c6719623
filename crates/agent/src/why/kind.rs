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
}
