//! Finds the pub/sub connection for each listener.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, stream::BoxStream};
use tokio::sync::Semaphore;

use super::{
    backend::Backend,
    follower::Follower,
    inbox::{Cancellations, FollowerInbox, Listener},
    line::{Line, Subscription},
};
use crate::{
    event::Followed,
    id::{App, JobId, Partition, Seq},
};

/// How many logs are read at once: after an outage all followers read, and commands need connections too.
const READS: usize = 8;

/// The pub/sub connections of a store. It exists as long as the store or any stream of it.
pub(super) struct Hub {
    backend: Arc<Backend>,
    reads: Arc<Semaphore>,
    lines: Mutex<HashMap<Option<Partition>, Line>>,
}

impl Hub {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, reads: Arc::new(Semaphore::new(READS)), lines: Mutex::default() }
    }

    /// See [`Store::follow`](crate::store::Store::follow).
    pub(super) fn follow(this: &Arc<Self>, id: JobId, after: Option<Seq>) -> BoxStream<'static, Followed> {
        let Some(partition) = id.partition() else {
            // None of our jobs can have such an id.
            return futures::stream::iter([Followed::Lost]).boxed();
        };
        let inbox = Arc::new(FollowerInbox::default());
        let channel = this.backend.keys.of(partition).log(id);
        let subscription = this.subscribe(partition, channel, inbox.clone());
        let (backend, reads) = (this.backend.clone(), this.reads.clone());
        let follower = Follower::new(backend, reads, id, after, inbox, subscription);
        // The hub keeps the connection that the follower listens on.
        futures::stream::unfold((this.clone(), follower), |(hub, mut follower)| async {
            let followed = follower.next().await?;
            Some((followed, (hub, follower)))
        })
        .boxed()
    }

    /// See [`Store::cancellations`](crate::store::Store::cancellations).
    pub(super) fn cancellations(this: &Arc<Self>, app: &App) -> BoxStream<'static, JobId> {
        let inbox = Arc::new(Cancellations::new(app.clone()));
        let channel = this.backend.keys.of_app(app).cancel();
        let subscription = this.subscribe(app.partition(), channel, inbox.clone());
        // The hub and the subscription stay as long as the stream exists.
        futures::stream::unfold((this.clone(), inbox, subscription), |(hub, inbox, subscription)| async {
            let id = inbox.take().await;
            Some((id, (hub, inbox, subscription)))
        })
        .boxed()
    }

    /// One connection to a single server; for a cluster one per partition in use, because a partition is what moves
    /// from node to node.
    fn subscribe(&self, partition: Partition, channel: String, listener: Arc<dyn Listener>) -> Subscription {
        let of = self.backend.nodes.is_cluster().then_some(partition);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines
            .entry(of)
            .or_insert_with(|| Line::new(self.backend.clone(), self.backend.keys.of(partition).due()));
        line.subscribe(channel, listener)
    }
}
