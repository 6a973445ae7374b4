//! Progress of a download: a progress bar on a terminal, otherwise log lines.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The progress of one file's download.
pub struct DownloadProgress {
    file: String,
    size: u64,
    begun: Instant,
    first: u64,
    bar: Option<ProgressBar>,
    interval: LogInterval,
}

impl DownloadProgress {
    /// Starts the display for a file of `size` bytes; `have` of them are from an earlier attempt.
    pub fn begin(file: &str, size: u64, have: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(size).with_message(file.to_owned()).with_position(have);
            // If the template does not parse, the bar keeps its default style.
            if let Ok(style) = ProgressStyle::with_template(
                "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
            ) {
                bar.set_style(style);
            }
            bar.reset_eta();
            bar
        });
        if bar.is_none() {
            tracing::info!(file, size, have, "downloading");
        }
        let begun = Instant::now();
        Self {
            file: file.to_owned(),
            size,
            begun,
            first: have,
            bar,
            interval: LogInterval { at: have, logged_at: begun },
        }
    }

    /// Shows the number of bytes that the file has now.
    pub fn at(&mut self, position: u64) {
        let now = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        } else if self.interval.is_due(position, self.size, now) {
            let seconds = now.duration_since(self.begun).as_secs_f64().max(1e-3);
            let rate = (position.saturating_sub(self.first) as f64 / seconds) as u64;
            let percent = position * 100 / self.size.max(1);
            tracing::info!(file = self.file, percent, bytes_per_second = rate, "downloading");
        }
    }
}

impl Drop for DownloadProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The time and the position of the last log line.
struct LogInterval {
    at: u64,
    logged_at: Instant,
}

impl LogInterval {
    /// A line is due after each tenth of the file (at least 64 MiB), or after ten seconds.
    fn is_due(&mut self, position: u64, size: u64, now: Instant) -> bool {
        let step = (size / 10).max(64 << 20);
        let due = position >= self.at + step || now >= self.logged_at + Duration::from_secs(10);
        if due {
            (self.at, self.logged_at) = (position, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_per_tenth_or_ten_seconds() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let size = 5 << 30;
        let mut interval = LogInterval { at: 0, logged_at: start };
        assert!(!interval.is_due(size / 10 - 1, size, later(1)));
        assert!(interval.is_due(size / 10, size, later(1)));
        assert!(!interval.is_due(size / 10 + 1, size, later(10)));
        assert!(interval.is_due(size / 10 + 2, size, later(11)));
        let mut interval = LogInterval { at: 0, logged_at: start };
        assert!(!interval.is_due(1 << 20, 1 << 20, later(1)), "a small file needs no lines");
    }
}
