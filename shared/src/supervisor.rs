//! Tells systemd when a process is ready and when it stops (`Type=notify`). Does nothing where `NOTIFY_SOCKET` is not
//! set.

use sd_notify::NotifyState;

/// The process serves or takes jobs now.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The process ends, and may take its grace for it.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot tell systemd about the state of the process (NOTIFY_SOCKET)");
    }
}
