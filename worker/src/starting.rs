//! The start of a worker: it opens and logs its device first, and loads its model last.

use std::{path::PathBuf, pin::Pin, sync::mpsc};

use tokio::sync::oneshot;

use crate::{
    config::ModelConfig,
    engine::{Engine, StartError},
    pipeline::{Description, describe_device},
};

type Loading = Pin<Box<dyn Future<Output = Result<(Engine, Description), StartError>> + Send>>;

/// A pipeline's thread that has opened its device.
pub struct Opened {
    load: mpsc::Sender<()>,
    loading: Loading,
}

/// Starts the pipeline's thread and opens the device on it. The device belongs to that thread.
///
/// # Errors
/// If the device is not available.
pub async fn open(config: ModelConfig, model: PathBuf) -> Result<Opened, StartError> {
    let (opened, device) = oneshot::channel();
    let (load, wanted) = mpsc::channel();
    let mut loading: Loading = Box::pin(Engine::start(move || {
        let device = config.open_device().map_err(|error| error.to_string())?;
        // If the caller is gone, the model is not needed.
        let _ = opened.send(describe_device(&device));
        wanted.recv().map_err(|_| "the process ends".to_owned())?;
        config.load_warm(device, &model)
    }));
    tokio::select! {
        biased;
        Ok(device) = device => tracing::info!(device, "the device is open"),
        ended = &mut loading => return Err(ended.err().unwrap_or(StartError::Died)),
    }
    Ok(Opened { load, loading })
}

impl Opened {
    /// Loads the model.
    ///
    /// # Errors
    /// See [`Engine::start`].
    pub async fn load(self) -> Result<(Engine, Description), StartError> {
        // If the thread died, `loading` returns the error.
        let _ = self.load.send(());
        self.loading.await
    }
}
