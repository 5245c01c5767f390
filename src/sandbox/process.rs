//! Processes of a private host: forks, signals, and what they tell each other.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::{
    SIG_BLOCK, SIG_SETMASK, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, c_int,
    sigset_t,
};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, wait, waitpid,
};

use super::error::Error;

/// Signals that go on to the command.
const FORWARDED: [(c_int, Signal); 6] = [
    (SIGINT, Signal::INT),
    (SIGTERM, Signal::TERM),
    (SIGHUP, Signal::HUP),
    (SIGQUIT, Signal::QUIT),
    (SIGUSR1, Signal::USR1),
    (SIGUSR2, Signal::USR2),
];

/// The longest report, which a pipe takes without waiting for a reader.
const REPORT: usize = 32 * 1024;

/// Does `work` in a new process, which ends with the status that it returns.
///
/// The process has only the thread that this is called from.
pub(crate) fn fork(work: impl FnOnce() -> u8) -> Result<Pid, Error> {
    // SAFETY: the C library makes its own state fit for a process with one thread, and nothing that
    // the callers hold belongs to another thread.
    #[expect(unsafe_code, reason = "a process with the memory of this one")]
    let pid = unsafe { libc::fork() };
    if pid != 0 {
        return Pid::from_raw(pid.max(0))
            .ok_or_else(|| Error::host("fork", std::io::Error::last_os_error()));
    }
    // A panic must not reach the frames of the process that this is a copy of.
    let status = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Error::STATUS);
    // SAFETY: no code of this process runs afterwards.
    #[expect(unsafe_code, reason = "what is to be done at exit is the parent's")]
    unsafe {
        libc::_exit(c_int::from(status))
    }
}

/// The signals that a process had blocked before it began to wait for those to forward.
pub(super) struct Mask {
    old: sigset_t,
}

impl Mask {
    /// Blocks the signals to forward, and those of ending children.
    pub(super) fn block() -> Result<Mask, Error> {
        let mut old = MaybeUninit::uninit();
        // SAFETY: both sets are valid, and `old` is written when the call succeeds.
        #[expect(unsafe_code, reason = "rustix has no signal masks")]
        unsafe {
            // Whoever started netform may have children ignored, whose statuses would be lost.
            libc::signal(SIGCHLD, libc::SIG_DFL);
            match libc::pthread_sigmask(SIG_BLOCK, &awaited(), old.as_mut_ptr()) {
                0 => Ok(Mask {
                    old: old.assume_init(),
                }),
                error => Err(Error::host(
                    "block signals",
                    Errno::from_raw_os_error(error),
                )),
            }
        }
    }

    /// Has this process blocked what it had blocked before.
    pub(super) fn restore(&self) {
        // SAFETY: the set is the one that the kernel gave.
        #[expect(unsafe_code, reason = "rustix has no signal masks")]
        unsafe {
            libc::pthread_sigmask(SIG_SETMASK, &raw const self.old, std::ptr::null_mut());
        }
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        self.restore();
    }
}

/// The signals to forward, and those of ending children.
fn awaited() -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call makes the set valid.
    #[expect(unsafe_code, reason = "rustix has no signal sets")]
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), SIGCHLD);
        for (number, _) in FORWARDED {
            libc::sigaddset(set.as_mut_ptr(), number);
        }
        set.assume_init()
    }
}

/// Forwards signals to a process until `ended` has its status.
pub(super) fn attend(
    process: Pid,
    mut ended: impl FnMut() -> Result<Option<u8>, Error>,
) -> Result<u8, Error> {
    loop {
        if let Some(status) = ended()? {
            return Ok(status);
        }
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: both are valid; all zeroes are a siginfo.
        #[expect(unsafe_code, reason = "rustix doesn't wait for signals")]
        let info = unsafe {
            libc::sigwaitinfo(&awaited(), info.as_mut_ptr());
            info.assume_init()
        };
        let forwarded = FORWARDED
            .iter()
            .find(|(number, _)| *number == info.si_signo);
        if let Some((number, signal)) = forwarded {
            // A key at a terminal goes to the whole process group, and the command is in it. But when
            // the terminal goes away, only the leader of the session is told.
            let key = info.si_code == libc::SI_KERNEL && *number != SIGHUP;
            if !key {
                // A process that has ended meanwhile needs no signal.
                let _ = kill_process(process, *signal);
            }
        }
    }
}

/// Takes leave of children that have ended: of `which`, or of all. Returns the status of `awaited`, if
/// it is among them: that of its exit, or 128 and the number of the signal that ended it.
pub(super) fn reap(which: Option<Pid>, awaited: Pid) -> Result<Option<u8>, Error> {
    loop {
        // `waitpid` without a process means those of this process group, and a shell has its own.
        let ended = match which {
            Some(_) => waitpid(which, WaitOptions::NOHANG),
            None => wait(WaitOptions::NOHANG),
        };
        match ended {
            Ok(Some((pid, status))) if pid == awaited => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                let status = status.exit_status().or(signal);
                let status = status.and_then(|status| u8::try_from(status).ok());
                return Ok(Some(status.unwrap_or(Error::STATUS)));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(e) => return Err(Error::host("wait for a process", e)),
        }
    }
}

/// A pipe for the error of a process below.
pub(super) struct Report {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Report {
    /// Makes one, which the command doesn't inherit.
    pub(super) fn open() -> Result<Report, Error> {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (reader, writer) = pipe_with(flags).map_err(|e| Error::host("make a pipe", e))?;
        Ok(Report { reader, writer })
    }

    /// Sends an error.
    pub(super) fn send(&self, error: &Error) {
        let bytes = error.encode();
        let mut writer = std::fs::File::from(match self.writer.try_clone() {
            Ok(writer) => writer,
            Err(_) => return,
        });
        // Without a reader there is nobody to tell.
        let _ = writer.write_all(&bytes[..bytes.len().min(REPORT)]);
    }

    /// The error that was sent by processes that have ended.
    pub(super) fn receive(self) -> Option<Error> {
        drop(self.writer);
        let mut bytes = Vec::new();
        // The end of what is there is either that of the pipe, or that it would block.
        let _ = std::fs::File::from(self.reader).read_to_end(&mut bytes);
        Error::decode(&bytes)
    }
}

/// A process that another one may outlive by no more than a moment.
pub(super) struct Lifeline(OwnedFd);

impl Lifeline {
    /// Of this process.
    pub(super) fn tie() -> Result<Lifeline, Error> {
        pidfd_open(getpid(), PidfdFlags::empty())
            .map(Lifeline)
            .map_err(|e| Error::host("watch netform", e))
    }

    /// Whether the process is still there.
    pub(super) fn holds(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: there is one element, and the call doesn't wait.
        #[expect(
            unsafe_code,
            reason = "rustix polls with a feature that is for this alone"
        )]
        let ended = unsafe { libc::poll(&raw mut poll, 1, 0) };
        ended == 0
    }
}
