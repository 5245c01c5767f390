//! Being told to stop while the host is being changed.
//!
//! Until then, and afterwards, a signal does what it always does: there is nothing that could be left half done.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{SIGHUP, SIGINT, SIGTERM, c_int};

/// The signal that asked to stop; 0: none did.
static ASKED: AtomicI32 = AtomicI32::new(0);

/// Signals that ask to stop.
const STOPPING: [(c_int, &str); 2] = [(SIGINT, "SIGINT"), (SIGTERM, "SIGTERM")];

extern "C" fn ask(signal: c_int) {
    ASKED.store(signal, Ordering::Relaxed);
}

extern "C" fn pass(_: c_int) {}

/// While this lives, SIGINT and SIGTERM are taken note of, and SIGHUP passes. (SIGPIPE passes always: the standard
/// library ignores it.)
pub(super) struct Guard {
    before: Vec<(c_int, libc::sigaction)>,
}

impl Guard {
    /// From now on.
    pub(super) fn new() -> Guard {
        let handlers = STOPPING.map(|(signal, _)| (signal, ask as extern "C" fn(c_int)));
        let hangup = (SIGHUP, pass as extern "C" fn(c_int));
        let all = handlers.into_iter().chain([hangup]);
        let before =
            all.filter_map(|(signal, handler)| Some((signal, set(signal, handler).ok()??)));
        Guard {
            before: before.collect(),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: it is the one that the kernel gave.
            #[expect(unsafe_code, reason = "rustix has no handlers of signals")]
            unsafe {
                libc::sigaction(*signal, before, std::ptr::null_mut());
            }
        }
    }
}

/// The signal that asked to stop, once one did.
pub(super) fn asked() -> Option<&'static str> {
    let asked = ASKED.load(Ordering::Relaxed);
    let mut all = STOPPING.iter();
    all.find_map(|(signal, name)| (*signal == asked).then_some(*name))
}

/// Sets the handler of a signal, and says what was to be done before. None: it was ignored, and stays so, as a shell
/// without job control has it for what runs in the background, and nohup(1) for what outlives a terminal.
fn set(signal: c_int, handler: extern "C" fn(c_int)) -> io::Result<Option<libc::sigaction>> {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeroes are an action; the handlers do nothing but store a number, which may be done at any time
    // (`man 7 signal-safety`).
    #[expect(unsafe_code, reason = "rustix has no handlers of signals")]
    unsafe {
        let done = libc::sigaction(signal, std::ptr::null(), before.as_mut_ptr());
        if done == 0 && before.assume_init_ref().sa_sigaction == libc::SIG_IGN {
            return Ok(None);
        }
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        // Calls that wait go on waiting.
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        if libc::sigaction(signal, &raw const action, before.as_mut_ptr()) == 0 {
            Ok(Some(before.assume_init()))
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
