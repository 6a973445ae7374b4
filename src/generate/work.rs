//! The prompts of a command: one, or those of a file, each with a job of its own.

use std::path::{Path, PathBuf};

use futures::{StreamExt, stream::FuturesUnordered};
use glimpse_shared::{id::App, request::OutputFormat, shutdown::Shutdown};

use super::{
    asked::{Ask, Asked},
    failure::Failure,
    local::{self, Local},
    made::Made,
    output::{self, Output, PreviewDir, STANDARD_OUTPUT},
    remote::{self, Server},
    view::{JobView, View},
};

/// Where pictures are made.
pub enum Place {
    /// In this process.
    Here(Box<Local>),
    /// On a server.
    Server { server: Server, app: App },
}

/// What all tasks have in common.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The request, without the prompt and the format.
    pub asked: &'a Asked,
    pub place: &'a Place,
    pub view: &'a View,
    pub shutdown: &'a Shutdown,
}

/// A prompt, and where its pictures go.
pub struct Task {
    /// The number of the prompt among several, from 1.
    number: Option<usize>,
    /// `None`: that of the picture to make again.
    prompt: Option<String>,
    output: Output,
    previews: Option<PreviewDir>,
}

/// Where the pictures of a command go.
pub struct Outputs {
    pub file: PathBuf,
    pub format: Option<OutputFormat>,
    /// The number of pictures of each prompt.
    pub count: Option<i64>,
    pub preview_dir: Option<PathBuf>,
}

impl Outputs {
    /// The destination of the pictures of the only prompt, or of the prompt with this number: then the number stands in the
    /// name of the file, and the previews have a folder of their own.
    ///
    /// # Errors
    /// As [`Output::new`] and [`PreviewDir::new`].
    pub fn of(&self, number: Option<usize>) -> Result<(Output, Option<PreviewDir>), Failure> {
        let file = match number {
            Some(_) if self.file.as_os_str() == STANDARD_OUTPUT => {
                let why = "standard output takes the picture of one prompt: name a file with --prompts";
                return Err(Failure::BadInput(format!("--output -: {why}")));
            }
            Some(number) => output::numbered(&self.file, number),
            None => self.file.clone(),
        };
        let output = Output::new(file, self.format, self.count)?;
        let folder = |path: &Path| match number {
            Some(number) => path.join(number.to_string()),
            None => path.to_owned(),
        };
        let previews = self.preview_dir.as_deref().map(|path| PreviewDir::new(folder(path))).transpose()?;
        Ok((output, previews))
    }
}

impl Task {
    /// The work for one prompt.
    pub fn new(
        number: Option<usize>,
        prompt: Option<String>,
        (output, previews): (Output, Option<PreviewDir>),
    ) -> Self {
        Self { number, prompt, output, previews }
    }

    /// Makes and writes the pictures, and shows how that ends.
    async fn run(self, at: At<'_>) -> Result<(), Failure> {
        let Self { number, prompt, output, previews } = self;
        let At { asked, place, view, shutdown } = at;
        let job = view.job(number, previews);
        let made = match asked.of(prompt, output.format()) {
            Ok(ask) => {
                let made = place.make(&ask, &job, number.is_some(), shutdown).await;
                made.map(|made| made.only(ask.index))
            }
            Err(failure) => Err(failure),
        };
        let written = made.and_then(|made| {
            let files = output.write(&made.encoded)?;
            job.completed(&made, &files);
            Ok(())
        });
        written.inspect_err(|failure| job.failed(failure))
    }
}

impl Place {
    async fn make(
        &self,
        ask: &Ask,
        job: &JobView<'_>,
        patient: bool,
        shutdown: &Shutdown,
    ) -> Result<Made, Failure> {
        match self {
            Self::Server { server, app } => {
                remote::make(server, app, &ask.request, job, patient, shutdown).await
            }
            Self::Here(local) => tokio::select! {
                made = local::make(local, &ask.request, &ask.wanted, job) => made,
                // The pipeline's thread ends with the process.
                signal = shutdown.requested() => Err(Failure::Interrupted(signal)),
            },
        }
    }
}

/// Does the tasks, at most `at_a_time` of them at once. One that fails does not stop the others, except where they would
/// fail too: without the server, and after Ctrl-C. Returns the failure of the first prompt that failed, which has been
/// shown already.
pub async fn run(tasks: Vec<Task>, at: At<'_>, at_a_time: usize) -> Option<Failure> {
    let count = tasks.len();
    let mut waiting = tasks.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failed: Vec<(Option<usize>, Failure)> = Vec::new();
    let mut stopped = false;
    loop {
        while !stopped && running.len() < at_a_time {
            let Some(task) = waiting.next() else { break };
            running.push(async move {
                let number = task.number;
                task.run(at).await.map_err(|failure| (number, failure))
            });
        }
        let Some(done) = running.next().await else { break };
        if let Err((number, failure)) = done {
            stopped |= matches!(failure, Failure::Unreachable { .. } | Failure::Interrupted(_));
            failed.push((number, failure));
        }
    }
    if count > 1 && !failed.is_empty() {
        let left = match waiting.len() {
            0 => String::new(),
            left => format!(", {left} not begun"),
        };
        at.view.say(&format!("glimpse: of {count} prompts {} failed{left}", failed.len()));
    }
    failed.into_iter().min_by_key(|(number, _)| *number).map(|(_, failure)| failure)
}
