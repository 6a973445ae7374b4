//! `STEP/STEPS` on standard error: drawn in place on a terminal, else a line each.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicU64, Ordering},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::say::say;

/// Shows how far the picture is.
pub struct Progress {
    bar: Option<ProgressBar>,
    shown: AtomicU64,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            // A template that does not parse would only cost the decoration.
            if let Ok(style) =
                ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {elapsed}, {eta} left")
            {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, shown: AtomicU64::new(0) }
    }

    /// So many steps of so many are done.
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

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
