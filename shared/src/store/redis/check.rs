//! The check at the start: whether the servers can serve this process.
//!
//! After a temporary error the check is retried. A permanent error is reported with what to do about it, and the
//! process ends.

use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{backend::Backend, check_error::CheckError, greeting::greet, process::Process, url::ConfigError};
use crate::{
    error::{StoreError, StoreResult},
    retry::Waits,
};

/// The timeout for the first answer. After it the process continues its start.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The first and the longest delay between two attempts.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// A check that runs until it has a result. Dropping it ends the check.
pub struct Check {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone)]
enum State {
    /// There is no answer yet.
    Started,
    /// The last attempt had a temporary error.
    Waiting,
    Passed,
    Failed(ConfigError),
}

impl Check {
    /// Starts the check. If there is no answer in time, it continues in the background.
    pub(super) async fn begin(backend: Arc<Backend>, process: Process) -> Result<Self, ConfigError> {
        let (sender, mut state) = watch::channel(State::Started);
        let task = tokio::spawn(run(backend, process, sender));
        let first = state.wait_for(|state| !matches!(state, State::Started));
        // After the timeout the check continues in the background.
        let _ = tokio::time::timeout(FIRST_ANSWER_TIMEOUT, first).await;
        let check = Self { state, task };
        match &*check.state.borrow() {
            State::Failed(why) => return Err(why.clone()),
            State::Started | State::Waiting | State::Passed => {}
        }
        Ok(check)
    }

    /// Returns when the servers have passed the check.
    ///
    /// # Errors
    /// The permanent error that the check found.
    pub async fn passed(&mut self) -> Result<(), ConfigError> {
        // The task ends without a result only when the runtime shuts down.
        let state = self.state.wait_for(|state| matches!(state, State::Passed | State::Failed(_))).await;
        match state.as_deref() {
            Ok(State::Failed(why)) => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// Returns only if the check finds a permanent error.
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

async fn run(backend: Arc<Backend>, process: Process, sender: watch::Sender<State>) {
    let mut delays = Waits::new(RETRY_DELAYS.0, RETRY_DELAYS.1);
    loop {
        match check_and_agree(&backend, process).await {
            Ok(warnings) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                break drop(sender.send_replace(State::Passed));
            }
            Err(CheckError::Permanent(why)) => {
                break drop(sender.send_replace(State::Failed(ConfigError::of_url(why))));
            }
            Err(CheckError::Temporary(why)) => {
                tracing::warn!(%why, "waiting for Redis");
                sender.send_replace(State::Waiting);
            }
        }
        tokio::time::sleep(delays.next()).await;
    }
}

/// Returns warnings.
async fn check_and_agree(backend: &Backend, process: Process) -> Result<BTreeSet<String>, CheckError> {
    let mut warnings = check(backend, process).await?;
    warnings.extend(backend.agree_on_format().await?);
    Ok(warnings)
}

/// Writes nothing. Returns warnings.
pub(super) async fn check(backend: &Backend, process: Process) -> Result<BTreeSet<String>, CheckError> {
    let (result, answer) = oneshot::channel();
    let target = backend.nodes.target().clone();
    // `greet` blocks. A separate thread does not delay the end of the process, unlike a blocking task of the runtime.
    let spawned = thread::Builder::new().name("greeting".to_owned()).spawn(move || {
        // There is no receiver if the process is ending.
        let _ = result.send(greet(&target));
    });
    spawned.map_err(|error| CheckError::Temporary(format!("cannot start a thread to connect: {error}")))?;
    let warnings = answer.await.unwrap_or_else(|_| {
        Err(CheckError::Temporary("the connecting thread ended without a result".to_owned()))
    })?;
    backend.all_rights(process).await?;
    // A replica, or a server that cannot write its file, accepts the login and grants all rights.
    if let Err(failure) = backend.writes().await {
        let server = backend.server_of(&backend.first_key()).await;
        return Err(CheckError::of_failure(&server, "EVALSHA", &failure));
    }
    Ok(warnings)
}

impl Backend {
    /// Whether this process can do its work now; if not, the error is the reason.
    pub(super) async fn ready(&self) -> StoreResult<()> {
        self.time().await?;
        let process = self.process.get().copied().unwrap_or(Process::Api);
        let rights = self.rights_on_each_node(process).await;
        rights.map_err(|error| StoreError::Unavailable(error.text().to_owned()))
    }
}
