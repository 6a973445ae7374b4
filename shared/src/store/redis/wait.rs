//! Blocks on a wake-up token. This needs separate connections, because a blocked connection runs no other command.

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
    scripts::{ScriptReply, WAKE, unexpected},
};
use crate::{error::StoreResult, id::App, needs::Capabilities, store::rules::WAKE_UP_WAIT};

/// The idle connections, each with the wake key that it was opened for.
#[derive(Default)]
pub(super) struct WakeConnections {
    idle: Arc<Mutex<Vec<(String, MultiplexedConnection)>>>,
}

impl WakeConnections {
    /// Waits for a token, at most [`WAKE_UP_WAIT`].
    pub(super) async fn wait(
        &self,
        backend: &Arc<Backend>,
        app: &App,
        capabilities: &Capabilities,
    ) -> StoreResult<()> {
        let (answer, answered) = oneshot::channel();
        let (backend, app, idle) = (backend.clone(), app.clone(), self.idle.clone());
        let capabilities = capabilities.clone();
        // A separate task, because the caller may be dropped at any time: then the token is passed on to another
        // worker.
        tokio::spawn(async move {
            let popped = pop(&backend, &app, &capabilities, &idle).await;
            let token = matches!(popped, Ok(true));
            if answer.send(popped.map(drop)).is_err()
                && token
                && let Err(error) = backend.wake(&app, &capabilities).await
            {
                tracing::warn!(%error, "a wake-up was lost; workers check the queue within 5 s");
            }
        });
        // The task ends without an answer only when the runtime shuts down.
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
            ScriptReply::Done => Ok(()),
            other => unexpected(other),
        }
    }
}

/// Waits for a token. Returns whether there was one.
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
    // Processes of the previous release only use the list for any worker.
    command.arg(keys.wake_of(app, capabilities)).arg(&key).arg(WAKE_UP_WAIT.as_secs());
    match connection.req_packed_command(&command).await.and_then(Value::extract_error) {
        Ok(popped) => {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push((key, connection));
            Ok(!matches!(popped, Value::Nil))
        }
        // The connection is dropped. After a restart or a moved slot a new one goes to the right node.
        Err(error) => {
            backend.nodes.forget();
            Err(Failure::Redis(error).into())
        }
    }
}
