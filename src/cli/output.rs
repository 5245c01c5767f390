//! What is printed, and where: results on standard output, everything else on standard error.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdin, stdout};
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

use super::Status;
use crate::render::plain;
use crate::render::style::{Colour, Role};
use crate::render::wrap::wrapped;

/// Whether standard output takes colour: on a terminal, unless `NO_COLOR` says otherwise.
pub(super) fn colour_of_stdout() -> Colour {
    colour(stdout().is_terminal())
}

/// Whether standard error takes colour.
pub(super) fn colour_of_stderr() -> Colour {
    colour(stderr().is_terminal())
}

fn colour(terminal: bool) -> Colour {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if terminal && !refused && !dumb {
        Colour::On
    } else {
        Colour::Off
    }
}

/// A text as a stream takes it: a terminal gets nothing that would move its cursor, and ASCII if it is set to another character
/// set than UTF-8. Files and other programs get what it is, everywhere the same.
fn fitting(text: &str, terminal: bool) -> Cow<'_, str> {
    if !terminal {
        return Cow::Borrowed(text);
    }
    let text = plain::harmless(text);
    let values = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).ok());
    if plain::is_utf8(values.each_ref().map(Option::as_deref)) {
        return text;
    }
    Cow::Owned(plain::ascii(&text))
}

/// Prints a result. A reader that went away (`| head`) is no failure. Any other is told, and is one of
/// the verbs that do nothing but print.
pub(super) fn result(text: &str) -> Status {
    let text = fitting(text, stdout().is_terminal());
    let written = stdout()
        .write_all(text.as_bytes())
        .and_then(|()| stdout().flush());
    match written {
        Err(failure) if failure.kind() != ErrorKind::BrokenPipe => {
            error(&format!("can't write to standard output: {failure}"));
            Status::Failed
        }
        _ => Status::Done,
    }
}

/// Prints a result that is for reading: on a terminal that is narrower than its lines, these are broken between words.
pub(super) fn page(text: &str) -> Status {
    result(&broken(text, stdout()))
}

/// Prints a remark, as it stands, or on a narrow terminal with its lines broken.
pub(super) fn remark(text: &str) {
    let text = broken(text, stderr());
    let text = fitting(&text, stderr().is_terminal());
    let _ = stderr().write_all(text.as_bytes());
}

/// A text with lines that are no longer than those of the terminal, if there is one.
fn broken(text: &str, stream: impl AsFd) -> Cow<'_, str> {
    match tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 => wrapped(text, usize::from(size.ws_col)),
        _ => Cow::Borrowed(text),
    }
}

/// Prints something in the last line of a terminal, in the place of what was printed there so: nothing erases it
/// (`man 4 console_codes`, EL).
pub(super) fn passing(text: &str) {
    let _ = write!(stderr(), "\r{}\x1b[K", fitting(text, true));
}

/// Clears the terminal that standard output is (`man 4 console_codes`, ED and CUP).
pub(super) fn clear() {
    let _ = write!(stdout(), "\x1b[2J\x1b[H");
}

/// Prints an error and, in lines of its own, what to do.
pub(super) fn error(text: &str) {
    let word = colour_of_stderr().paint(Role::Removed, "error:");
    remark(&format!("{word} {}\n", text.trim_end()));
}

/// Asks a person for a yes. `None`: there is nobody to ask, because this is not a terminal.
pub(super) fn confirmed(question: &str) -> Option<bool> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return None;
    }
    remark(&format!("{question} Only \"yes\" will do: "));
    let mut answer = String::new();
    let read = stdin().read_line(&mut answer);
    Some(read.is_ok() && answer.trim() == "yes")
}
