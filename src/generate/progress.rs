//! Progress on standard error: a bar on a terminal, otherwise a line `STEP/STEPS` for each step.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicU64, Ordering},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::say::say;

/// The progress of a picture.
pub struct Progress {
    bar: Option<ProgressBar>,
    shown: AtomicU64,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            // If the template were wrong, only its layout would be missing.
            if let Ok(style) =
                ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {elapsed}, {eta} left")
            {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, shown: AtomicU64::new(0) }
    }

    /// `step` of `steps` are done.
    pub fn show(&self, step: u32, steps: u32) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(steps.into());
                bar.set_position(step.into());
            }
            None => {
                let key = u64::from(step) << 32 | u64::from(steps);
                if self.shown.swap(key, Ordering::Relaxed) != key {
                    say(format_args!("{step}/{steps}"));
                }
            }
        }
    }

    /// The job is being cancelled, which may take as long as a server needs to answer.
    pub fn cancelling(&self) {
        self.end();
        say("glimpse: cancelling the job; press Ctrl-C again to leave at once");
    }

    /// Removes the bar.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
