//! Handles SIGTERM and SIGINT.
//!
//! The first signal starts a graceful shutdown. The second one ends the process at once, in the signal handler. Both
//! need handlers: for PID 1 of a container the kernel ignores a signal without a handler.

use std::{
    fmt,
    future::Future,
    io,
    sync::{Arc, atomic::AtomicBool},
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::Signals,
    low_level,
};
use tokio::sync::watch;

/// The signal that started the shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// The exit code that a shell reports for a process ended by the signal: 130 or 143.
    pub fn exit_code(self) -> u8 {
        // Signals are numbers below 65.
        128 + self.0 as u8
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(low_level::signal_name(self.0).unwrap_or("a signal"))
    }
}

/// Whether a shutdown was requested.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Option<Signal>>);

impl Shutdown {
    /// Installs the handlers. Call it once, first in `main`.
    ///
    /// # Errors
    /// If a handler or the thread cannot be created.
    pub fn listen() -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal finds the flag unset and sets it, the second finds it set.
            flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())?;
            flag::register(signal, asked.clone())?;
        }
        let (heard, first) = watch::channel(None);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                heard.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert(Signal(signal));
                    is_first
                });
            }
        })?;
        Ok(Self(first))
    }

    /// Waits for the first signal.
    pub async fn requested(&self) -> Signal {
        let mut first = self.0.clone();
        let heard = first.wait_for(Option::is_some).await.ok().and_then(|signal| *signal);
        match heard {
            Some(signal) => signal,
            // The signal thread never ends.
            None => std::future::pending().await,
        }
    }

    /// Runs `work` to its end. If a signal comes first, drops `work` and returns `None`.
    pub async fn unless_requested<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            _ = self.requested() => None,
            done = work => Some(done),
        }
    }
}

/// Runs a process' main task. At its end it does not wait for blocked threads: a name lookup may take long.
///
/// # Errors
/// If the runtime's threads cannot be created.
pub fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

/// Ends the process at once, without the exit handlers of its libraries: a GPU driver's handler would wait for a load
/// on another thread.
pub fn leave(exit_code: u8) -> ! {
    low_level::exit(exit_code.into())
}
