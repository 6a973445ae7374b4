//! The check at the start: whether the servers can ever serve this process.
//!
//! Temporary faults are waited for. A permanent fault is reported with what to do about it, so that the process can end
//! instead of waiting for ever.

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{backend::Backend, greeting::greet, obstacle::Obstacle, rights::Process, url::ConfigError};
use crate::{
    error::{StoreError, StoreResult},
    retry::Waits,
};

/// How long a process waits for the first answer before it continues its start.
const FIRST: Duration = Duration::from_secs(5);
/// The first and the longest wait between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// A check that runs until it has a result; it ends when it is dropped.
pub struct Check {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone)]
enum State {
    /// For the first time.
    Asking,
    /// No server answered.
    Waiting,
    Fit,
    Unfit(ConfigError),
}

impl Check {
    /// Starts the check. If there is no answer in time, it continues in the background.
    pub(super) async fn begin(backend: Arc<Backend>, process: Process) -> Result<Self, ConfigError> {
        let (verdict, mut state) = watch::channel(State::Asking);
        let task = tokio::spawn(run(backend, process, verdict));
        let first = state.wait_for(|state| !matches!(state, State::Asking));
        // Without an answer in time the check continues.
        let _ = tokio::time::timeout(FIRST, first).await;
        let check = Self { state, task };
        match &*check.state.borrow() {
            State::Unfit(why) => return Err(why.clone()),
            State::Asking | State::Waiting | State::Fit => {}
        }
        Ok(check)
    }

    /// Returns when the servers have passed the check.
    ///
    /// # Errors
    /// The permanent fault that was found.
    pub async fn passed(&mut self) -> Result<(), ConfigError> {
        // The task sends its result before it ends; only a runtime that shuts down drops it.
        let state = self.state.wait_for(|state| matches!(state, State::Fit | State::Unfit(_))).await;
        match state.as_deref() {
            Ok(State::Unfit(why)) => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// Returns only if a permanent fault is found.
    pub async fn failed(&mut self) -> ConfigError {
        match self.passed().await {
            Err(why) => why,
            Ok(()) => std::future::pending().await,
        }
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(backend: Arc<Backend>, process: Process, verdict: watch::Sender<State>) {
    let mut pauses = Waits::new(PAUSES.0, PAUSES.1);
    loop {
        match check(&backend, process).await {
            Ok(()) => break drop(verdict.send_replace(State::Fit)),
            Err(Obstacle::Lasting(why)) => {
                break drop(verdict.send_replace(State::Unfit(ConfigError::of_url(why))));
            }
            Err(Obstacle::Passing(why)) => {
                tracing::warn!(%why, "waiting for Redis");
                verdict.send_replace(State::Waiting);
            }
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

async fn check(backend: &Backend, process: Process) -> Result<(), Obstacle> {
    let (greeted, answer) = oneshot::channel();
    let target = backend.nodes.target().clone();
    // It blocks. It is not a blocking task of the runtime, which the process would wait for at its end.
    let spawned = thread::Builder::new().name("greeting".to_owned()).spawn(move || {
        // The process may be ending.
        let _ = greeted.send(greet(&target));
    });
    spawned.map_err(|error| Obstacle::Passing(format!("no thread to connect on: {error}")))?;
    answer.await.unwrap_or_else(|_| Err(Obstacle::Passing("the thread that connects died".to_owned())))?;
    backend.all_rights(process).await?;
    // A replica, or a server that cannot write its file, accepts the login and grants all rights.
    backend.time().await.map_err(|error| Obstacle::Passing(error.to_string()))?;
    Ok(())
}

impl Backend {
    /// The fault that keeps an API from serving now, if any.
    pub(super) async fn ready(&self) -> StoreResult<()> {
        self.time().await?;
        let rights = self.rights_on_each_node(Process::Api).await;
        rights.map_err(|obstacle| StoreError::Unavailable(obstacle.text().to_owned()))
    }
}
