//! What a person or a script sees of jobs: a bar and pictures on a terminal, otherwise lines; with `--json` events.

use std::{
    io::IsTerminal,
    path::Path,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{
    event::Event,
    failure::Failure,
    made::Made,
    output::{PreviewDir, STANDARD_OUTPUT},
    say::say,
};
use crate::inline::{Canvas, Inline};

const TEMPLATE: &str = "{prefix}{wide_bar} {pos}/{len} steps, {elapsed}, {eta} left{msg}";

/// How jobs are shown.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Shown {
    /// Shows the forming picture in the terminal, on standard error: auto if the terminal is known to show pictures,
    /// never, or in the form of kitty, iterm2 or sixel.
    #[arg(long, value_name = "FORM", default_value = "auto")]
    inline: Inline,
    /// Prints events on standard output, one JSON object a line, and neither progress nor pictures in the terminal.
    #[arg(long)]
    json: bool,
}

impl Shown {
    /// Checks that events and a picture do not both go to standard output.
    ///
    /// # Errors
    /// If they do.
    pub fn check(self, output: &Path) -> Result<(), Failure> {
        match self.json && output.as_os_str() == STANDARD_OUTPUT {
            true => Err(Failure::BadInput(
                "--output -: with --json standard output has the events: name a file".to_owned(),
            )),
            false => Ok(()),
        }
    }
}

/// The view of all jobs of a command.
pub struct View {
    way: Way,
    canvas: Option<Mutex<Canvas>>,
    /// Whether pictures are shown while they form: one job runs at a time.
    forming: bool,
    cancelling: AtomicBool,
}

enum Way {
    /// Standard error is a terminal.
    Bars(MultiProgress),
    Lines,
    Json,
}

impl View {
    /// The view of this many jobs at a time.
    pub fn new(shown: Shown, at_a_time: usize) -> Self {
        let way = match (shown.json, std::io::stderr().is_terminal()) {
            (true, _) => Way::Json,
            (_, true) => Way::Bars(MultiProgress::new()),
            _ => Way::Lines,
        };
        let canvas = matches!(way, Way::Bars(_)).then(|| Canvas::new(shown.inline)).flatten();
        Self {
            way,
            canvas: canvas.map(Mutex::new),
            forming: at_a_time == 1,
            cancelling: AtomicBool::new(false),
        }
    }

    /// The view of a job. `number` is its place among several prompts.
    pub fn job(&self, number: Option<usize>, folder: Option<PreviewDir>) -> JobView<'_> {
        let bar = match &self.way {
            Way::Bars(bars) => {
                let bar = bars.add(ProgressBar::new(0));
                // If the template were wrong, only its layout would be missing.
                if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                    bar.set_style(style);
                }
                if let Some(number) = number {
                    bar.set_prefix(format!("[{number}] "));
                }
                Some(bar)
            }
            Way::Lines | Way::Json => None,
        };
        JobView { view: self, number, folder, bar, at: AtomicU64::new(0), id: OnceLock::new() }
    }

    /// Jobs are being cancelled, which may take as long as a server needs to answer.
    pub fn cancelling(&self) {
        if !self.cancelling.swap(true, Ordering::Relaxed) {
            self.say("glimpse: cancelling the job; press Ctrl-C again to leave at once");
        }
    }

    /// Writes a line for people, between pictures and bars.
    pub fn say(&self, line: &str) {
        self.above_bars(|| say(line));
        if let Some(canvas) = &self.canvas {
            canvas.lock().unwrap_or_else(PoisonError::into_inner).leave();
        }
    }

    fn above_bars(&self, write: impl FnOnce()) {
        match &self.way {
            Way::Bars(bars) => bars.suspend(write),
            Way::Lines | Way::Json => write(),
        }
    }

    fn draw(&self, picture: &[u8]) {
        let Some(canvas) = &self.canvas else { return };
        self.above_bars(|| {
            let mut canvas = canvas.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = canvas.draw(picture) {
                tracing::info!("a picture cannot be shown in the terminal: {error}");
            }
        });
    }
}

/// The view of a job.
pub struct JobView<'a> {
    view: &'a View,
    number: Option<usize>,
    folder: Option<PreviewDir>,
    bar: Option<ProgressBar>,
    /// The step and the number of steps that were shown last.
    at: AtomicU64,
    /// The job's id on the server.
    id: OnceLock<String>,
}

impl JobView<'_> {
    /// The job is being cancelled; see [`View::cancelling`].
    pub fn cancelling(&self) {
        self.view.cancelling();
    }

    /// Whether anybody sees previews.
    pub fn wants_previews(&self) -> bool {
        self.folder.is_some() || (self.view.forming && self.view.canvas.is_some())
    }

    /// The job has this id on the server.
    pub fn is(&self, id: &str) {
        let _ = self.id.set(id.to_owned());
    }

    /// The server has accepted the job.
    pub fn submitted(&self, id: &str) {
        self.is(id);
        self.event("submitted", json!({}));
    }

    /// So many jobs are served first.
    pub fn queued(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(match position {
                0 => String::new(),
                _ => format!(", {position} ahead"),
            });
        }
        self.event("queued", json!({ "position": position }));
    }

    /// A worker has begun.
    pub fn started(&self, worker: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message("");
        }
        self.event("started", json!({ "worker": worker }));
    }

    /// `step` of `steps` are done.
    pub fn at(&self, step: u32, steps: u32) {
        let at = u64::from(step) << 32 | u64::from(steps);
        if self.at.swap(at, Ordering::Relaxed) == at {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_length(steps.into());
                bar.set_position(step.into());
            }
            None if matches!(self.view.way, Way::Json) => {
                self.event("progress", json!({ "step": step, "steps": steps }));
            }
            None => match self.number {
                Some(number) => say(format_args!("[{number}] {step}/{steps}")),
                None => say(format_args!("{step}/{steps}")),
            },
        }
    }

    /// All steps are done, however many there are.
    pub fn at_end(&self) {
        let steps = self.at.load(Ordering::Relaxed) as u32;
        if steps > 0 {
            self.at(steps, steps);
        }
    }

    /// A preview after a 0-based step, as JPEG.
    ///
    /// # Errors
    /// If it cannot be written into its folder.
    pub fn preview(&self, step: u32, jpeg: &[u8]) -> Result<(), Failure> {
        if let Some(folder) = &self.folder {
            let file = folder.write(step, jpeg)?;
            self.event("preview", json!({ "step": step, "file": file }));
        }
        if self.view.forming {
            self.view.draw(jpeg);
        }
        Ok(())
    }

    /// The pictures are finished, and in these files.
    pub fn completed(&self, made: &Made, files: &[String]) {
        if let Some(picture) = made.encoded.first() {
            self.view.draw(picture);
        }
        self.end_bar();
        let mut members = json!({ "files": files, "seed": made.seed });
        if !made.seeds.is_empty() {
            members["seeds"] = json!(made.seeds);
        }
        if !made.warnings.is_empty() {
            members["warnings"] = json!(made.warnings);
        }
        self.event("completed", members);
        for warning in &made.warnings {
            self.view.say(&format!("glimpse: {}warning: {}", self.prefix(), warning.message));
        }
        if !matches!(self.view.way, Way::Json) {
            if files.is_empty() {
                self.view.say(&format!("completed (seed {})", made.seed));
            }
            for (i, file) in files.iter().enumerate() {
                self.view.say(&format!("{file} (seed {})", made.seeds.get(i).unwrap_or(&made.seed)));
            }
        }
    }

    /// There are no pictures.
    pub fn failed(&self, failure: &Failure) {
        self.end_bar();
        self.event("failed", json!({ "exit_code": failure.code(), "message": failure.to_string() }));
        self.view.say(&format!("glimpse: {}{failure}", self.prefix()));
    }

    fn prefix(&self) -> String {
        self.number.map(|number| format!("prompt {number}: ")).unwrap_or_default()
    }

    fn end_bar(&self) {
        if let (Some(bar), Way::Bars(bars)) = (&self.bar, &self.view.way) {
            bar.finish_and_clear();
            bars.remove(bar);
        }
    }

    /// Prints an event, if events are printed: its type, which job it is of, and its own members.
    fn event(&self, kind: &str, members: Value) {
        if !matches!(self.view.way, Way::Json) {
            return;
        }
        Event { kind, number: self.number, job: self.id.get().map(String::as_str), members }.print();
    }
}

impl Drop for JobView<'_> {
    fn drop(&mut self) {
        self.end_bar();
    }
}
