//! Blocking on the wake-up token, on connections of its own: a blocked connection serves nobody else.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::{
    Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::sync::oneshot;

use super::{
    backend::Backend,
    connection::{COMMAND, timeouts},
    failure::Failure,
};
use crate::{error::StoreResult, id::App};

/// How long Redis blocks before the worker looks by itself: the most that a lost token costs.
const BLOCK: Duration = Duration::from_secs(5);

/// Connections that are not blocked at the moment, each with the wake key that it was opened for.
#[derive(Default)]
pub(super) struct Waiting {
    idle: Arc<Mutex<Vec<(String, MultiplexedConnection)>>>,
}

impl Waiting {
    /// Waits for a token, a few seconds at most.
    pub(super) async fn wait(&self, backend: &Arc<Backend>, app: &App) -> StoreResult<()> {
        let (answer, answered) = oneshot::channel();
        let (backend, app, idle) = (backend.clone(), app.clone(), self.idle.clone());
        // A task of its own: the caller may go at any time, and a token that arrives for one who has gone belongs
        // to another worker. A token lost with this process costs one block.
        tokio::spawn(async move {
            let popped = pop(&backend, &app, &idle).await;
            let token = matches!(popped, Ok(true));
            if answer.send(popped.map(drop)).is_err()
                && token
                && let Err(error) = backend.wake(&app).await
            {
                tracing::warn!(%error, "a wake-up is lost; workers look by themselves within 5 s");
            }
        });
        // The task sends before it ends; only a runtime that shuts down drops it, and its waiters with it.
        answered.await.unwrap_or(Ok(()))
    }
}

/// Whether there was a token.
async fn pop(
    backend: &Backend,
    app: &App,
    idle: &Mutex<Vec<(String, MultiplexedConnection)>>,
) -> StoreResult<bool> {
    let key = backend.keys.of_app(app).wake(app);
    let free = {
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().position(|(of, _)| *of == key).map(|at| idle.swap_remove(at).1)
    };
    let mut connection = match free {
        Some(connection) => connection,
        None => backend.nodes.open(&key, timeouts(BLOCK + COMMAND)).await?,
    };
    let mut command = redis::cmd("BLPOP");
    command.arg(&key).arg(BLOCK.as_secs());
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
