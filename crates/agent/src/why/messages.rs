//! What programs and libraries say when they fail: their words, and what they mean.
//!
//! One table, read from its top: the more particular words stand before the more general ones. To add one: a line of the
//! table, and a real message in the tests.

use super::WhyKind;

/// What a message means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) kind: WhyKind,
    /// One line for people; none: the message itself is the best line.
    pub(super) text: Option<String>,
    /// What to do, if that is not the same for all of the kind.
    pub(super) hint: Option<&'static str>,
    /// Said of things that may go well after all, so that it counts only where it is the end.
    pub(super) weak: bool,
}

/// How the text is made.
enum Text {
    /// The message itself.
    Message,
    /// These words.
    Say(&'static str),
    /// From the message.
    Make(fn(&str) -> Option<String>),
}

/// Words that mean something.
struct Words {
    /// All of these are in the message.
    all: &'static [&'static str],
    kind: WhyKind,
    text: Text,
    hint: Option<&'static str>,
    weak: bool,
}

const fn words(all: &'static [&'static str], kind: WhyKind, text: Text) -> Words {
    Words {
        all,
        kind,
        text,
        hint: None,
        weak: false,
    }
}

const fn hinted(
    all: &'static [&'static str],
    kind: WhyKind,
    text: Text,
    hint: &'static str,
) -> Words {
    Words {
        hint: Some(hint),
        ..words(all, kind, text)
    }
}

/// Libraries try again, and say this of each try.
const fn weak(all: &'static [&'static str], kind: WhyKind, text: Text) -> Words {
    Words {
        weak: true,
        ..words(all, kind, text)
    }
}

use Text::{Make, Message, Say};
use WhyKind as K;

const SHM_UP: &str = "shared memory (/dev/shm) is used up";
const DISK: &str = "no space left on the disk";

#[rustfmt::skip]
const TABLE: &[Words] = &[
    // Data loaders of torch tell how their workers died.
    words(&["DataLoader worker", "killed by signal: Bus error"], K::SharedMemory, Say("a data loader worker died of a bus error: shared memory (/dev/shm) is used up")),
    words(&["DataLoader worker", "killed by signal: Segmentation fault"], K::SegmentationFault, Say("a data loader worker died of a segmentation fault")),
    words(&["DataLoader worker", "killed by signal: Terminated"], K::Terminated, Say("a data loader worker was ended by SIGTERM")),
    hinted(&["DataLoader worker", "killed by signal: Killed"], K::Killed, Say("a data loader worker was killed"), "usually by the out-of-memory killer: use fewer workers, or ask for more memory"),

    // The GPU's memory.
    words(&["CUDA out of memory"], K::GpuOutOfMemory, Make(gpu_memory)),
    words(&["HIP out of memory"], K::GpuOutOfMemory, Make(gpu_memory)),
    words(&["CUDA error: out of memory"], K::GpuOutOfMemory, Say("CUDA out of memory")),
    words(&["CUDA_ERROR_OUT_OF_MEMORY"], K::GpuOutOfMemory, Say("CUDA out of memory")),
    words(&["CUBLAS_STATUS_ALLOC_FAILED"], K::GpuOutOfMemory, Say("CUDA out of memory (in cuBLAS)")),
    words(&["Cuda failure", "out of memory"], K::GpuOutOfMemory, Say("CUDA out of memory (in NCCL)")),
    words(&["RESOURCE_EXHAUSTED", "ut of memory"], K::GpuOutOfMemory, Make(xla_memory)),
    words(&["OOM when allocating tensor"], K::GpuOutOfMemory, Say("GPU out of memory")),

    // The GPU itself.
    words(&["uncorrectable ECC error"], K::GpuFault, Say("CUDA error: uncorrectable ECC error of the GPU's memory")),
    words(&["fallen off the bus"], K::GpuFault, Say("the GPU has fallen off the bus")),
    words(&["NVRM: Xid"], K::GpuFault, Message),
    words(&["Unable to determine the device handle for"], K::GpuFault, Say("a GPU is lost: its driver can't reach it")),
    words(&["CUDA error: unknown error"], K::GpuFault, Say("CUDA error: unknown error")),
    words(&["CUDA error: hardware stack error"], K::GpuFault, Message),
    words(&["no CUDA-capable device is detected"], K::NoGpu, Say("there is no GPU here")),
    words(&["No CUDA GPUs are available"], K::NoGpu, Say("there is no GPU here")),
    words(&["Found no NVIDIA driver"], K::NoGpu, Say("there is no NVIDIA driver here")),
    words(&["Torch not compiled with CUDA enabled"], K::NoGpu, Say("this PyTorch was built without CUDA")),
    words(&["CUDA-capable device(s) is/are busy or unavailable"], K::NoGpu, Say("all GPUs are busy or unavailable")),
    words(&["all CUDA-capable devices are busy or unavailable"], K::NoGpu, Say("all GPUs are busy or unavailable")),
    hinted(&["CUDA error: invalid device ordinal"], K::NoGpu, Say("there is no GPU with the number that was asked for"), "use LOCAL_RANK for the device's number, and look how many GPUs the job has on each node"),
    words(&["CUDA driver version is insufficient"], K::NoGpu, Say("the NVIDIA driver is too old for this CUDA")),
    words(&["The NVIDIA driver on your system is too old"], K::NoGpu, Say("the NVIDIA driver is too old for this PyTorch")),
    words(&["libcuda.so", "cannot open shared object file"], K::NoGpu, Say("there is no NVIDIA driver here (libcuda.so is missing)")),
    hinted(&["no kernel image is available for execution"], K::CudaError, Say("CUDA error: this build has no code for this GPU"), "install a build for this GPU's architecture"),

    // NCCL, before CUDA's general words: it repeats them.
    hinted(&["Duplicate GPU detected"], K::NcclError, Make(duplicate_gpu), "let each rank use the GPU with the number in LOCAL_RANK, or launch with one GPU per rank"),
    words(&["Watchdog caught collective operation timeout"], K::CollectiveTimeout, Make(watchdog)),
    words(&["watchdog got stuck for"], K::CollectiveTimeout, Say("NCCL's watchdog got stuck")),
    words(&["Exception (either an error or timeout) detected by watchdog"], K::CollectiveTimeout, Say("an NCCL operation failed or took too long")),
    words(&["Timed out waiting", "recv operation to complete"], K::CollectiveTimeout, Make(gloo_timeout)),
    words(&["Timed out waiting", "send operation to complete"], K::CollectiveTimeout, Make(gloo_timeout)),
    words(&["monitoredBarrier failed"], K::CollectiveTimeout, Message),
    words(&["failed to pass monitoredBarrier"], K::CollectiveTimeout, Message),
    words(&["Application timeout caused pair closure"], K::CollectiveTimeout, Say("gloo: another rank did not answer in time")),
    words(&["ncclRemoteError"], K::PeerLost, Say("NCCL: another rank ended, or the network failed")),
    words(&["remote process exited or there was a network error"], K::PeerLost, Say("NCCL: another rank ended, or the network failed")),
    hinted(&["Error while creating shared memory segment"], K::SharedMemory, Say("NCCL: shared memory (/dev/shm) is used up"), "raise the container's shared memory (`--shm-size`, `--ipc=host`)"),
    words(&["no socket interface found"], K::NcclError, Say("NCCL found no network interface; NCCL_SOCKET_IFNAME names one")),
    words(&["transport retry counter exceeded"], K::NcclError, Say("NCCL: InfiniBand gave up after too many retries; the fabric or another node is in trouble")),
    words(&["retrieving ncclUniqueId from", "got error:"], K::PeerLost, Say("NCCL could not be set up: the first rank was gone or did not answer")),
    words(&["NCCL communicator was aborted"], K::PeerLost, Say("NCCL: the communicator was aborted, as another rank failed")),
    words(&["NCCL error"], K::NcclError, Make(nccl)),
    words(&["ncclInternalError"], K::NcclError, Say("NCCL: internal error")),
    words(&["ncclInvalidUsage"], K::NcclError, Say("NCCL: wrong use")),
    words(&["ncclSystemError"], K::NcclError, Say("NCCL: a system call failed")),
    words(&["ncclUnhandledCudaError"], K::NcclError, Say("NCCL: a CUDA call failed")),

    // CUDA's general words.
    hinted(&["device-side assert triggered"], K::CudaError, Say("CUDA error: device-side assert triggered"), "usually an index or label out of range; CUDA_LAUNCH_BLOCKING=1 shows where"),
    hinted(&["an illegal memory access was encountered"], K::CudaError, Say("CUDA error: illegal memory access"), "CUDA_LAUNCH_BLOCKING=1 or compute-sanitizer shows where"),
    hinted(&["unspecified launch failure"], K::CudaError, Say("CUDA error: unspecified launch failure"), "a kernel crashed, or the GPU did; compute-sanitizer tells which"),
    words(&["CUDA error: "], K::CudaError, Make(|said| from_word(said, "CUDA error: "))),
    words(&["HIP error: "], K::CudaError, Make(|said| from_word(said, "HIP error: "))),
    words(&["cuDNN error: "], K::CudaError, Make(|said| from_word(said, "cuDNN error: "))),
    words(&["CUDNN_STATUS_"], K::CudaError, Make(|said| word_at(said, "CUDNN_STATUS_").map(|word| format!("cuDNN error: {word}")))),
    words(&["CUBLAS_STATUS_"], K::CudaError, Make(|said| word_at(said, "CUBLAS_STATUS_").map(|word| format!("cuBLAS error: {word}")))),

    // Ports and peers.
    words(&["failed to bind to", "Address already in use"], K::PortTaken, Make(bound_port)),
    words(&["EADDRINUSE"], K::PortTaken, Make(bound_port)),
    words(&["Address already in use"], K::PortTaken, Make(bound_port)),
    words(&["address already in use"], K::PortTaken, Make(bound_port)),
    words(&["waiting for clients", "clients joined"], K::Rendezvous, Make(clients)),
    words(&["The client socket has timed out", "trying to connect to"], K::Rendezvous, Make(unreached)),
    weak(&["The client socket has failed to connect to"], K::PeerLost, Make(unreached)),
    words(&["RendezvousClosedError"], K::Rendezvous, Say("the rendezvous was closed: another node had ended")),
    words(&["RendezvousTimeoutError"], K::Rendezvous, Say("the rendezvous took too long: not all nodes came")),
    words(&["RendezvousConnectionError"], K::Rendezvous, Say("the rendezvous could not be reached")),
    words(&["Gloo connectFullMesh failed"], K::Rendezvous, Say("gloo: the ranks could not connect to each other; GLOO_SOCKET_IFNAME names the interface")),
    words(&["Connection closed by peer"], K::PeerLost, Say("another rank closed the connection")),
    words(&["failed to recv, got 0 bytes"], K::PeerLost, Say("the store of the ranks was gone: the rank that kept it had ended")),
    words(&["recvValue failed"], K::PeerLost, Say("the store of the ranks was gone: the rank that kept it had ended")),
    words(&["sendBytes failed"], K::PeerLost, Say("the store of the ranks was gone: the rank that kept it had ended")),
    words(&["DistBackendError", "Connection reset by peer"], K::PeerLost, Say("another rank closed the connection")),
    weak(&["Connection reset by peer"], K::PeerLost, Message),
    weak(&["Broken pipe"], K::PeerLost, Message),
    weak(&["Connection refused"], K::PeerLost, Message),
    weak(&["No route to host"], K::PeerLost, Message),

    // Shared memory, before disks: both say that no space is left.
    words(&["unable to write to file </torch_"], K::SharedMemory, Say(SHM_UP)),
    words(&["unable to open shared memory object", "Too many open files"], K::TooManyFiles, Say("too many open files (of shared memory)")),
    words(&["unable to open shared memory object"], K::SharedMemory, Say("shared memory (/dev/shm) could not be used")),
    words(&["No space left on device", "/dev/shm"], K::SharedMemory, Say(SHM_UP)),
    words(&["workers are out of shared memory"], K::SharedMemory, Say(SHM_UP)),

    // Disks.
    words(&["No space left on device"], K::DiskFull, Make(|said| with_file(said, DISK))),
    words(&["Disk quota exceeded"], K::QuotaExceeded, Make(|said| with_file(said, "the disk quota is used up"))),
    words(&["File too large"], K::QuotaExceeded, Make(|said| with_file(said, "a file would be larger than is allowed"))),
    hinted(&["PytorchStreamWriter failed writing file"], K::DiskFull, Say("a checkpoint could not be written"), "a full disk or a used-up quota is the usual reason"),
    hinted(&["inline_container.cc", "unexpected pos"], K::DiskFull, Say("a checkpoint could not be written"), "a full disk or a used-up quota is the usual reason"),
    words(&["Read-only file system"], K::FileSystem, Make(|said| with_file(said, "the file system can only be read"))),
    words(&["Stale file handle"], K::FileSystem, Make(|said| with_file(said, "the file server lost a file (stale file handle)"))),
    words(&["Transport endpoint is not connected"], K::FileSystem, Make(|said| with_file(said, "a file system is no longer mounted"))),
    words(&["Input/output error"], K::FileSystem, Make(|said| with_file(said, "the disk or file server failed (input/output error)"))),

    // Memory.
    words(&["oom_kill event"], K::OutOfMemory, Say("out of memory: the kernel ended it")),
    words(&["oom-kill event"], K::OutOfMemory, Say("out of memory: the kernel ended it")),
    words(&["OOM Killed"], K::OutOfMemory, Say("out of memory: the kernel ended it")),
    words(&["srun: error:", "Out Of Memory"], K::OutOfMemory, Say("out of memory: the kernel ended it")),
    words(&["Exceeded job memory limit"], K::OutOfMemory, Say("out of memory: it exceeded the job's limit")),
    words(&["exceeded memory limit", "being killed"], K::OutOfMemory, Say("out of memory: it exceeded the job's limit")),
    words(&["Out of memory: Killed process"], K::OutOfMemory, Say("out of memory: the kernel ended it")),
    words(&["DefaultCPUAllocator", "allocate memory"], K::MemoryError, Make(|said| number_after(said, "tried to allocate ").map(|bytes| format!("not enough memory for {bytes} bytes more")))),
    words(&["Unable to allocate", "for an array with shape"], K::MemoryError, Make(|said| between(said, "Unable to allocate ", " for an array").map(|size| format!("not enough memory for an array of {size}")))),
    words(&["std::bad_alloc"], K::MemoryError, Say("not enough memory (std::bad_alloc)")),
    words(&["Cannot allocate memory"], K::MemoryError, Say("not enough memory")),
    words(&["java.lang.OutOfMemoryError"], K::MemoryError, Message),
    words(&["MemoryError"], K::MemoryError, Say("not enough memory (MemoryError)")),

    // Limits.
    words(&["Too many open files"], K::TooManyFiles, Say("too many open files")),
    words(&["can't start new thread"], K::TooManyProcesses, Say("no more threads may be started")),
    words(&["Thread creation failed"], K::TooManyProcesses, Say("no more threads may be started")),
    words(&["fork: retry: Resource temporarily unavailable"], K::TooManyProcesses, Say("no more processes may be started")),
    words(&["fork: Resource temporarily unavailable"], K::TooManyProcesses, Say("no more processes may be started")),

    // Programs, modules and libraries that are not there.
    words(&["No module named "], K::MissingModule, Make(|said| after(said, "No module named ").map(|name| format!("there is no Python module {}", unquoted(name))))),
    words(&["error while loading shared libraries: "], K::MissingLibrary, Make(|said| between(said, "shared libraries: ", ":").map(|name| format!("the shared library {name} is missing")))),
    words(&["cannot open shared object file"], K::MissingLibrary, Make(|said| said.split(": cannot open shared object file").next().and_then(|before| before.rsplit([' ', '\'']).next()).map(|name| format!("the shared library {name} is missing")))),
    words(&["version `GLIBC", "not found"], K::MissingLibrary, Make(|said| between(said, "version `", "'").map(|name| format!("the system's C library is too old: {name} is missing")))),
    words(&["undefined symbol: "], K::MissingLibrary, Make(|said| after(said, "undefined symbol: ").map(|name| format!("a library lacks the symbol {}: versions do not fit", unquoted(name))))),
    words(&["can't open file", "No such file or directory"], K::NotFound, Make(|said| between(said, "can't open file '", "'").map(|file| format!("there is no file {file}")))),
    words(&["executable file not found in $PATH"], K::NotFound, Message),
    words(&["Exec format error"], K::NotExecutable, Say("the program is not for this machine, or lacks its first line (#!)")),

    // Schedulers.
    words(&["CANCELLED AT", "DUE TO PREEMPTION"], K::Preempted, Say("preempted by the scheduler")),
    words(&["CANCELLED AT", "DUE TO TIME LIMIT"], K::TimeLimit, Say("the scheduler's time limit was over")),
    words(&["CANCELLED AT", "DUE TO NODE FAILURE"], K::NodeFailure, Say("a node failed")),
    words(&["srun: error: Node failure on"], K::NodeFailure, Make(|said| from_word(said, "Node failure on"))),

    // What shells and C libraries say of signals.
    words(&["Segmentation fault"], K::SegmentationFault, Say("segmentation fault")),
    words(&["Fatal Python error: Bus error"], K::BusError, Say("bus error")),
    words(&["Bus error (core dumped)"], K::BusError, Say("bus error")),
    words(&["Illegal instruction (core dumped)"], K::IllegalInstruction, Say("illegal instruction")),
    words(&["free(): invalid"], K::Aborted, Say("aborted: the heap was damaged")),
    words(&["double free or corruption"], K::Aborted, Say("aborted: the heap was damaged (double free)")),
    words(&["malloc(): "], K::Aborted, Say("aborted: the heap was damaged")),
    words(&["corrupted size vs. prev_size"], K::Aborted, Say("aborted: the heap was damaged")),
    words(&["stack smashing detected"], K::Aborted, Say("aborted: the stack was damaged")),
    words(&["Assertion `", "' failed."], K::Panic, Make(|said| between(said, "Assertion `", "' failed").map(|words| format!("assertion failed: {words}")))),
];

/// What a message means, if it is known.
pub(super) fn meaning(message: &str) -> Option<Meaning> {
    let found = TABLE
        .iter()
        .find(|words| words.all.iter().all(|word| message.contains(word)))?;
    let text = match found.text {
        Message => None,
        Say(words) => Some(words.to_owned()),
        Make(make) => make(message),
    };
    Some(Meaning {
        kind: found.kind,
        text,
        hint: found.hint.or(found.kind.hint()),
        weak: found.weak,
    })
}

/// `CUDA out of memory: 20.00 GiB wanted, 1.25 GiB of 79.10 GiB free on GPU 0`.
fn gpu_memory(said: &str) -> Option<String> {
    let head = if said.contains("HIP out") {
        "HIP out of memory"
    } else {
        "CUDA out of memory"
    };
    let mut text = head.to_owned();
    if let Some(wanted) = size_after(said, "Tried to allocate ") {
        text.push_str(&format!(": {wanted} wanted"));
        let free = size_before(said, " is free").or_else(|| size_before(said, " free;"));
        let total = size_after(said, "total capacity of ")
            .or_else(|| size_after(said, "total capacty of "))
            .or_else(|| size_before(said, " total capacity;"));
        if let (Some(free), Some(total)) = (free, total) {
            text.push_str(&format!(", {free} of {total} free"));
        }
        if let Some(number) = number_after(said, "GPU ") {
            text.push_str(&format!(" on GPU {number}"));
        }
    }
    Some(text)
}

fn xla_memory(said: &str) -> Option<String> {
    let wanted =
        number_after(said, "trying to allocate ").or_else(|| number_after(said, "allocating "));
    Some(match wanted {
        Some(bytes) => format!("GPU out of memory: {bytes} bytes wanted"),
        None => "GPU out of memory".to_owned(),
    })
}

/// `NCCL timeout: ALLREDUCE waited 600 s for the other ranks`.
fn watchdog(said: &str) -> Option<String> {
    let what = between(said, "OpType=", ",").unwrap_or("a collective operation");
    let waited = number_after(said, "ran for ")?.parse::<u64>().ok()? / 1000;
    Some(format!(
        "NCCL timeout: {what} waited {waited} s for the other ranks"
    ))
}

fn gloo_timeout(said: &str) -> Option<String> {
    let waited = number_after(said, "Timed out waiting ")?
        .parse::<u64>()
        .ok()?
        / 1000;
    Some(format!("gloo timeout: waited {waited} s for another rank"))
}

fn duplicate_gpu(said: &str) -> Option<String> {
    let ranks = between(said, "Duplicate GPU detected : ", " both on")?;
    Some(format!("NCCL: {ranks} use the same GPU"))
}

/// Of NCCL's several lines the one that says most.
fn nccl(said: &str) -> Option<String> {
    let last = said
        .lines()
        .skip_while(|line| !line.starts_with("Last error:"))
        .nth(1)
        .map(str::trim)
        .filter(|line| !line.is_empty());
    if let Some(last) = last {
        return Some(format!("NCCL: {}", shortened(last)));
    }
    let named = [
        ("ncclInternalError", "internal error"),
        ("ncclInvalidUsage", "wrong use"),
        ("ncclInvalidArgument", "a wrong argument"),
        ("unhandled system error", "a system call failed"),
        ("ncclSystemError", "a system call failed"),
        ("unhandled cuda error", "a CUDA call failed"),
        ("ncclUnhandledCudaError", "a CUDA call failed"),
    ];
    let name = named.iter().find(|(word, _)| said.contains(word));
    Some(format!(
        "NCCL error{}",
        name.map_or(String::new(), |(_, words)| format!(": {words}"))
    ))
}

/// `port 29500 is in use`.
fn bound_port(said: &str) -> Option<String> {
    let port = said
        .find("Address already in use")
        .or_else(|| said.find("EADDRINUSE"))
        .and_then(|end| {
            // `[::]:29500 (errno: 98 - Address already in use)`, `:29500, code: …`: the last number behind a colon before it.
            said[..end].rmatch_indices(':').find_map(|(colon, _)| {
                number_at(&said[colon + 1..]).filter(|number| number.len() >= 2)
            })
        });
    let port = port
        .or_else(|| number_after(said, "port: "))
        .or_else(|| number_after(said, "port "));
    Some(match port {
        Some(port) => format!("port {port} is in use"),
        None => "a port is in use (address already in use)".to_owned(),
    })
}

/// `only 1 of 2 ranks came within 601 s`.
fn clients(said: &str) -> Option<String> {
    let waited = number_after(said, "Timed out after ")?;
    let joined = between(said, "waiting for clients. ", " clients joined")?;
    let (came, of) = joined.split_once('/')?;
    Some(format!("only {came} of {of} ranks came within {waited} s"))
}

/// `nothing answered at (10.0.0.1, 29500)`.
fn unreached(said: &str) -> Option<String> {
    let place = after(said, "connect to ")?;
    let place = place
        .split(" (errno")
        .next()?
        .trim_end_matches(['.', ','])
        .trim_matches(['(', ')', '[', ']']);
    let place = place
        .split(").")
        .next()?
        .replace(", ", ":")
        .replace("]:", ":");
    Some(format!("nothing answered at {place}"))
}

/// The words, and the file that a Python exception names at its end: `…: '/data/x.pt'`.
fn with_file(said: &str, words: &str) -> Option<String> {
    let line = said.lines().next().unwrap_or_default().trim_end();
    let file = line
        .strip_suffix('\'')
        .and_then(|line| line.rsplit_once(": '"))
        .map(|(_, file)| file)
        .filter(|file| !file.is_empty());
    Some(match file {
        Some(file) => format!("{words}: {file}"),
        None => words.to_owned(),
    })
}

/// At most so many characters of somebody else's words are shown.
pub(super) const LONGEST: usize = 300;

/// The first line of a message, cut where it goes on and on.
pub(super) fn shortened(message: &str) -> String {
    let line = message
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let printable = line.chars().filter(|c| !c.is_control());
    let mut text: String = printable.clone().take(LONGEST).collect();
    if printable.count() > LONGEST {
        text.push('…');
    }
    text
}

fn after<'a>(said: &'a str, word: &str) -> Option<&'a str> {
    let start = said.find(word)? + word.len();
    said[start..].lines().next().map(str::trim_end)
}

fn from_word(said: &str, word: &str) -> Option<String> {
    let start = said.find(word)?;
    said[start..]
        .lines()
        .next()
        .map(|line| line.trim_end().trim_end_matches('.').to_owned())
}

fn between<'a>(said: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    let start = said.find(before)? + before.len();
    let end = said[start..].find(behind)?;
    Some(&said[start..start + end])
}

fn unquoted(name: &str) -> &str {
    name.trim_matches(['\'', '"', '.', ' '])
}

/// The digits at the start.
fn number_at(text: &str) -> Option<&str> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

fn number_after<'a>(said: &'a str, word: &str) -> Option<&'a str> {
    said.match_indices(word)
        .find_map(|(at, _)| number_at(&said[at + word.len()..]))
}

/// The word that begins like this: letters, digits and `_`.
fn word_at<'a>(said: &'a str, start: &str) -> Option<&'a str> {
    let rest = &said[said.find(start)?..];
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    Some(&rest[..end])
}

/// `20.00 GiB` behind a word.
fn size_after(said: &str, word: &str) -> Option<String> {
    let mut parts = after(said, word)?.split_whitespace();
    size(parts.next()?, parts.next()?)
}

/// `1.25 GiB` before a word.
fn size_before(said: &str, word: &str) -> Option<String> {
    let mut parts = said[..said.find(word)?].rsplit(' ');
    let unit = parts.next()?;
    size(parts.next()?, unit)
}

fn size(number: &str, unit: &str) -> Option<String> {
    let unit = unit.trim_end_matches(['.', ';', ',', '(']);
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    (number.parse::<f64>().is_ok() && units.contains(&unit)).then(|| format!("{number} {unit}"))
}
