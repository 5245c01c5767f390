//! The process that waits for a yes, and the one that began it.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek, Write, stderr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open, setsid};

use super::super::apply::Options;
use super::super::session::Session;
use super::super::{Status, output, signals, undo};
use super::{Answer, DIRECTORY, Reply, ask, path};
use crate::resource::name::TopologyName;
use crate::sandbox::process::fork;
use crate::state::State;

/// How long who connects may take to say what it wants.
const MANNERS: Duration = Duration::from_secs(2);
/// How long to wait for another netform that is at work when everything is to be taken back.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What the process that applies says to the one that waits: it came to its end, or to nothing.
const APPLIED: u8 = b'a';
const DISMISSED: u8 = b'd';

/// The process that waits, as the one sees it that began it.
pub(in crate::cli) struct Waiter {
    control: UnixStream,
    topology: TopologyName,
    time: Duration,
}

impl Waiter {
    /// Forks it. Nothing is changed yet.
    pub(in crate::cli) fn start(
        session: &mut Session,
        before: &State,
        options: &Options,
        time: Duration,
    ) -> Result<Waiter, Status> {
        let topology = session.topology.clone();
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            output::error(&format!(
                "nobody could take it back, so nothing was changed: can't {what}: {error}"
            ));
            Status::Failed
        };
        let (ours, theirs) = UnixStream::pair().map_err(|e| failed("make a socket", &e))?;
        let applying = pidfd_open(getpid(), PidfdFlags::empty())
            .map_err(|e| failed("watch over the apply", &e))?;
        let kept = session.kernel.keep(&session.plan);
        kept.map_err(|e| failed("keep what there is", &e))?;
        let listener = listen(&topology).map_err(|e| failed("make a socket", &e))?;
        let mut there = There {
            topology: topology.clone(),
            before,
            options,
            time,
            listener,
            applying: Some((applying, theirs)),
            deadline: None,
        };
        let pid = fork(|| {
            There::settle(session);
            there.attend(session);
            0
        });
        drop(there);
        let pid = pid.map_err(|e| {
            let _ = fs::remove_file(path(&topology));
            failed("fork", &e)
        })?;
        leave_the_login(pid, &topology);
        output::remark(&format!(
            "To take it back: `netform revert {topology}`, or wait {}.\n",
            span(time)
        ));
        Ok(Waiter {
            control: ours,
            topology,
            time,
        })
    }

    /// The apply failed, and there is nothing to wait for.
    pub(in crate::cli) fn dismiss(mut self) {
        let _ = self.control.write_all(&[DISMISSED]);
        // It is gone when this ends.
        let _ = self.control.read(&mut [0]);
    }

    /// Waits with it, and says what became of the apply.
    pub(in crate::cli) fn wait(mut self, session: Session) -> Status {
        // Another topology may be changed meanwhile.
        drop(session);
        let topology = &self.topology;
        let began = Instant::now();
        if let Err(error) = self.control.write_all(&[APPLIED]) {
            return lost(topology, &error);
        }
        output::remark(&format!(
            "`netform confirm {topology}` keeps it: say so from a new login, to see that you still get in. Without it, \
             all is taken back in {}, whatever becomes of this terminal; ^C does so now.\n",
            span(self.time)
        ));
        let shows =
            stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let mut shown = false;
        loop {
            let left = self.time.saturating_sub(began.elapsed());
            if shows && !left.is_zero() {
                output::passing(&format!("{} left", span(left)));
                shown = true;
            }
            let control = PollFd::new(&self.control, PollFlags::IN);
            if signals::asked().is_some() {
                // The reply comes to both.
                let _ = ask(topology, Answer::Revert);
            }
            let second = Timespec::try_from(Duration::from_secs(1)).ok();
            match poll(&mut [control], second.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                _ => break,
            }
        }
        if shown {
            output::passing("");
        }
        let mut text = String::new();
        let read = self.control.read_to_string(&mut text);
        match (read, Reply::parse(&text)) {
            (Ok(_), Some(Reply { status, text })) => {
                output::remark(&text);
                status
            }
            (Err(error), _) => lost(topology, &error),
            (Ok(_), None) => lost(topology, &"it ended"),
        }
    }
}

fn lost(topology: &TopologyName, why: &dyn std::fmt::Display) -> Status {
    output::error(&format!(
        "the process that waited for the yes is gone ({why}), so topology {topology} stays as it was applied: \
         apply the spec that it had before, or `netform destroy {topology}`"
    ));
    Status::LeftChanged
}

/// A span of time, in words.
fn span(time: Duration) -> String {
    // What has begun counts.
    let seconds = time.as_millis().div_ceil(1000);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// The socket of a topology. One that nobody listens at any more is taken over.
fn listen(topology: &TopologyName) -> io::Result<UnixListener> {
    let directory = Path::new(DIRECTORY);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let path = path(topology);
    match UnixListener::bind(&path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            fs::remove_file(&path)?;
            UnixListener::bind(&path)
        }
        result => result,
    }
}

/// Has a process outlive the login that it comes from, where systemd ends what a login leaves behind: it gets a scope of
/// its own (`org.freedesktop.systemd1(5)`, `StartTransientUnit`).
fn leave_the_login(pid: Pid, topology: &TopologyName) {
    if !Path::new("/run/systemd/system").is_dir() {
        return;
    }
    let unit = format!("netform-confirm-{topology}.scope");
    let about = format!("netform waits for a yes to topology {topology}");
    let pid = pid.as_raw_nonzero().to_string();
    let busctl = Command::new("busctl")
        .args([
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
        ])
        .args([
            "org.freedesktop.systemd1.Manager",
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
        ])
        .args([&unit, "fail", "2", "PIDs", "au", "1", &pid])
        .args(["Description", "s", &about, "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !busctl.is_ok_and(|status| status.success()) {
        output::remark(
            "systemd gave the process that waits no unit of its own: where `KillUserProcesses=yes` (logind.conf), \
             it ends with this login, and nothing is taken back.\n",
        );
    }
}

/// The process that waits, as it sees itself.
struct There<'a> {
    topology: TopologyName,
    before: &'a State,
    options: &'a Options,
    time: Duration,
    listener: UnixListener,
    /// The process that applies, and what it says, until it is seen to be gone.
    applying: Option<(OwnedFd, UnixStream)>,
    /// When the time is over. None: it is still being applied.
    deadline: Option<Instant>,
}

impl There<'_> {
    /// Becomes a process of its own.
    fn settle(session: &mut Session) {
        // None of these may keep it from waiting.
        let _ = setsid();
        let _ = std::env::set_current_dir("/");
        let _ = fs::write("/proc/self/oom_score_adj", "-1000");
        if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdin(&null);
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
        session.kernel.go_on();
        if let Some(lock) = session.lock.take() {
            lock.leave();
        }
    }

    /// Waits until it is said what is to become of the apply, or the time is over.
    fn attend(&mut self, session: &mut Session) {
        loop {
            let left = self
                .deadline
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let why = format!("nobody said yes within {}", span(self.time));
                self.revert(session, &why);
                return;
            }
            let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
            if let Some((process, control)) = &self.applying {
                fds.push(PollFd::new(control, PollFlags::IN));
                fds.push(PollFd::new(process, PollFlags::IN));
            }
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let polled = poll(&mut fds, timeout.as_ref());
            if let (Some(signal), Some(_)) = (signals::asked(), self.deadline) {
                self.revert(session, &format!("stopped by {signal}"));
                return;
            }
            if polled.is_err() {
                continue;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if let (Some((_, control)), [_, says, ends]) = (&mut self.applying, ready.as_slice()) {
                // First what it said before it went.
                let mut byte = [0];
                let said = if *says {
                    control.read(&mut byte).ok()
                } else {
                    None
                };
                match (said, byte) {
                    (Some(1), [APPLIED]) => self.deadline = Some(Instant::now() + self.time),
                    (Some(1), [DISMISSED]) => {
                        self.clear();
                        return;
                    }
                    _ if *says || *ends => self.applying = None,
                    _ => {}
                }
            }
            if self.applying.is_none() && self.deadline.is_none() {
                self.revert(session, "the apply was killed in the middle");
                return;
            }
            if ready[0] && self.hear(session) {
                return;
            }
        }
    }

    /// Hears what somebody wants. Whether that is the end.
    fn hear(&mut self, session: &mut Session) -> bool {
        let Ok((mut stream, _)) = self.listener.accept() else {
            return false;
        };
        let _ = stream.set_read_timeout(Some(MANNERS));
        let mut line = String::new();
        let _ = BufReader::new(&stream).take(64).read_line(&mut line);
        let mut reply = |status, text: &str| {
            let text = text.to_owned();
            let _ = stream.write_all(Reply { status, text }.to_text().as_bytes());
        };
        let answer = [Answer::Confirm, Answer::Revert]
            .into_iter()
            .find(|answer| answer.word() == line.trim_end());
        match answer {
            None => false,
            Some(_) if self.deadline.is_none() => {
                reply(
                    Status::Failed,
                    "It is still being applied: say it again when that is done.\n",
                );
                false
            }
            Some(Answer::Confirm) => {
                self.clear();
                let text = format!("Topology {} stays as it was applied.\n", self.topology);
                reply(Status::Done, &text);
                self.tell(Status::Done, &text);
                log(&text);
                true
            }
            Some(Answer::Revert) => {
                let (status, text) = self.revert(session, "`netform revert` said so");
                reply(status, &text);
                true
            }
        }
    }

    /// Takes everything back, tells who is still there, and says how it went.
    fn revert(&mut self, session: &mut Session, why: &str) -> (Status, String) {
        // What is printed meanwhile is for whoever asks.
        let said = rustix::fs::memfd_create("said", MemfdFlags::CLOEXEC).map(File::from);
        if let Ok(said) = &said {
            let _ = rustix::stdio::dup2_stderr(said);
        }
        output::remark(&format!(
            "Topology {} is taken back: {why}.\n",
            self.topology
        ));
        let status = match session.kernel.lock_within(PATIENCE) {
            Ok(lock) => {
                session.lock = Some(lock);
                undo::take_back(session, self.before, self.options)
            }
            Err(error) => {
                super::super::session::failed(&error);
                Status::LeftChanged
            }
        };
        let status = match status {
            // There was nothing left to do.
            Status::Failed => Status::RolledBack,
            status => status,
        };
        let mut text = String::new();
        if let Ok(mut said) = said {
            let _ = said.rewind().and_then(|()| said.read_to_string(&mut text));
        }
        self.clear();
        session.lock = None;
        self.tell(status, &text);
        log(&text);
        (status, text)
    }

    /// Tells the process that applied, if it is still there.
    fn tell(&mut self, status: Status, text: &str) {
        let text = text.to_owned();
        if let Some((_, control)) = &mut self.applying {
            let _ = control.write_all(Reply { status, text }.to_text().as_bytes());
        }
    }

    /// Nothing can be said any more.
    fn clear(&self) {
        let _ = fs::remove_file(path(&self.topology));
        let _ = fs::remove_dir(DIRECTORY);
    }
}

/// Writes lines to the system's log (`man 3 syslog`), if there is one.
fn log(text: &str) {
    for line in text.lines().filter(|line| !line.is_empty()) {
        let Ok(line) = CString::new(line) else {
            continue;
        };
        #[expect(unsafe_code, reason = "the C library has the log")]
        // SAFETY: all texts end with NUL, and live longer than the calls.
        unsafe {
            libc::openlog(c"netform".as_ptr(), libc::LOG_PID, libc::LOG_DAEMON);
            libc::syslog(libc::LOG_NOTICE, c"%s".as_ptr(), line.as_ptr());
            libc::closelog();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_minutes_and_seconds() {
        for (milliseconds, text) in [
            (1, "1 s"),
            (60_000, "1 min"),
            (89_001, "1 min 30 s"),
            (3_600_000, "60 min"),
        ] {
            assert_eq!(span(Duration::from_millis(milliseconds)), text);
        }
    }
}
