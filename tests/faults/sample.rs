//! Which of many places are tried.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::Write;

/// Draws places, always the same ones. With an environment variable that says `all`, all are tried; with a number, so
/// many of each kind. `NETFORM_SEED` draws others.
pub(crate) struct Sample {
    variable: &'static str,
    count: Option<usize>,
    seed: u64,
    random: fastrand::Rng,
    tried: usize,
    all: usize,
}

impl Sample {
    /// Draws so many of each kind, unless the variable says otherwise.
    pub(crate) fn new(variable: &'static str, count: usize) -> Sample {
        let seed = env::var("NETFORM_SEED").map_or(7, |seed| seed.parse().expect("a number"));
        let count = match env::var(variable) {
            Ok(all) if all == "all" => None,
            Ok(count) => Some(count.parse().expect("a number, or `all`")),
            Err(_) => Some(count),
        };
        Sample {
            variable,
            count,
            seed,
            random: fastrand::Rng::with_seed(seed),
            tried: 0,
            all: 0,
        }
    }

    /// Those that are tried, in their order.
    pub(crate) fn of<T>(&mut self, all: Vec<T>) -> Vec<T> {
        let mut places: Vec<usize> = (0..all.len()).collect();
        if let Some(count) = self.count {
            self.random.shuffle(&mut places);
            places.truncate(count);
        }
        self.tried += places.len();
        self.all += all.len();
        let all = all.into_iter().enumerate();
        let tried = all.filter(|(place, _)| places.contains(place));
        tried.map(|(_, one)| one).collect()
    }

    /// Appends how many were tried to the file that `NETFORM_TALLY` names, if it names one.
    pub(crate) fn report(&self) {
        if let Ok(path) = env::var("NETFORM_TALLY") {
            let test = std::thread::current();
            let line = format!(
                "{} {}: {} of {} places tried\n",
                test.name().unwrap_or_default(),
                self.variable,
                self.tried,
                self.all
            );
            let file = File::options().append(true).create(true).open(path);
            let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
            written.expect("the tally can be written");
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, NETFORM_SEED={}", self.variable, self.seed)
    }
}

/// Says where a test is, for whoever reads why it failed.
pub(crate) fn note(text: &str) {
    // There is nowhere to tell of a failure.
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}
