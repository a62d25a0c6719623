//! Starts one rank: clone(2) with shared memory, as glibc's posix_spawn(3) does it, so that no page table is copied.
//!
//! ```text
//! agent ── clone(CLONE_VM | CLONE_VFORK) ──▶ child on its own small stack
//!   │ sleeps                                   setsid · die with the agent · 0,1,2 · chdir · signals · execve
//!   └─ goes on ◀── memory is free again ───────┘ failed? (step, errno) into `Launch`, _exit
//! ```
//!
//! The child's half runs in the agent's memory: it may call nothing but system calls, must not allocate, panic or touch
//! what the agent relies on, and its `errno` is the agent's. What it can't be given by posix_spawn is the reason for
//! doing this by hand: the signal that ends it when the agent dies, and the name of the step that failed.
//!
//! Pitfall: the kernel forgets `PR_SET_PDEATHSIG` when a set-user-id program or one with file capabilities is executed.

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::ptr;

use nix::errno::Errno;

use crate::program::{LaunchError, Program};
use crate::sys;
use crate::world::Share;

/// The child's half needs a few hundred bytes; the kernel needs none of it.
const STACK_BYTES: usize = 64 * 1024;
/// Below the stack, so that an overflow ends the child and does not write into the agent.
const GUARD_BYTES: usize = 64 * 1024;

/// What is made once and serves every start.
#[derive(Debug)]
pub(crate) struct Spawner {
    stack: Stack,
    null: OwnedFd,
    agent: i32,
}

/// Memory for the child's half. There is one child at a time: the agent sleeps until it is done with the stack.
#[derive(Debug)]
struct Stack {
    base: *mut c_void,
}

/// The steps of the child's half that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    None,
    Session,
    DieWithAgent,
    Descriptors,
    Workdir,
    Processors,
    Signals,
    Exec,
}

/// What both halves share.
struct Launch {
    path: *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    workdir: *const c_char,
    null: RawFd,
    log: RawFd,
    agent: i32,
    /// Null: the agent's processors.
    processors: *const libc::cpu_set_t,
    failed: Step,
    errno: c_int,
}

impl Spawner {
    pub(crate) fn new() -> io::Result<Spawner> {
        Ok(Spawner {
            stack: Stack::new()?,
            null: sys::open_null()?,
            agent: nix::unistd::getpid().as_raw(),
        })
    }

    /// Starts the program in its own session, with both of its outputs going to `log`, and gives its pid. When this
    /// returns, the program has been executed: its session and group exist.
    pub(crate) fn spawn(&self, program: &Program, log: BorrowedFd<'_>) -> Result<i32, LaunchError> {
        let argv = null_ended(&program.argv);
        let env = null_ended(&program.env);
        let mut launch = Launch {
            path: program.path.as_ptr(),
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            workdir: program.workdir.as_ptr(),
            null: self.null.as_raw_fd(),
            log: log.as_raw_fd(),
            agent: self.agent,
            processors: program.share.as_ref().map_or(ptr::null(), Share::as_ptr),
            failed: Step::None,
            errno: 0,
        };
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: CLONE_VFORK stops this thread, the only one, until the child has executed a program or ended; so
        // `launch`, all that it points to and the stack outlive the child's use of them, and nothing is used by both
        // at once. The stack's top is 16-byte aligned (it is a page's end). All signals are blocked in the agent
        // (`sys::become_agent`), so no handler runs in the child while it shares this memory. `child_half` keeps to
        // system calls.
        let pid = unsafe {
            libc::clone(
                child_half,
                self.stack.top(),
                flags,
                (&raw mut launch).cast(),
            )
        };
        if pid < 0 {
            return Err(LaunchError::Step {
                step: "starting a process",
                errno: Errno::last(),
            });
        }
        // SAFETY: a live local; volatile, because the compiler can't know that the child wrote to it.
        let (failed, errno) = unsafe {
            (
                ptr::read_volatile(&raw const launch.failed),
                ptr::read_volatile(&raw const launch.errno),
            )
        };
        if failed == Step::None {
            return Ok(pid);
        }
        reap(pid);
        Err(launch_error(program, failed, Errno::from_raw(errno)))
    }
}

/// The child ended by itself at once: its end is taken here, so that nobody counts it as a process of the job.
fn reap(pid: i32) {
    // SAFETY: waitpid(2) with a null status writes nowhere.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), 0) } < 0 && Errno::last() == Errno::EINTR {}
}

fn launch_error(program: &Program, failed: Step, errno: Errno) -> LaunchError {
    let step = |step| LaunchError::Step { step, errno };
    match failed {
        Step::None | Step::Session => step("making a session"),
        Step::DieWithAgent => step("binding the process to its agent"),
        Step::Descriptors => step("connecting its output to its log"),
        Step::Processors => step("binding it to its processors"),
        Step::Signals => step("resetting its signals"),
        Step::Workdir => LaunchError::Workdir {
            path: program.workdir.to_string_lossy().into_owned(),
            errno,
        },
        Step::Exec => {
            let path: PathBuf = Path::new(&*program.workdir.to_string_lossy())
                .join(&*program.path.to_string_lossy());
            LaunchError::Exec {
                program: program.name.clone(),
                path,
                errno,
            }
        }
    }
}

/// The child's half.
extern "C" fn child_half(argument: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a pointer to its `Launch`, which lives and is not used by it until this process is done.
    let launch = unsafe { &mut *argument.cast::<Launch>() };
    launch.failed = run_child(launch);
    launch.errno = Errno::last_raw();
    // SAFETY: ends this process without running what the agent has registered to run at its end.
    unsafe { libc::_exit(127) }
}

/// Returns only if a step failed, with `errno` set by it.
fn run_child(launch: &Launch) -> Step {
    // SAFETY: these are system calls on integers, on C strings and null-ended arrays kept alive by `spawn`, and on a
    // local. None of them allocates or takes a lock.
    unsafe {
        if libc::setsid() < 0 {
            return Step::Session;
        }
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
            return Step::DieWithAgent;
        }
        // An agent that died before that call sends nothing any more.
        if libc::getppid() != launch.agent {
            libc::_exit(127);
        }
        // The copies are not closed on exec, their originals are.
        if libc::dup2(launch.null, 0) < 0
            || libc::dup2(launch.log, 1) < 0
            || libc::dup2(launch.log, 2) < 0
        {
            return Step::Descriptors;
        }
        if libc::chdir(launch.workdir) < 0 {
            return Step::Workdir;
        }
        if !launch.processors.is_null()
            && libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), launch.processors) < 0
        {
            return Step::Processors;
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        // Dispositions need no reset: the agent ignores nothing, and handlers do not survive an exec.
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) < 0 {
            return Step::Signals;
        }
        libc::execve(launch.path, launch.argv, launch.env);
    }
    Step::Exec
}

fn null_ended(strings: &[std::ffi::CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

impl Stack {
    fn new() -> io::Result<Stack> {
        let length = GUARD_BYTES + STACK_BYTES;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: asks for new memory at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Stack { base };
        // SAFETY: the first part of the memory that was just made, which nobody uses.
        if unsafe { libc::mprotect(base, GUARD_BYTES, libc::PROT_NONE) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    /// Stacks grow down.
    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping.
        unsafe { self.base.add(GUARD_BYTES + STACK_BYTES) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`; no child is on it, because `spawn` returns only when it has left it.
        unsafe { libc::munmap(self.base, GUARD_BYTES + STACK_BYTES) };
    }
}
