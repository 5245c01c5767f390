//! How far an apply is, where a person waits for it.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use super::apply::Verb;
use super::output;
use crate::plan::Plan;

/// Nothing is said of what takes less time than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line on the terminal that is written anew each time, and gone when this is dropped.
pub(super) struct Progress {
    began: Instant,
    total: usize,
    word: &'static str,
    /// Whether standard error is a terminal that can take a line back.
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// Of a plan, from now on.
    pub(super) fn of(plan: &Plan, verb: Verb) -> Progress {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Progress {
            began: Instant::now(),
            total: plan.operations.len(),
            word: match verb {
                Verb::Apply => "applied",
                Verb::Destroy | Verb::Prune => "undone",
            },
            terminal: stderr().is_terminal() && !dumb,
            shown: false,
        }
    }

    /// Says how many operations are done.
    pub(super) fn tell(&mut self, done: usize) {
        if let Some(line) = self.line(done, self.began.elapsed()) {
            output::passing(&line);
            self.shown = true;
        }
    }

    /// What to print, if anything.
    fn line(&self, done: usize, elapsed: Duration) -> Option<String> {
        (self.terminal && elapsed > PATIENCE)
            .then(|| format!("{} {done} of {}", self.word, self.total))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            output::passing("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_hears_of_what_takes_long() {
        let progress = |terminal| Progress {
            began: Instant::now(),
            total: 15003,
            word: "applied",
            terminal,
            shown: false,
        };
        let long = Duration::from_secs(2);
        assert_eq!(
            progress(true).line(312, long).as_deref(),
            Some("applied 312 of 15003")
        );
        assert_eq!(progress(false).line(312, long), None);
        assert_eq!(progress(true).line(312, Duration::from_millis(300)), None);
    }
}
