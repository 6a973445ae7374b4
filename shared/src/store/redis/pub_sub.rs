//! One pub/sub connection, shared by its listeners.
//!
//! [`PubSub`] has a list of the listeners of each channel. Its task updates the subscriptions from that list, in
//! batches. It reconnects after an error, after a PING without an answer, and after Redis ended a subscription itself:
//! the library takes that `sunsubscribe` for the reply to the current command.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use redis::{
    PushInfo, PushKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::{sync::Notify, task::JoinHandle, time::MissedTickBehavior};

use super::{
    backend::Backend,
    connection::{COMMAND, timeouts},
    failure::Failure,
    inbox::{Listener, Message},
    shape::Shape,
};
use crate::retry::Waits;

/// The interval between two PINGs.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// The maximum of subscription changes in one batch.
const BATCH: usize = 256;

/// A pub/sub connection. Dropping it closes the connection.
pub(super) struct PubSub {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// One listener's subscription. Dropping it ends the subscription.
pub(super) struct Subscription {
    shared: Arc<Shared>,
    channel: Arc<str>,
    number: u64,
}

struct Shared {
    backend: Arc<Backend>,
    channels: Mutex<Channels>,
    changed: Notify,
}

#[derive(Default)]
struct Channels {
    by_name: HashMap<Arc<str>, Channel>,
    /// The channels whose listeners changed since the last batch.
    changed: Vec<Arc<str>>,
    last_number: u64,
}

#[derive(Default)]
struct Channel {
    listeners: Vec<(u64, Arc<dyn Listener>)>,
    /// Whether SSUBSCRIBE was sent on the current connection, without SUNSUBSCRIBE after it.
    subscribed: bool,
    /// Whether Redis has confirmed the subscription.
    confirmed: bool,
}

enum SubscriptionChange {
    Subscribe(Arc<str>),
    Unsubscribe(Arc<str>),
}

impl PubSub {
    /// A connection to the node that holds `key`.
    pub(super) fn new(backend: Arc<Backend>, key: String) -> Self {
        let shared = Arc::new(Shared { backend, channels: Mutex::default(), changed: Notify::new() });
        let task = tokio::spawn(run(shared.clone(), key));
        Self { shared, task }
    }

    /// Subscribes `listener` to `channel`.
    pub(super) fn subscribe(&self, channel: String, listener: Arc<dyn Listener>) -> Subscription {
        let channel: Arc<str> = channel.into();
        let mut channels = self.shared.lock();
        channels.last_number += 1;
        let number = channels.last_number;
        let entry = channels.by_name.entry(channel.clone()).or_default();
        entry.listeners.push((number, listener.clone()));
        if entry.confirmed {
            listener.confirmed();
        } else {
            channels.changed.push(channel.clone());
            self.shared.changed.notify_one();
        }
        drop(channels);
        Subscription { shared: self.shared.clone(), channel, number }
    }
}

impl Drop for PubSub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = self.shared.lock();
        let Some(entry) = channels.by_name.get_mut(&self.channel) else { return };
        entry.listeners.retain(|(number, _)| *number != self.number);
        if entry.listeners.is_empty() {
            channels.changed.push(self.channel.clone());
            self.shared.changed.notify_one();
        }
    }
}

/// Keeps a connection while there are listeners.
async fn run(shared: Arc<Shared>, key: String) {
    let mut waits = Waits::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        while shared.lock().by_name.is_empty() {
            shared.changed.notified().await;
        }
        let why = shared.use_connection(&key, &mut waits).await;
        tracing::warn!(%why, "the pub/sub connection to Redis closed; reconnecting");
        shared.reset_subscriptions();
        shared.backend.nodes.forget();
        tokio::time::sleep(waits.next()).await;
    }
}

impl Shared {
    /// Uses one connection while it works. Returns the reason why it no longer works.
    async fn use_connection(self: &Arc<Self>, key: &str, waits: &mut Waits) -> String {
        let reconnect = Arc::new(Notify::new());
        let (shared, signal) = (self.clone(), reconnect.clone());
        let config = timeouts(COMMAND).set_push_sender(move |push| {
            shared.on_push(push, &signal);
            Ok::<_, redis::aio::SendError>(())
        });
        let connection = match self.backend.nodes.open(key, config).await {
            Ok(connection) => connection,
            Err(failure) => return crate::error::StoreError::from(failure).to_string(),
        };
        let mut ping_timer = tokio::time::interval(PING_INTERVAL);
        ping_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let batch = self.batch();
            let work = async {
                if batch.is_empty() {
                    tokio::select! {
                        () = self.changed.notified() => Ok(()),
                        _ = ping_timer.tick() => ping(connection.clone()).await,
                    }
                } else {
                    self.send(&connection, batch).await?;
                    waits.reset();
                    Ok(())
                }
            };
            tokio::select! {
                biased;
                () = reconnect.notified() => return "Redis closed the connection or ended a subscription".to_owned(),
                done = work => if let Err(failure) = done {
                    return crate::error::StoreError::from(failure).to_string();
                }
            }
        }
    }

    /// Takes the next batch, and updates the state of its channels.
    fn batch(&self) -> Vec<SubscriptionChange> {
        let mut channels = self.lock();
        let channels = &mut *channels;
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(name) = channels.changed.pop() else { break };
            let Some(entry) = channels.by_name.get_mut(&name) else { continue };
            match (entry.listeners.is_empty(), entry.subscribed) {
                (false, false) => {
                    entry.subscribed = true;
                    batch.push(SubscriptionChange::Subscribe(name));
                }
                (true, true) => {
                    channels.by_name.remove(&name);
                    batch.push(SubscriptionChange::Unsubscribe(name));
                }
                (true, false) => drop(channels.by_name.remove(&name)),
                (false, true) => {}
            }
        }
        batch
    }

    /// Sends a batch and waits for every confirmation. Each channel is in it once, so the order does not matter.
    async fn send(
        &self,
        connection: &MultiplexedConnection,
        batch: Vec<SubscriptionChange>,
    ) -> Result<(), Failure> {
        let sent = batch.into_iter().map(|change| async move {
            let (verb, name) = match &change {
                SubscriptionChange::Subscribe(name) => ("SSUBSCRIBE", name),
                SubscriptionChange::Unsubscribe(name) => ("SUNSUBSCRIBE", name),
            };
            let mut connection = connection.clone();
            let answer =
                connection.req_packed_command(redis::cmd(verb).arg(&**name)).await?.extract_error()?;
            match (&change, answer) {
                (SubscriptionChange::Subscribe(name), Value::Push { kind: PushKind::SSubscribe, data })
                    if channel_of(&data) == Some(name.as_bytes()) =>
                {
                    self.confirm(name);
                    Ok(())
                }
                (SubscriptionChange::Unsubscribe(_), Value::Push { kind: PushKind::SUnsubscribe, .. }) => {
                    Ok(())
                }
                (_, other) => {
                    Err(Failure::NoConnection(format!("{verb} was answered with {}", Shape::of(&other))))
                }
            }
        });
        futures::future::try_join_all(sent).await.map(drop)
    }

    fn confirm(&self, name: &Arc<str>) {
        let mut channels = self.lock();
        let Some(entry) = channels.by_name.get_mut(name) else { return };
        entry.confirmed = true;
        entry.listeners.iter().for_each(|(_, listener)| listener.confirmed());
    }

    /// Handles a push message from Redis. Runs in the task that reads the connection.
    fn on_push(&self, push: PushInfo, reconnect: &Notify) {
        match push.kind {
            PushKind::SMessage => {
                let mut data = push.data.into_iter();
                let (Some(Value::BulkString(name)), Some(Value::BulkString(payload))) =
                    (data.next(), data.next())
                else {
                    return;
                };
                let Ok(name) = std::str::from_utf8(&name) else { return };
                let channels = self.lock();
                if let Some(entry) = channels.by_name.get(name) {
                    let message = Message::new(Bytes::from(payload));
                    entry.listeners.iter().for_each(|(_, listener)| listener.receive(&message));
                }
            }
            PushKind::SUnsubscribe => {
                let name = channel_of(&push.data).and_then(|name| std::str::from_utf8(name).ok());
                let channels = self.lock();
                // After our own SUNSUBSCRIBE the channel is not in the list, or not subscribed again yet.
                if name.and_then(|name| channels.by_name.get(name)).is_some_and(|entry| entry.subscribed) {
                    reconnect.notify_one();
                }
            }
            PushKind::Disconnection => reconnect.notify_one(),
            _ => {}
        }
    }

    /// The connection is closed: all channels must be subscribed again.
    fn reset_subscriptions(&self) {
        let mut channels = self.lock();
        let channels = &mut *channels;
        channels.changed.clear();
        channels.by_name.retain(|_, entry| !entry.listeners.is_empty());
        for (name, entry) in &mut channels.by_name {
            (entry.subscribed, entry.confirmed) = (false, false);
            channels.changed.push(name.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ping(mut connection: MultiplexedConnection) -> Result<(), Failure> {
    connection.req_packed_command(&redis::cmd("PING")).await?.extract_error()?;
    Ok(())
}

fn channel_of(data: &[Value]) -> Option<&[u8]> {
    match data.first() {
        Some(Value::BulkString(name)) => Some(name),
        _ => None,
    }
}
