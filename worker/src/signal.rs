//! Being told to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Ends at the first SIGTERM or SIGINT.
pub async fn stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
