//! What `man 2 ptrace` offers, and where machines differ.

use std::io;
use std::mem::{MaybeUninit, size_of};

use libc::{c_uint, c_void};

/// Makes one call of ptrace.
fn ptrace(request: c_uint, thread: i32, address: usize, data: usize) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes where the callers own the memory, and else refuses.
    #[expect(unsafe_code, reason = "there is no other way to trace")]
    let result = unsafe { libc::ptrace(request, thread, address, data) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Has this process be traced by its parent.
pub(super) fn trace_me() -> io::Result<()> {
    ptrace(libc::PTRACE_TRACEME, 0, 0, 0).map(drop)
}

/// Has a tracee's calls be told from its signals, its threads be traced too, and all of it end with this process.
pub(super) fn options(thread: i32) {
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    let options = usize::try_from(options).expect("positive");
    ptrace(libc::PTRACE_SETOPTIONS, thread, 0, options).expect("options");
}

/// Lets a thread go on to the beginning or the end of a call. One that was killed meanwhile doesn't.
pub(super) fn go_on(thread: i32, signal: i32) {
    resume(libc::PTRACE_SYSCALL, thread, signal);
}

/// Lets a thread go on until it gets a signal.
pub(super) fn go_on_freely(thread: i32, signal: i32) {
    resume(libc::PTRACE_CONT, thread, signal);
}

fn resume(how: c_uint, thread: i32, signal: i32) {
    let signal = usize::try_from(signal).expect("positive");
    let _ = ptrace(how, thread, 0, signal);
}

/// The next thread that stands still or has ended, and how.
pub(super) fn wait() -> (i32, i32) {
    let mut status = 0;
    // SAFETY: the status is valid.
    #[expect(unsafe_code, reason = "rustix doesn't wait for threads")]
    let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
    assert!(thread > 0, "{}", io::Error::last_os_error());
    (thread, status)
}

/// Sends a signal to a process.
pub(super) fn kill(process: i32, signal: i32) {
    // SAFETY: it touches no memory.
    #[expect(unsafe_code, reason = "rustix has no signals by number")]
    let sent = unsafe { libc::kill(process, signal) };
    assert_eq!(sent, 0, "{}", io::Error::last_os_error());
}

/// The number and the arguments of the call that a thread begins. None: it ends one.
pub(super) fn entry(thread: i32) -> Option<(i64, [u64; 6])> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    ptrace(
        libc::PTRACE_GET_SYSCALL_INFO,
        thread,
        size,
        info.as_mut_ptr() as usize,
    )
    .ok()?;
    // SAFETY: all zeroes are one, and the kernel wrote it; the field is that of the beginning of a call.
    #[expect(unsafe_code, reason = "it is a union")]
    unsafe {
        let info = info.assume_init();
        (info.op == libc::PTRACE_SYSCALL_INFO_ENTRY).then(|| {
            let number = i64::try_from(info.u.entry.nr).unwrap_or(-1);
            (number, info.u.entry.args)
        })
    }
}

/// Has the call that a thread begins be none.
pub(super) fn skip(thread: i32) {
    #[cfg(target_arch = "x86_64")]
    registers(
        thread,
        libc::NT_PRSTATUS,
        |of: &mut libc::user_regs_struct| {
            of.orig_rax = u64::MAX;
        },
    );
    // NT_ARM_SYSTEM_CALL of `linux/elf.h`.
    #[cfg(target_arch = "aarch64")]
    registers(thread, 0x404, |number: &mut i32| *number = -1);
}

/// Has the call that a thread ends say that it failed.
pub(super) fn answer(thread: i32, errno: i32) {
    #[cfg(target_arch = "x86_64")]
    registers(
        thread,
        libc::NT_PRSTATUS,
        |of: &mut libc::user_regs_struct| {
            of.rax = i64::from(-errno).cast_unsigned();
        },
    );
    #[cfg(target_arch = "aarch64")]
    registers(
        thread,
        libc::NT_PRSTATUS,
        |of: &mut libc::user_regs_struct| {
            of.regs[0] = i64::from(-errno).cast_unsigned();
        },
    );
}

/// Changes registers of a thread.
fn registers<T>(thread: i32, which: i32, change: impl FnOnce(&mut T)) {
    let which = usize::try_from(which).expect("positive");
    let mut registers = MaybeUninit::<T>::zeroed();
    let vector = libc::iovec {
        iov_base: registers.as_mut_ptr().cast::<c_void>(),
        iov_len: size_of::<T>(),
    };
    let at = (&raw const vector) as usize;
    ptrace(libc::PTRACE_GETREGSET, thread, which, at).expect("it stands still");
    // SAFETY: all zeroes are some, and the kernel wrote them.
    #[expect(unsafe_code, reason = "what the kernel gives is plain numbers")]
    let registers = unsafe { registers.assume_init_mut() };
    change(registers);
    ptrace(libc::PTRACE_SETREGSET, thread, which, at).expect("it stands still");
}

/// The calls that older machines have besides those of newer ones, and which argument is the path that is told.
#[cfg(target_arch = "x86_64")]
pub(super) fn old_name(number: i64) -> Option<(&'static str, usize)> {
    Some(match number {
        libc::SYS_mkdir => ("mkdir", 0),
        libc::SYS_rmdir => ("rmdir", 0),
        libc::SYS_unlink => ("unlink", 0),
        libc::SYS_link => ("link", 1),
        libc::SYS_rename => ("rename to", 1),
        libc::SYS_renameat => ("rename to", 3),
        _ => return None,
    })
}

/// Of the newer machines.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn old_name(number: i64) -> Option<(&'static str, usize)> {
    (number == libc::SYS_renameat).then_some(("rename to", 3))
}
