//! The pub/sub connections of a store, and the streams that listen on them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, stream::BoxStream};
use tokio::sync::Semaphore;

use super::{
    backend::Backend,
    follower::Follower,
    inbox::{FollowerInbox, Listener, Told, cancelled, finished_early},
    pub_sub::{PubSub, Subscription},
};
use crate::{
    event::Followed,
    id::{App, JobId, Partition, Seq},
};

/// The maximum of parallel log reads. After an outage all followers read, and commands need connections too.
const READS: usize = 8;

/// The pub/sub connections of a store. It lives as long as the store or any of its streams.
pub(super) struct Hub {
    backend: Arc<Backend>,
    reads: Arc<Semaphore>,
    connections: Mutex<HashMap<Option<Partition>, PubSub>>,
}

impl Hub {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, reads: Arc::new(Semaphore::new(READS)), connections: Mutex::default() }
    }

    /// See [`Store::follow`](crate::store::Store::follow).
    pub(super) fn follow(this: &Arc<Self>, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        let Some(partition) = id.partition() else {
            // No job of ours can have this id.
            return futures::stream::iter([Followed::Lost]).boxed();
        };
        let inbox = Arc::new(FollowerInbox::default());
        let channel = this.backend.keys.of(partition).log(id);
        let subscription = this.subscribe(partition, channel, inbox.clone());
        let (backend, reads) = (this.backend.clone(), this.reads.clone());
        let follower = Follower::new(backend, reads, id, after, inbox, subscription);
        // The stream owns the hub, which keeps the connection open.
        futures::stream::unfold((this.clone(), follower), |(hub, mut follower)| async {
            let followed = follower.next().await?;
            Some((followed, (hub, follower)))
        })
        .boxed()
    }

    /// See [`Store::cancellations`](crate::store::Store::cancellations).
    pub(super) fn cancellations(this: &Arc<Self>, app: &App) -> BoxStream<'static, JobId> {
        Self::told(this, app, cancelled)
    }

    /// See [`Store::early_finishes`](crate::store::Store::early_finishes).
    pub(super) fn early_finishes(this: &Arc<Self>, app: &App) -> BoxStream<'static, (JobId, u32)> {
        Self::told(this, app, finished_early)
    }

    /// What is told to the workers of an app.
    fn told<T: Send + 'static>(
        this: &Arc<Self>,
        app: &App,
        read: fn(&str, &App) -> Option<T>,
    ) -> BoxStream<'static, T> {
        let inbox = Arc::new(Told::new(app.clone(), read));
        let channel = this.backend.keys.of_app(app).cancel();
        let subscription = this.subscribe(app.partition(), channel, inbox.clone());
        // The stream owns the hub, which keeps the connection open.
        futures::stream::unfold((this.clone(), inbox, subscription), |(hub, inbox, subscription)| async {
            let told = inbox.take().await;
            Some((told, (hub, inbox, subscription)))
        })
        .boxed()
    }

    /// Uses one connection for a single server. A cluster has one per partition in use, because each partition may move
    /// to another node.
    fn subscribe(&self, partition: Partition, channel: String, listener: Arc<dyn Listener>) -> Subscription {
        let of = self.backend.nodes.is_cluster().then_some(partition);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = connections
            .entry(of)
            .or_insert_with(|| PubSub::new(self.backend.clone(), self.backend.keys.of(partition).due()));
        connection.subscribe(channel, listener)
    }
}
