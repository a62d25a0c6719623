//! Real messages, and what is made of them.

use super::*;

fn facts_of(text: &str, code: Option<i32>, signal: Option<i32>, outcome: Outcome) -> Option<Why> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let exit = RankExit {
        code,
        signal,
        error: None,
        ended: 0,
        host: None,
    };
    explain(&Facts {
        exit: &exit,
        outcome,
        last_lines: &lines,
        error_file: None,
    })
}

/// What a program that ended with status 1 after these lines failed of.
fn failed(text: &str) -> Option<(WhyKind, String)> {
    facts_of(text, Some(1), None, Outcome::Failed).map(|why| (why.kind, why.text))
}

fn uncaught(exception: &str) -> String {
    format!(
        "step 1\nTraceback (most recent call last):\n  File \"/w/train.py\", line 12, in step\n    go()\n{exception}\n"
    )
}

/// An exception or a line, its kind, and its text.
type Row = (&'static str, WhyKind, &'static str);

#[test]
#[rustfmt::skip]
fn exceptions_nobody_caught() {
    use WhyKind as K;
    let table: &[Row] = &[
        ("ValueError: bad rate", K::Exception, "ValueError: bad rate (train.py:12)"),
        ("pydantic_core._pydantic_core.ValidationError: 1 validation error for Model\nrate\n  Input should be greater than 0", K::Exception, "ValidationError: 1 validation error for Model (train.py:12)"),
        ("struct.error: unpack requires a buffer of 4 bytes", K::Exception, "struct.error: unpack requires a buffer of 4 bytes (train.py:12)"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/data/train.bin'", K::Exception, "FileNotFoundError: [Errno 2] No such file or directory: '/data/train.bin' (train.py:12)"),
        ("ModuleNotFoundError: No module named 'flash_attn'", K::MissingModule, "there is no Python module flash_attn"),
        ("ImportError: libcudart.so.12: cannot open shared object file: No such file or directory", K::MissingLibrary, "the shared library libcudart.so.12 is missing"),
        ("ImportError: /usr/lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by a.so)", K::MissingLibrary, "the system's C library is too old: GLIBCXX_3.4.30 is missing"),
        ("PermissionError: [Errno 13] Permission denied: '/data/out'", K::PermissionDenied, "PermissionError: [Errno 13] Permission denied: '/data/out'"),
        ("MemoryError", K::MemoryError, "not enough memory (MemoryError)"),
        ("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 298. GiB for an array with shape (200000, 200000) and data type float64", K::MemoryError, "not enough memory for an array of 298. GiB"),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)", K::MemoryError, "not enough memory for 4000000000000 bytes more"),
        ("OSError: [Errno 12] Cannot allocate memory", K::MemoryError, "not enough memory"),
        ("OSError: [Errno 28] No space left on device: '/ckpt/step-100.pt'", K::DiskFull, "no space left on the disk: /ckpt/step-100.pt"),
        ("OSError: [Errno 28] No space left on device", K::DiskFull, "no space left on the disk"),
        ("OSError: [Errno 122] Disk quota exceeded: '/data/x/ckpt.pt'", K::QuotaExceeded, "the disk quota is used up: /data/x/ckpt.pt"),
        ("RuntimeError: [enforce fail at inline_container.cc:603] . PytorchStreamWriter failed writing file data/12: file write failed", K::DiskFull, "a checkpoint could not be written"),
        ("OSError: [Errno 30] Read-only file system: '/opt/x'", K::FileSystem, "the file system can only be read: /opt/x"),
        ("OSError: [Errno 116] Stale file handle", K::FileSystem, "the file server lost a file (stale file handle)"),
        ("OSError: [Errno 24] Too many open files: 'a'", K::TooManyFiles, "too many open files"),
        ("RuntimeError: can't start new thread", K::TooManyProcesses, "no more threads may be started"),
        ("OSError: [Errno 98] Address already in use", K::PortTaken, "a port is in use (address already in use)"),
        ("KeyboardInterrupt", K::Interrupted, "interrupted (KeyboardInterrupt)"),
        // CUDA.
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 3 has a total capacity of 79.10 GiB of which 1.25 GiB is free. Including non-PyTorch memory, this process has 77.84 GiB memory in use.", K::GpuOutOfMemory, "CUDA out of memory: 20.00 GiB wanted, 1.25 GiB of 79.10 GiB free on GPU 3"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.78 GiB total capacity; 13.89 GiB already allocated; 1.16 GiB free; 13.90 GiB reserved in total by PyTorch)", K::GpuOutOfMemory, "CUDA out of memory: 2.00 GiB wanted, 1.16 GiB of 15.78 GiB free on GPU 0"),
        ("RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call", K::GpuOutOfMemory, "CUDA out of memory"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", K::GpuOutOfMemory, "CUDA out of memory (in cuBLAS)"),
        ("jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes.", K::GpuOutOfMemory, "GPU out of memory: 34359738368 bytes wanted"),
        ("RuntimeError: CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported", K::CudaError, "CUDA error: device-side assert triggered"),
        ("torch.AcceleratorError: CUDA error: an illegal memory access was encountered", K::CudaError, "CUDA error: illegal memory access"),
        ("RuntimeError: CUDA error: misaligned address", K::CudaError, "CUDA error: misaligned address"),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", K::CudaError, "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, …)`", K::CudaError, "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, …)`"),
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", K::GpuFault, "CUDA error: uncorrectable ECC error of the GPU's memory"),
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", K::CudaError, "CUDA error: this build has no code for this GPU"),
        ("RuntimeError: No CUDA GPUs are available", K::NoGpu, "there is no GPU here"),
        ("RuntimeError: CUDA error: invalid device ordinal", K::NoGpu, "there is no GPU with the number that was asked for"),
        ("RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU", K::NoGpu, "there is no NVIDIA driver here"),
        ("AssertionError: Torch not compiled with CUDA enabled", K::NoGpu, "this PyTorch was built without CUDA"),
        // NCCL, gloo, the store.
        ("torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:268, invalid usage (run with NCCL_DEBUG=WARN for details), NCCL version 2.20.5\nncclInvalidUsage: This usually reflects invalid usage of NCCL library.\nLast error:\nDuplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000", K::NcclError, "NCCL: rank 1 and rank 0 use the same GPU"),
        ("torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1970, unhandled system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.19.3\nncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.\nLast error:\nsocketStartConnect: Connect to 10.0.0.7<43211> failed : Software caused connection abort", K::NcclError, "NCCL: socketStartConnect: Connect to 10.0.0.7<43211> failed : Software caused connection abort"),
        ("torch.distributed.DistBackendError: NCCL error in: ../x.cpp:1, unhandled cuda error, NCCL version 2.19.3", K::NcclError, "NCCL error: a CUDA call failed"),
        ("torch.distributed.DistBackendError: NCCL error in: x, remote process exited or there was a network error, NCCL version 2.21.5\nncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.", K::PeerLost, "NCCL: another rank ended, or the network failed"),
        ("RuntimeError: NCCL error in: x\nLast error:\nError while creating shared memory segment /dev/shm/nccl-u3mC1P (size 9637888)", K::SharedMemory, "NCCL: shared memory (/dev/shm) is used up"),
        ("torch.distributed.DistBackendError: [2] is setting up NCCL communicator and retrieving ncclUniqueId from [0] via c10d key-value store by key '0', but store->get('0') got error: Connection reset by peer", K::PeerLost, "NCCL could not be set up: the first rank was gone or did not answer"),
        ("RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:10895", K::PeerLost, "another rank closed the connection"),
        ("RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:589] Read error [192.168.70.92]:25266: Connection reset by peer", K::PeerLost, "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:589] Read error [192.168.70.92]:25266: Connection reset by peer"),
        ("RuntimeError: [../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv operation to complete", K::CollectiveTimeout, "gloo timeout: waited 1800 s for another rank"),
        ("ConnectionRefusedError: [Errno 111] Connection refused", K::PeerLost, "ConnectionRefusedError: [Errno 111] Connection refused"),
        ("torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.", K::Rendezvous, "only 1 of 2 ranks came within 601 s"),
        ("torch.distributed.DistNetworkError: The client socket has timed out after 60000ms while trying to connect to (10.0.0.1, 29500).", K::Rendezvous, "nothing answered at 10.0.0.1:29500"),
        ("torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port: 29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use", K::PortTaken, "port 29500 is in use"),
        ("RuntimeError: The server socket has failed to listen on any local network address. The server socket has failed to bind to [::]:29500 (errno: 98 - Address already in use). The server socket has failed to bind to 0.0.0.0:29500 (errno: 98 - Address already in use).", K::PortTaken, "port 29500 is in use"),
        ("torch.distributed.DistNetworkError: failed to recv, got 0 bytes", K::PeerLost, "the store of the ranks was gone: the rank that kept it had ended"),
        ("torch.distributed.elastic.multiprocessing.api.SignalException: Process 71 got signal: 15", K::Terminated, "SignalException: Process 71 got signal: 15"),
        // Data loaders.
        ("RuntimeError: DataLoader worker (pid 71) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory. Please try to raise your shared memory limit.", K::SharedMemory, "a data loader worker died of a bus error: shared memory (/dev/shm) is used up"),
        ("RuntimeError: DataLoader worker (pid(s) 71, 72) exited unexpectedly", K::Exception, "RuntimeError: DataLoader worker (pid(s) 71, 72) exited unexpectedly (train.py:12)"),
        ("RuntimeError: DataLoader worker (pid 71) is killed by signal: Killed. ", K::Killed, "a data loader worker was killed"),
        ("RuntimeError: unable to write to file </torch_71_72_0>: No space left on device (28)", K::SharedMemory, "shared memory (/dev/shm) is used up"),
        ("RuntimeError: unable to open shared memory object </torch_71_72> in read-write mode: Too many open files (24)", K::TooManyFiles, "too many open files (of shared memory)"),
    ];
    for (exception, kind, text) in table {
        assert_eq!(
            failed(&uncaught(exception)),
            Some((*kind, (*text).to_owned())),
            "{exception}"
        );
    }
}

#[test]
#[rustfmt::skip]
fn messages_outside_of_exceptions() {
    use WhyKind as K;
    let table: &[Row] = &[
        ("[rank1]:[E626 06:24:44.903881913 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=808, OpType=ALLREDUCE, NumelIn=9801523, NumelOut=9801523, Timeout(ms)=600000) ran for 600020 milliseconds before timing out.", K::CollectiveTimeout, "NCCL timeout: ALLREDUCE waited 600 s for the other ranks"),
        ("n2:71:91 [0] misc/strongstream.cc:395 NCCL WARN Cuda failure 'out of memory'", K::GpuOutOfMemory, "CUDA out of memory (in NCCL)"),
        ("[ 12.3] NVRM: Xid (PCI:0000:3b:00): 79, pid=71, GPU has fallen off the bus.", K::GpuFault, "the GPU has fallen off the bus"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been OOM Killed.", K::OutOfMemory, "out of memory: the kernel ended it"),
        ("slurmstepd: error: Detected 2 oom-kill event(s) in StepId=12.0 cgroup.", K::OutOfMemory, "out of memory: the kernel ended it"),
        ("srun: error: n2: task 5: Out Of Memory", K::OutOfMemory, "out of memory: the kernel ended it"),
        ("slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-11-23T03:10:43 DUE TO PREEMPTION ***", K::Preempted, "preempted by the scheduler"),
        ("slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2026-11-23T03:10:43 DUE TO TIME LIMIT ***", K::TimeLimit, "the scheduler's time limit was over"),
        ("srun: error: Node failure on n3", K::NodeFailure, "Node failure on n3"),
        ("train.sh: line 3:  4711 Segmentation fault      (core dumped) python train.py", K::SegmentationFault, "segmentation fault"),
        ("run.sh: line 9: 71 Bus error               (core dumped) ./x", K::Other, ""),
        ("free(): invalid pointer", K::Aborted, "aborted: the heap was damaged"),
        ("a.out: a.c:3: main: Assertion `x > 0' failed.", K::Panic, "assertion failed: x > 0"),
        ("./train: error while loading shared libraries: libnccl.so.2: cannot open shared object file: No such file or directory", K::MissingLibrary, "the shared library libnccl.so.2 is missing"),
        ("python: can't open file '/w/trian.py': [Errno 2] No such file or directory", K::NotFound, "there is no file /w/trian.py"),
        ("terminate called after throwing an instance of 'std::runtime_error'\n  what():  no such layer", K::Panic, "C++ exception: no such layer"),
        ("terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: an illegal memory access was encountered", K::CudaError, "CUDA error: illegal memory access"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc", K::MemoryError, "not enough memory (std::bad_alloc)"),
        ("thread 'main' panicked at src/main.rs:2:5:\nindex out of bounds\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace", K::Panic, "panic: index out of bounds (main.rs:2)"),
        ("thread 'main' panicked at 'no', src/main.rs:2:5", K::Panic, "panic: no (main.rs:2)"),
        ("panic: runtime error: index out of range [5] with length 3", K::Panic, "panic: runtime error: index out of range [5] with length 3"),
        ("Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space", K::MemoryError, "Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space"),
        ("cp: error writing 'b': No space left on device", K::DiskFull, "no space left on the disk"),
        ("libgomp: Thread creation failed: Resource temporarily unavailable", K::TooManyProcesses, "no more threads may be started"),
        ("all is well\nloss 3.5", K::Other, ""),
    ];
    for (line, kind, text) in table {
        let expected = (!text.is_empty()).then(|| (*kind, (*text).to_owned()));
        assert_eq!(failed(&format!("step 1\n{line}\n")), expected, "{line}");
    }
}

#[test]
#[rustfmt::skip]
fn signals_and_statuses() {
    use WhyKind as K;
    /// Lines, status, signal, outcome, kind, text.
    type Row = (
        &'static str,
        Option<i32>,
        Option<i32>,
        Outcome,
        WhyKind,
        &'static str,
    );
    let table: &[Row] = &[
        ("", None, Some(11), Outcome::Failed, K::SegmentationFault, "segmentation fault"),
        ("", Some(139), None, Outcome::Failed, K::SegmentationFault, "segmentation fault"),
        ("", None, Some(7), Outcome::Failed, K::BusError, "bus error"),
        ("", None, Some(6), Outcome::Failed, K::Aborted, "aborted (SIGABRT)"),
        ("", None, Some(4), Outcome::Failed, K::IllegalInstruction, "illegal instruction"),
        ("", None, Some(15), Outcome::Failed, K::Terminated, "ended by SIGTERM"),
        ("", Some(130), None, Outcome::Failed, K::Interrupted, "interrupted by SIGINT"),
        ("", None, Some(9), Outcome::Failed, K::Killed, "killed by SIGKILL"),
        ("", Some(137), None, Outcome::OutOfMemory, K::OutOfMemory, "out of memory: the kernel ended it"),
        ("", None, Some(29), Outcome::Failed, K::Fault, "ended by signal 29"),
        ("", None, Some(9), Outcome::Hung, K::Hung, "it showed no sign of life for too long"),
        ("sh: 1: trian: not found", Some(127), None, Outcome::Failed, K::NotFound, "sh: 1: trian: not found"),
        ("bash: line 1: trian: command not found", Some(127), None, Outcome::Failed, K::NotFound, "bash: line 1: trian: command not found"),
        ("/usr/bin/env: ‘pyhton’: No such file or directory", Some(127), None, Outcome::Failed, K::NotFound, "/usr/bin/env: ‘pyhton’: No such file or directory"),
        ("sh: 1: ./train.sh: Permission denied", Some(126), None, Outcome::Failed, K::PermissionDenied, "sh: 1: ./train.sh: Permission denied"),
        ("bash: ./a: cannot execute binary file: Exec format error", Some(126), None, Outcome::Failed, K::NotExecutable, "the program is not for this machine, or lacks its first line (#!)"),
        ("usage: train.py [-h] --rate RATE\ntrain.py: error: the following arguments are required: --rate", Some(2), None, Outcome::Failed, K::Usage, "train.py: error: the following arguments are required: --rate"),
        // What was written before a fault explains nothing.
        ("Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: handled", None, Some(11), Outcome::Failed, K::SegmentationFault, "segmentation fault"),
        ("Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n  File \"/usr/lib/python3.11/ctypes/__init__.py\", line 517 in string_at\n  File \"/w/train.py\", line 8 in step\n  File \"/w/train.py\", line 12 in <module>\n\nExtension modules: numpy (total: 1)", None, Some(11), Outcome::Failed, K::SegmentationFault, "segmentation fault (train.py:8)"),
        // A watchdog ends its program by SIGABRT.
        ("[E ProcessGroupNCCL.cpp:821] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=49, OpType=BROADCAST, Timeout(ms)=60000) ran for 60607 milliseconds before timing out.\nterminate called after throwing an instance of 'std::runtime_error'\n  what():  [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=49, OpType=BROADCAST, Timeout(ms)=60000) ran for 60607 milliseconds before timing out.", None, Some(6), Outcome::Failed, K::CollectiveTimeout, "NCCL timeout: BROADCAST waited 60 s for the other ranks"),
    ];
    for (text, code, signal, outcome, kind, words) in table {
        let why = facts_of(text, *code, *signal, *outcome);
        assert_eq!(
            why.map(|why| (why.kind, why.text)),
            Some((*kind, (*words).to_owned())),
            "{code:?} {signal:?} {text}"
        );
    }
    for code in [0, 1, 3, 126, 127, 255] {
        assert_eq!(facts_of("loss 3", Some(code), None, Outcome::Failed), None);
    }
}

#[test]
fn what_was_caught_and_what_stands_in_another_round_is_no_reason() {
    let handled = format!("{}{}", uncaught("ValueError: tried"), "step\n".repeat(50));
    // Ended by somebody long after it.
    let why = facts_of(&handled, None, Some(15), Outcome::Failed).unwrap();
    assert_eq!(why.kind, WhyKind::Terminated);
    let why = facts_of(
        &uncaught("ValueError: stuck"),
        None,
        Some(9),
        Outcome::Failed,
    )
    .unwrap();
    assert_eq!(why.text, "ValueError: stuck (train.py:12)");
    let again = format!(
        "{}mizzen: restart 1 of 3 after rank 1 failed\nstep\n",
        uncaught("ValueError: x")
    );
    assert_eq!(failed(&again), None);
    // A warning of a library that tries again.
    let tried = format!(
        "[W socket.cpp:697] [c10d] The client socket has failed to connect to [localhost]:29500 (errno: 111 - Connection refused).\n{}",
        "step\n".repeat(10)
    );
    assert_eq!(failed(&tried), None);
    let last = "[W socket.cpp:697] [c10d] The client socket has failed to connect to [localhost]:29500 (errno: 111 - Connection refused).";
    assert_eq!(
        failed(last).unwrap().1,
        "nothing answered at localhost:29500"
    );
    // The last exception counts, and one that was ignored does not.
    let two = format!(
        "{}{}Exception ignored in: <function D.__del__ at 0x7f>\n{}",
        uncaught("KeyError: 1"),
        uncaught("ValueError: x"),
        uncaught("AttributeError: y").trim_start_matches("step 1\n")
    );
    assert_eq!(failed(&two).unwrap().1, "ValueError: x (train.py:12)");
}

#[test]
fn of_a_chain_what_was_used_up_counts() {
    let chain = "\
Traceback (most recent call last):
  File \"/w/a.py\", line 3, in save
    write()
OSError: [Errno 28] No space left on device

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File \"/w/a.py\", line 9, in main
    save()
  File \"/w/a.py\", line 5, in save
    raise RuntimeError('saving failed')
RuntimeError: saving failed
";
    assert_eq!(
        failed(chain).unwrap(),
        (WhyKind::DiskFull, "no space left on the disk".to_owned())
    );
    let because = chain
        .replace(
            "During handling of the above exception, another exception occurred:",
            "The above exception was the direct cause of the following exception:",
        )
        .replace(
            "OSError: [Errno 28] No space left on device",
            "KeyError: 'x'",
        );
    assert_eq!(
        failed(&because).unwrap().1,
        "RuntimeError: saving failed (a.py:5), because of KeyError: 'x'"
    );
}

const SUMMARY: &str = "\
Traceback (most recent call last):
  File \"/usr/local/bin/torchrun\", line 8, in <module>
    sys.exit(main())
  File \"/usr/lib/python3/dist-packages/torch/distributed/run.py\", line 936, in main
    run(args)
torch.distributed.elastic.multiprocessing.errors.ChildFailedError: 
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
OTHERS
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-23_03:10:43
  host      : n2.cluster.example.org
  rank      : 4 (local_rank: 0)
  exitcode  : EXIT (pid: 4710)
  error_file: <N/A>
  traceback : WORDS
============================================================
";
const NO_WORDS: &str =
    "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html";

fn other(rank: u32, exit: i32, words: &str) -> String {
    format!(
        "[{rank}]:\n  time      : 2026-11-23_03:10:43\n  host      : n2.cluster.example.org\n  rank      : {rank} (local_rank: 1)\n  exitcode  : {exit} (pid: 4711)\n  error_file: <N/A>\n  traceback : {words}"
    )
}

fn torchrun(before: &str, exit: i32, words: &str, others: &str) -> Why {
    let summary = SUMMARY
        .replace("EXIT", &exit.to_string())
        .replace("WORDS", words)
        .replace("OTHERS", others);
    facts_of(
        &format!("{before}{summary}"),
        Some(1),
        None,
        Outcome::Failed,
    )
    .unwrap()
}

#[test]
fn the_root_cause_behind_a_launcher() {
    let none = "  <NO_OTHER_FAILURES>";
    let why = torchrun(&uncaught("ValueError: x"), 1, NO_WORDS, none);
    assert_eq!(
        (why.text.as_str(), why.rank, why.host.as_deref()),
        ("ValueError: x (train.py:12)", Some(4), Some("n2"))
    );
    let why = torchrun("", -11, "Signal 11 (SIGSEGV) received by PID 4710", none);
    assert_eq!(
        (why.text.as_str(), why.rank),
        ("segmentation fault", Some(4))
    );
    let why = torchrun("", 3, NO_WORDS, none);
    assert_eq!((why.text.as_str(), why.rank), ("exit code 3", Some(4)));
    // Written down by @record.
    let recorded = "Traceback (most recent call last):\n    File \"/w/train.py\", line 9, in main\n      go()\n  torch.OutOfMemoryError: CUDA out of memory. \n  ";
    let why = torchrun("", 1, recorded, none);
    assert_eq!(why.text, "CUDA out of memory");
    // The one that was seen first only lost its peer.
    let peer = "Traceback (most recent call last):\n    File \"/w/train.py\", line 9, in main\n      go()\n  RuntimeError: [pair.cc:534] Connection closed by peer [127.0.0.1]:1\n  ";
    let why = torchrun("", 1, peer, &other(5, 1, recorded));
    assert_eq!(
        (why.text.as_str(), why.rank),
        ("CUDA out of memory", Some(5))
    );
    let why = torchrun("", 1, peer, &other(5, 3, NO_WORDS));
    assert_eq!((why.text.as_str(), why.rank), ("exit code 3", Some(5)));
    let why = torchrun(
        "",
        1,
        peer,
        &other(5, -15, "Signal 15 (SIGTERM) received by PID 4711"),
    );
    assert_eq!((why.kind, why.rank), (WhyKind::PeerLost, Some(4)));
    // Named lines in one log.
    let tagged = |rank: u32, exception: &str| {
        uncaught(exception)
            .lines()
            .map(|line| format!("[rank{rank}]: {line}\n"))
            .collect::<String>()
    };
    let both = format!(
        "{}{}",
        tagged(
            4,
            "RuntimeError: [pair.cc:534] Connection closed by peer [127.0.0.1]:1"
        ),
        tagged(5, "IndexError: list index out of range")
    );
    let why = torchrun(&both, 1, NO_WORDS, &other(5, 1, NO_WORDS));
    assert_eq!(
        (why.text.as_str(), why.rank),
        ("IndexError: list index out of range (train.py:12)", Some(5))
    );
    // And without a summary.
    let why = facts_of(&both, Some(1), None, Outcome::Failed).unwrap();
    assert_eq!((why.kind, why.rank), (WhyKind::Exception, Some(5)));
}

#[test]
fn a_launchers_own_exception_is_no_reason() {
    let called = "subprocess.CalledProcessError: Command '['python', 'train.py']' returned non-zero exit status 1.";
    let both = format!("{}{}", uncaught("ValueError: x"), uncaught(called));
    assert_eq!(failed(&both).unwrap().1, "ValueError: x (train.py:12)");
}

#[test]
fn the_error_file_counts_before_the_log() {
    let folder = std::env::temp_dir().join(format!("mizzen-why-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("rank-0.json");
    std::fs::write(
        &file,
        r#"{"message": {"message": "KeyError: 'lr'", "extraInfo": {"py_callstack": "Traceback (most recent call last):\n  File \"/w/a.py\", line 2, in f\n    x\nKeyError: 'lr'\n", "timestamp": "1"}}}"#,
    )
    .unwrap();
    let exit = RankExit {
        code: Some(1),
        signal: None,
        error: None,
        ended: 0,
        host: None,
    };
    let lines = [String::from("No space left on device")];
    let facts = Facts {
        exit: &exit,
        outcome: Outcome::Failed,
        last_lines: &lines,
        error_file: Some(&file),
    };
    let why = explain(&facts).unwrap();
    std::fs::write(&file, r#"{"message": "the rate is missing"}"#).unwrap();
    let said = explain(&facts).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(why.text, "KeyError: 'lr' (a.py:2)");
    assert_eq!(said.text, "the rate is missing");
    assert_eq!(explain(&facts).unwrap().kind, WhyKind::DiskFull);
}

#[test]
fn texts_are_one_short_line_and_hints_say_what_to_do() {
    let why = facts_of(
        &uncaught(&format!("ValueError: {}", "x".repeat(5000))),
        Some(1),
        None,
        Outcome::Failed,
    )
    .unwrap();
    assert!(why.text.chars().count() <= messages::LONGEST + 1);
    let bell = facts_of(
        &uncaught("ValueError: a\u{7}b"),
        Some(1),
        None,
        Outcome::Failed,
    )
    .unwrap();
    assert_eq!(bell.text, "ValueError: ab (train.py:12)");
    let bus = facts_of("", None, Some(7), Outcome::Failed).unwrap();
    assert!(bus.hint.unwrap().contains("/dev/shm"));
    let module = facts_of(
        &uncaught("ModuleNotFoundError: No module named 'apex'"),
        Some(1),
        None,
        Outcome::Failed,
    )
    .unwrap();
    assert!(module.hint.unwrap().contains("install"));
    let unknown: WhyKind = serde_json::from_str("\"cosmic-ray\"").unwrap();
    assert_eq!(unknown, WhyKind::Other);
}
