//! Blocking on a wake-up token, on separate connections: a blocked connection serves no other command.

use std::sync::{Arc, Mutex, PoisonError};

use redis::{
    Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::sync::oneshot;

use super::{
    backend::Backend,
    connection::{COMMAND, timeouts},
    failure::Failure,
    queue::millis,
    scripts::{Outcome, WAKE, unexpected},
};
use crate::{error::StoreResult, id::App, needs::Capabilities, store::rules::WAKE_UP_WAIT};

/// Connections that are not blocked at the moment, each with the wake key of the app that it was opened for.
#[derive(Default)]
pub(super) struct Waiting {
    idle: Arc<Mutex<Vec<(String, MultiplexedConnection)>>>,
}

impl Waiting {
    /// Waits for a token, a few seconds at most.
    pub(super) async fn wait(
        &self,
        backend: &Arc<Backend>,
        app: &App,
        capabilities: &Capabilities,
    ) -> StoreResult<()> {
        let (answer, answered) = oneshot::channel();
        let (backend, app, idle) = (backend.clone(), app.clone(), self.idle.clone());
        let capabilities = capabilities.clone();
        // A task of its own: the caller may go at any time, and a token that arrives for one who has gone belongs
        // to another worker. A token lost with this process costs one block.
        tokio::spawn(async move {
            let popped = pop(&backend, &app, &capabilities, &idle).await;
            let token = matches!(popped, Ok(true));
            if answer.send(popped.map(drop)).is_err()
                && token
                && let Err(error) = backend.wake(&app, &capabilities).await
            {
                tracing::warn!(%error, "a wake-up is lost; workers look by themselves within 5 s");
            }
        });
        // The task sends before it ends; only a runtime that shuts down drops it, and its waiters with it.
        answered.await.unwrap_or(Ok(()))
    }
}

impl Backend {
    pub(super) async fn wake(&self, app: &App, capabilities: &Capabilities) -> StoreResult<()> {
        let keys = self.keys.of_app(app);
        let call = WAKE
            .keys([keys.wake_of(app, capabilities), keys.wake(app)])
            .value(millis(self.rules.worker_known));
        match call.run(&self.nodes).await? {
            Outcome::Done => Ok(()),
            other => unexpected(other),
        }
    }
}

/// Whether there was a token.
async fn pop(
    backend: &Backend,
    app: &App,
    capabilities: &Capabilities,
    idle: &Mutex<Vec<(String, MultiplexedConnection)>>,
) -> StoreResult<bool> {
    let keys = backend.keys.of_app(app);
    let key = keys.wake(app);
    let free = {
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().position(|(of, _)| *of == key).map(|at| idle.swap_remove(at).1)
    };
    let mut connection = match free {
        Some(connection) => connection,
        None => backend.nodes.open(&key, timeouts(WAKE_UP_WAIT + COMMAND)).await?,
    };
    let mut command = redis::cmd("BLPOP");
    // Processes of the release before know the list of any worker alone.
    command.arg(keys.wake_of(app, capabilities)).arg(&key).arg(WAKE_UP_WAIT.as_secs());
    match connection.req_packed_command(&command).await.and_then(Value::extract_error) {
        Ok(popped) => {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push((key, connection));
            Ok(!matches!(popped, Value::Nil))
        }
        // The connection is not used again: after a restart, or where the slot has moved, a new one finds its way.
        Err(error) => {
            backend.nodes.forget();
            Err(Failure::Redis(error).into())
        }
    }
}
